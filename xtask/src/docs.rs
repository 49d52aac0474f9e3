//! `cargo xtask docs`: the documentation, the book, and whether its reference matches the keys.

use crate::book;
use crate::process::{self, cargo};

pub(crate) fn run(install: bool) -> anyhow::Result<()> {
    book::list_decisions()?;
    book::check()?;
    book::render(install)?;
    build()?;
    process::run(&mut cargo(&[
        "test",
        "--package",
        "pgmonkey-config",
        "--test",
        "reference",
    ]))
}

/// Builds the workspace's documentation; a warning is an error.
pub(crate) fn build() -> anyhow::Result<()> {
    let mut command = cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    process::run(command.env("RUSTDOCFLAGS", "-D warnings"))
}
