//! `pgmonkey server …`.

mod audit;
mod recommend;

use clap::{Args, Subcommand};

use crate::command::configuration::ConfigFile;
use crate::error::Error;
use crate::ui::output::{FormatOption, Output};

#[derive(Debug, Subcommand)]
pub(crate) enum Server {
    /// Print the settings in postgresql.conf and pg_hba.conf that a configuration needs.
    Recommend(recommend::Recommend),
    /// Compare what a configuration needs with the server's settings, read-only.
    Audit(audit::Audit),
}

impl Server {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        match self {
            Self::Recommend(recommend) => recommend.run(out),
            Self::Audit(audit) => audit.run(out),
        }
    }
}

/// The arguments as the Python tool takes them.
#[derive(Debug, Args)]
pub(crate) struct Pgserverconfig {
    #[command(flatten)]
    file: ConfigFile,
    /// Compare with the server's settings.
    #[arg(long)]
    audit: bool,
    #[command(flatten)]
    output: FormatOption,
}

impl Pgserverconfig {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        match self.audit {
            true => audit::Audit::new(self.file, self.output).run(out),
            false => recommend::Recommend::new(self.file, self.output).run(out),
        }
    }
}
