//! One caller's position in the queue.

use std::task::{Context, Poll};
use std::time::Duration;

use super::checkout::Checkout;
use super::limits::ALARM;
use super::outcome::Ticket;
use super::shell::{Delivery, Shell};
use super::slot::SharedSlot;
use super::sync::{Arc, Instant};
use crate::Error;

/// A position in the queue. Dropping it leaves the queue and releases a session that was delivered
/// meanwhile.
pub struct Waiter<P: Shell> {
    pool: Arc<P>,
    slot: SharedSlot<Delivery<P::Session>>,
    place: Place,
    began: Instant,
    served: bool,
    counted: bool,
}

/// A waiter's position.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) ticket: Ticket,
    /// Whether the pool's maintenance wakes the waiter when its timeout is near.
    pub(super) watched: bool,
}

impl<P: Shell> Waiter<P> {
    pub(super) fn new(
        pool: Arc<P>,
        slot: SharedSlot<Delivery<P::Session>>,
        place: Place,
        began: Instant,
    ) -> Self {
        Self {
            pool,
            slot,
            place,
            began,
            served: false,
            counted: false,
        }
    }

    /// Counts the caller as waiting.
    pub(super) fn count(&mut self) {
        self.counted = true;
        self.pool.core().label().waits();
    }

    /// Ready when a session or an error is delivered.
    pub fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Checkout<P>, Error>> {
        self.slot.poll(cx).map(|delivery| self.unpack(delivery))
    }

    /// Blocks the thread until a session or an error is delivered, at most until `deadline`.
    pub fn wait(&mut self, deadline: Option<Instant>) -> Option<Result<Checkout<P>, Error>> {
        let delivery = self.slot.wait(deadline)?;
        Some(self.unpack(delivery))
    }

    /// Whether a task that has `left` until its timeout needs a timer. If not, it will be woken when
    /// it does.
    pub fn needs_timer(&self, left: Duration) -> bool {
        !self.place.watched || left < ALARM
    }

    /// Gives up waiting: returns what was delivered at the last moment, or the timeout error.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`].
    pub fn time_out(mut self) -> Result<Checkout<P>, Error> {
        match self.leave() {
            Some(delivery) => self.unpack(delivery),
            None => Err(self.pool.core().timed_out(self.began)),
        }
    }

    /// Leaves the queue; returns what was delivered before.
    fn leave(&mut self) -> Option<Delivery<P::Session>> {
        self.served = true;
        let mut state = self.pool.core().lock();
        match state.leave(self.place.ticket) {
            Some(_) => None,
            // The serving side fills the slot before it releases the lock.
            None => self.slot.take(),
        }
    }

    fn unpack(&mut self, delivery: Delivery<P::Session>) -> Result<Checkout<P>, Error> {
        self.served = true;
        delivery.map(|granted| Checkout::new(Arc::clone(&self.pool), granted))
    }
}

impl<P: Shell> Drop for Waiter<P> {
    fn drop(&mut self) {
        let core = self.pool.core();
        if !core.origin().is_here() {
            return std::mem::forget((Arc::clone(&self.pool), Arc::clone(&self.slot)));
        }
        if !self.served
            && let Some(delivery) = self.leave()
        {
            // The session is untouched: dropping its checkout releases it.
            drop(self.unpack(delivery));
        }
        if self.counted {
            self.pool.core().label().waited();
        }
    }
}
