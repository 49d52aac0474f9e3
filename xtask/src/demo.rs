//! `cargo xtask demo` and `cargo xtask bench`: a program that gets a configuration file and a
//! server for it.

use std::fs;
use std::time::Instant;

use pgmonkey_testserver::{Cluster, ScratchDir};

use crate::args::Options;
use crate::process::{self, cargo};
use crate::servers::{Servers, Wanted};

/// Shows all four connection types.
pub(crate) const TOUR: [&str; 4] = ["--package", "pgmonkey-tour", "--profile", "demo"];
/// Ours and the bare drivers, side by side.
const BENCH: [&str; 3] = ["--package", "pgmonkey-bench", "--release"];

/// As [`BENCH`], with what is only built for the name `metrics`.
pub(crate) fn bench(mut options: Options) -> anyhow::Result<()> {
    let mut program = BENCH.to_vec();
    let named = options.filters.len();
    options.filters.retain(|name| name != "metrics");
    if options.filters.len() < named {
        program.extend(["--features", "metrics"]);
    }
    run(&options, &program)
}

/// Starts the server first, so that a missing one is reported before the build.
pub(crate) fn run(options: &Options, program: &[&str]) -> anyhow::Result<()> {
    let begin = Instant::now();
    let servers = Servers::start(options, Wanted::Plain)?;
    let scratch = ScratchDir::new()?;
    let file = scratch.path().join("pgmonkey.yaml");
    fs::write(&file, servers.plain().config_yaml("pool"))?;
    let started = begin.elapsed();

    process::run(cargo(&["build"]).args(program))?;

    let begin = Instant::now();
    process::run(
        cargo(&["run", "--quiet"])
            .args(program)
            .arg("--")
            .arg(&file)
            .args(&options.filters),
    )?;
    drop(servers);
    let took = (started + begin.elapsed()).as_secs_f64();
    eprintln!("removed the server; took {took:.1} s without the build");
    Ok(())
}

/// Shows a writer and its readers, on a primary with two standbys.
pub(crate) fn run_readers() -> anyhow::Result<()> {
    eprintln!("starting a primary and two standbys");
    let primary = Cluster::builder().start()?;
    let standbys = [primary.standby()?, primary.standby()?];
    let [one, other] = standbys.each_ref().map(|one| one.port());
    let scratch = ScratchDir::new()?;
    let file = scratch.path().join("pgmonkey.yaml");
    let host = primary.host();
    let readers = format!(
        "readers:\n  connection_settings: {{ host: '{host},{host}', port: '{one},{other}' }}\n  \
         max_lag: 2s\n"
    );
    let text =
        primary.endpoint().config_yaml("pool") + "pool_settings: { min_size: 4 }\n" + &readers;
    fs::write(&file, text)?;
    process::run(cargo(&["build"]).args(TOUR))?;
    process::run(
        cargo(&["run", "--quiet"])
            .args(TOUR)
            .arg("--")
            .arg(&file)
            .arg("readers"),
    )?;
    drop((standbys, primary));
    eprintln!("removed the servers");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the demo does without, each expensive to build: TLS, certificates, web servers, other
    /// file formats, and what only the tasks of contributors use.
    const UNWANTED: [&str; 12] = [
        "axum",
        "cargo_metadata",
        "ctrlc",
        "pkcs8",
        "pulldown-cmark",
        "rcgen",
        "ring",
        "rustls",
        "tiny_http",
        "tokio-rustls",
        "toml",
        "x509-cert",
    ];

    fn crates_of(package: &str) -> Vec<String> {
        let tree = ["tree", "--locked", "--offline", "--prefix", "none"];
        let edges = ["--edges", "normal,build", "--package", package];
        let output = cargo(&tree).args(edges).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let names = text.lines().filter_map(|line| line.split(' ').next());
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }

    #[test]
    fn the_demo_builds_no_more_than_it_needs() {
        for (package, limit) in [("xtask", 12), ("pgmonkey-tour", 125)] {
            let crates = crates_of(package);
            let unwanted: Vec<_> = UNWANTED
                .iter()
                .filter(|name| crates.iter().any(|found| found == *name))
                .collect();
            assert!(unwanted.is_empty(), "{package}: {unwanted:?}");
            assert!(crates.len() <= limit, "{package}: {}", crates.len());
        }
    }
}
