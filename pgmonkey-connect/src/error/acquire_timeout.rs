//! A caller that waited for a session in vain.

use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::Error;
use crate::status::Status;

/// No session came free in time: who has them, and what went wrong last.
#[derive(Debug)]
#[non_exhaustive]
pub struct AcquireTimeout {
    /// `user@host:port/database`.
    pub target: Arc<str>,
    /// How long this caller waited.
    pub waited: Duration,
    /// The pool's numbers at the end.
    pub status: Status,
    /// Who has held a session longest, and for how long.
    pub longest_held: Option<(&'static Location<'static>, Duration)>,
    /// Why the last attempt to open a session failed, if that is what the time went into.
    pub last_error: Option<Error>,
}

impl AcquireTimeout {
    /// Puts down the state in which a caller gave up.
    pub fn new(target: Arc<str>, waited: Duration, status: Status) -> Self {
        Self {
            target,
            waited,
            status,
            longest_held: None,
            last_error: None,
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
        if let Some((place, held)) = self.longest_held {
            let (file, line) = (place.file(), place.line());
            write!(f, "; held longest: {held:.1?}, acquired at {file}:{line}")?;
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
