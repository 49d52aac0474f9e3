//! Calls on Unix sockets, where the wire is not observed and only the server ends them: each runs on
//! a thread of its own, which a server that does not answer occupies until it does.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use pgmonkey_connect::plan::Address;

/// How many threads may wait for one server after their callers have given up: a server that stands
/// still for hours is tried again all the time.
const MOST_LEFT: u32 = 16;

/// The threads that are left waiting, by the address of the server.
static LEFT: LazyLock<Mutex<HashMap<Address, u32>>> = LazyLock::new(Mutex::default);

/// Returns the result of `work`, a call to the server at `address`, if there is one by the deadline.
/// Otherwise `work` continues unattended, and its result is dropped where it ends. Returns `None` at
/// once, and drops `work`, while [`MOST_LEFT`] earlier calls continue like that.
pub(crate) fn on_thread<T: Send + 'static>(
    name: &str,
    address: &Address,
    deadline: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    if left().get(address).is_some_and(|left| *left >= MOST_LEFT) {
        return Ok(None);
    }
    // Without room for a result, so that sending one fails if and only if the caller has given up.
    let (answer, answered) = sync_channel(0);
    let at = address.clone();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // A panic must not keep the place of a call whose caller has given up.
            let result = catch_unwind(AssertUnwindSafe(work)).ok();
            if let Err(given_up) = answer.send(result) {
                drop(given_up);
                returned(&at);
            }
        })?;
    let patience = deadline.saturating_duration_since(Instant::now());
    match answered.recv_timeout(patience) {
        // `None`: it has panicked.
        Ok(result) => Ok(result),
        Err(RecvTimeoutError::Disconnected) => Ok(None),
        Err(RecvTimeoutError::Timeout) => {
            // Before the receiver is dropped: afterwards the thread may end at any time.
            *left().entry(address.clone()).or_default() += 1;
            Ok(None)
        }
    }
}

fn returned(address: &Address) {
    let mut left = left();
    if let Some(count) = left.get_mut(address) {
        *count -= 1;
        if *count == 0 {
            left.remove(address);
        }
    }
}

fn left() -> MutexGuard<'static, HashMap<Address, u32>> {
    // No code that can panic runs under the lock.
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
