//! `pgmonkey config generate-code`: every program is compiled and run against a server.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pgmonkey_tests::Fixture;
use pgmonkey_testserver::{Certificates, Cluster, Kind, ScratchDir};

use super::{FILE, Program};

const TYPES: [&str; 4] = ["normal", "pool", "async", "async_pool"];
const LIBRARIES: [&str; 2] = ["pgmonkey", "drivers"];

/// A name that must be escaped in a program.
const AWKWARD: &str = "it's \"größe\" \\ 🐒.yaml";

/// Programs hung at exit or failed on valid settings (D05, D15); settings were spliced into SQL, or
/// bound where parameters are not allowed (B14, B33); an empty value, 0 and false were dropped
/// (B15); quotes in the path broke the program (B16); sessions began inside a transaction (B34).
#[test]
fn d05_d15_b14_b15_b16_b33_b34_every_program_compiles_and_runs() {
    let on = Fixture::new();
    let program = Program::new().hiding(on.server().password());
    // Everything that broke the Python tool's programs.
    let text = on.yaml(
        "pool_settings: { min_size: 2, max_size: 3, timeout: 0, check_on_checkout: 'false' }\n\
         async_pool_settings: { min_size: 1, max_size: 2 }\n\
         sync_settings: { statement_timeout: 30000, DateStyle: 'ISO, DMY', search_path: 'public, pg_catalog' }\n\
         async_settings: { idle_in_transaction_session_timeout: '5000', my.name: \"it's \\\\ here\" }\n",
    );
    let text = text.replace(
        "sslmode: disable",
        "sslmode: prefer, keepalives: 0, autocommit: true",
    );
    program.write(AWKWARD, &format!("postgresql:\n{}", indented(&text)));

    let mut package = Package::new("generated");
    for (kind, library) in programs() {
        let args = ["pgconfig", "generate-code", "--filepath", AWKWARD];
        let args = [
            &args[..],
            &["--connection-type", kind, "--library", library],
        ]
        .concat();
        let ended = program.run(&args).worked().says("Generated");
        package.add(&format!("{kind}_{library}"), &ended.stdout);
    }
    package.build();
    for (kind, library) in programs() {
        let name = format!("{kind}_{library}");
        let output = run(&program, &name, on.server().password());
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {output:?}");
        assert!(said.starts_with("PostgreSQL "), "{name}: {said}");
    }
    on.until("all sessions are gone", || on.sessions() == 0);
}

/// The modes as libpq defines them: an encrypted session with any server, with one that a root
/// certificate vouches for, and with one that it vouches for under this name.
#[test]
fn programs_on_the_drivers_encrypt_as_sslmode_means() {
    let scratch = ScratchDir::new().expect("a folder");
    let certificates = Certificates::generate(scratch.path(), "postgres").expect("certificates");
    let server = |kind| {
        let builder = Cluster::builder().kind(kind);
        let cluster = builder.certificates(certificates.clone()).start();
        cluster.expect("a server")
    };
    let (tls, strict) = (server(Kind::Tls), server(Kind::ClientCert));
    let program = Program::new();
    let root = |name: &str| std::fs::read_to_string(name).expect("a certificate");
    program.write("root.pem", &root(&certificates.ca().to_string_lossy()));
    let identity = format!(
        ", sslcert: '{}', sslkey: '{}'",
        certificates.certificate("client").display(),
        certificates.key("client").display(),
    );
    // The name does not resolve, so it is checked while the address is used.
    let elsewhere = "host: elsewhere.example, hostaddr: 127.0.0.1, sslrootcert: root.pem";
    let here = "host: localhost, sslrootcert: root.pem";
    let rows = [
        (
            "normal",
            &tls,
            "host: localhost, sslmode: require".to_owned(),
        ),
        (
            "pool",
            &tls,
            format!("{here}, sslmode: verify-full, sslsni: false"),
        ),
        (
            "async",
            &tls,
            "host: localhost, sslmode: require, ssl_max_protocol_version: TLSv1.2".to_owned(),
        ),
        (
            "async_pool",
            &tls,
            "host: localhost, sslmode: require, channel_binding: require".to_owned(),
        ),
        ("async", &tls, format!("{elsewhere}, sslmode: verify-ca")),
        (
            "normal",
            &strict,
            format!("{here}, sslmode: verify-full{identity}"),
        ),
        (
            "async_pool",
            &strict,
            format!("{here}, sslmode: verify-ca, ssl_min_protocol_version: TLSv1.3{identity}"),
        ),
        ("normal", &tls, format!("{elsewhere}, sslmode: verify-full")),
    ];
    let mut package = Package::new("generated_tls");
    for (number, (kind, server, settings)) in rows.iter().enumerate() {
        let text = format!(
            "connection_settings: {{ port: {}, user: {}, dbname: {}, {settings} }}\n\
             pool_settings: {{ timeout: 5 }}\nasync_pool_settings: {{ timeout: 5 }}\n",
            server.port(),
            server.endpoint().user(),
            server.endpoint().dbname(),
        );
        program.write(FILE, &text);
        let args = ["config", "generate-code", FILE, "--library", "drivers"];
        let ended = program.run(&[&args[..], &["--connection-type", kind]].concat());
        package.add(&format!("tls_{number}"), &ended.worked().stdout);
    }
    package.build();
    let run = |number: usize| {
        let name = format!("tls_{number}");
        run(&program, &name, rows[number].1.endpoint().password())
    };
    for (number, (_, _, wanted)) in rows.iter().enumerate().take(7) {
        let output = run(number);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.starts_with("PostgreSQL "), "{wanted}: {output:?}");
    }
    let refused = |number: usize, why: &str| {
        let output = run(number);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(why),
            "{number}: {output:?}"
        );
    };
    refused(7, "NotValidForName");
    program.write(
        "root.pem",
        &root(&certificates.certificate("other-ca").to_string_lossy()),
    );
    // r2d2 does not report a cause.
    refused(1, "error performing TLS handshake");
    refused(4, "UnknownIssuer");
    refused(5, "UnknownIssuer");
}

#[test]
fn what_the_drivers_cannot_do_is_said() {
    let program = Program::new().hiding("S3cret");
    program.write(
        "c.yaml",
        "connection_settings: { host: db, sslmode: verify-ca, password: S3cret }\n",
    );
    let args = ["config", "generate-code", "c.yaml", "--library", "psycopg"];
    let ended = program.run(&args).failed();
    let ended = ended.says("sslmode: verify-ca without sslrootcert");
    ended.says("hint: use --library pgmonkey");
    let ended = program.run_with(&["config", "generate-code", "-"], "connection_settings: {}");
    assert_eq!(ended.code, 2, "{ended:?}");
}

#[test]
fn references_are_resolved_by_the_program_too() {
    let program = Program::new().env("PW", "x");
    program.write(
        "c.yaml",
        "connection_type: pool\nconnection_settings: { host: db, password: '${PW}' }\n",
    );
    let ended = program.run(&["config", "generate-code", "c.yaml", "--resolve-env"]);
    let ended = ended.worked().prints("Config::from_file(\"c.yaml\")?");
    ended.prints("ConnectionManager::global().pool(&config)?");
    let command = "connection_settings: { host: db, password: { from_command: [x] } }\n";
    program.write("c.yaml", command);
    let args = ["config", "generate-code", "c.yaml", "--allow-commands"];
    program.run(&args).worked().prints(".allow_commands(true)");
}

#[test]
fn features_that_the_file_needs_are_in_its_line_for_cargo() {
    let program = Program::new();
    let line = |name: &str, text: &str| {
        program.write(name, text);
        let ended = program.run(&["config", "generate-code", name]).worked();
        let found = ended
            .stdout
            .lines()
            .find(|line| line.contains("pgmonkey = "));
        found.expect("a line for Cargo.toml").to_owned()
    };
    let plain = line("plain.yaml", "connection_settings: { host: db }");
    assert!(!plain.contains("features"), "{plain}");
    let toml = line("other.toml", "[connection_settings]\nhost = 'db'\n");
    assert!(toml.ends_with("features = [\"toml\"] }"), "{toml}");
    program.write("client.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
    let files = "sslmode: require, sslcert: client.pem, sslkey: client.key";
    let key = line(
        "key.yaml",
        &format!("connection_settings: {{ host: db, {files} }}"),
    );
    assert!(key.ends_with("features = [\"encrypted-keys\"] }"), "{key}");
}

fn programs() -> impl Iterator<Item = (&'static str, &'static str)> {
    TYPES
        .into_iter()
        .flat_map(|kind| LIBRARIES.into_iter().map(move |library| (kind, library)))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// The lines for `Cargo.toml` at the top of a program.
fn needed(text: &str) -> Vec<String> {
    let lines = text
        .lines()
        .map(|line| line.trim_start_matches("//!").trim());
    let block = lines.skip_while(|line| *line != "[dependencies]").skip(1);
    block
        .take_while(|line| *line != "```")
        .map(str::to_owned)
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
}

/// The workspace's own target directory, so that compiled dependencies are reused.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target folder")
}

/// Generated programs that are compiled together.
struct Package {
    folder: PathBuf,
    dependencies: BTreeSet<String>,
}

impl Package {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(folder.join("src/bin")).expect("a folder");
        Self {
            folder,
            dependencies: BTreeSet::new(),
        }
    }

    fn add(&mut self, name: &str, text: &str) {
        self.dependencies.extend(needed(text));
        write_if_new(&self.folder.join(format!("src/bin/{name}.rs")), text);
    }

    fn build(&self) {
        let ours = format!("pgmonkey = {{ path = {:?} }}", root().join("pgmonkey"));
        let dependencies = self.dependencies.iter();
        let dependencies: Vec<&str> = dependencies
            .map(|line| match line.starts_with("pgmonkey = \"") {
                true => ours.as_str(),
                false => line.as_str(),
            })
            .collect();
        let workspace =
            fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's file");
        let profiles = workspace
            .find("[profile.dev.package]")
            .expect("its profiles");
        let name = self
            .folder
            .file_name()
            .expect("it has one")
            .to_string_lossy();
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
             [workspace]\n\n[dependencies]\n{}\n\n{}",
            dependencies.join("\n"),
            &workspace[profiles..],
        );
        write_if_new(&self.folder.join("Cargo.toml"), &manifest);
        let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the workspace's lock");
        fs::write(self.folder.join("Cargo.lock"), lock).expect("a file can be written");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["build", "--offline", "--bins", "--target-dir"])
            .arg(target())
            .current_dir(&self.folder)
            .output()
            .expect("cargo starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(!said.contains("warning: unused"), "{said}");
    }
}

/// Runs the compiled program in the directory of the configuration.
fn run(program: &Program, name: &str, password: &str) -> Output {
    Command::new(target().join("debug").join(name))
        .current_dir(program.path("."))
        .env_clear()
        .env("PGPASSWORD", password)
        .output()
        .expect("it starts")
}

/// An unchanged file is not compiled again.
fn write_if_new(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::write(path, text).expect("a file can be written");
}
