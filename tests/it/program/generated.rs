//! `pgmonkey config generate-code`: every program is compiled, and run against a server.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use pgmonkey_tests::Fixture;

use super::Program;

const TYPES: [&str; 4] = ["normal", "pool", "async", "async_pool"];
const LIBRARIES: [&str; 2] = ["pgmonkey", "drivers"];

/// A name that must be escaped in a program.
const AWKWARD: &str = "it's \"größe\" \\ 🐒.yaml";

/// Programs hung at their end or failed on what the file may say (D05, D15); settings were spliced
/// into SQL, or bound where nothing can be (B14, B33); an empty value, 0 and false were dropped
/// (B15); quotes in the path broke the program (B16); sessions began inside a transaction (B34).
#[test]
fn d05_d15_b14_b15_b16_b33_b34_every_program_compiles_and_runs() {
    let on = Fixture::new();
    let program = Program::new().hiding(on.server().password());
    // Everything that the Python tool's programs stumbled over.
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

    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("generated");
    fs::create_dir_all(package.join("src/bin")).expect("a folder");
    let mut dependencies = BTreeSet::new();
    for (kind, library) in programs() {
        let args = ["pgconfig", "generate-code", "--filepath", AWKWARD];
        let args = [
            &args[..],
            &["--connection-type", kind, "--library", library],
        ]
        .concat();
        let ended = program.run(&args).worked().says("Generated");
        dependencies.extend(needed(&ended.stdout));
        let file = package.join(format!("src/bin/{kind}_{library}.rs"));
        write_if_new(&file, &ended.stdout);
    }
    build(&package, &dependencies);
    for (kind, library) in programs() {
        let built = target().join(format!("debug/{kind}_{library}"));
        let output = Command::new(built)
            .current_dir(program.path("."))
            .env_clear()
            .env("PGPASSWORD", on.server().password())
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{kind} {library}: {output:?}");
        assert!(said.starts_with("PostgreSQL "), "{kind} {library}: {said}");
    }
    on.until("all sessions are gone", || on.sessions() == 0);
}

#[test]
fn what_the_drivers_cannot_do_is_said() {
    let program = Program::new().hiding("S3cret");
    program.write(
        "c.yaml",
        "connection_settings: { host: db, sslmode: verify-full, password: S3cret }\n",
    );
    let args = ["config", "generate-code", "c.yaml", "--library", "psycopg"];
    let ended = program.run(&args).failed().says("sslmode: verify-full");
    ended.says("hint: --library pgmonkey does");
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
    let ended = ended.worked().prints(".resolve_env(true)");
    ended.prints("ConnectionManager::global().pool(&config)?");
}

fn programs() -> impl Iterator<Item = (&'static str, &'static str)> {
    TYPES
        .into_iter()
        .flat_map(|kind| LIBRARIES.into_iter().map(move |library| (kind, library)))
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// The lines for `Cargo.toml` that stand on top of a program.
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

/// The workspace's own, so that what is compiled already is not compiled again.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("the target folder")
}

fn build(package: &Path, dependencies: &BTreeSet<String>) {
    let ours = format!("pgmonkey = {{ path = {:?} }}", root().join("pgmonkey"));
    let dependencies: Vec<&str> = dependencies
        .iter()
        .map(|line| match line.starts_with("pgmonkey = \"") {
            true => ours.as_str(),
            false => line.as_str(),
        })
        .collect();
    assert_eq!(dependencies.len(), 6, "{dependencies:?}");
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace's file");
    let profiles = workspace
        .find("[profile.dev.package]")
        .expect("its profiles");
    let manifest = format!(
        "[package]\nname = \"generated\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [workspace]\n\n[dependencies]\n{}\n\n{}",
        dependencies.join("\n"),
        &workspace[profiles..],
    );
    write_if_new(&package.join("Cargo.toml"), &manifest);
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the workspace's lock");
    fs::write(package.join("Cargo.lock"), lock).expect("a file can be written");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--offline", "--bins", "--target-dir"])
        .arg(target())
        .current_dir(package)
        .output()
        .expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("warning: unused"), "{said}");
}

/// A file that has not changed is not compiled again.
fn write_if_new(path: &Path, text: &str) {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return;
    }
    fs::write(path, text).expect("a file can be written");
}
