//! What the program can be asked for. Parsing collects, it does nothing.

use clap::{Parser, Subcommand};

use crate::command::config::Config;
use crate::{Error, command};

/// One configuration file, four ways to reach PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "pgmonkey", version, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create and check configuration files.
    #[command(subcommand, visible_alias = "pgconfig", arg_required_else_help = true)]
    Config(Config),
}

impl Command {
    pub(crate) fn run(self, out: &mut dyn std::io::Write) -> Result<(), Error> {
        match self {
            Self::Config(config) => command::config::run(config, out),
        }
    }
}
