//! Statements and commits whose outcome is unknown, because the session was lost before the answer.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use tokio_postgres::error::SqlState;

use super::pooler::{self, Report};
use super::{Error, driver};

/// What is known of a statement, or of a `COMMIT`, whose session was lost before it was answered.
///
/// ```
/// use pgmonkey_connect::Error;
///
/// fn why_lost(error: &Error) -> Option<String> {
///     match error {
///         Error::CommitUnknown(lost) | Error::OutcomeUnknown(lost) => Some(lost.cause().to_string()),
///         _ => None,
///     }
/// }
/// # assert_eq!(why_lost(&Error::NoRow), None);
/// ```
#[derive(Debug)]
pub struct LostAnswer {
    cause: Error,
    unconfirmed: Option<String>,
}

impl LostAnswer {
    /// Why the session was lost.
    pub fn cause(&self) -> &Error {
        &self.cause
    }

    /// Why `confirm_commit` could not find out whether the transaction was committed; `None`
    /// without `confirm_commit`.
    pub fn unconfirmed(&self) -> Option<&str> {
        self.unconfirmed.as_deref()
    }
}

impl LostAnswer {
    pub(crate) fn unconfirmed_because(&self, why: &str) -> Self {
        Self {
            cause: self.cause.clone(),
            unconfirmed: Some(why.to_owned()),
        }
    }
}

impl fmt::Display for LostAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cause, f)?;
        match &self.unconfirmed {
            Some(why) => write!(f, "; confirm_commit could not find out: {why}"),
            None => Ok(()),
        }
    }
}

impl StdError for LostAnswer {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The text already includes the cause.
        self.cause.source()
    }
}

impl Error {
    /// The error of a `COMMIT` that was sent and not answered, because of `cause`.
    pub fn commit_unknown(cause: Self) -> Self {
        Self::CommitUnknown(Arc::new(LostAnswer {
            cause,
            unconfirmed: None,
        }))
    }

    /// The error of a statement that was sent and not answered, because of `cause`.
    pub fn outcome_unknown(cause: Self) -> Self {
        Self::OutcomeUnknown(Arc::new(LostAnswer {
            cause,
            unconfirmed: None,
        }))
    }

    /// Whether the session was lost after a statement or a `COMMIT` was sent and before it was
    /// answered: it may have been executed, or not. Such an error is never transient.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::CommitUnknown(_) | Self::OutcomeUnknown(_))
    }

    /// Whether the session has ended, and with it the statement in progress. The server's own
    /// farewell (`FATAL`) does not say how far that statement had come.
    pub fn is_session_lost(&self) -> bool {
        match self {
            Self::SessionEnded(_) => true,
            Self::Database(error) => {
                driver::is_loss(error) || error.as_db_error().is_some_and(driver::is_fatal)
            }
            _ => false,
        }
    }

    /// Whether the answer to a statement that was sent is lost, so that it may have been executed.
    pub(crate) fn has_lost_answer(&self) -> bool {
        let of_server = |error| {
            let report = Report::of(error);
            let is_told = driver::leaves_in_doubt(error.code());
            (
                is_told || pooler::leaves_in_doubt(report),
                pooler::has_kept_back(report),
            )
        };
        let (in_doubt, kept_back) = match self {
            Self::SessionEnded(end) => (false, end.was_kept_back()),
            error => error.as_db_error().map(of_server).unwrap_or_default(),
        };
        (in_doubt || self.is_session_lost()) && !kept_back && !self.ended_while_idle()
    }

    /// Whether the server ended the session for being idle. It does so only between statements.
    fn ended_while_idle(&self) -> bool {
        let idle = [
            &SqlState::IDLE_SESSION_TIMEOUT,
            &SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        ];
        self.code().is_some_and(|code| idle.contains(&code))
    }
}
