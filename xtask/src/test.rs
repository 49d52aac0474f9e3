//! `cargo xtask test`: the workspace's tests against real servers.

use std::process::{Command, Stdio};

use crate::args::Options;
use crate::install;
use crate::process::{self, cargo};
use crate::servers::{Servers, Wanted};

/// Runs tests, then doctests, both also when the first fail; the servers go whatever happens.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let servers = Servers::start(options, Wanted::AllKinds)?;
    install::pgbouncer(options.install);
    let run = |mut command: Command| {
        command.arg("--all-features").envs(servers.env());
        if !options.filters.is_empty() {
            command.arg("--").args(&options.filters);
        }
        process::run(&mut command)
    };
    let tests = run(tests());
    let doctests = run(doctests());
    tests.and(doctests)
}

/// By cargo-nextest where it is installed: it says which test hangs, and isolates each.
fn tests() -> Command {
    if has_nextest() {
        let mut command = cargo(&["nextest", "run", "--workspace", "--no-fail-fast"]);
        let limits = process::root().join("xtask/nextest.toml");
        command.arg(format!("--tool-config-file=xtask:{}", limits.display()));
        // A filter may name doctests only.
        command.arg("--no-tests=pass");
        return command;
    }
    let targets = ["--lib", "--bins", "--tests", "--examples"];
    let mut command = cargo(&["test", "--workspace", "--no-fail-fast"]);
    command.args(targets);
    command
}

fn doctests() -> Command {
    cargo(&["test", "--workspace", "--no-fail-fast", "--doc"])
}

fn has_nextest() -> bool {
    cargo(&["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
