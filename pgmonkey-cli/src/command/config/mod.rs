//! `pgmonkey config …`.

mod check;
mod create;

use clap::Subcommand;

use crate::error::Error;
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Write a configuration file with every key in it, to be edited.
    Create(create::Create),
    /// Say whether a configuration file is right, without connecting.
    Check(check::Check),
}

impl Config {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        match self {
            Self::Create(create) => create.run(out),
            Self::Check(check) => check.run(out),
        }
    }
}
