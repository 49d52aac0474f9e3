//! The README's examples are the programs that run here.

use std::process::Command;

use pgmonkey_tests::{Fixture, Outcome};

const README: &str = include_str!("../../../README.md");

fn run(text: &str, program: &str, expected: &str) -> Outcome {
    // The README has the first line as prose.
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
    let text = include_str!("../../../pgmonkey/examples/normal.rs");
    run(
        text,
        env!("CARGO_BIN_EXE_readme_normal"),
        "connected as postgres",
    )
}

#[test]
fn pool() -> Outcome {
    let text = include_str!("../../../pgmonkey/examples/pool.rs");
    run(text, env!("CARGO_BIN_EXE_readme_pool"), "the sum is 1")
}

#[test]
fn async_() -> Outcome {
    let text = include_str!("../../../pgmonkey/examples/async.rs");
    run(
        text,
        env!("CARGO_BIN_EXE_readme_async"),
        "connected as postgres",
    )
}

#[test]
fn async_pool() -> Outcome {
    let text = include_str!("../../../pgmonkey/examples/async_pool.rs");
    run(
        text,
        env!("CARGO_BIN_EXE_readme_async_pool"),
        "the sum is 1",
    )
}

/// Every Rust block is one of the programs above, and every command in a checkout is one that CI runs.
#[test]
fn nothing_in_the_readme_is_untried() {
    let blocks = |language: &str| -> Vec<&str> {
        let start = format!("```{language}\n");
        let rest = README.split(start.as_str()).skip(1);
        rest.filter_map(|rest| rest.split("```").next()).collect()
    };
    let programs = [
        include_str!("../../../pgmonkey/examples/normal.rs"),
        include_str!("../../../pgmonkey/examples/pool.rs"),
        include_str!("../../../pgmonkey/examples/async.rs"),
        include_str!("../../../pgmonkey/examples/async_pool.rs"),
    ];
    let rust = blocks("rust");
    assert_eq!(rust.len(), programs.len());
    for block in rust {
        let found = programs.iter().any(|program| program.contains(block));
        assert!(found, "no program has this:\n{block}");
    }

    let ci = include_str!("../../../.ci/run");
    let commands: Vec<&str> = blocks("sh")
        .iter()
        .flat_map(|block| block.lines())
        .collect();
    assert!(commands.len() >= 2);
    for line in commands {
        let command = line.split('#').next().unwrap_or_default().trim();
        let ran = ci.lines().any(|line| line.starts_with(command));
        assert!(ran, "CI does not run `{command}`");
    }
}
