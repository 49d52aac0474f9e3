//! Why a command failed, and with which exit code.

use std::io;
use std::path::{Path, PathBuf};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong; one line a problem.
    #[error(transparent)]
    Config(#[from] pgmonkey::config::Error),
    /// A file to be written is there already.
    #[error("{} is there already and was left as it is: edit it, or choose another name", .0.display())]
    Exists(PathBuf),
    /// A file could not be made or written.
    #[error("could not {action} {}: {source}", path.display())]
    File {
        /// `create`, `write`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The result could not be printed.
    #[error("could not print: {0}")]
    Print(#[from] io::Error),
}

impl Error {
    pub(crate) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// 1: it was called rightly and failed.
    pub(crate) fn exit_code(&self) -> u8 {
        1
    }
}
