//! `pgmonkey config …`.

mod check;
mod create;

use std::io::Write;

use clap::Subcommand;

use crate::Error;

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Write a configuration file with every key in it, to be edited.
    Create(create::Create),
    /// Say whether a configuration file is right, without connecting.
    Check(check::Check),
}

pub(crate) fn run(command: Config, out: &mut dyn Write) -> Result<(), Error> {
    match command {
        Config::Create(create) => create.run(out),
        Config::Check(check) => check.run(out),
    }
}
