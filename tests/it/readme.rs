//! The README's examples are the programs that run here.

use std::process::Command;

use pgmonkey_tests::{Fixture, Outcome};

const README: &str = include_str!("../../README.md");

fn run(text: &str, program: &str, expected: &str) -> Outcome {
    // The first line is what the README has as prose.
    let (_, code) = text.split_once('\n').expect("more than a line");
    assert!(
        README.contains(code.trim()),
        "not in the README as it is:\n{code}"
    );
    let on = Fixture::new();
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("pgmonkey.yaml"), on.yaml(""))?;
    let output = Command::new(program).current_dir(folder.path()).output()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), expected);
    Ok(())
}

#[test]
fn normal() -> Outcome {
    let text = include_str!("../../pgmonkey/examples/normal.rs");
    run(
        text,
        env!("CARGO_BIN_EXE_readme_normal"),
        "connected as postgres",
    )
}

#[test]
fn pool() -> Outcome {
    let text = include_str!("../../pgmonkey/examples/pool.rs");
    run(text, env!("CARGO_BIN_EXE_readme_pool"), "the sum is 1")
}

#[test]
fn async_() -> Outcome {
    let text = include_str!("../../pgmonkey/examples/async.rs");
    run(
        text,
        env!("CARGO_BIN_EXE_readme_async"),
        "connected as postgres",
    )
}

#[test]
fn async_pool() -> Outcome {
    let text = include_str!("../../pgmonkey/examples/async_pool.rs");
    run(
        text,
        env!("CARGO_BIN_EXE_readme_async_pool"),
        "the sum is 1",
    )
}
