//! `cargo xtask test`: the workspace's tests against real servers.

use std::num::NonZero;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use crate::args::Options;
use crate::install;
use crate::process::{self, cargo};
use crate::programs;
use crate::servers::{Servers, Wanted};

/// Without the benchmarks, which have no tests, and the package of [`APART`]: their dependencies make
/// Tokio use parking_lot, with which a child of `fork` that starts a runtime may wait forever.
pub(crate) const TESTED: [&str; 5] = [
    "--workspace",
    "--exclude",
    "pgmonkey-bench",
    "--exclude",
    "pgmonkey-recipes-actix",
];

/// Built by itself, so that its features of Tokio are not those of the others.
const APART: [&str; 2] = ["--package", "pgmonkey-recipes-actix"];

/// How often the tests that share a pool run together, because a race between them does not show
/// every time.
const TOGETHER: usize = 20;

/// In CI, a test that fails once runs again: the summary lists it as flaky, and a fault that shows
/// every time stays red. On a developer's machine the first failure counts.
const RETRIES: [&str; 2] = ["--retries", "1"];

/// How many tests run at the same time for each core: most tests mostly wait, for servers that start
/// and stop, for locks, and for limits to pass.
const PER_CORE: usize = 2;

/// The variable with the directory of programs that have pgvector.
const PGVECTOR: &str = "PGMONKEY_TEST_PGVECTOR_BIN";

/// Runs tests, then doctests, both even if the first fail; the servers are always removed.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let servers = Servers::start(options, Wanted::AllKinds)?;
    install::poolers(options.install);
    let vectors = pgvector(options);
    let run = |mut command: Command| {
        command.arg("--all-features").envs(servers.env());
        command.envs(vectors.iter().map(|dir| (PGVECTOR, dir)));
        if !options.filters.is_empty() {
            command.arg("--").args(&options.filters);
        }
        process::run(&mut command)
    };
    let alone = run(tests(&APART));
    let tests = run(tests(&TESTED));
    let together = match options.filters.is_empty() {
        true => (0..TOGETHER).try_for_each(|_| run(together())),
        false => Ok(()),
    };
    let doctests = run(doctests());
    tests.and(alone).and(together).and(doctests)
}

/// Programs with pgvector for the test that needs it, if it may be downloaded and is not named.
/// Without it that test is skipped with a message, so a failure is only reported.
fn pgvector(options: &Options) -> Option<PathBuf> {
    if std::env::var_os(PGVECTOR).is_some() || !(options.install || install::in_ci()) {
        return None;
    }
    let found = programs::with_pgvector();
    found
        .inspect_err(|error| eprintln!("pgvector: {error:#}; its test is skipped"))
        .ok()
        .map(|programs| programs.dir().to_owned())
}

/// All unit and integration tests, with the programs that they run. The examples that tests run are
/// among those programs; clippy compiles them all.
fn tests(packages: &[&str]) -> Command {
    runner(packages, &["--tests"])
}

/// Runs tests of these targets of these packages. cargo-nextest, if it is installed, names a hanging
/// test, and isolates each test.
pub(crate) fn runner(packages: &[&str], targets: &[&str]) -> Command {
    if has_nextest() {
        let mut command = cargo(&["nextest", "run"]);
        command.args(packages).args(targets).arg("--no-fail-fast");
        let limits = process::root().join("xtask/nextest.toml");
        command.arg(format!("--tool-config-file=xtask:{}", limits.display()));
        // A filter may match doctests only.
        command.arg("--no-tests=pass");
        if std::env::var_os("NEXTEST_TEST_THREADS").is_none() {
            let cores = thread::available_parallelism().map_or(1, NonZero::get);
            command.arg(format!("--test-threads={}", PER_CORE * cores));
        }
        if std::env::var_os("CI").is_some() {
            command.args(RETRIES);
        }
        return command;
    }
    let mut command = cargo(&["test"]);
    command.args(packages).arg("--no-fail-fast").args(targets);
    command
}

/// Builds a program of the tests and returns its path.
///
/// It is built as the tests are, so that nothing is built twice: with one of them, because only then
/// do dependencies have the features that tests ask for.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let mut command = cargo(&["build", "--quiet", "--all-features"]);
    command
        .args(TESTED)
        .args(["--test", "parallel", "--bin", name]);
    process::run(&mut command)?;
    Ok(process::target_dir().join("debug").join(name))
}

/// Runs the tests that share a pool concurrently in one process, as plain `cargo test` does.
fn together() -> Command {
    let mut command = cargo(&["test", "--quiet"]);
    command.args(TESTED).args(["--test", "parallel"]);
    // One thread per test, whatever the number of cores.
    command.env("RUST_TEST_THREADS", "16");
    command
}

fn doctests() -> Command {
    let mut command = cargo(&["test"]);
    command.args(TESTED).args(["--no-fail-fast", "--doc"]);
    command
}

fn has_nextest() -> bool {
    cargo(&["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
