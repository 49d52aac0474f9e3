//! The configuration that a command works with: which file, and how it is read.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pgmonkey::Config;
use pgmonkey::config::Loader;

use crate::error::Error;
use crate::notes;

/// A configuration has a few kilobytes; what comes from a pipe may have no end.
const LARGEST: u64 = 1 << 20;

/// The configuration file as the command's own argument.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration file; `-` reads YAML from standard input.
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
    #[command(flatten)]
    reading: Reading,
}

/// The configuration file as an option, for commands whose arguments are something else.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConfigOption {
    /// The configuration file; `-` reads YAML from standard input.
    #[arg(
        long = "config",
        short = 'c',
        aliases = ["connconfig", "filepath"],
        value_name = "FILE",
    )]
    file: PathBuf,
    #[command(flatten)]
    reading: Reading,
}

/// How the file is read.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Reading {
    /// Resolve ${VAR}, {from_env: …} and {from_file: …}, as the program that uses the file will.
    #[arg(long)]
    resolve_env: bool,
    /// Allow ${VAR:-default} for passwords and other sensitive keys.
    #[arg(long)]
    allow_sensitive_defaults: bool,
    /// Lay one of the file's profiles over it.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

impl ConfigFile {
    /// The file's name, `-` for standard input.
    pub(crate) fn path(&self) -> &Path {
        let path = self.file.as_deref().or(self.filepath.as_deref());
        path.expect("clap demands one of the two")
    }

    /// Reads the configuration; what deserves a look goes to stderr.
    pub(crate) fn load(&self) -> Result<Config, Error> {
        load(self.loader()?)
    }

    /// How the file is to be read, for those who need more than the configuration.
    pub(crate) fn loader(&self) -> Result<Loader, Error> {
        self.reading.loader(self.path())
    }
}

impl ConfigOption {
    /// Reads the configuration; what deserves a look goes to stderr.
    pub(crate) fn load(&self) -> Result<Config, Error> {
        load(self.reading.loader(&self.file)?)
    }

    /// The file's name, `-` for standard input.
    pub(crate) fn path(&self) -> &Path {
        &self.file
    }
}

impl Reading {
    fn loader(&self, path: &Path) -> Result<Loader, Error> {
        if self.allow_sensitive_defaults && !self.resolve_env {
            notes::warning("--allow-sensitive-defaults does nothing without --resolve-env");
        }
        let loader = Config::loader()
            .resolve_env(self.resolve_env)
            .allow_sensitive_defaults(self.allow_sensitive_defaults);
        let loader = match &self.profile {
            Some(name) => loader.profile(name),
            None => loader,
        };
        if path == Path::new("-") {
            Ok(loader.yaml(standard_input()?))
        } else {
            Ok(loader.file(path))
        }
    }
}

fn load(loader: Loader) -> Result<Config, Error> {
    let (config, warnings) = loader.load_with_warnings()?;
    for warning in warnings {
        notes::warning(warning);
    }
    Ok(config)
}

fn standard_input() -> Result<String, Error> {
    let path = Path::new("standard input");
    let failed = |error| Error::file("read", path, error);
    let mut text = String::new();
    let mut bounded = io::stdin().lock().take(LARGEST + 1);
    bounded.read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > LARGEST {
        let reason = format!("larger than {LARGEST} bytes");
        return Err(failed(io::Error::other(reason)));
    }
    Ok(text)
}
