//! Putting a pool to sleep, and the end of its maintenance.

use std::time::Duration;

use super::{PoolCore, Shell, unlock};
use crate::pool::sync::Instant;
use crate::status::CloseReason;

/// Puts the pool to sleep if it has been unused for `at_least` and can sleep; returns whether it
/// fell asleep. `end` receives the sessions to close with [`end_all`](super::end_all).
pub fn sleep<P: Shell>(
    pool: &P,
    at_least: Duration,
    end: impl FnOnce(Vec<(P::Session, CloseReason)>),
) -> bool {
    let core = pool.core();
    if !core.origin.is_here() {
        return false;
    }
    let now = Instant::now();
    let mut state = core.lock();
    let since = state.unused_since(now);
    let is_due = since.is_some_and(|since| now.saturating_duration_since(since) >= at_least);
    if !is_due || !state.sleep() {
        return false;
    }
    let todo = state.todo(now);
    let mut deferred = unlock(core, state, todo);
    let over = std::mem::take(&mut deferred.end);
    if !over.is_empty() {
        end(over);
    }
    deferred.tell(pool);
    if let Some(member) = core.membership() {
        member.withdraw();
    }
    true
}

impl<S> PoolCore<S> {
    /// Since when no caller has used the pool, as far as calls of this function notice; `None`
    /// while one holds a session or waits.
    pub fn unused_since(&self) -> Option<Instant> {
        let now = Instant::now();
        self.lock().unused_since(now)
    }

    /// Whether the pool sleeps.
    pub fn is_asleep(&self) -> bool {
        self.lock().is_asleep()
    }

    /// Asks on behalf of the maintenance whether it must end, because the pool sleeps; see
    /// [`PoolState::ends_maintenance`](crate::pool::PoolState::ends_maintenance).
    pub fn ends_maintenance(&self) -> bool {
        self.lock().ends_maintenance()
    }
}
