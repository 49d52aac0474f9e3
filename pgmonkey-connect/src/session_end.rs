//! Why a session ended, where the driver says no more than "connection closed".

use std::error::Error as StdError;
use std::fmt;

use tokio_postgres::error::SqlState;

use crate::driver;
use crate::error::ErrorKind;
use crate::printable::line;
use crate::wire::{LimitExceeded, Observer, ServerFailure};

/// A session that ended while it was in use, and why.
///
/// The server sends its reason when it ends the session, often long before the next statement. The
/// driver drops a message that nobody has asked for; the session's observer keeps it.
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
    Server { code: SqlState, message: String },
    Limit(LimitExceeded),
    GivenUp(&'static str),
}

impl Reason {
    fn of(observer: &Observer) -> Option<Self> {
        if let Some(exceeded) = observer.exceeded() {
            return Some(Self::Limit(exceeded));
        }
        if let Some(reason) = observer.condemned() {
            return Some(Self::GivenUp(reason));
        }
        let ServerFailure { code, message, .. } = observer.end_reason()?;
        let code = SqlState::from_code(&code);
        Some(Self::Server { code, message })
    }
}

impl SessionEnd {
    /// The end that an error of the driver's tells of, if its observer knows the reason and the
    /// driver does not: else the driver's error comes back.
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

    /// The server's SQLSTATE; `None` where this side ended the session: the server exceeded a limit,
    /// or what was sent left it in a state that nothing can follow.
    pub fn code(&self) -> Option<&SqlState> {
        match &self.reason {
            Reason::Server { code, .. } => Some(code),
            Reason::Limit(_) | Reason::GivenUp(_) => None,
        }
    }

    /// The server's words, as it sent them: show them through
    /// [`printable::line`](crate::printable::line). `None` as for [`code`](Self::code).
    pub fn message(&self) -> Option<&str> {
        match &self.reason {
            Reason::Server { message, .. } => Some(message),
            Reason::Limit(_) | Reason::GivenUp(_) => None,
        }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.code().map_or(ErrorKind::Other, driver::kind_of)
    }
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Reason::Server { code, message } => write!(
                f,
                "the server ended the session: {} (SQLSTATE {})",
                line(message),
                line(code.code())
            ),
            Reason::Limit(exceeded) => exceeded.fmt(f),
            Reason::GivenUp(reason) => f.write_str(reason),
        }
    }
}

impl StdError for SessionEnd {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.driver)
    }
}
