//! Tests of the binary as a user calls it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn pgmonkey(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pgmonkey"))
        .args(args)
        .current_dir(folder)
        .env_clear()
        .env("PGMONKEY_TEST_SECRET", "s3cret-value")
        .output()
        .expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn version_and_help_are_results() {
    let folder = tempfile::tempdir().expect("a folder");
    let version = pgmonkey(&["--version"], folder.path());
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(
        text(&version.stdout),
        format!("pgmonkey {}\n", env!("CARGO_PKG_VERSION"))
    );
    let help = pgmonkey(&["config", "--help"], folder.path());
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("check"));
}

#[test]
fn a_wrong_call_is_2() {
    let folder = tempfile::tempdir().expect("a folder");
    for wrong in [
        &["config"][..],
        &[],
        &["config", "chekc"],
        &["config", "check"],
    ] {
        let output = pgmonkey(wrong, folder.path());
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty(), "{wrong:?}");
        assert!(text(&output.stderr).contains("Usage"), "{wrong:?}");
    }
}

#[test]
fn what_create_writes_is_right_and_private() {
    let folder = tempfile::tempdir().expect("a folder");
    let created = pgmonkey(&["config", "create", "deep/er/c.yaml"], folder.path());
    assert_eq!(created.status.code(), Some(0), "{created:?}");
    let path = folder.path().join("deep/er/c.yaml");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&path).expect("written").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let checked = pgmonkey(&["config", "check", "deep/er/c.yaml"], folder.path());
    assert_eq!(checked.status.code(), Some(0), "{checked:?}");

    let before = fs::read(&path).expect("readable");
    let again = pgmonkey(&["config", "create", "deep/er/c.yaml"], folder.path());
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("already exists"));
    assert_eq!(fs::read(&path).expect("readable"), before);
}

#[test]
fn a_wrong_file_is_1_and_says_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = "connection_settings:\n  hots: db\n  password: 's3cret-value'\n";
    fs::write(folder.path().join("c.yaml"), wrong).expect("written");
    let output = pgmonkey(&["config", "check", "c.yaml"], folder.path());
    assert_eq!(output.status.code(), Some(1));
    let words = text(&output.stderr);
    assert!(words.contains("c.yaml:2"), "{words}");
    assert!(words.contains("did you mean `host`?"), "{words}");
    assert!(!words.contains("s3cret-value"), "{words}");

    let missing = pgmonkey(&["config", "check", "nothing.yaml"], folder.path());
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("nothing.yaml"));
}

#[test]
fn references_are_resolved_and_need_no_option() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = "connection_settings:\n  host: db\n  user: u\n  password: '${PGMONKEY_TEST_SECRET}'\n  dbname: '${PGMONKEY_TEST_MISSING}'\n";
    fs::write(folder.path().join("c.yaml"), file).expect("written");
    for args in [
        &["config", "check", "c.yaml"][..],
        &["config", "check", "--resolve-env", "c.yaml"],
    ] {
        let resolved = pgmonkey(args, folder.path());
        assert_eq!(resolved.status.code(), Some(1));
        let words = text(&resolved.stderr);
        assert!(words.contains("PGMONKEY_TEST_MISSING"), "{words}");
        assert!(words.contains("connection_settings.dbname"), "{words}");
        assert!(!words.contains("s3cret-value"), "{words}");
    }
    let file = format!("resolve_env: false\n{file}");
    fs::write(folder.path().join("c.yaml"), file).expect("written");
    let plain = pgmonkey(&["config", "check", "c.yaml"], folder.path());
    assert_eq!(plain.status.code(), Some(0), "{plain:?}");
}

#[test]
fn a_command_needs_permission() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = "connection_settings:\n  host: db\n  user: u\n  password: { from_command: [vault, s3cret-value], ttl: 10m }\n";
    fs::write(folder.path().join("c.yaml"), file).expect("written");
    for command in ["check", "show"] {
        let refused = pgmonkey(&["config", command, "c.yaml"], folder.path());
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let words = text(&refused.stderr);
        for part in [
            "c.yaml:4:3",
            "connection_settings.password",
            "`vault`",
            "--allow-commands",
        ] {
            assert!(words.contains(part), "{words}");
        }
        assert!(!words.contains("s3cret-value"), "{words}");
        let args = ["config", command, "c.yaml", "--allow-commands"];
        let allowed = pgmonkey(&args, folder.path());
        assert_eq!(allowed.status.code(), Some(0), "{allowed:?}");
        let words = text(&allowed.stdout);
        assert!(!words.contains("s3cret-value"), "{words}");
        if command == "show" {
            let shown = "{ from_command: ['vault'";
            assert!(words.contains(shown), "{words}");
        }
    }
}

#[test]
fn show_names_the_section_that_stands_for_an_absent_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = "connection_settings: { host: db, user: u }\npool_settings:\n  max_size: 20\n";
    fs::write(folder.path().join("c.yaml"), file).expect("written");
    let shown = pgmonkey(&["config", "show", "c.yaml"], folder.path());
    let words = text(&shown.stdout);
    assert!(words.contains("pool_settings (c.yaml:3)"), "{words}");
    let args = ["config", "show", "c.yaml", "--format", "json"];
    let shown = pgmonkey(&args, folder.path());
    let json: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("it is JSON");
    let rows = json["settings"].as_array().expect("a list");
    let row = rows
        .iter()
        .find(|row| row["key"] == "async_pool_settings.max_size");
    let source = &row.expect("the size")["source"];
    assert_eq!(source["kind"], "section");
    assert_eq!(source["name"], "pool_settings");
    assert_eq!(source["of"]["line"], 3);
}
