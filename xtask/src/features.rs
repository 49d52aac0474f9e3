//! Which Cargo features there are. Those that start with `__` are private: they turn a crate into
//! something for one test only, so they are left out of "all features".

use std::collections::BTreeSet;

use anyhow::Context;
use cargo_metadata::{Metadata, MetadataCommand, Package, TargetKind};

const PRIVATE: &str = "__";

/// The workspace's packages, without their dependencies.
pub(crate) fn workspace() -> anyhow::Result<Metadata> {
    MetadataCommand::new()
        .no_deps()
        .exec()
        .context("cannot read the workspace")
}

/// The arguments that turn on every public feature of the workspace.
pub(crate) fn all(metadata: &Metadata) -> Vec<String> {
    let packages = metadata.workspace_packages();
    if packages.iter().all(|package| private(package).is_empty()) {
        return vec!["--all-features".to_owned()];
    }
    let features: Vec<String> = packages
        .iter()
        .flat_map(|package| {
            let name = &package.name;
            public(package).map(move |feature| format!("{name}/{feature}"))
        })
        .collect();
    vec!["--features".to_owned(), features.join(",")]
}

/// The arguments for each combination that must compile: none, each alone, and all.
pub(crate) fn combinations(package: &Package) -> Vec<Vec<String>> {
    let features: Vec<&str> = public(package)
        .filter(|feature| *feature != "default")
        .collect();
    let mut lists: BTreeSet<String> = features.iter().map(ToString::to_string).collect();
    lists.insert(String::new());
    lists.insert(features.join(","));
    lists
        .into_iter()
        .map(|list| {
            let mut args = vec!["--no-default-features".to_owned()];
            if !list.is_empty() {
                args.extend(["--features".to_owned(), list]);
            }
            args
        })
        .collect()
}

/// A test that only exists with a private feature: package, feature, test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PrivateTest {
    pub(crate) package: String,
    pub(crate) feature: String,
    /// `None` when no single test asks for the feature, so all are meant.
    pub(crate) test: Option<String>,
}

/// The tests behind the private features.
pub(crate) fn private_tests(metadata: &Metadata) -> Vec<PrivateTest> {
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        for feature in private(package) {
            let tests = package.targets.iter().filter(|target| {
                target.is_kind(TargetKind::Test)
                    && target.required_features.iter().any(|name| name == feature)
            });
            let mut names: Vec<_> = tests.map(|test| Some(test.name.clone())).collect();
            if names.is_empty() {
                names.push(None);
            }
            found.extend(names.into_iter().map(|test| PrivateTest {
                package: package.name.to_string(),
                feature: feature.to_owned(),
                test,
            }));
        }
    }
    found
}

fn public(package: &Package) -> impl Iterator<Item = &str> {
    let names = package.features.keys().map(String::as_str);
    names.filter(|name| !name.starts_with(PRIVATE))
}

fn private(package: &Package) -> Vec<&str> {
    let names = package.features.keys().map(String::as_str);
    names.filter(|name| name.starts_with(PRIVATE)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        workspace().unwrap()
    }

    #[test]
    fn the_umbrella_is_tried_with_nothing_each_and_all() {
        let metadata = metadata();
        let packages = metadata.workspace_packages();
        let umbrella = packages.iter().find(|p| p.name == "pgmonkey").unwrap();
        let lists: Vec<String> = combinations(umbrella)
            .iter()
            .map(|args| args.join(" "))
            .collect();
        assert!(lists.contains(&"--no-default-features".to_owned()));
        assert!(lists.contains(&"--no-default-features --features sync".to_owned()));
        let all = lists.iter().max_by_key(|list| list.len()).unwrap();
        assert!(all.contains("sync") && all.contains("async,"), "{all}");
        assert!(!all.contains("default,"), "{all}");
    }

    #[test]
    fn all_features_means_the_public_ones() {
        let args = all(&metadata()).join(" ");
        assert!(!args.contains(PRIVATE), "{args}");
        assert!(args == "--all-features" || args.contains("pgmonkey/sync"));
    }
}
