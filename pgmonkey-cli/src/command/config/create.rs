//! `pgmonkey config create FILE`.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::Error;
use crate::output::Output;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  pgmonkey config create pgmonkey.yaml")]
pub(crate) struct Create {
    /// The file to write. Its folders are made if they are missing; an existing file is left as
    /// it is.
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
}

impl Create {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Result<(), Error> {
        let path = self.file.or(self.filepath);
        let path = path.expect("clap demands one of the two");
        write_new(&path, pgmonkey::config::template())?;
        out.line(format_args!(
            "New configuration template created: {}",
            path.display()
        ))
    }
}

/// Writes a file that nobody else can read, for it will hold a password.
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
