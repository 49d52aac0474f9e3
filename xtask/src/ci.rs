//! `cargo xtask ci`: everything that must hold before a change goes in.

use cargo_metadata::{Metadata, Package};

use crate::args::Options;
use crate::features::{self, PrivateTest};
use crate::process::{self, cargo, step};
use crate::{docs, test, tidy};

/// Stops at the first step that fails, and says how long each took.
pub(crate) fn run(options: &Options, tests: bool) -> anyhow::Result<()> {
    let metadata = features::workspace()?;
    step("format", || {
        process::run(&mut cargo(&["fmt", "--all", "--check"]))
    })?;
    step("tidy", tidy::run)?;
    step("clippy", || clippy(&metadata))?;
    step("docs", docs::build)?;
    step("features", || combinations(&metadata))?;
    for check in features::private_tests(&metadata) {
        step(&format!("{} {}", check.package, check.feature), || {
            model_check(&check)
        })?;
    }
    if tests {
        step("tests", || test::run(options))?;
    }
    Ok(())
}

fn clippy(metadata: &Metadata) -> anyhow::Result<()> {
    let mut command = cargo(&["clippy", "--workspace", "--all-targets"]);
    command.args(features::all(metadata));
    process::run(command.args(["--", "-D", "warnings"]))
}

fn combinations(metadata: &Metadata) -> anyhow::Result<()> {
    for package in metadata.workspace_default_packages() {
        for features in features::combinations(package) {
            check(package, &features)?;
        }
    }
    Ok(())
}

fn check(package: &Package, features: &[String]) -> anyhow::Result<()> {
    eprintln!("    {} {}", package.name, features.join(" "));
    let mut command = cargo(&["clippy", "--quiet", "--package", &package.name]);
    process::run(command.args(features).args(["--", "-D", "warnings"]))
}

fn model_check(check: &PrivateTest) -> anyhow::Result<()> {
    let mut command = cargo(&["test", "--package", &check.package]);
    command.args(["--features", &check.feature]);
    match &check.test {
        Some(test) => command.args(["--test", test]),
        None => command.arg("--tests"),
    };
    process::run(&mut command)
}
