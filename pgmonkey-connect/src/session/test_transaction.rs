//! Support for test pools whose single session never leaves its transaction.

use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use pgmonkey_config::{PoolSettings, Reset};

use crate::Error;

/// Sets the savepoint that protects the work of previous callers.
pub const KEEP: &str = "SAVEPOINT pgmonkey_test";
/// Keeps the work done since the savepoint.
pub const KEEP_MORE: &str = "RELEASE SAVEPOINT pgmonkey_test; SAVEPOINT pgmonkey_test";
/// Undoes the work done since the savepoint.
pub const UNDO: &str = "ROLLBACK TO SAVEPOINT pgmonkey_test";

/// Changes settings to those of a pool with one session, which is neither replaced nor reset.
pub fn only_session(settings: &mut PoolSettings) {
    settings.min_size = 1;
    settings.max_size = 1;
    settings.num_workers = 1;
    settings.max_lifetime = None;
    settings.multiplex = false;
    settings.reset = Reset::None;
}

/// The current task, or the thread outside a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Task(tokio::task::Id),
    Thread(ThreadId),
}

impl Caller {
    fn current() -> Self {
        match tokio::task::try_id() {
            Some(id) => Self::Task(id),
            None => Self::Thread(std::thread::current().id()),
        }
    }
}

/// The holder of the single session.
///
/// A caller that holds it and acquires another would wait for itself.
#[derive(Debug, Default)]
pub struct Holder(Mutex<Option<(Caller, &'static Location<'static>)>>);

impl Holder {
    /// Checks that the calling task or thread may wait for the session.
    ///
    /// # Errors
    ///
    /// [`Error::TestSessionHeld`] if it holds the session itself.
    pub fn check(&self) -> Result<(), Error> {
        match *self.held() {
            Some((caller, location)) if caller == Caller::current() => {
                Err(Error::TestSessionHeld { location })
            }
            _ => Ok(()),
        }
    }

    /// Records the calling task or thread as the holder.
    pub fn take(&self, location: &'static Location<'static>) {
        *self.held() = Some((Caller::current(), location));
    }

    /// Records that the session is not held any more.
    pub fn release(&self) {
        *self.held() = None;
    }

    fn held(&self) -> MutexGuard<'_, Option<(Caller, &'static Location<'static>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_holder_is_refused() {
        let holder = Holder::default();
        assert!(holder.check().is_ok());
        holder.take(Location::caller());
        let error = holder.check().expect_err("it would wait for itself");
        assert!(error.to_string().contains("test_transaction.rs"), "{error}");
        std::thread::scope(|scope| {
            let other = scope.spawn(|| holder.check().is_ok());
            assert!(other.join().expect("no panic"));
        });
        holder.release();
        assert!(holder.check().is_ok());
    }
}
