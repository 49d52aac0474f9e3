//! Why a command failed, with which exit code, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::advice;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong; one line a problem.
    #[error(transparent)]
    Config(#[from] pgmonkey::config::Error),
    /// The server could not be reached, or refused a statement.
    #[error(transparent)]
    Database(#[from] pgmonkey::Error),
    /// A file to be written is there already.
    #[error("{} is there already and was left as it is", .0.display())]
    Exists(PathBuf),
    /// A file could not be made, read or written.
    #[error("could not {action} {}: {source}", path.display())]
    File {
        /// `create`, `read`, `write`.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else, with what to do about it.
    #[error("{text}")]
    Failed {
        /// What and why.
        text: String,
        /// What to do.
        hint: Option<String>,
    },
    /// It was asked to end, and undid what it had begun.
    #[error("interrupted; what was under way was undone")]
    Interrupted,
    /// Arguments that do not go together.
    #[error("{0}")]
    Usage(String),
    /// It failed, and the result or an earlier line says why.
    #[error("it failed, as said before")]
    Told,
    /// The result could not be printed.
    #[error("could not print: {0}")]
    Print(io::Error),
}

impl Error {
    pub(crate) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// Something else, with nothing to do about it.
    pub(crate) fn failed(text: String) -> Self {
        Self::Failed { text, hint: None }
    }

    /// The reader has gone, which nobody needs to be told; anything else is told.
    pub(crate) fn print(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Told,
            _ => Self::Print(error),
        }
    }

    /// 2: it was called wrongly; 130: it was interrupted; 1: it was called rightly and failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Interrupted => 130,
            _ => 1,
        }
    }

    /// What to do about it, if that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists(_) => Some("edit it, or choose another name".to_owned()),
            Self::Database(error) => advice::on(error),
            Self::Failed { hint, .. } => hint.clone(),
            Self::Usage(_) => Some("`pgmonkey --help` lists what there is".to_owned()),
            _ => None,
        }
    }

    /// Whether nothing is left to say.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self, Self::Told)
    }
}
