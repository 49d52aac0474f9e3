//! The statements that begin and end a transaction (depth 0) or a savepoint (depth 1 and more), and
//! the check that the transaction to end is the one that was begun.
//!
//! SQL text from a caller may end the transaction (`ROLLBACK`, `COMMIT AND CHAIN`, a migration with
//! its own `COMMIT`) and even begin another. A transaction is the same one if the session is in a
//! transaction and none has ended since.

use std::borrow::Cow;

use crate::Error;
use crate::error::DeadlineStage;
use crate::wire::{TransactionEnd, TransactionEnds, WireState};

/// The statement that begins a transaction or savepoint.
pub fn begin(depth: u32) -> Cow<'static, str> {
    match depth {
        0 => "BEGIN".into(),
        _ => format!("SAVEPOINT pgmonkey_{depth}").into(),
    }
}

/// The statement that commits a transaction or releases a savepoint.
pub fn commit(depth: u32) -> Cow<'static, str> {
    match depth {
        0 => "COMMIT".into(),
        _ => format!("RELEASE SAVEPOINT pgmonkey_{depth}").into(),
    }
}

/// The statements that roll back a transaction or savepoint.
pub fn rollback(depth: u32) -> Cow<'static, str> {
    match depth {
        0 => "ROLLBACK".into(),
        // `ROLLBACK TO` keeps the savepoint itself, so release it as well.
        _ => format!("ROLLBACK TO SAVEPOINT pgmonkey_{depth}; RELEASE SAVEPOINT pgmonkey_{depth}")
            .into(),
    }
}

/// Whether nothing was sent of an attempt to begin or end a transaction or savepoint, because the
/// deadline had passed before. Otherwise it has begun or ended, even if the attempt failed.
pub fn is_unsent<T>(attempt: &Result<T, Error>) -> bool {
    match attempt {
        Err(Error::DeadlineExceeded(exceeded)) => exceeded.stage == DeadlineStage::Passed,
        _ => false,
    }
}

/// Identifies an open transaction or savepoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// 0 for a transaction, 1 and more for nested savepoints.
    pub depth: u32,
    /// How many transactions of the session had ended when it began.
    pub ends: u32,
}

/// The state of a transaction that is about to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is open.
    Open,
    /// It has failed and can only be rolled back.
    Failed,
    /// It has already ended.
    Over(Option<TransactionEnd>),
}

impl Mark {
    /// The state of the transaction, once every request is answered.
    pub fn look(self, state: WireState, now: TransactionEnds) -> Found {
        if now.count != self.ends {
            return Found::Over(now.last);
        }
        match state {
            WireState::InTransaction => Found::Open,
            WireState::Failed => Found::Failed,
            _ => Found::Over(None),
        }
    }

    /// Checks that the commit statement, which succeeded, committed this transaction or savepoint.
    ///
    /// # Errors
    ///
    /// [`Error::RolledBack`] if the server rolled back instead, [`Error::TransactionEnded`].
    pub fn committed(self, now: TransactionEnds) -> Result<(), Error> {
        match self.ended_by(now) {
            Some(None | Some(TransactionEnd::Commit)) => Ok(()),
            Some(Some(TransactionEnd::Rollback)) => Err(Error::RolledBack),
            _ => Err(ended("commit", None)),
        }
    }

    /// Checks that the rollback statement, which succeeded, rolled back this transaction or
    /// savepoint.
    ///
    /// # Errors
    ///
    /// [`Error::TransactionEnded`].
    pub fn rolled_back(self, now: TransactionEnds) -> Result<(), Error> {
        match self.ended_by(now) {
            Some(None | Some(TransactionEnd::Rollback)) => Ok(()),
            _ => Err(ended("rollback", None)),
        }
    }

    /// How the statement that was sent to end a transaction has ended it, if the server has answered
    /// it, and only it.
    pub(crate) fn end_of_transaction(self, now: TransactionEnds) -> Option<TransactionEnd> {
        self.ended_by(now).flatten()
    }

    /// How the one statement that was sent for it has ended it. A transaction adds exactly one end,
    /// a savepoint none; any other number gives `None`.
    fn ended_by(self, now: TransactionEnds) -> Option<Option<TransactionEnd>> {
        let more = u32::from(self.depth == 0);
        let alone = now.count == self.ends.wrapping_add(more);
        alone.then_some(now.last.filter(|_| more > 0))
    }
}

/// The error for a transaction that SQL text has already ended.
pub fn ended(action: &'static str, by: Option<TransactionEnd>) -> Error {
    Error::TransactionEnded {
        action,
        by: by.map(TransactionEnd::as_str),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(count: u32, last: TransactionEnd) -> TransactionEnds {
        TransactionEnds {
            count,
            last: Some(last),
        }
    }

    #[test]
    fn only_a_commit_that_the_server_answered_as_such_is_one() {
        let mark = Mark { depth: 0, ends: 3 };
        let outcome = |count, last| mark.committed(ends(count, last));
        assert!(outcome(4, TransactionEnd::Commit).is_ok());
        let rolled_back = outcome(4, TransactionEnd::Rollback);
        assert!(matches!(rolled_back, Err(Error::RolledBack)));
        for (count, last) in [
            (5, TransactionEnd::Commit),
            (3, TransactionEnd::Commit),
            (4, TransactionEnd::Prepare),
        ] {
            assert!(outcome(count, last).is_err(), "{count} {last:?}");
        }
    }

    #[test]
    fn a_transaction_is_open_in_one_state_and_before_any_other_end() {
        let mark = Mark { depth: 0, ends: 3 };
        let same = ends(3, TransactionEnd::Rollback);
        assert_eq!(mark.look(WireState::InTransaction, same), Found::Open);
        assert_eq!(mark.look(WireState::Failed, same), Found::Failed);
        for state in [WireState::Idle, WireState::Busy(1), WireState::Closed] {
            assert_eq!(mark.look(state, same), Found::Over(None), "{state:?}");
        }
        let another = ends(4, TransactionEnd::Commit);
        let over = Found::Over(Some(TransactionEnd::Commit));
        assert_eq!(mark.look(WireState::InTransaction, another), over);
    }

    #[test]
    fn a_savepoint_ends_inside_its_transaction() {
        let mark = Mark { depth: 2, ends: 3 };
        let now = ends(3, TransactionEnd::Prepare);
        assert!(mark.committed(now).is_ok() && mark.rolled_back(now).is_ok());
        let after = ends(4, TransactionEnd::Commit);
        assert!(mark.committed(after).is_err() && mark.rolled_back(after).is_err());
    }

    #[test]
    fn a_rollback_is_one_that_the_server_answered_as_such() {
        let mark = Mark { depth: 0, ends: 0 };
        let outcome = |count, last| mark.rolled_back(ends(count, last));
        assert!(outcome(1, TransactionEnd::Rollback).is_ok());
        assert!(outcome(1, TransactionEnd::Commit).is_err());
        assert!(outcome(2, TransactionEnd::Rollback).is_err());
    }
}
