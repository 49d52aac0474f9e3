//! `pgmonkey config schema`.

use clap::Args;

use crate::error::Error;
use crate::ui::output::Output;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgmonkey config schema > pgmonkey.schema.json

`config create` writes a first line that names this file; editors with the YAML language server \
then complete and check keys and values.")]
pub(crate) struct Schema {}

impl Schema {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        let schema = pgmonkey::config::json_schema();
        out.text(&format!("{schema:#}\n"))
    }
}
