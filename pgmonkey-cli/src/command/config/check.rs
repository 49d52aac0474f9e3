//! `pgmonkey config check FILE`.

use clap::Args;

use crate::configuration::ConfigFile;
use crate::error::Error;
use crate::output::Output;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgmonkey config check pgmonkey.yaml
  DB_PASSWORD=… pgmonkey config check pgmonkey.yaml --resolve-env")]
pub(crate) struct Check {
    #[command(flatten)]
    file: ConfigFile,
}

impl Check {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        let config = self.file.load()?;
        out.line(format_args!(
            "{}: ok, {} to {}",
            self.file.path().display(),
            config.connection_type,
            config.connection_settings.describe()
        ))
    }
}
