//! Each driver crate can be used alone.

use std::process::Command;

/// The names of the packages that a crate depends on.
fn tree(package: &str) -> Vec<String> {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args([
            "tree",
            "--offline",
            "--locked",
            "-e",
            "normal",
            "--prefix",
            "none",
            "-p",
            package,
        ])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect::<Vec<_>>();
    assert!(
        names.iter().any(|name| name == "tokio-postgres"),
        "{names:?}"
    );
    names
}

#[test]
fn sync_alone_has_nothing_of_async() {
    let names = tree("pgmonkey-sync");
    for foreign in ["mobc", "mobc-postgres", "pgmonkey-async", "pgmonkey"] {
        assert!(!names.iter().any(|name| name == foreign), "{foreign}");
    }
}

#[test]
fn async_alone_has_nothing_of_sync() {
    let names = tree("pgmonkey-async");
    for foreign in [
        "r2d2",
        "r2d2_postgres",
        "postgres",
        "pgmonkey-sync",
        "pgmonkey",
    ] {
        assert!(!names.iter().any(|name| name == foreign), "{foreign}");
    }
}
