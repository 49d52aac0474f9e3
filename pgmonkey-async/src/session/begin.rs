//! A `BEGIN` that is sent with the first statement of its transaction.

use pgmonkey_connect::Error;
use pgmonkey_connect::savepoint::Mark;
use pgmonkey_connect::sql;
use pgmonkey_connect::wire::{BeginMessages, Unbegun, WireState};

use super::Session;

impl Session {
    /// Has these statements, `BEGIN` and what follows it, sent with the next one. Returns whether
    /// they are; otherwise the caller sends them now: if the session is not idle, so that they come
    /// after what is under way.
    ///
    /// # Errors
    ///
    /// [`Error::OpenedBeforeFork`].
    pub(super) async fn defer_begin(&self, text: &str) -> Result<bool, Error> {
        self.make_ready().await?;
        self.settle().await;
        if !self.activity.is_idle() || self.state() != WireState::Idle {
            return Ok(false);
        }
        let begin = sql::statements(text).and_then(BeginMessages::new);
        let defers = begin.is_some();
        begin
            .into_iter()
            .for_each(|begin| self.observer.defer_begin(begin));
        Ok(defers)
    }

    /// Ends a transaction that the server does not have, because its `BEGIN` was not sent or has
    /// failed. `None` if the server has it.
    pub(super) async fn cancel_begin(&self, mark: Mark) -> Option<Unbegun> {
        if mark.depth > 0 || !self.observer.has_begin() {
            return None;
        }
        self.settle().await;
        self.cancel_begin_now()
    }

    /// As [`cancel_begin`](Self::cancel_begin); also `None` if a request may be queued in the driver,
    /// which would then run outside of the transaction.
    pub(crate) fn cancel_begin_now(&self) -> Option<Unbegun> {
        match self.observer.has_begin() && self.activity.spin_until_idle() {
            true => self.observer.cancel_begin(),
            false => None,
        }
    }
}
