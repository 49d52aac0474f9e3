//! The async methods: the same steps as in `cache.rs`, but tasks wait instead of threads.

use std::future::{Future, poll_fn};
use std::hash::Hash;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use crate::cache::Claim;
use crate::cache::{Cache, Replaced, Turn};
use crate::flight::{Flight, Outcome};

impl<K: Eq + Hash + Clone, V: Clone, E: Clone> Cache<K, V, E> {
    /// The async version of [`get_or_try_init`](Self::get_or_try_init), for any runtime.
    ///
    /// Dropping the future is safe at any point: if it was building, the unfinished `build` is
    /// dropped and the next waiter builds instead; if it was waiting, nothing else changes.
    ///
    /// ```
    /// # use pgmonkey_cache::Cache;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), String> {
    /// let cache: Cache<&str, u16, String> = Cache::new();
    /// let port = cache.get_or_try_init_async(&"port", || async { Ok(5432) }).await?;
    /// assert_eq!(cache.get(&"port"), Some(port));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// The error of `build`, from this call or from the one it waited for.
    ///
    /// # Panics
    /// If `build` awaits the key that it builds, or if `build` panics. If `build` awaits its own
    /// key in a separate task, this cannot be detected: the call never returns.
    #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
    pub async fn get_or_try_init_async<F, Fut>(&self, key: &K, build: F) -> Result<V, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
    {
        self.get_or_try_renew_async(key, |_| false, build)
            .await
            .map(|replaced| replaced.new)
    }

    /// The async version of [`get_or_try_renew`](Self::get_or_try_renew), for any runtime.
    ///
    /// # Errors
    /// The error of `build`, from this call or from the one it waited for; a stale value stays
    /// cached.
    ///
    /// # Panics
    /// As [`get_or_try_init_async`](Self::get_or_try_init_async).
    #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
    pub async fn get_or_try_renew_async<F, Fut>(
        &self,
        key: &K,
        is_stale: impl Fn(&V) -> bool,
        build: F,
    ) -> Result<Replaced<V>, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
    {
        loop {
            match self.turn(key, &is_stale) {
                Turn::Take(new) => return Ok(Replaced { new, old: None }),
                Turn::Wait(flight) => match Waiting::new(&flight).await {
                    Outcome::Done(result) => return result.map(|new| Replaced { new, old: None }),
                    Outcome::Abandoned => {}
                },
                Turn::Build(claim) => {
                    let result = run(&claim, build).await;
                    return claim.finish(result);
                }
            }
        }
    }

    /// The async version of [`replace`](Self::replace), for any runtime. Dropping the future leaves
    /// the old value cached.
    ///
    /// # Errors
    /// The error of `build`; the old value stays cached.
    ///
    /// # Panics
    /// As [`get_or_try_init_async`](Self::get_or_try_init_async); the old value stays cached.
    #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
    pub async fn replace_async<F, Fut>(&self, key: &K, build: F) -> Result<Replaced<V>, E>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>>,
    {
        loop {
            match self.turn_to_replace(key) {
                Err(flight) => drop(Waiting::new(&flight).await),
                Ok(claim) => {
                    let result = run(&claim, build).await;
                    return claim.finish(result);
                }
            }
        }
    }
}

/// Runs a builder's future, marking the thread as the builder during each poll.
async fn run<K, V, E, F, Fut>(claim: &Claim<'_, K, V, E>, build: F) -> Result<V, E>
where
    K: Eq + Hash + Clone,
    V: Clone,
    E: Clone,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<V, E>>,
{
    let mut future = pin!(claim.run(build));
    poll_fn(|context| claim.run(|| future.as_mut().poll(context))).await
}

/// A task's wait for the end of a build; removes itself from the list when dropped.
struct Waiting<'a, V: Clone, E: Clone> {
    flight: &'a Flight<V, E>,
    ticket: Option<u64>,
}

impl<'a, V: Clone, E: Clone> Waiting<'a, V, E> {
    fn new(flight: &'a Flight<V, E>) -> Self {
        Self {
            flight,
            ticket: None,
        }
    }
}

impl<V: Clone, E: Clone> Future for Waiting<'_, V, E> {
    type Output = Outcome<V, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match this.flight.poll(&mut this.ticket, context.waker()) {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

impl<V: Clone, E: Clone> Drop for Waiting<'_, V, E> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.flight.leave(ticket);
        }
    }
}
