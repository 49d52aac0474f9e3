//! The errors of a session's statements, and what was sent that may end a transaction: enough to
//! tell why a transaction failed, however its caller reports that.

use std::sync::atomic::Ordering;

use tokio_postgres::error::DbError;

use super::{Observer, lock};
use crate::wire::server_error::ServerFailure;

/// Statements are refused with this after an error in their transaction; it says nothing new.
const IN_FAILED_TRANSACTION: &str = "25P02";

/// The last errors of a session's statements.
#[derive(Debug, Default)]
pub(super) struct Failures {
    last: Option<ServerFailure>,
    /// The last one that is not the consequence of an earlier one.
    cause: Option<ServerFailure>,
    /// How many such causes there were, modulo 2³².
    causes: u32,
}

/// What a session had seen when an attempt at a transaction began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptMark {
    causes: u32,
    endings: u32,
}

impl Observer {
    /// The last error of a statement, after the login.
    pub fn last_failure(&self) -> Option<ServerFailure> {
        lock(&self.failures).last.clone()
    }

    /// Records an error of a statement.
    pub(crate) fn note_failure(&self, failure: ServerFailure) {
        let mut failures = lock(&self.failures);
        if failure.code != IN_FAILED_TRANSACTION {
            failures.causes = failures.causes.wrapping_add(1);
            failures.cause = Some(failure.clone());
        }
        failures.last = Some(failure);
    }

    /// Records an error that the driver returned, where the wire is not observed.
    pub fn note_driver_failure(&self, error: &DbError) {
        self.note_failure(ServerFailure {
            code: error.code().code().to_owned(),
            message: error.message().to_owned(),
            bound: true,
            has_routine: error.routine().is_some(),
        });
    }

    /// Marks the beginning of an attempt at a transaction.
    pub fn mark_attempt(&self) -> AttemptMark {
        AttemptMark {
            causes: lock(&self.failures).causes,
            endings: self.endings.load(Ordering::Acquire),
        }
    }

    /// The last error since then that is not the consequence of an earlier one.
    pub fn failure_since(&self, mark: AttemptMark) -> Option<ServerFailure> {
        let failures = lock(&self.failures);
        let cause = failures.cause.as_ref();
        cause.filter(|_| failures.causes != mark.causes).cloned()
    }

    /// Whether a text was sent since then that may end a transaction.
    pub fn has_sent_end_since(&self, mark: AttemptMark) -> bool {
        self.endings.load(Ordering::Acquire) != mark.endings
    }

    /// Records that a text is sent that may end a transaction.
    pub fn note_ending(&self) {
        self.endings.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: &str) -> ServerFailure {
        ServerFailure {
            code: code.to_owned(),
            message: String::new(),
            bound: false,
            has_routine: true,
        }
    }

    #[test]
    fn the_consequences_of_an_error_do_not_hide_it() {
        let observer = Observer::default();
        observer.note_failure(failure("42601"));
        let mark = observer.mark_attempt();
        assert_eq!(observer.failure_since(mark), None, "an earlier one");
        observer.note_failure(failure("40001"));
        observer.note_failure(failure("25P02"));
        assert_eq!(observer.failure_since(mark), Some(failure("40001")));
        assert_eq!(observer.last_failure(), Some(failure("25P02")));
        let next = observer.mark_attempt();
        assert_eq!(observer.failure_since(next), None);
    }

    #[test]
    fn an_end_that_was_sent_is_remembered() {
        let observer = Observer::default();
        let mark = observer.mark_attempt();
        assert!(!observer.has_sent_end_since(mark));
        observer.note_ending();
        assert!(observer.has_sent_end_since(mark));
        assert!(!observer.has_sent_end_since(observer.mark_attempt()));
    }
}
