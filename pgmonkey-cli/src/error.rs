//! Why a command failed, with its exit code and a hint.

pub(crate) mod advice;

use std::io;
use std::path::{Path, PathBuf};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is invalid; one line per problem.
    #[error(transparent)]
    Config(#[from] pgmonkey::config::Error),
    /// The server could not be reached, or refused a statement.
    #[error(transparent)]
    Database(#[from] pgmonkey::Error),
    /// The file to be written already exists.
    #[error("{} already exists and was not changed", .0.display())]
    Exists(PathBuf),
    /// A file could not be created, read or written.
    #[error("could not {action} {}: {source}", path.display())]
    File {
        /// `create`, `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Any other failure, with a hint if there is one.
    #[error("{text}")]
    Failed {
        /// What failed and why.
        text: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The command was interrupted, and rolled back its work.
    #[error("interrupted; unfinished work was rolled back")]
    Interrupted,
    /// Arguments that do not go together.
    #[error("{0}")]
    Usage(String),
    /// The command failed, and the result or an earlier message says why.
    #[error("the command failed, as reported above")]
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

    /// Any other failure, without a hint.
    pub(crate) fn failed(text: String) -> Self {
        Self::Failed { text, hint: None }
    }

    /// A closed pipe is not reported; any other error is.
    pub(crate) fn print(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Told,
            _ => Self::Print(error),
        }
    }

    /// The error with the server's DETAIL, because the user of the CLI may see the rows, and without
    /// the server's own "ERROR: " or "FATAL: ".
    pub(crate) fn message(&self) -> String {
        let text = format!("{self:#}");
        let plain = text.strip_prefix("ERROR: ");
        let plain = plain.or_else(|| text.strip_prefix("FATAL: "));
        plain.unwrap_or(&text).to_owned()
    }

    /// 2 on a usage error, 130 if interrupted, otherwise 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Interrupted => 130,
            _ => 1,
        }
    }

    /// What to do about it, if known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists(_) => Some("edit it, or choose another name".to_owned()),
            Self::Database(error) => advice::on(error),
            Self::Failed { hint, .. } => hint.clone(),
            Self::Usage(_) => Some("`pgmonkey --help` lists the commands".to_owned()),
            _ => None,
        }
    }

    /// Whether the failure has been reported already.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self, Self::Told)
    }
}
