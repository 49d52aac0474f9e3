//! The attempts at one transaction: whether another one follows a failure, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use super::{Options, Retry};
use crate::error::pooler::{self, Report};
use crate::error::{ErrorKind, RetriesExhausted, driver};
use crate::wire::{AttemptMark, Observer, ServerFailure, WireState};
use crate::{Deadline, Error};

/// Why an attempt failed, as seen on the wire: the closure may have swallowed the error, or made
/// another one of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A serialization failure or a deadlock. The server has rolled the transaction back.
    Conflict(ServerFailure),
    /// The session was lost before a text was sent that may end the transaction, or turned out to
    /// be at a standby.
    Lost(Option<ServerFailure>),
    /// Another error of a statement, the closure's own, or an unknown outcome.
    Other,
}

impl Reason {
    /// The reason why an attempt that began at `mark` failed with `error`, one of ours.
    pub fn of_error(observer: &Observer, mark: AttemptMark, error: &Error) -> Self {
        match error {
            // `confirm_commit` has found that the COMMIT did not take place.
            Error::NotCommitted(_) => Self::Lost(observer.end_reason()),
            _ => Self::of(observer, mark, error.is_session_lost()),
        }
    }

    /// The reason why an attempt failed that began at `mark`. `is_closed` says whether the session
    /// has ended.
    pub fn of(observer: &Observer, mark: AttemptMark, is_closed: bool) -> Self {
        let failure = observer.failure_since(mark);
        if let Some(failure) = &failure
            && driver::is_conflict(&SqlState::from_code(&failure.code))
        {
            return Self::Conflict(failure.clone());
        }
        // A standby has written nothing.
        if let Some(failure) = failure.clone().filter(|_| observer.is_unexpected_standby()) {
            return Self::Lost(Some(failure));
        }
        // A pooler may keep the client's session open for a moment after it lost the server's.
        let has_lost = |failure| pooler::leaves_in_doubt(Report::of_end(failure));
        let is_closed = is_closed
            || observer.state() == WireState::Closed
            || failure.as_ref().is_some_and(has_lost);
        let by_us = observer.condemned().is_some() || observer.exceeded().is_some();
        if !is_closed || by_us || observer.has_sent_end_since(mark) {
            return Self::Other;
        }
        // What took too long inside the transaction will take as long again.
        let reason = failure.or_else(|| observer.end_reason());
        match &reason {
            Some(failure) if driver::kind_of_end(failure) != ErrorKind::Transient => Self::Other,
            _ => Self::Lost(reason),
        }
    }

    fn seen(&self) -> Option<&ServerFailure> {
        match self {
            Self::Conflict(failure) => Some(failure),
            Self::Lost(failure) => failure.as_ref(),
            Self::Other => None,
        }
    }

    /// The SQLSTATE, if the server gave one.
    pub fn code(&self) -> Option<&str> {
        self.seen().map(|failure| &*failure.code)
    }
}

/// What follows a failed attempt.
#[derive(Debug)]
pub enum Next {
    /// The error is returned as it is.
    Return,
    /// Another attempt, after this pause.
    Again(Duration),
    /// No attempt or no time is left.
    GiveUp(GaveUp),
}

/// The end of the last attempt.
#[derive(Debug)]
pub struct GaveUp {
    attempts: u32,
    elapsed: Duration,
    label: Option<Arc<str>>,
    timeout: Option<Duration>,
}

impl GaveUp {
    /// The error to return. `last` is the error of the last attempt, if it is one of ours; `reason`
    /// is why it failed.
    pub fn error(self, last: Option<Error>, reason: &Reason) -> Error {
        let seen = reason.seen();
        // What the closure swallowed says more.
        let last = last.filter(|last| !matches!(last, Error::RolledBack));
        let mut failure = RetriesExhausted::new(self.attempts, self.elapsed, last, seen);
        (failure.label, failure.timeout) = (self.label, self.timeout);
        Error::RetriesExhausted(Arc::new(failure))
    }
}

/// The attempts at one transaction.
#[derive(Debug)]
pub struct Attempts {
    retry: Option<Retry>,
    label: Option<Arc<str>>,
    timeout: Option<Duration>,
    deadline: Option<Deadline>,
    began: Instant,
    failed: u32,
}

impl Attempts {
    /// No attempt so far; the time for all of them begins `now`.
    pub fn new(options: &Options, now: Instant) -> Self {
        Self {
            retry: options.retry.clone(),
            label: options.label.clone(),
            timeout: options.timeout,
            deadline: options.deadline(now),
            began: now,
            failed: 0,
        }
    }

    /// When the last attempt must have ended.
    pub fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// How many attempts have failed.
    pub fn failures(&self) -> u32 {
        self.failed
    }

    /// An attempt has failed for this reason. `unit`, in 0..1, spreads the pause.
    pub fn failed(&mut self, reason: &Reason, now: Instant, unit: f64) -> Next {
        self.failed = self.failed.saturating_add(1);
        let Some(retry) = &self.retry else {
            return Next::Return;
        };
        let may_go_on = match reason {
            Reason::Conflict(_) => true,
            Reason::Lost(_) => retry.lost_sessions,
            Reason::Other => false,
        };
        if !may_go_on || retry.attempts == 1 {
            return Next::Return;
        }
        let pause = retry.pause(self.failed, unit);
        let in_time = |deadline: Deadline| pause < deadline.remaining(now);
        let too_late = !self.deadline.is_none_or(in_time);
        if self.failed < retry.attempts && !too_late {
            return Next::Again(pause);
        }
        Next::GiveUp(GaveUp {
            attempts: self.failed,
            elapsed: now.saturating_duration_since(self.began),
            label: self.label.clone(),
            timeout: self.timeout.filter(|_| too_late),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failure(code: &str) -> ServerFailure {
        ServerFailure {
            code: code.to_owned(),
            message: "could not serialize access".to_owned(),
            bound: true,
            has_routine: true,
        }
    }

    fn conflict() -> Reason {
        Reason::Conflict(failure("40001"))
    }

    fn attempts(retry: Retry, timeout: Option<Duration>, now: Instant) -> Attempts {
        let options = Options {
            retry: Some(retry),
            timeout,
            label: Some("transfer".into()),
            ..Options::default()
        };
        Attempts::new(&options, now)
    }

    fn failure_of(observer: &Observer, mark: AttemptMark) -> Reason {
        Reason::of(observer, mark, false)
    }

    fn note(observer: &Observer, code: &str) {
        observer.note_failure(failure(code));
    }

    #[test]
    fn the_last_error_on_the_wire_is_the_reason() {
        let observer = Observer::default();
        let mark = observer.mark_attempt();
        assert_eq!(
            failure_of(&observer, mark),
            Reason::Other,
            "the closure's own"
        );
        for (code, conflicts) in [
            ("42601", false),
            ("40001", true),
            ("40P01", true),
            ("23505", false),
        ] {
            note(&observer, code);
            note(&observer, "25P02");
            let reason = failure_of(&observer, mark);
            assert_eq!(matches!(reason, Reason::Conflict(_)), conflicts, "{code}");
            assert_eq!(reason.code(), conflicts.then_some(code));
        }
        let next = observer.mark_attempt();
        assert_eq!(failure_of(&observer, next), Reason::Other);
    }

    #[test]
    fn a_lost_session_is_a_reason_until_an_end_was_sent() {
        let observer = Observer::default();
        let mark = observer.mark_attempt();
        observer.fall_silent();
        assert_eq!(failure_of(&observer, mark), Reason::Lost(None));
        observer.note_ending();
        assert_eq!(failure_of(&observer, mark), Reason::Other);
        let given_up = Observer::default();
        let mark = given_up.mark_attempt();
        given_up.condemn("by a call");
        assert_eq!(failure_of(&given_up, mark), Reason::Other);
    }

    #[test]
    fn a_session_that_was_ended_for_its_slowness_is_no_reason() {
        for (code, is_lost) in [("57P01", true), ("25P03", false), ("25P04", false)] {
            let observer = Observer::default();
            let mark = observer.mark_attempt();
            note(&observer, code);
            let reason = Reason::of(&observer, mark, true);
            assert_eq!(matches!(reason, Reason::Lost(_)), is_lost, "{code}");
        }
    }

    #[test]
    fn a_pooler_that_lost_the_server_is_a_reason() {
        for (code, message, is_closed, is_lost) in [
            ("08P01", "server conn crashed?", true, true),
            ("08P01", "server login has been failing", true, true),
            ("08P01", "idle transaction timeout", true, false),
            ("XX000", "unable to read data from DB node 0", false, true),
        ] {
            let observer = Observer::default();
            let mark = observer.mark_attempt();
            observer.note_failure(ServerFailure {
                message: message.to_owned(),
                has_routine: false,
                ..failure(code)
            });
            let reason = Reason::of(&observer, mark, is_closed);
            assert_eq!(matches!(reason, Reason::Lost(_)), is_lost, "{message}");
        }
    }

    #[test]
    fn without_retry_the_first_error_is_returned() {
        let now = Instant::now();
        let mut attempts = Attempts::new(&Options::default(), now);
        assert!(matches!(
            attempts.failed(&conflict(), now, 0.5),
            Next::Return
        ));
    }

    #[test]
    fn a_lost_session_is_followed_by_another_attempt_on_request() {
        let now = Instant::now();
        for (on_request, goes_on) in [(false, false), (true, true)] {
            let retry = Retry::default().retry_lost_sessions(on_request);
            let mut attempts = attempts(retry, None, now);
            let next = attempts.failed(&Reason::Lost(None), now, 0.5);
            assert_eq!(matches!(next, Next::Again(_)), goes_on);
        }
    }

    #[test]
    fn the_last_error_says_how_many_attempts_there_were() {
        let now = Instant::now();
        let mut attempts = attempts(Retry::attempts(2), None, now);
        assert!(matches!(
            attempts.failed(&conflict(), now, 0.0),
            Next::Again(_)
        ));
        let later = now + Duration::from_millis(1500);
        let Next::GiveUp(gave_up) = attempts.failed(&conflict(), later, 0.0) else {
            panic!("it was the last");
        };
        let error = gave_up.error(Some(Error::RolledBack), &conflict());
        assert_eq!(
            error.to_string(),
            "the transaction transfer failed after 2 attempts in 1.5s: could not serialize access \
             (SQLSTATE 40001)"
        );
        assert!(error.is_conflict() && error.is_transient());
    }

    #[test]
    fn an_attempt_that_would_begin_too_late_is_not_made() {
        let now = Instant::now();
        let timeout = Duration::from_secs(2);
        let mut attempts = attempts(Retry::attempts(9), Some(timeout), now);
        let Next::GiveUp(gave_up) = attempts.failed(&conflict(), now + timeout, 0.0) else {
            panic!("no time is left");
        };
        let error = gave_up.error(None, &Reason::Lost(None)).to_string();
        assert!(
            error.contains("after 1 attempt in 2.0s, and its timeout of 2s leaves no time"),
            "{error}"
        );
        assert!(error.ends_with(": the session was lost"), "{error}");
    }

    proptest! {
        #[test]
        fn attempts_and_pauses_keep_to_their_limits(
            most in 0_u32..12,
            first in 0_u64..5_000,
            longest in 0_u64..5_000,
            timeout in proptest::option::of(0_u64..20_000),
            steps in proptest::collection::vec((0_u64..2_000, 0.0_f64..1.0, 0_u8..5), 20),
        ) {
            let millis = Duration::from_millis;
            let mut now = Instant::now();
            let end = timeout.map(|timeout| now + millis(timeout));
            let retry = Retry::attempts(most).backoff(millis(first), millis(longest));
            let mut attempts = attempts(retry, timeout.map(millis), now);
            let mut made = 0;
            for (took, unit, kind) in steps {
                now += millis(took);
                made += 1;
                let reason = match kind {
                    0 => Reason::Other,
                    1 => Reason::Lost(None),
                    _ => conflict(),
                };
                match attempts.failed(&reason, now, unit) {
                    Next::Again(pause) => {
                        prop_assert!(matches!(reason, Reason::Conflict(_)));
                        prop_assert!(pause <= millis(first.min(longest) << made.min(16)).max(millis(longest)).mul_f64(1.5));
                        now += pause;
                        prop_assert!(end.is_none_or(|end| now < end), "begins in time");
                        prop_assert!(made < most, "one more is left");
                    }
                    Next::GiveUp(_) | Next::Return => break,
                }
            }
            prop_assert!(made <= most.max(1));
            prop_assert_eq!(attempts.failures(), made);
        }
    }
}
