//! The driver alone with pgmonkey's TLS: runs the example of `pgmonkey-connect`.

use std::process::{Command, Output};

use pgmonkey_tests::Outcome;

use crate::tls::{Bench, Server, yaml};

fn run(bench: &Bench, server: Server, mode: &str) -> std::io::Result<Output> {
    let root = [("sslrootcert", "ca.pem")];
    let more = if mode == "disable" { &[] } else { &root[..] };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("pgmonkey.yaml");
    std::fs::write(&file, yaml(&bench.with(server, mode, more)))?;
    let mut program = Command::new(env!("CARGO_BIN_EXE_bare"));
    program.arg(file).env_clear().output()
}

#[test]
fn a_bare_client_has_the_tls_that_the_file_asks_for() -> Outcome {
    let bench = Bench::start()?;
    for (server, mode, encrypted) in [
        (Server::Plain, "disable", false),
        (Server::Tls, "verify-full", true),
    ] {
        let output = run(&bench, server, mode)?;
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout)?;
        let (version, tls) = said.split_once('\n').expect("two lines");
        assert!(version.starts_with("PostgreSQL "), "{said}");
        assert_eq!(tls.contains("TLSv1"), encrypted, "{said}");
    }
    let refused = run(&bench, Server::Plain, "verify-full")?;
    assert!(!refused.status.success(), "{refused:?}");
    Ok(())
}
