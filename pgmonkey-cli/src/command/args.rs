//! The command line. Parsing only collects arguments; it has no side effects.

use clap::{Parser, Subcommand};

use crate::command::{completions, config, export, import, pool, server};
use crate::error::Error;
use crate::ui::output::Output;
use crate::verbosity::Verbosity;

/// One configuration file, four connection types for PostgreSQL.
///
/// Results go to stdout, everything else to stderr. The exit code is 0 on success, 1 on failure,
/// 2 on a usage error and 130 if interrupted.
#[derive(Debug, Parser)]
#[command(
    name = "pgmonkey",
    version,
    arg_required_else_help = true,
    infer_long_args = true,
    max_term_width = 100,
    after_help = "\
Examples:
  pgmonkey config create pgmonkey.yaml
  pgmonkey config test pgmonkey.yaml --connection-type all
  pgmonkey server audit pgmonkey.yaml
  pgmonkey completions bash > pgmonkey.bash

The commands and flags of the Python tool work too: pgconfig, pgserverconfig, pgimport, pgexport."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) verbosity: Verbosity,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create, check, show and test configuration files.
    #[command(subcommand, arg_required_else_help = true, infer_long_args = true)]
    Config(config::Config),
    /// The Python tool's name for `config`.
    #[command(
        subcommand,
        hide = true,
        arg_required_else_help = true,
        infer_long_args = true
    )]
    Pgconfig(config::Config),
    /// Show what a configuration needs from its server, and compare it with the server's settings.
    #[command(subcommand, arg_required_else_help = true, infer_long_args = true)]
    Server(server::Server),
    /// The Python tool's name for `server recommend`, and with `--audit` for `server audit`.
    #[command(hide = true, arg_required_else_help = true, infer_long_args = true)]
    Pgserverconfig(server::Pgserverconfig),
    /// Load a CSV file into a table, all or nothing.
    #[command(
        visible_alias = "pgimport",
        arg_required_else_help = true,
        infer_long_args = true
    )]
    Import(Box<import::Import>),
    /// Write a table or the result of a query to a CSV file.
    #[command(
        visible_alias = "pgexport",
        arg_required_else_help = true,
        infer_long_args = true
    )]
    Export(Box<export::Export>),
    /// Measure pools.
    #[command(subcommand, arg_required_else_help = true, infer_long_args = true)]
    Pool(pool::Pool),
    /// Print the completions for a shell.
    #[command(arg_required_else_help = true)]
    Completions(completions::Completions),
    /// Print the manual page.
    Man(completions::Man),
}

impl Command {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        match self {
            Self::Config(config) => config.run(out),
            Self::Pgconfig(config) => config.run_as_python_does(out),
            Self::Import(import) => import.run(out),
            Self::Export(export) => export.run(out),
            Self::Pool(pool) => pool.run(out),
            Self::Server(server) => server.run(out),
            Self::Pgserverconfig(server) => server.run(out),
            Self::Completions(completions) => completions.run(out),
            Self::Man(man) => man.run(out),
        }
    }
}
