//! The error of a transaction that was run several times and failed each time.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::{Error, ErrorKind, driver};
use crate::printable::line;
use crate::wire::ServerFailure;

/// A transaction that was run again after conflicts with others or lost sessions, until there was
/// no attempt or no time left. None of its attempts has left anything.
#[derive(Debug)]
#[non_exhaustive]
pub struct RetriesExhausted {
    /// How many attempts there were.
    pub attempts: u32,
    /// How long they took, with the pauses between them.
    pub elapsed: Duration,
    /// The label of the transaction.
    pub label: Option<Arc<str>>,
    /// The time limit, if it was too short for another attempt.
    pub timeout: Option<Duration>,
    last: Last,
}

/// The failure of the last attempt.
#[derive(Debug)]
enum Last {
    /// As returned by the closure.
    Error(Error),
    /// As seen on the wire, if the closure has its own error type.
    Server {
        code: SqlState,
        message: String,
        kind: ErrorKind,
    },
    /// A lost session, likewise.
    Lost,
}

impl RetriesExhausted {
    /// Creates the error. The failure of the last attempt is `error`, or `seen` on the wire if the
    /// closure has its own error type.
    pub(crate) fn new(
        attempts: u32,
        elapsed: Duration,
        error: Option<Error>,
        seen: Option<&ServerFailure>,
    ) -> Self {
        let last = match (error, seen) {
            (Some(error), _) => Last::Error(error),
            (None, Some(seen)) => Last::Server {
                code: SqlState::from_code(&seen.code),
                message: seen.message.clone(),
                kind: driver::kind_of_end(seen),
            },
            (None, None) => Last::Lost,
        };
        Self {
            attempts,
            elapsed,
            label: None,
            timeout: None,
            last,
        }
    }

    /// The error of the last attempt; `None` if the closure has its own error type.
    pub fn last_error(&self) -> Option<&Error> {
        match &self.last {
            Last::Error(error) => Some(error),
            Last::Server { .. } | Last::Lost => None,
        }
    }

    /// The SQLSTATE of the last attempt's failure, if the server gave one.
    pub fn code(&self) -> Option<&SqlState> {
        match &self.last {
            Last::Error(error) => error.code(),
            Last::Server { code, .. } => Some(code),
            Last::Lost => None,
        }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match &self.last {
            Last::Error(error) => error.kind(),
            Last::Lost => ErrorKind::Transient,
            Last::Server { kind, .. } => *kind,
        }
    }
}

impl fmt::Display for RetriesExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the transaction ")?;
        if let Some(label) = &self.label {
            write!(f, "{} ", line(label))?;
        }
        let s = if self.attempts == 1 { "" } else { "s" };
        write!(
            f,
            "failed after {} attempt{s} in {:.1?}",
            self.attempts, self.elapsed
        )?;
        if let Some(timeout) = self.timeout {
            write!(
                f,
                ", and its timeout of {timeout:?} leaves no time for another"
            )?;
        }
        match &self.last {
            Last::Error(error) => {
                f.write_str(": ")?;
                fmt::Display::fmt(error, f)
            }
            Last::Server { code, message, .. } => {
                write!(f, ": {} (SQLSTATE {})", line(message), line(code.code()))
            }
            Last::Lost => f.write_str(": the session was lost"),
        }
    }
}

impl StdError for RetriesExhausted {}
