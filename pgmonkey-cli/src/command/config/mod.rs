//! `pgmonkey config …`.

mod check;
mod create;
mod generate_code;
mod schema;
mod show;
mod test;
mod yaml;

use clap::Subcommand;

use crate::error::Error;
use crate::ui::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Create a commented configuration file with every key.
    Create(create::Create),
    /// Validate a configuration file without connecting.
    Check(check::Check),
    /// Show the values in effect and the source of each.
    Show(show::Show),
    /// Open real connections and report what was found.
    Test(test::Test),
    /// Print a complete Rust program that uses the configuration.
    GenerateCode(generate_code::GenerateCode),
    /// Print the JSON Schema of configuration files, for editors.
    Schema(schema::Schema),
}

impl Config {
    /// Prints the line that scripts written for the Python tool may look for.
    pub(crate) fn run_as_python_does(self, out: &mut Output<'_>) -> Result<(), Error> {
        if matches!(&self, Self::Test(test) if test.is_for_people()) {
            out.line("postgresql database config file has been detected...")?;
        }
        self.run(out)
    }

    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        match self {
            Self::Create(create) => create.run(out),
            Self::Check(check) => check.run(out),
            Self::Show(show) => show.run(out),
            Self::Test(test) => test.run(out),
            Self::GenerateCode(generate) => generate.run(out),
            Self::Schema(schema) => schema.run(out),
        }
    }
}
