//! `cargo xtask tidy`: what the compiler does not watch over.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use cargo_metadata::semver::Version;
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId, TargetKind};

use crate::process::{cargo, root};

mod circles;
mod defects;
mod driver_features;
mod examples;
mod platforms;
mod prose;
mod tokens;
mod twins;
mod words;

/// Which crate of ours may depend on which. A new edge needs a page in `docs/decisions/`.
const EDGES: [(&str, &[&str]); 11] = [
    ("pgmonkey-config", &[]),
    ("pgmonkey-cache", &[]),
    ("pgmonkey-connect", &["pgmonkey-config"]),
    ("pgmonkey-sync", DRIVER),
    ("pgmonkey-async", DRIVER),
    ("pgmonkey", UMBRELLA),
    ("pgmonkey-cli", &["pgmonkey"]),
    ("pgmonkey-tour", &["pgmonkey"]),
    ("pgmonkey-recipes-actix", &["pgmonkey"]),
    ("pgmonkey-testserver", &[]),
    ("xtask", &["pgmonkey-testserver"]),
];
const DRIVER: &[&str] = &["pgmonkey-config", "pgmonkey-cache", "pgmonkey-connect"];
/// It re-exports those below the drivers, so it names them.
const UMBRELLA: &[&str] = &[
    "pgmonkey-async",
    "pgmonkey-cache",
    "pgmonkey-config",
    "pgmonkey-connect",
    "pgmonkey-sync",
];
/// These may depend on any.
const FREE: [&str; 3] = ["pgmonkey-tests", "pgmonkey-recipes", "pgmonkey-bench"];
/// Tests of every crate but those below it may start servers.
const TEST_ONLY: &str = "pgmonkey-testserver";

/// Plain `cargo test` is to be quick and to need no server.
const DEFAULT_MEMBERS: [&str; 7] = [
    "pgmonkey-config",
    "pgmonkey-cache",
    "pgmonkey-connect",
    "pgmonkey-sync",
    "pgmonkey-async",
    "pgmonkey",
    "pgmonkey-cli",
];

/// What each driver crate must not pull in.
const FOREIGN: [(&str, &[&str]); 2] = [
    ("pgmonkey-sync", &["mobc", "mobc-postgres"]),
    ("pgmonkey-async", &["r2d2", "r2d2_postgres", "postgres"]),
];

/// The one crate with a file of unsafe code.
const MAY_BE_UNSAFE: &str = "pgmonkey-connect";
/// The one program of the tests that needs it.
const FORKS: &str = "src/bin/forks.rs";

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = [
    "util", "utils", "helper", "helpers", "common", "misc", "shared", "core",
];

/// Lines of a source file before its tests.
const LONGEST_FILE: usize = 400;
/// Files that may be longer, each with its reason.
const LONG_FILES: [(&str, &str); 1] = [(
    "pgmonkey-config/src/schema/keys.rs",
    "one table of all keys, a row each",
)];

/// Says all that is wrong, not only the first.
pub(crate) fn run() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new()
        .current_dir(root())
        .other_options(["--locked".to_owned(), "--all-features".to_owned()])
        .exec()
        .context("cannot read the workspace; is Cargo.lock up to date?")?;
    let files = files(root(), "rs")?;
    let mut problems = edges(&metadata);
    problems.extend(default_members(&metadata));
    problems.extend(rust_versions(&metadata)?);
    problems.extend(unsafe_code(&metadata)?);
    problems.extend(foreign_dependencies()?);
    problems.extend(driver_features::differences(root(), &metadata)?);
    problems.extend(files.iter().filter_map(|file| empty_name(root(), file)));
    problems.extend(examples::missing(root())?);
    problems.extend(defects::missing(root(), &files)?);
    problems.extend(circles::found(root(), &files)?);
    problems.extend(platforms::found(root(), &files)?);
    problems.extend(twins::differences(root(), &files)?);
    problems.extend(words::found(root(), &files, &self::files(root(), "md")?)?);
    for file in &files {
        problems.extend(too_long(root(), file)?);
    }
    for problem in &problems {
        eprintln!("tidy: {problem}");
    }
    ensure!(problems.is_empty(), "{} things to tidy up", problems.len());
    Ok(())
}

fn edges(metadata: &Metadata) -> Vec<String> {
    let packages = metadata.workspace_packages();
    let ours: HashSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let mut problems = Vec::new();
    for package in packages {
        for dependency in &package.dependencies {
            let (from, to) = (package.name.as_str(), dependency.name.as_str());
            if ours.contains(to) && !allowed(from, to, dependency.kind) {
                problems.push(format!("{from} must not depend on {to}"));
            }
        }
    }
    problems
}

fn allowed(from: &str, to: &str, kind: DependencyKind) -> bool {
    if FREE.contains(&from) || (kind == DependencyKind::Development && to == TEST_ONLY) {
        return true;
    }
    let row = EDGES.iter().find(|(name, _)| *name == from);
    row.is_some_and(|(_, allowed)| allowed.contains(&to))
}

fn default_members(metadata: &Metadata) -> Vec<String> {
    let found: BTreeSet<&str> = metadata
        .workspace_default_packages()
        .iter()
        .map(|package| package.name.as_str())
        .collect();
    let wanted = BTreeSet::from(DEFAULT_MEMBERS);
    found
        .symmetric_difference(&wanted)
        .map(|name| format!("default-members: {name} is missing, or must not be there"))
        .collect()
}

/// A published crate cannot promise an older compiler than its dependencies need.
fn rust_versions(metadata: &Metadata) -> anyhow::Result<Vec<String>> {
    let packages: HashMap<&PackageId, &Package> =
        metadata.packages.iter().map(|p| (&p.id, p)).collect();
    let mut problems = Vec::new();
    for package in metadata.workspace_packages() {
        if package.publish.as_ref().is_some_and(Vec::is_empty) {
            continue;
        }
        let Some(stated) = &package.rust_version else {
            problems.push(format!("{} states no rust-version", package.name));
            continue;
        };
        for id in closure(metadata, &package.id)? {
            let dependency = packages[id];
            if dependency.rust_version.as_ref().is_some_and(|v| v > stated) {
                problems.push(newer(package, stated, dependency));
            }
        }
    }
    Ok(problems)
}

fn newer(package: &Package, stated: &Version, dependency: &Package) -> String {
    let needed = dependency.rust_version.as_ref();
    let needed = needed.map(ToString::to_string).unwrap_or_default();
    format!(
        "{} states rust-version {stated}, but {} {} needs {needed}",
        package.name, dependency.name, dependency.version
    )
}

/// All that ends up in a user's build: development dependencies do not.
fn closure<'a>(
    metadata: &'a Metadata,
    start: &'a PackageId,
) -> anyhow::Result<HashSet<&'a PackageId>> {
    let resolve = metadata.resolve.as_ref();
    let nodes = &resolve.context("no resolved dependencies")?.nodes;
    let nodes: HashMap<_, _> = nodes.iter().map(|node| (&node.id, node)).collect();
    let mut found = HashSet::new();
    let mut open = vec![start];
    while let Some(id) = open.pop() {
        for dependency in &nodes[id].deps {
            let kinds = &dependency.dep_kinds;
            let used = kinds.iter().any(|k| k.kind != DependencyKind::Development);
            if used && found.insert(&dependency.pkg) {
                open.push(&dependency.pkg);
            }
        }
    }
    Ok(found)
}

fn unsafe_code(metadata: &Metadata) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for package in metadata.workspace_packages() {
        if package.name == MAY_BE_UNSAFE {
            continue;
        }
        for target in &package.targets {
            let root = target.src_path.as_std_path();
            // An example is read by people first; the workspace's `deny` holds for it as well.
            let example = root
                .parent()
                .is_some_and(|folder| folder.ends_with("examples"));
            let excepted = example || package.name == "pgmonkey-tests" && root.ends_with(FORKS);
            let shipped = target.is_kind(TargetKind::Lib) || target.is_kind(TargetKind::Bin);
            if shipped
                && !excepted
                && !fs::read_to_string(root)?.contains("#![forbid(unsafe_code)]")
            {
                problems.push(format!("{} lacks #![forbid(unsafe_code)]", root.display()));
            }
        }
    }
    Ok(problems)
}

fn foreign_dependencies() -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for (package, foreign) in FOREIGN {
        let tree = tree(package)?;
        let names: HashSet<&str> = tree.lines().filter_map(|l| l.split(' ').next()).collect();
        ensure!(
            names.contains(package),
            "`cargo tree` answered without {package}"
        );
        for name in foreign.iter().filter(|name| names.contains(*name)) {
            problems.push(format!("{package} pulls in {name}"));
        }
    }
    Ok(problems)
}

fn tree(package: &str) -> anyhow::Result<String> {
    let args = [
        "tree",
        "--all-features",
        "--edges",
        "normal",
        "--prefix",
        "none",
    ];
    let output = cargo(&args)
        .args(["--format", "{p}", "--package", package])
        .output()
        .context("cannot run `cargo tree`")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`cargo tree`: {}", error.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Every file of the repository whose name has this ending.
fn files(root: &Path, ending: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            let hidden = name.to_string_lossy().starts_with('.');
            if path.is_dir() && !hidden && name != "target" {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn empty_name(root: &Path, file: &Path) -> Option<String> {
    let path = file.strip_prefix(root).unwrap_or(file);
    let named = |part: &std::ffi::OsStr| EMPTY_NAMES.iter().any(|name| part == *name);
    let folders = path.parent().into_iter().flat_map(Path::iter);
    let empty = folders.chain(path.file_stem()).any(named);
    empty.then(|| format!("{}: a name that says nothing", path.display()))
}

fn too_long(root: &Path, file: &Path) -> anyhow::Result<Option<String>> {
    let path = file.strip_prefix(root).unwrap_or(file);
    let excepted = LONG_FILES.iter().any(|(name, _)| path == Path::new(name));
    if excepted || !path.components().any(|part| part.as_os_str() == "src") {
        return Ok(None);
    }
    let lines = length(&fs::read_to_string(file)?);
    let text = format!(
        "{}: {lines} lines before its tests, at most {LONGEST_FILE}",
        path.display()
    );
    Ok((lines > LONGEST_FILE).then_some(text))
}

fn length(text: &str) -> usize {
    without_tests(text).lines().count()
}

/// The tests are last in a file.
fn without_tests(text: &str) -> &str {
    let tests = text.find("\n#[cfg(test)]\nmod tests {");
    &text[..tests.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_edges_are_allowed() {
        let normal = DependencyKind::Normal;
        assert!(allowed("pgmonkey-sync", "pgmonkey-connect", normal));
        assert!(!allowed("pgmonkey-sync", "pgmonkey-async", normal));
        assert!(!allowed("pgmonkey-cache", "pgmonkey-config", normal));
        assert!(!allowed("pgmonkey-new", "pgmonkey-config", normal));
        assert!(allowed("pgmonkey-tests", "pgmonkey-sync", normal));
    }

    #[test]
    fn tests_may_start_servers_but_libraries_may_not() {
        let (sync, server) = ("pgmonkey-sync", "pgmonkey-testserver");
        assert!(allowed(sync, server, DependencyKind::Development));
        assert!(!allowed(sync, server, DependencyKind::Normal));
    }

    #[test]
    fn names_that_say_nothing_are_found_in_folders_too() {
        let named = |path: &str| empty_name(Path::new("/w"), &Path::new("/w").join(path));
        assert!(named("pgmonkey/src/utils.rs").is_some());
        assert!(named("pgmonkey/src/common/pool.rs").is_some());
        assert!(named("pgmonkey/src/pool.rs").is_none());
    }

    #[test]
    fn the_tests_do_not_count() {
        assert_eq!(length("a\nb\n\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(length("a\nb\n"), 2);
    }

    #[test]
    fn the_drivers_trees_are_read() {
        assert!(tree("pgmonkey-async").unwrap().contains("mobc v"));
    }
}
