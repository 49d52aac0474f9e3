//! `pgmonkey config check FILE`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use pgmonkey::Config;

use crate::Error;

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// The file to check.
    file: PathBuf,
    /// Resolve ${VAR}, {from_env: …} and {from_file: …}, as the program that uses the file will.
    #[arg(long)]
    resolve_env: bool,
    /// Allow ${VAR:-default} for passwords and other sensitive keys.
    #[arg(long, requires = "resolve_env")]
    allow_sensitive_defaults: bool,
}

impl Check {
    pub(crate) fn run(self, out: &mut dyn Write) -> Result<(), Error> {
        let (config, warnings) = Config::loader()
            .file(&self.file)
            .resolve_env(self.resolve_env)
            .allow_sensitive_defaults(self.allow_sensitive_defaults)
            .load_with_warnings()?;
        for warning in warnings {
            eprintln!("warning: {warning}");
        }
        writeln!(
            out,
            "{}: ok, {} to {}",
            self.file.display(),
            config.connection_type,
            config.connection_settings.describe()
        )?;
        Ok(())
    }
}
