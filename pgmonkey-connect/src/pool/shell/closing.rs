//! Closing a pool, and waiting until its last session has ended.

use super::{Delivery, Shell, unlock};
use crate::pool::slot::{SharedSlot, Slot};
use crate::pool::sync::{Arc, Instant};
use crate::telemetry::events;

/// Closes the pool: it hands out no more sessions. False if it was already closed.
pub fn close<P: Shell>(pool: &P) -> bool {
    let core = pool.core();
    if !core.origin.is_here() {
        return false;
    }
    let mut state = core.lock();
    if !state.close() {
        return false;
    }
    let todo = state.todo(Instant::now());
    unlock(core, state, todo).tell(pool);
    if let Some(member) = core.membership() {
        member.withdraw();
    }
    events::closed(core.label.name(), core.what);
    true
}

/// Returns a handle that resolves once a closed pool has no session left; `None` if it has none
/// already.
pub fn drained<P: Shell>(pool: &P) -> Option<Drained<P::Session>> {
    let core = pool.core();
    if !core.origin.is_here() {
        return None;
    }
    let slot = SharedSlot::new(Slot::new());
    let mut state = core.lock();
    state.watch(Arc::clone(&slot));
    let todo = state.todo(Instant::now());
    unlock(core, state, todo).tell(pool);
    match slot.take() {
        Some(_) => None,
        None => Some(Drained(slot)),
    }
}

/// Resolves when a closed pool's last session has ended.
pub struct Drained<S>(SharedSlot<Delivery<S>>);

impl<S> Drained<S> {
    /// Ready once the last session has ended.
    pub fn poll(&self, cx: &std::task::Context<'_>) -> std::task::Poll<()> {
        self.0.poll(cx).map(drop)
    }

    /// Blocks until the last session has ended or `deadline` passes; returns whether it has ended.
    pub fn wait(&self, deadline: Instant) -> bool {
        self.0.wait(Some(deadline)).is_some()
    }
}
