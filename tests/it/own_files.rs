//! The certificates in the home directory, and those named by variables: each row is tried with
//! psql and with all four types, in the same environment with the same files.
//!
//! `cargo xtask test own_files -- --nocapture` prints the table.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use pgmonkey_tests::Outcome;
use pgmonkey_testserver::{Certificates, Cluster, Kind, ScratchDir};

use crate::tls::psql;

mod rows;

/// The user of a session, and whether it is encrypted.
const ASK: &str = "SELECT concat_ws('|', current_user, current_database(), ssl) \
    FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// The settings that reach the server; a row removes or adds some.
const BASE: [(&str, &str); 6] = [
    ("host", "localhost"),
    ("hostaddr", "127.0.0.1"),
    ("port", "{port}"),
    ("user", "app"),
    ("password", "S3cret"),
    ("dbname", "pgmonkey"),
];

/// One environment.
pub(crate) struct Row {
    name: &'static str,
    mode: &'static str,
    env: Vec<(&'static str, &'static str)>,
    /// Path under the home directory, contents, mode.
    files: Vec<(&'static str, String, u32)>,
}

impl Row {
    fn new(name: &'static str, mode: &'static str) -> Self {
        Self {
            name,
            mode,
            env: Vec::new(),
            files: Vec::new(),
        }
    }

    fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    fn file(mut self, path: &'static str, text: &str) -> Self {
        self.files.push((path, text.to_owned(), 0o600));
        self
    }

    fn open_to_others(mut self) -> Self {
        if let Some(file) = self.files.last_mut() {
            file.2 = 0o644;
        }
        self
    }
}

/// The server, and the certificates it trusts.
struct Stage {
    server: Cluster,
    certificates: Certificates,
    _scratch: ScratchDir,
}

impl Stage {
    fn start() -> anyhow::Result<Self> {
        let scratch = ScratchDir::new()?;
        // The client certificates are issued to this user.
        let certificates = Certificates::generate(scratch.path(), "app")?;
        let builder = Cluster::builder().kind(Kind::ClientCert);
        let server = builder.certificates(certificates.clone()).start()?;
        server.psql("CREATE ROLE app LOGIN PASSWORD 'S3cret'")?;
        Ok(Self {
            server,
            certificates,
            _scratch: scratch,
        })
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{port}", &self.server.port().to_string())
            .replace("{certs}", &self.certificates.dir().display().to_string())
    }

    fn settings(&self, row: &Row) -> Vec<(String, String)> {
        let base = BASE.iter().copied().chain([("sslmode", row.mode)]);
        base.map(|(key, value)| (key.to_owned(), self.fill(value)))
            .collect()
    }

    fn prepare(&self, command: &mut Command, row: &Row, home: &Path) {
        command.env_clear().env("HOME", home).current_dir(home);
        for (name, value) in &row.env {
            command.env(name, self.fill(value));
        }
    }

    fn with_psql(&self, program: &Path, row: &Row, home: &Path) -> Result<String, String> {
        let conninfo: Vec<String> = self
            .settings(row)
            .iter()
            .map(|(key, value)| {
                let value = value.replace('\\', "\\\\").replace('\'', "\\'");
                format!("{key}='{value}'")
            })
            .collect();
        let mut command = Command::new(program);
        self.prepare(&mut command, row, home);
        command
            .args(["-X", "-w", "-A", "-t", "-c", ASK, "-d"])
            .arg(conninfo.join(" "));
        let output = command.output().expect("psql runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    fn with_ours(&self, row: &Row, home: &Path) -> Vec<Result<String, String>> {
        let lines: Vec<String> = self
            .settings(row)
            .iter()
            .map(|(key, value)| format!("  {key}: '{}'\n", value.replace('\'', "''")))
            .collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_connects"));
        self.prepare(&mut command, row, home);
        let mut child = command
            .arg(ASK)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let yaml = format!("connection_settings:\n{}", lines.concat());
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(yaml.as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| match line.split_once(' ') {
                Some(("ok", facts)) => Ok(facts.to_owned()),
                _ => Err(line.to_owned()),
            })
            .collect()
    }
}

fn shown(outcome: &Result<String, String>) -> &str {
    match outcome {
        Ok(facts) => facts,
        Err(_) => "refused",
    }
}

#[test]
fn every_file_counts_as_it_does_for_psql() -> Outcome {
    let stage = Stage::start()?;
    let Some(program) = psql(&stage.server) else {
        println!("skipped: no psql on this machine");
        return Ok(());
    };
    let mut differ = Vec::new();
    for row in rows::all(&stage.certificates)? {
        let home = ScratchDir::new()?;
        for (path, text, mode) in &row.files {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().expect("below home"))?;
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
        }
        let theirs = stage.with_psql(&program, &row, home.path());
        let ours = stage.with_ours(&row, home.path());
        println!(
            "{:58} | {} | {}",
            row.name,
            shown(&theirs),
            ours.iter().map(shown).collect::<Vec<_>>().join(" | ")
        );
        if let Some(Err(reason)) = ours.first() {
            println!("{:58}   {reason}", "");
        }
        let alike = |one: &Result<String, String>| match (one, &theirs) {
            (Ok(facts), Ok(expected)) => facts == expected,
            (ours, theirs) => ours.is_err() && theirs.is_err(),
        };
        if ours.len() != 4 || !ours.iter().all(alike) {
            differ.push(format!("{}: psql {theirs:?}, ours {ours:?}", row.name));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    Ok(())
}
