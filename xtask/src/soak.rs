//! `cargo xtask soak`: moves money under faults, on a server of its own.

use std::process::Command;

use crate::args::Options;
use crate::process;
use crate::servers::local_programs;
use crate::test;

/// Fails if a guarantee was broken.
pub(crate) fn run(options: &Options, minutes: &str) -> anyhow::Result<()> {
    local_programs(options)?;
    let program = test::program("soak")?;
    process::run(
        Command::new(program)
            .arg(minutes)
            .current_dir(process::root()),
    )
}
