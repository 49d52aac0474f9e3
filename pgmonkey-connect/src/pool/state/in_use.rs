//! Sessions in use: whether one is being checked, acquired by its caller or being cleaned.

use super::PoolState;
use crate::pool::checkouts::{CheckoutId, Use};
use crate::pool::outcome::Ticket;
use crate::pool::sync::Instant;

impl<S, W> PoolState<S, W> {
    /// Marks a checkout as being checked, before its caller gets the session.
    pub fn check(&mut self, id: CheckoutId) {
        self.checkouts.becomes(id, Use::Checked, None);
    }

    /// Marks a checkout as acquired by its caller, from `now` on.
    pub fn mark_acquired(&mut self, id: CheckoutId, now: Instant) {
        self.checkouts.becomes(id, Use::Acquired, Some(now));
    }

    /// The ticket of a checkout's caller: its position in the queue.
    pub fn ticket(&self, id: CheckoutId) -> Option<Ticket> {
        self.checkouts.get(id)?.ticket
    }

    /// Labels a checkout with the name of its transaction.
    pub fn set_label(&mut self, id: CheckoutId, label: std::sync::Arc<str>) {
        self.checkouts.set_label(id, label);
    }

    /// Takes back the count of one acquire whose session did not reach the caller.
    #[inline]
    pub fn not_acquired(&mut self) {
        self.acquires = self.acquires.saturating_sub(1);
    }

    /// Marks a checkout's session as released and being cleaned.
    pub fn clean(&mut self, id: CheckoutId) {
        self.checkouts.becomes(id, Use::Cleaned, None);
    }
}
