//! Transactions and savepoints of one session: begun, and ended only if they are still open.

use pgmonkey_connect::Error;
use pgmonkey_connect::nesting::{self, Found, Mark};
use pgmonkey_connect::wire::{TransactionEnd, WireState};

use super::Session;

impl Session {
    /// Begins a transaction at depth 0, a savepoint further inward.
    pub(crate) async fn begin(&self, depth: u32) -> Result<Mark, Error> {
        self.run(&nesting::begin(depth)).await?;
        self.note_begun(depth);
        Ok(self.mark(depth))
    }

    pub(crate) fn mark(&self, depth: u32) -> Mark {
        let ends = self.observer.transaction_ends().count;
        Mark { depth, ends }
    }

    /// Commits a transaction, or releases a savepoint, if it is still the one that was begun.
    pub(crate) async fn commit(&self, mark: Mark) -> Result<(), Error> {
        self.note_ended(mark.depth);
        match self.look(mark).await? {
            Found::Open => {
                self.run(&nesting::commit(mark.depth)).await?;
                mark.committed(self.observer.transaction_ends())
            }
            Found::Failed => {
                self.run(&nesting::rollback(mark.depth)).await?;
                Err(Error::RolledBack)
            }
            Found::Over(by) => self.is_over_already("commit", mark, by).await,
        }
    }

    /// Rolls a transaction back, or goes back to a savepoint, if it is still the one that was
    /// begun.
    pub(crate) async fn roll_back_to(&self, mark: Mark) -> Result<(), Error> {
        self.note_ended(mark.depth);
        match self.look(mark).await? {
            Found::Open | Found::Failed => {
                self.run(&nesting::rollback(mark.depth)).await?;
                mark.rolled_back(self.observer.transaction_ends())
            }
            Found::Over(by) => self.is_over_already("rollback", mark, by).await,
        }
    }

    /// What a text has left open in its place is rolled back.
    async fn is_over_already(
        &self,
        action: &'static str,
        mark: Mark,
        by: Option<TransactionEnd>,
    ) -> Result<(), Error> {
        if mark.depth == 0 && self.state_at_rest().await? != WireState::Idle {
            self.run("ROLLBACK").await?;
        }
        Err(nesting::ended(action, by))
    }

    pub(super) async fn look(&self, mark: Mark) -> Result<Found, Error> {
        let state = self.state_at_rest().await?;
        if state == WireState::Closed {
            // The driver says why.
            self.run("").await?;
        }
        Ok(mark.look(state, self.observer.transaction_ends()))
    }

    /// The mark of a transaction that a text has begun.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] if none is open.
    pub(crate) async fn mark_open(&self, action: &'static str) -> Result<Mark, Error> {
        match self.state_at_rest().await? {
            WireState::Idle => Err(Error::NoTransaction { action }),
            // The one that is open is not the caller's.
            _ if self.outermost() > 0 => Err(Error::NoTransaction { action }),
            _ => Ok(self.mark(0)),
        }
    }
}
