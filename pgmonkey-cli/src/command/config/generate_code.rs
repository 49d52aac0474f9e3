//! `pgmonkey config generate-code FILE`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use pgmonkey::config::user_files;
use pgmonkey::{Config, ConnectionType};

use crate::codegen::{drivers, paved};
use crate::command::configuration::ConfigFile;
use crate::error::Error;
use crate::ui::notes;
use crate::ui::output::Output;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgmonkey config generate-code pgmonkey.yaml > src/main.rs
  pgmonkey config generate-code pgmonkey.yaml --connection-type async_pool
  pgmonkey config generate-code pgmonkey.yaml --library drivers

The lines for Cargo.toml are at the top. With `--library drivers` the password comes from \
PGPASSWORD, or from the file of `from_file`, when the program runs; it is never written into the \
program.")]
pub(crate) struct GenerateCode {
    #[command(flatten)]
    file: ConfigFile,
    /// The connection type of the program, instead of the file's.
    #[arg(long, value_enum, value_name = "TYPE")]
    connection_type: Option<Type>,
    /// The library that the program uses.
    #[arg(long, value_enum, default_value_t, value_name = "LIBRARY")]
    library: Library,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Type {
    Normal,
    Pool,
    Async,
    AsyncPool,
}

impl From<Type> for ConnectionType {
    fn from(kind: Type) -> Self {
        match kind {
            Type::Normal => Self::Normal,
            Type::Pool => Self::Pool,
            Type::Async => Self::Async,
            Type::AsyncPool => Self::AsyncPool,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Library {
    /// The program reads the file at run time.
    #[default]
    Pgmonkey,
    /// The program contains the settings and uses postgres, r2d2_postgres, tokio-postgres or
    /// mobc-postgres.
    #[value(alias = "psycopg")]
    Drivers,
}

/// The directory where libpq looks for the user's own TLS files.
fn own(name: &str) -> Option<PathBuf> {
    user_files::tls(name, &|name| std::env::var(name).ok())
}

/// The features of pgmonkey that are off by default and that this file needs.
fn features(path: &str, config: &Config) -> Vec<&'static str> {
    let settings = &config.connection_settings;
    let key = settings.sslkey.clone().or_else(|| own("postgresql.key"));
    let key = key.and_then(|key| std::fs::read_to_string(key).ok());
    let is_encrypted = key.is_some_and(|key| key.contains("BEGIN ENCRYPTED PRIVATE KEY"));
    let is_toml = Path::new(path).extension().is_some_and(|end| end == "toml");
    [
        ("toml", is_toml),
        (
            "encrypted-keys",
            is_encrypted || settings.sslpassword.is_some(),
        ),
    ]
    .into_iter()
    .filter_map(|(feature, needed)| needed.then_some(feature))
    .collect()
}

impl GenerateCode {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        let loaded = self.file.load_with_sources()?;
        let kind = self
            .connection_type
            .map_or(loaded.config.connection_type, Into::into);
        let (library, text) = match self.library {
            Library::Pgmonkey => {
                let reading = self.reading()?;
                let features = features(reading.path, &loaded.config);
                ("pgmonkey", paved::program(kind, &reading, &features))
            }
            Library::Drivers => {
                let text = drivers::program(kind, &loaded, &own).map_err(|what| Error::Failed {
                    text: format!("{what}: not supported by the drivers alone"),
                    hint: Some("use --library pgmonkey, which supports it".to_owned()),
                })?;
                ("the drivers", text)
            }
        };
        notes::note(format_args!("Generated {kind} code using {library}:"));
        out.text(&text)
    }

    fn reading(&self) -> Result<paved::Reading<'_>, Error> {
        let path = self.file.path();
        let name = path.to_str().filter(|name| *name != "-");
        let path = name.ok_or_else(|| {
            Error::Usage(format!(
                "the program needs a file whose name is valid UTF-8, not {}",
                path.display()
            ))
        })?;
        Ok(paved::Reading {
            path,
            allow_sensitive_defaults: self.file.allows_sensitive_defaults(),
            allow_commands: self.file.allows_commands(),
            profile: self.file.profile(),
        })
    }
}
