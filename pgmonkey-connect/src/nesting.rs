//! The statements that begin and end a transaction at a depth, 0 for the transaction itself, then
//! savepoints inward; and whether the one that is to be ended is the one that was begun.
//!
//! A text that a caller sends may end the transaction (`ROLLBACK`, `COMMIT AND CHAIN`, a migration
//! with a `COMMIT` of its own) and even begin another. What tells is that the state is the one
//! good state, and that no transaction has ended since.

use std::borrow::Cow;

use crate::Error;
use crate::wire::{TransactionEnd, TransactionEnds, WireState};

/// Opens a transaction or a savepoint.
pub fn begin(depth: u32) -> Cow<'static, str> {
    match depth {
        0 => "BEGIN".into(),
        _ => format!("SAVEPOINT pgmonkey_{depth}").into(),
    }
}

/// Keeps its work.
pub fn commit(depth: u32) -> Cow<'static, str> {
    match depth {
        0 => "COMMIT".into(),
        _ => format!("RELEASE SAVEPOINT pgmonkey_{depth}").into(),
    }
}

/// Undoes its work.
pub fn rollback(depth: u32) -> Cow<'static, str> {
    match depth {
        0 => "ROLLBACK".into(),
        // Going back to a savepoint keeps it; releasing it as well leaves nothing behind.
        _ => format!("ROLLBACK TO SAVEPOINT pgmonkey_{depth}; RELEASE SAVEPOINT pgmonkey_{depth}")
            .into(),
    }
}

/// A transaction or savepoint that is open: how it can be told from another one later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// 0 for a transaction, then savepoints inward.
    pub depth: u32,
    /// How many transactions of the session had ended when it was opened.
    pub ends: u32,
}

/// What is found where a transaction is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It is open.
    Open,
    /// It is open and has failed: all that is left is to roll it back.
    Failed,
    /// It is over.
    Over(Option<TransactionEnd>),
}

impl Mark {
    /// What has become of the transaction, with every request answered.
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

    /// Whether the statement that was sent to commit it, and succeeded, has done so.
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

    /// Whether the statement that was sent to roll it back, and succeeded, has done so.
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

    /// How the one statement that was sent for that has ended it: a transaction by exactly one
    /// end, a savepoint by none. `None` if there were others.
    fn ended_by(self, now: TransactionEnds) -> Option<Option<TransactionEnd>> {
        let more = u32::from(self.depth == 0);
        let alone = now.count == self.ends.wrapping_add(more);
        alone.then_some(now.last.filter(|_| more > 0))
    }
}

/// The error for a transaction that a text had ended.
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
