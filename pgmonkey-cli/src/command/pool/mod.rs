//! `pgmonkey pool …`.

mod bench;

use clap::Subcommand;

use crate::error::Error;
use crate::ui::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Pool {
    /// Measure which pool size serves a load best on your server.
    Bench(bench::Bench),
}

impl Pool {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        match self {
            Self::Bench(bench) => bench.run(out),
        }
    }
}
