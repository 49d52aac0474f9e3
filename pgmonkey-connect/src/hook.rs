//! What a program's hooks may say of a session, and what that means for it.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::{DbError, SqlState};

use crate::error::{Error, ErrorKind};
use crate::printable::{Line, line};

/// What a hook wants done with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookVerdict {
    /// Go on with it.
    Keep,
    /// End it.
    Discard,
}

/// How a hook failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookFailure {
    /// It returned an error.
    #[error(fmt = write_failed)]
    Failed {
        /// `after_connect`, `before_acquire` or `after_release`.
        hook: &'static str,
        /// What it returned.
        error: Error,
    },
    /// It panicked.
    #[error("the {hook} hook panicked: {}", line(text))]
    Panicked {
        /// Which one.
        hook: &'static str,
        /// What it said, if it was text.
        text: String,
    },
    /// It took too long.
    #[error("the {hook} hook did not end within {limit:.1?}")]
    TimedOut {
        /// Which one.
        hook: &'static str,
        /// How long it may take.
        limit: Duration,
    },
    /// It left a transaction or a statement open.
    #[error("the {hook} hook left a transaction or a statement open: end it in the hook")]
    LeftOpen {
        /// Which one.
        hook: &'static str,
    },
    /// It refused a session that had never been lent before.
    #[error("the {hook} hook refused a new session")]
    Refused {
        /// Which one.
        hook: &'static str,
    },
}

impl HookFailure {
    /// Takes what a panic left behind.
    pub fn panicked(hook: &'static str, payload: &(dyn Any + Send)) -> Self {
        let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref()) {
            (Some(text), _) => (*text).to_owned(),
            (None, Some(text)) => String::clone(text),
            (None, None) => "no text".to_owned(),
        };
        Self::Panicked { hook, text }
    }

    /// What kind of failure it is: what the hook's own error says; transient if the hook may
    /// want the next session, or be quicker then.
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

    /// What the server said, if the hook's own error came from it.
    pub(crate) fn as_db_error(&self) -> Option<&DbError> {
        match self {
            Self::Failed { error, .. } => error.as_db_error(),
            _ => None,
        }
    }
}

/// The error keeps the form that was asked for.
fn write_failed(hook: &str, error: &Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "the {hook} hook failed: ")?;
    match f.alternate() {
        true => write!(f, "{}", Line(format_args!("{error:#}"))),
        false => write!(f, "{}", Line(error)),
    }
}

/// What becomes of a session that a hook was asked about before it is lent.
#[derive(Debug)]
pub enum Approval {
    /// Lend it.
    Lend,
    /// End it and take another, at once.
    TryAnother,
    /// End it; it counts as one that could not be opened.
    Fail(Error),
}

/// What the answer of a `before_acquire` hook means. A session that has been lent before may
/// have aged, so that another is tried; what is wrong with a new one will be wrong with the next.
pub fn approval(answer: Result<HookVerdict, HookFailure>, was_lent: bool) -> Approval {
    const HOOK: &str = "before_acquire";
    match answer {
        Ok(HookVerdict::Keep) => Approval::Lend,
        _ if was_lent => Approval::TryAnother,
        Ok(HookVerdict::Discard) => {
            Approval::Fail(Error::Hook(Arc::new(HookFailure::Refused { hook: HOOK })))
        }
        Err(failure) => Approval::Fail(Error::Hook(Arc::new(failure))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> HookFailure {
        HookFailure::LeftOpen { hook: "test" }
    }

    #[test]
    fn a_used_session_is_replaced_and_a_new_one_counts_as_not_opened() {
        let keep = || Ok(HookVerdict::Keep);
        assert!(matches!(approval(keep(), true), Approval::Lend));
        assert!(matches!(approval(keep(), false), Approval::Lend));
        let refused = || Ok(HookVerdict::Discard);
        assert!(matches!(approval(refused(), true), Approval::TryAnother));
        assert!(matches!(
            approval(Err(failed()), true),
            Approval::TryAnother
        ));
        let Approval::Fail(error) = approval(refused(), false) else {
            panic!("it is new");
        };
        assert!(error.is_transient(), "{error}");
        let Approval::Fail(error) = approval(Err(failed()), false) else {
            panic!("it is new");
        };
        assert!(!error.is_transient(), "{error}");
    }

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
