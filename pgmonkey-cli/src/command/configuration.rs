//! Which configuration file a command uses and how it is read.

use std::io;
use std::path::{Path, PathBuf};

use pgmonkey::Config;
use pgmonkey::config::{Loaded, Loader, WarningKind, files, user_files};

use crate::error::Error;
use crate::ui::notes;
use crate::verbosity;

/// The file name that means standard input.
const STANDARD_INPUT: &str = "-";

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

/// The configuration file as an option, for commands with other arguments.
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
    /// Accepted, but not needed: references are resolved unless the file says `resolve_env: false`.
    #[arg(long = "resolve-env", hide = true)]
    _resolve_env: bool,
    /// Allow ${VAR:-default} for passwords and other sensitive keys.
    #[arg(long)]
    allow_sensitive_defaults: bool,
    /// Allow `password: { from_command: [...] }` to run its program.
    #[arg(long)]
    allow_commands: bool,
    /// Apply this profile of the file.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

impl ConfigFile {
    /// The file's name, `-` for standard input.
    pub(crate) fn path(&self) -> &Path {
        let path = self.file.as_deref().or(self.filepath.as_deref());
        path.expect("clap requires one of the two")
    }

    /// Reads the configuration and prints its warnings on stderr.
    pub(crate) fn load(&self) -> Result<Config, Error> {
        Ok(self.load_with_sources()?.config)
    }

    /// Reads the configuration together with the source of each value.
    pub(crate) fn load_with_sources(&self) -> Result<Loaded, Error> {
        self.source()?.load()
    }

    /// How the file is read, for commands that need more than the configuration.
    pub(crate) fn source(&self) -> Result<Source, Error> {
        self.reading.source(self.path())
    }

    /// The name of the profile to apply.
    pub(crate) fn profile(&self) -> Option<&str> {
        self.reading.profile.as_deref()
    }

    /// Whether sensitive keys may fall back to defaults.
    pub(crate) fn allows_sensitive_defaults(&self) -> bool {
        self.reading.allow_sensitive_defaults
    }

    /// Whether the configuration may run programs.
    pub(crate) fn allows_commands(&self) -> bool {
        self.reading.allow_commands
    }
}

impl ConfigOption {
    /// Reads the configuration and prints its warnings on stderr.
    pub(crate) fn load(&self) -> Result<Config, Error> {
        Ok(self.reading.source(&self.file)?.load()?.config)
    }

    /// The file's name, `-` for standard input.
    pub(crate) fn path(&self) -> &Path {
        &self.file
    }
}

/// A configuration file that has not been read yet.
pub(crate) struct Source {
    loader: Loader,
    /// The text read from standard input.
    input: Option<String>,
    path: PathBuf,
}

impl Source {
    /// How the file is read.
    pub(crate) fn loader(&self) -> Loader {
        self.loader.clone()
    }

    /// The file's text, for showing lines of it; empty if it cannot be read.
    pub(crate) fn text(&self) -> String {
        match &self.input {
            Some(text) => text.clone(),
            None => text_of(&expand_home(&self.path)).unwrap_or_default(),
        }
    }

    fn load(self) -> Result<Loaded, Error> {
        let loaded = self.loader.load_with_sources()?;
        for warning in &loaded.warnings {
            notes::warning(warning);
            if let WarningKind::PassFileIgnored { path, .. } = &warning.kind {
                verbosity::warned_of_passfile(path);
            }
        }
        Ok(loaded)
    }
}

impl Reading {
    fn source(&self, path: &Path) -> Result<Source, Error> {
        let loader = Config::loader()
            .allow_sensitive_defaults(self.allow_sensitive_defaults)
            .allow_commands(self.allow_commands);
        let loader = match &self.profile {
            Some(name) => loader.profile(name),
            None => loader,
        };
        let (loader, input) = if path == Path::new(STANDARD_INPUT) {
            let text = standard_input()?;
            (loader.yaml(text.as_str()), Some(text))
        } else if gives_once(path) {
            let text = text_of(path).map_err(|error| Error::file("read", path, error))?;
            (loader.yaml(text.as_str()), Some(text))
        } else {
            (loader.file(path), None)
        };
        Ok(Source {
            loader,
            input,
            path: path.to_owned(),
        })
    }
}

/// Whether the path is a pipe, as `<(…)` and `/dev/stdin` are: it can be read only once.
fn gives_once(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir())
}

/// Reads all of standard input, up to a limit.
pub(crate) fn standard_input() -> Result<String, Error> {
    let path = Path::new("standard input");
    let read = files::read_from(io::stdin().lock(), files::OWN_LIMIT).and_then(text);
    read.map_err(|error| Error::file("read", path, error))
}

/// Expands `~/` to the home directory, also where no shell has done so, as in
/// `--filepath=~/c.yaml`.
pub(crate) fn expand_home(path: &Path) -> PathBuf {
    let lookup = |name: &str| std::env::var(name).ok();
    match path.to_str() {
        Some(text) => user_files::expand_home(text, &lookup),
        None => path.to_owned(),
    }
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// The text of a file or a pipe.
fn text_of(path: &Path) -> io::Result<String> {
    files::read_or_pipe(path, files::OWN_LIMIT).and_then(text)
}
