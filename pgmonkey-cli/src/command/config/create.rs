//! `pgmonkey config create FILE`.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::Error;

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The file to write. Its folders are made if they are missing; an existing file is left as
    /// it is.
    file: PathBuf,
}

impl Create {
    pub(crate) fn run(self, out: &mut dyn Write) -> Result<(), Error> {
        let path = &self.file;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| Error::file("create", folder, error))?;
        }
        let mut file = open_new(path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => Error::Exists(path.clone()),
            _ => Error::file("create", path, error),
        })?;
        file.write_all(pgmonkey::config::template().as_bytes())
            .map_err(|error| Error::file("write", path, error))?;
        writeln!(
            out,
            "New configuration template created: {}",
            path.display()
        )?;
        Ok(())
    }
}

/// Opens a file that nobody else can read, for it will hold a password.
fn open_new(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
