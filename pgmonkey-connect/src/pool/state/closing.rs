//! Closing a pool.

use super::PoolState;

impl<S, W> PoolState<S, W> {
    /// Closes the pool; false if it was already closed.
    pub fn close(&mut self) -> bool {
        !std::mem::replace(&mut self.closed, true)
    }

    /// Whether the pool is closed.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Notifies `watcher` once the pool is closed and has no session left.
    pub fn watch(&mut self, watcher: W) {
        self.watchers.push(watcher);
    }
}
