//! `cargo xtask docs`: the documentation, and whether its reference matches the keys.

use crate::features;
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
    let features = features::all(&features::workspace()?);
    process::run(
        cargo(&["doc", "--workspace", "--no-deps"])
            .args(features)
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}
