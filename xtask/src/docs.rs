//! `cargo xtask docs`: the documentation, and whether its reference matches the keys.

use crate::process::{self, cargo};

pub(crate) fn run() -> anyhow::Result<()> {
    build()?;
    process::run(&mut cargo(&[
        "test",
        "--package",
        "pgmonkey-config",
        "--test",
        "reference",
    ]))
}

/// Builds what `cargo doc` makes of the workspace; a warning is an error.
pub(crate) fn build() -> anyhow::Result<()> {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    process::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}
