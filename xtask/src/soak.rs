//! `cargo xtask soak`: moves money under faults, on a server of its own.

use crate::args::Options;
use crate::process::{self, cargo};
use crate::servers::local_programs;

/// Fails if a guarantee was broken.
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
