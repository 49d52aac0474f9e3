//! `pgmonkey server …`.

mod audit;
mod recommend;

use clap::{Args, Subcommand};

use crate::configuration::ConfigFile;
use crate::error::Error;
use crate::output::{FormatOption, Output};

#[derive(Debug, Subcommand)]
pub(crate) enum Server {
    /// Print what postgresql.conf and pg_hba.conf need for a configuration.
    Recommend(recommend::Recommend),
    /// Compare what a configuration needs with the server as it is. Only reads.
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

/// As the Python tool takes its arguments.
#[derive(Debug, Args)]
pub(crate) struct Pgserverconfig {
    #[command(flatten)]
    file: ConfigFile,
    /// Compare with the server as it is.
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
