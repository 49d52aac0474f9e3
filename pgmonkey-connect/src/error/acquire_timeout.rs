//! The error of a caller that got no session within the acquire timeout.

use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::Error;
use crate::printable;
use crate::status::Status;

/// No session became available in time: where sessions are held, and the last connect error.
#[derive(Debug)]
#[non_exhaustive]
pub struct AcquireTimeout {
    /// `user@host:port/database`.
    pub target: Arc<str>,
    /// How long this caller waited.
    pub waited: Duration,
    /// The pool's statistics when the caller gave up.
    pub status: Status,
    /// The call site of the longest checkout, and how long it has been held.
    pub longest_held: Option<(&'static Location<'static>, Duration)>,
    /// The label of the transaction that it is for, if it has one.
    pub longest_label: Option<Arc<str>>,
    /// Why the last attempt to open a session failed, if none has succeeded since.
    pub last_error: Option<Error>,
    /// Which pools hold the sessions that the manager may have at the server, if the pool waits for
    /// one of them.
    pub budget: Option<String>,
}

impl AcquireTimeout {
    /// Creates the error without a longest checkout and a last error.
    pub fn new(target: Arc<str>, waited: Duration, status: Status) -> Self {
        Self {
            target,
            waited,
            status,
            longest_held: None,
            longest_label: None,
            last_error: None,
            budget: None,
        }
    }
}

impl fmt::Display for AcquireTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no session of {} within {:.1?}: {}",
            self.target, self.waited, self.status
        )?;
        if let Some((location, held)) = self.longest_held {
            let (file, line) = (location.file(), location.line());
            write!(f, "; held longest: {held:.1?}, acquired at {file}:{line}")?;
            if let Some(label) = &self.longest_label {
                write!(f, " for {}", printable::line(label))?;
            }
        }
        if let Some(holders) = &self.budget {
            write!(f, "; {holders}")?;
        }
        match &self.last_error {
            Some(error) => {
                f.write_str("; ")?;
                fmt::Display::fmt(error, f)
            }
            None => Ok(()),
        }
    }
}

impl StdError for AcquireTimeout {}
