//! Whether a statement or a `COMMIT` was executed whose session was lost before the answer.
//!
//! A session that is lost takes its open transaction with it. What is in doubt is what may have
//! been committed: a `COMMIT`, and a statement outside a transaction. Both only if something of
//! them was sent.

use crate::Error;
use crate::savepoint::Mark;
use crate::sql::{Effects, effects, only_reads};
use crate::wire::{Observer, TransactionEnd};

/// What is known of a session just before a statement is sent on it.
#[derive(Debug, Clone, Copy)]
pub struct Sending {
    /// The number of requests sent before; unknown where the wire is not observed.
    requests: Option<u32>,
    /// Whether a transaction is known to be open, where the wire is not observed.
    inside: bool,
}

impl Sending {
    /// Reads what is known before a statement is sent. Costs one load.
    ///
    /// On a Unix socket the blocking driver's wire is not observed: there `inside` says whether the
    /// session has begun a transaction, and each statement counts as sent.
    #[inline]
    pub fn on(observer: Option<&Observer>, inside: bool) -> Self {
        Self {
            requests: observer.map(Observer::requests),
            inside,
        }
    }

    /// Returns the error of a statement that failed with `error`: [`Error::OutcomeUnknown`] if the
    /// session was lost and the statement may have been executed. `text` is its SQL text, if known.
    #[cold]
    pub fn explain(self, error: Error, observer: Option<&Observer>, text: Option<&str>) -> Error {
        match self.lost_answer(&error, observer) && self.may_be_kept(observer, text) {
            true => Error::outcome_unknown(error),
            false => error,
        }
    }

    /// Returns the outcome of the statement that was to commit `mark`, where `done` is its answer.
    ///
    /// # Errors
    ///
    /// [`Error::CommitUnknown`] if a `COMMIT` was sent and not answered; otherwise the errors of
    /// [`Mark::committed`], and that of `done`.
    pub fn committed(
        self,
        mark: Mark,
        done: Result<(), Error>,
        observer: Option<&Observer>,
    ) -> Result<(), Error> {
        let ends = observer.map(Observer::transaction_ends);
        match done {
            Ok(()) => ends.map_or(Ok(()), |ends| mark.committed(ends)),
            // With the session, a savepoint is lost in any case.
            Err(error) if mark.depth == 0 && self.lost_answer(&error, observer) => {
                // The answer may have arrived before the end of the session.
                match ends.and_then(|ends| mark.end_of_transaction(ends)) {
                    Some(TransactionEnd::Commit) => Ok(()),
                    Some(TransactionEnd::Rollback) => Err(Error::RolledBack),
                    _ => Err(Error::commit_unknown(error)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Whether something of the statement was sent, and the session was lost before the answer.
    fn lost_answer(self, error: &Error, observer: Option<&Observer>) -> bool {
        let sent = || observer.map(Observer::requests) != self.requests || observer.is_none();
        error.is_session_lost() && !error.ended_while_idle() && sent()
    }

    /// Whether the work of a statement may be kept although its session was lost.
    fn may_be_kept(self, observer: Option<&Observer>, text: Option<&str>) -> bool {
        let found = text.map_or(Effects::UNKNOWN, effects);
        let (inside, read_only, copying) = observer.map_or((self.inside, false, false), |seen| {
            (
                seen.was_in_transaction(),
                seen.parameter("default_transaction_read_only").as_deref() == Some("on"),
                seen.takes_copy_data(),
            )
        });
        if copying {
            // A copy is only executed once the client has ended it.
            return false;
        }
        match (inside, text) {
            // A prepared statement cannot end a transaction by accident.
            (true, None) => false,
            (true, Some(_)) => found.has(Effects::ENDS),
            (false, None) => true,
            (false, Some(text)) => !(only_reads(text) || read_only && found == Effects::NONE),
        }
    }
}
