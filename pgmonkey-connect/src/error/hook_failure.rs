//! How a user-supplied hook failed.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use tokio_postgres::error::{DbError, SqlState};

use super::{Error, ErrorKind, text_of};
use crate::printable::{Line, line};

/// How a hook failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookFailure {
    /// The hook returned an error.
    #[error(fmt = write_failed)]
    Failed {
        /// `after_connect`, `before_acquire` or `after_release`.
        hook: &'static str,
        /// The returned error.
        error: Error,
    },
    /// The hook panicked.
    #[error("the {hook} hook panicked: {}", line(text))]
    Panicked {
        /// The hook's name.
        hook: &'static str,
        /// The panic message, if it was text.
        text: String,
    },
    /// The hook took too long.
    #[error("the {hook} hook did not end within {limit:.1?}")]
    TimedOut {
        /// The hook's name.
        hook: &'static str,
        /// The time limit.
        limit: Duration,
    },
    /// The hook left a transaction or a statement open.
    #[error("the {hook} hook left a transaction or a statement open: end it in the hook")]
    LeftOpen {
        /// The hook's name.
        hook: &'static str,
    },
    /// The hook refused a session that had never been handed out before.
    #[error("the {hook} hook refused a new session")]
    Refused {
        /// The hook's name.
        hook: &'static str,
    },
}

impl HookFailure {
    /// Converts a panic payload.
    pub fn panicked(hook: &'static str, payload: &(dyn Any + Send)) -> Self {
        let text = text_of(payload);
        Self::Panicked { hook, text }
    }

    /// The kind of failure: that of the hook's own error; transient for a refusal or a timeout,
    /// which the next session may avoid.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Failed { error, .. } => error.kind(),
            Self::TimedOut { .. } | Self::Refused { .. } => ErrorKind::Transient,
            Self::Panicked { .. } | Self::LeftOpen { .. } => ErrorKind::Other,
        }
    }

    /// The SQLSTATE, if the server gave one.
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Failed { error, .. } => error.code(),
            _ => None,
        }
    }

    /// The server's error, if the hook's own error came from the server.
    pub(crate) fn as_db_error(&self) -> Option<&DbError> {
        match self {
            Self::Failed { error, .. } => error.as_db_error(),
            _ => None,
        }
    }
}

/// Passes the alternate form (`{:#}`) on to the hook's error.
fn write_failed(hook: &str, error: &Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "the {hook} hook failed: ")?;
    match f.alternate() {
        true => write!(f, "{}", Line(format_args!("{error:#}"))),
        false => write!(f, "{}", Line(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_by_its_text() {
        let text =
            |payload: Box<dyn Any + Send>| HookFailure::panicked("test", &*payload).to_string();
        assert_eq!(text(Box::new("a word")), "the test hook panicked: a word");
        assert_eq!(
            text(Box::new("two".to_owned())),
            "the test hook panicked: two"
        );
        assert_eq!(text(Box::new(3)), "the test hook panicked: no text");
    }
}
