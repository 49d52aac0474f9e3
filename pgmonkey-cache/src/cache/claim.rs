use std::hash::Hash;
use std::sync::Arc;

use super::{Cache, Replaced};
use crate::flight::{Flight, Mark, Outcome};

/// The exclusive right to build the value of one key.
///
/// If it is dropped without [`finish`](Self::finish), because the builder panicked or its future
/// was dropped, it wakes the waiters and one of them builds.
pub(crate) struct Claim<'a, K: Eq + Hash + Clone, V: Clone, E: Clone> {
    cache: &'a Cache<K, V, E>,
    key: K,
    flight: Arc<Flight<V, E>>,
    finished: bool,
}

impl<'a, K: Eq + Hash + Clone, V: Clone, E: Clone> Claim<'a, K, V, E> {
    pub(crate) fn new(cache: &'a Cache<K, V, E>, key: K, flight: Arc<Flight<V, E>>) -> Self {
        Self {
            cache,
            key,
            flight,
            finished: false,
        }
    }

    /// Runs a builder on this thread.
    pub(crate) fn run<T>(&self, build: impl FnOnce() -> T) -> T {
        let _mark: Mark = self.flight.mark();
        build()
    }

    /// Publishes a value, or on an error leaves the cache as it was, and wakes the waiters.
    pub(crate) fn finish(mut self, result: Result<V, E>) -> Result<Replaced<V>, E> {
        let told = result.clone();
        let old = match &result {
            Ok(value) => self.cache.publish(&self.key, value.clone()),
            Err(_) => {
                self.cache.forget_flight(&self.key);
                None
            }
        };
        self.finished = true;
        self.flight.land(Outcome::Done(told));
        result.map(|new| Replaced { new, old })
    }
}

impl<K: Eq + Hash + Clone, V: Clone, E: Clone> Drop for Claim<'_, K, V, E> {
    fn drop(&mut self) {
        if !self.finished {
            // In this order: a woken waiter must not find the dead flight again.
            self.cache.forget_flight(&self.key);
            self.flight.land(Outcome::Abandoned);
        }
    }
}
