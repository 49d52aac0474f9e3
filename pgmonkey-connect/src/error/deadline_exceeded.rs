//! The error of a call that did not end by its deadline, and what took the time.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use super::{AcquireTimeout, Error, LostAnswer};
use crate::deadline::TimedCall;
use crate::limits;

/// A call that did not end by its [`Deadline`](crate::Deadline): what it was doing, and what became
/// of its statement.
///
/// ```
/// use pgmonkey_connect::Error;
/// use pgmonkey_connect::error::{DeadlineStage, StatementEnd};
///
/// /// Whether the call has changed nothing.
/// fn changed_nothing(error: &Error) -> bool {
///     let Error::DeadlineExceeded(exceeded) = error else { return false };
///     match exceeded.stage {
///         DeadlineStage::Running(end) => end == StatementEnd::Cancelled,
///         _ => true, // it had no session yet
///     }
/// }
/// # assert!(!changed_nothing(&Error::NoRow));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct DeadlineExceeded {
    /// What the call was doing at the deadline.
    pub stage: DeadlineStage,
    /// How long the call took.
    pub elapsed: Duration,
    /// How much of it had passed when the call had its session; zero for a call on a session that
    /// the caller holds.
    pub acquired_after: Duration,
    /// The pool at the deadline, if the call still had no session.
    pub acquire: Option<Arc<AcquireTimeout>>,
}

/// What a call was doing at its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeadlineStage {
    /// Nothing: the deadline had passed before. Nothing was sent.
    Passed,
    /// It waited for a session that others held. Nothing was sent.
    Waiting,
    /// It waited for a session to be opened. Nothing was sent.
    Connecting,
    /// Its statement was running, or its closure.
    Running(StatementEnd),
}

/// What became of a statement that was running at the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StatementEnd {
    /// The server has cancelled it. Outside a transaction, nothing of it is kept; an open
    /// transaction has failed.
    Cancelled,
    /// It is being cancelled. It may have been executed.
    Abandoned,
    /// The server did not answer the cancel request, and the session was closed. The statement may
    /// have been executed.
    Unanswered,
}

impl DeadlineExceeded {
    /// The error of a call that had no session at its deadline.
    fn without_session(timeout: Arc<AcquireTimeout>, call: TimedCall) -> Self {
        let opens = timeout.status.opening > 0 || timeout.last_error.is_some();
        let stage = match opens {
            true => DeadlineStage::Connecting,
            false => DeadlineStage::Waiting,
        };
        Self {
            acquire: Some(timeout),
            ..Self::at(stage, call)
        }
    }

    fn at(stage: DeadlineStage, call: TimedCall) -> Self {
        Self {
            stage,
            elapsed: call.began.elapsed(),
            acquired_after: call.acquired.saturating_duration_since(call.began),
            acquire: None,
        }
    }

    /// The error of a statement that was running at the deadline.
    pub fn running(end: StatementEnd, call: TimedCall) -> Error {
        Self::at(DeadlineStage::Running(end), call).into()
    }

    /// Converts the result of a call whose statement was told to end at the deadline; `silent` says
    /// that the server did not react in time. A statement that completed nevertheless keeps its
    /// result, and one that failed for another reason its error.
    ///
    /// # Errors
    ///
    /// The error of the call; [`Error::DeadlineExceeded`] if the deadline is its cause.
    pub fn of_answer<T>(done: Result<T, Error>, silent: bool, call: TimedCall) -> Result<T, Error> {
        done.map_err(|error| {
            if error.code() == Some(&SqlState::QUERY_CANCELED) {
                return Self::running(StatementEnd::Cancelled, call);
            }
            // A COMMIT keeps its own error.
            let is_loss = match &error {
                Error::OutcomeUnknown(lost) => LostAnswer::cause(lost).is_session_lost(),
                // A ping has a limit of its own as well.
                Error::Unanswered { .. } => call.deadline.is_over(Instant::now()),
                error => error.is_session_lost(),
            };
            match silent && is_loss {
                true => Self::running(StatementEnd::Unanswered, call),
                false => error,
            }
        })
    }
}

impl From<DeadlineExceeded> for Error {
    fn from(exceeded: DeadlineExceeded) -> Self {
        Self::DeadlineExceeded(Arc::new(exceeded))
    }
}

impl fmt::Display for DeadlineExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DeadlineStage::Running(end) = self.stage else {
            return self.write_without_session(f);
        };
        write!(f, "deadline exceeded after {:.1?}", self.elapsed)?;
        if self.acquired_after > self.elapsed / 10 {
            let after = self.acquired_after;
            write!(f, ", {after:.1?} of it before a session was acquired")?;
        }
        f.write_str(match end {
            StatementEnd::Cancelled => ": the server was running the statement and cancelled it",
            StatementEnd::Abandoned => {
                ": the server was running the statement, which is being cancelled and may have been executed"
            }
            StatementEnd::Unanswered => {
                ": the server was running the statement and did not answer the cancel request"
            }
        })?;
        match end {
            StatementEnd::Unanswered => write!(
                f,
                " within {:?}: the server or the network is unresponsive; the session was closed, and the statement may have been executed",
                limits::OVERDUE
            ),
            _ => Ok(()),
        }
    }
}

impl DeadlineExceeded {
    fn write_without_session(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            DeadlineStage::Connecting => "deadline exceeded while a session was being opened",
            DeadlineStage::Waiting => "deadline exceeded while waiting for a session",
            _ => return f.write_str("the deadline had passed before the call: nothing was sent"),
        })?;
        match &self.acquire {
            Some(timeout) => write!(f, ": {timeout}"),
            None => write!(f, ", after {:.1?}", self.elapsed),
        }
    }
}

impl StdError for DeadlineExceeded {}

impl TimedCall {
    /// Refuses a call whose deadline has passed.
    ///
    /// # Errors
    ///
    /// [`Error::DeadlineExceeded`].
    pub fn check(self) -> Result<(), Error> {
        match self.deadline.is_over(Instant::now()) {
            true => Err(DeadlineExceeded::at(DeadlineStage::Passed, self).into()),
            false => Ok(()),
        }
    }

    /// Converts the error of an acquire if this deadline ended it, and not the pool's `timeout` or
    /// the hook's own failure.
    #[must_use]
    pub fn explain_acquire(self, error: Error) -> Error {
        match error {
            Error::Timeout(timeout) if self.deadline.is_over(Instant::now()) => {
                DeadlineExceeded::without_session(timeout, self).into()
            }
            // A new session that the hook does not accept counts as one that was not opened.
            Error::Hook(_) if self.deadline.is_over(Instant::now()) => {
                DeadlineExceeded::at(DeadlineStage::Connecting, self).into()
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deadline::TimeLimit;
    use crate::error::tests::refused;
    use crate::status::Status;

    fn call(limit: Duration) -> TimedCall {
        TimedCall::begin(TimeLimit::Each(limit))
    }

    fn exceeded(status: Status, last_error: Option<Error>) -> Error {
        let mut timeout = AcquireTimeout::new("app@db/shop".into(), Duration::ZERO, status);
        timeout.last_error = last_error;
        call(Duration::ZERO).explain_acquire(Error::Timeout(Arc::new(timeout)))
    }

    #[test]
    fn what_took_the_time_is_told_apart() {
        let stage = |error: &Error| match error {
            Error::DeadlineExceeded(exceeded) => Some(exceeded.stage),
            _ => None,
        };
        let opening = Status {
            opening: 1,
            ..Status::default()
        };
        let waiting = exceeded(Status::default(), None);
        assert_eq!(stage(&waiting), Some(DeadlineStage::Waiting));
        assert!(waiting.is_transient() && waiting.is_deadline() && !waiting.is_timeout());
        for connecting in [
            exceeded(opening, None),
            exceeded(Status::default(), Some(refused())),
        ] {
            assert_eq!(stage(&connecting), Some(DeadlineStage::Connecting));
            assert!(connecting.is_transient());
        }
        let over = call(Duration::ZERO);
        let passed = over.check().expect_err("it is over");
        assert!(passed.is_deadline() && !passed.is_transient());
        let running = DeadlineExceeded::running(StatementEnd::Unanswered, over);
        assert!(running.is_deadline() && !running.is_transient());
        let text = running.to_string();
        assert!(text.contains("may have been executed"), "{text}");
    }

    #[test]
    fn the_pools_own_timeout_keeps_its_error() {
        let timeout = AcquireTimeout::new("app@db/shop".into(), Duration::ZERO, Status::default());
        let error =
            call(Duration::from_secs(60)).explain_acquire(Error::Timeout(Arc::new(timeout)));
        assert!(error.is_timeout() && !error.is_deadline());
    }

    #[test]
    fn errors_and_results_with_other_causes_stay() {
        let over = call(Duration::ZERO);
        let done = DeadlineExceeded::of_answer(Ok(1), false, over);
        assert_eq!(done.ok(), Some(1));
        let kept = DeadlineExceeded::of_answer::<()>(Err(Error::NoRow), true, over);
        assert!(matches!(kept, Err(Error::NoRow)));
    }
}
