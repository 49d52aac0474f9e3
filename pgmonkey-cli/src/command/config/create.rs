//! `pgmonkey config create FILE`.

mod template;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use pgmonkey::Config;
use pgmonkey::config::Loader;
use serde_json::Value;

use crate::command::configuration::{expand_home, standard_input};
use crate::error::Error;
use crate::ui::output::Output;

use template::fill;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgmonkey config create pgmonkey.yaml
  pgmonkey config create pgmonkey.yaml --from-url postgres://app@db/shop
  PGHOST=db PGUSER=app pgmonkey config create pgmonkey.yaml --from-env

The file is readable by its owner only. A password in the URL or in PGPASSWORD is written \
into it. A URL with a password is visible to other users of this machine while the command \
runs; `--from-url -` reads it from standard input instead.")]
pub(crate) struct Create {
    /// The file to write; `-` is standard output. Missing directories are created; an
    /// existing file is never overwritten.
    #[arg(value_name = "FILE", required_unless_present = "filepath")]
    file: Option<PathBuf>,
    /// The same as an option.
    #[arg(
        long,
        alias = "connconfig",
        value_name = "FILE",
        conflicts_with = "file",
        hide = true
    )]
    filepath: Option<PathBuf>,
    /// The kind of database; only `pg`.
    #[arg(long = "type", value_parser = ["pg"], hide = true)]
    _type: Option<String>,
    /// Fill in the settings of a postgres:// URL or key=value text; `-` reads standard input.
    #[arg(long, value_name = "URL")]
    from_url: Option<String>,
    /// Fill in the settings of the PG* variables and the service file.
    #[arg(long, conflicts_with = "from_url")]
    from_env: bool,
}

impl Create {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        let text = match (&self.from_url, self.from_env) {
            (Some(url), _) => {
                let url = match url.as_str() {
                    "-" => standard_input()?.trim().to_owned(),
                    url => url.to_owned(),
                };
                filled(Config::loader().url(url).libpq_sources(false))?
            }
            (None, true) => filled(Config::loader())?,
            (None, false) => pgmonkey::config::template().to_owned(),
        };
        let path = self.file.or(self.filepath);
        let path = path.expect("clap requires one of the two");
        if path == Path::new("-") {
            return out.text(&text);
        }
        let path = expand_home(&path);
        write_new(&path, &text)?;
        out.line(format_args!(
            "New configuration template created: {}",
            path.display()
        ))
    }
}

/// The commented template with the values of these sources, including secrets.
fn filled(loader: Loader) -> Result<String, Error> {
    let loaded = loader.load_with_sources()?;
    let tree = serde_json::to_value(loaded.config.exposed()).map_err(|error| Error::Failed {
        text: format!("a value cannot be written to a file: {error}"),
        hint: None,
    })?;
    let set = |value: &Value, path: &str| loaded.source(path).is_some() && !value.is_null();
    let mut values = Vec::new();
    for (section, keys) in tree.as_object().into_iter().flatten() {
        for (key, value) in keys.as_object().into_iter().flatten() {
            let path = format!("{section}.{key}");
            // The values of the service are written out, so the service is no longer needed.
            if set(value, &path) && path != "connection_settings.service" {
                values.push((path, value.clone()));
            }
        }
    }
    Ok(fill(pgmonkey::config::template(), &values))
}

/// Writes a file that only its owner can read, because it will contain a password.
fn write_new(path: &Path, text: &str) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| Error::file("create", folder, error))?;
    }
    let mut file = open_new(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Error::Exists(path.to_owned()),
        _ => Error::file("create", path, error),
    })?;
    file.write_all(text.as_bytes())
        .map_err(|error| Error::file("write", path, error))
}

fn open_new(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
