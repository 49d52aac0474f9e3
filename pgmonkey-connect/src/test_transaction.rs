//! What a pool whose one session never leaves its transaction must know, for tests.

use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use pgmonkey_config::{PoolSettings, Reset};

use crate::Error;

/// The savepoint behind which everything is kept that the last borrowers did.
pub const KEEP: &str = "SAVEPOINT pgmonkey_test";
/// Keeps what has been done since.
pub const KEEP_MORE: &str = "RELEASE SAVEPOINT pgmonkey_test; SAVEPOINT pgmonkey_test";
/// Undoes what has been done since.
pub const UNDO: &str = "ROLLBACK TO SAVEPOINT pgmonkey_test";

/// Makes settings those of a pool of one session, which stays and is not tidied up.
pub fn only_session(settings: &mut PoolSettings) {
    settings.min_size = 1;
    settings.max_size = 1;
    settings.num_workers = 1;
    settings.max_lifetime = None;
    settings.multiplex = false;
    settings.reset = Reset::None;
}

/// A task where there is one, else a thread.
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

/// Who has the one session.
///
/// A caller that has it and asks for another would wait for itself.
#[derive(Debug, Default)]
pub struct Holder(Mutex<Option<(Caller, &'static Location<'static>)>>);

impl Holder {
    /// Whether the calling task or thread may wait for the session.
    ///
    /// # Errors
    ///
    /// [`Error::TestSessionHeld`] if it has it.
    pub fn check(&self) -> Result<(), Error> {
        match *self.held() {
            Some((caller, place)) if caller == Caller::current() => {
                Err(Error::TestSessionHeld { place })
            }
            _ => Ok(()),
        }
    }

    /// The calling task or thread has it now.
    pub fn take(&self, place: &'static Location<'static>) {
        *self.held() = Some((Caller::current(), place));
    }

    /// Nobody has it any more.
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
