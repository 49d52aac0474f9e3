//! `cargo xtask soak`: money moved under faults, on a server of its own.

use crate::args::Options;
use crate::process::{self, cargo};
use crate::servers::local_programs;

/// Ends with an error if a promise was broken.
pub(crate) fn run(options: &Options, minutes: &str) -> anyhow::Result<()> {
    local_programs(options)?;
    let program = [
        "--package",
        "pgmonkey-tests",
        "--bin",
        "soak",
        "--all-features",
    ];
    process::run(
        cargo(&["run", "--quiet"])
            .args(program)
            .args(["--", minutes]),
    )
}
