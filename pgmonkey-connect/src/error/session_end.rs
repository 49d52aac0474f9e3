//! Why a session ended, when the driver only says "connection closed".

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use tokio_postgres::error::SqlState;

use super::pooler::{self, Report};
use super::{Error, ErrorKind, driver};
use crate::printable::line;
use crate::wire::{LimitExceeded, Observer};

/// A session that ended while it was in use, and why.
///
/// The server sends its reason when it ends the session, often long before the next statement. The
/// driver drops unsolicited messages; the session's observer keeps this one.
///
/// ```
/// use pgmonkey_connect::Error;
///
/// fn was_idle_for_too_long(error: &Error) -> bool {
///     let Error::SessionEnded(end) = error else { return false };
///     end.code().is_some_and(|code| matches!(code.code(), "25P03" | "57P05"))
/// }
/// # assert!(!was_idle_for_too_long(&Error::NoRow));
/// ```
#[derive(Debug)]
pub struct SessionEnd {
    reason: Reason,
    driver: tokio_postgres::Error,
}

#[derive(Debug)]
enum Reason {
    Server {
        code: SqlState,
        message: String,
        kind: ErrorKind,
        /// Whether a pooler says that it did not pass on the request.
        kept_back: bool,
    },
    Limit(LimitExceeded),
    GivenUp(&'static str),
    Abandoned(String),
}

impl Reason {
    fn of(observer: &Observer) -> Option<Self> {
        if let Some(exceeded) = observer.exceeded() {
            return Some(Self::Limit(exceeded));
        }
        if let Some(reason) = observer.condemned() {
            return Some(Self::GivenUp(reason));
        }
        if let Some(reason) = observer.abandoned() {
            return Some(Self::Abandoned(reason.to_owned()));
        }
        let failure = observer.end_reason()?;
        let code = SqlState::from_code(&failure.code);
        Some(Self::Server {
            kept_back: pooler::has_kept_back(Report::of_end(&failure)),
            kind: driver::kind_of_end(&failure),
            message: failure.message,
            code,
        })
    }
}

impl SessionEnd {
    /// Creates the end from the driver's error if the observer knows a reason that the driver does
    /// not; otherwise returns the driver's error.
    pub(crate) fn of(
        error: tokio_postgres::Error,
        observer: Option<&Observer>,
    ) -> Result<Self, tokio_postgres::Error> {
        let observer = observer.filter(|_| driver::is_loss(&error));
        match observer.and_then(Reason::of) {
            Some(reason) => Ok(Self {
                reason,
                driver: error,
            }),
            None => Err(error),
        }
    }

    /// The server's SQLSTATE; `None` if the client ended the session: because the server exceeded a
    /// limit, because a call left the session unusable, or because another host has taken over.
    pub fn code(&self) -> Option<&SqlState> {
        match &self.reason {
            Reason::Server { code, .. } => Some(code),
            Reason::Limit(_) | Reason::GivenUp(_) | Reason::Abandoned(_) => None,
        }
    }

    /// The server's message, unescaped: show it through
    /// [`printable::line`](crate::printable::line). `None` as for [`code`](Self::code).
    pub fn message(&self) -> Option<&str> {
        match &self.reason {
            Reason::Server { message, .. } => Some(message),
            Reason::Limit(_) | Reason::GivenUp(_) | Reason::Abandoned(_) => None,
        }
    }

    pub(super) fn was_kept_back(&self) -> bool {
        matches!(self.reason, Reason::Server { kept_back, .. } if kept_back)
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match &self.reason {
            Reason::Server { kind, .. } => *kind,
            Reason::Abandoned(_) => ErrorKind::Transient,
            Reason::Limit(_) | Reason::GivenUp(_) => ErrorKind::Other,
        }
    }
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Server { code, message, .. } => write!(
                f,
                "the server ended the session: {} (SQLSTATE {})",
                line(message),
                line(code.code())
            ),
            Reason::Limit(exceeded) => exceeded.fmt(f),
            Reason::GivenUp(reason) => f.write_str(reason),
            Reason::Abandoned(reason) => f.write_str(reason),
        }
    }
}

impl StdError for SessionEnd {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.driver)
    }
}

impl Error {
    /// Converts the driver's error, adding the reason known to the session's observer if the
    /// session has ended and the driver does not say why.
    pub fn of_session<'a>(
        error: tokio_postgres::Error,
        observer: impl Into<Option<&'a Observer>>,
    ) -> Self {
        let observer = observer.into();
        let is_refused_write = error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION);
        if is_refused_write && observer.is_some_and(Observer::is_unexpected_standby) {
            return Self::UnexpectedStandby(Arc::new(error));
        }
        match SessionEnd::of(error, observer) {
            Ok(end) => Self::SessionEnded(Arc::new(end)),
            Err(error) => error.into(),
        }
    }
}
