//! Who may have a session next: as many as the pool is large, in the order they came.
//!
//! mobc has a fair queue of its own, but none that can be closed, or be asked how many wait. In
//! front of it stands this gate: behind it nobody waits for anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pgmonkey_connect::ledger::Ledger;
use pgmonkey_connect::{Error, events};
use tokio::sync::{Notify, Semaphore, TryAcquireError};
use tracing::Instrument;

/// A fair, closable semaphore for tasks.
pub(crate) struct Gate {
    places: Arc<Places>,
    waiting: AtomicU32,
    what: &'static str,
    max_waiting: Option<u32>,
}

struct Places {
    free: Semaphore,
    /// How many more are out than the size allows, after it was made smaller.
    too_many: AtomicUsize,
    /// Notified when a place comes back after the gate was closed.
    back: Notify,
}

/// The right to one session; dropping it gives it back.
pub(crate) struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

impl Places {
    fn give_back(&self) {
        if self.free.is_closed() {
            self.back.notify_waiters();
        }
        let one_less = |too_many: usize| too_many.checked_sub(1);
        let owed = self
            .too_many
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        if owed.is_err() {
            self.free.add_permits(1);
        }
    }
}

/// One task that waits; dropping it ends the wait.
struct Waiting<'a>(&'a AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    pub(crate) fn new(what: &'static str, size: u32, max_waiting: Option<u32>) -> Self {
        Self {
            places: Arc::new(Places {
                free: Semaphore::new(size as usize),
                too_many: AtomicUsize::new(0),
                back: Notify::new(),
            }),
            waiting: AtomicU32::new(0),
            what,
            max_waiting,
        }
    }

    /// Takes a place, waiting for at most `timeout` behind those who came before.
    pub(crate) async fn enter(&self, ledger: &Ledger, timeout: Duration) -> Result<Place, Error> {
        match self.places.free.try_acquire() {
            Ok(permit) => {
                permit.forget();
                Ok(Place(Arc::clone(&self.places)))
            }
            Err(TryAcquireError::Closed) => Err(Error::Closed { what: self.what }),
            Err(TryAcquireError::NoPermits) => {
                let wait = self.wait(ledger, timeout);
                match events::wait(ledger.name()) {
                    Some(span) => Box::pin(wait.instrument(span)).await,
                    None => wait.await,
                }
            }
        }
    }

    async fn wait(&self, ledger: &Ledger, timeout: Duration) -> Result<Place, Error> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        if self.max_waiting.is_some_and(|most| before >= most) {
            return Err(ledger.queue_full());
        }
        let began = Instant::now();
        let wait = ledger.waits(began);
        match tokio::time::timeout(timeout, self.places.free.acquire()).await {
            Ok(Ok(permit)) => {
                permit.forget();
                Ok(Place(Arc::clone(&self.places)))
            }
            Ok(Err(_)) => Err(Error::Closed { what: self.what }),
            Err(_) => {
                drop(wait);
                Err(ledger.timed_out(began.elapsed(), Instant::now()))
            }
        }
    }

    /// Whether there is a place, and nobody who waits for it.
    pub(crate) fn has_room(&self) -> bool {
        self.places.free.available_permits() > 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.places.free.is_closed()
    }

    /// How many places have to come back for everybody to be content: for those who wait, and
    /// for a size that was made smaller.
    pub(crate) fn wanted(&self) -> u32 {
        let too_many = self.places.too_many.load(Ordering::Relaxed);
        let too_many = u32::try_from(too_many).unwrap_or(u32::MAX);
        self.waiting
            .load(Ordering::Relaxed)
            .saturating_add(too_many)
    }

    /// Takes a place if one is free and nobody waits for it.
    pub(crate) fn try_enter(&self) -> Option<Place> {
        let permit = self.places.free.try_acquire().ok()?;
        permit.forget();
        Some(Place(Arc::clone(&self.places)))
    }

    /// Has `more` places from now on, fewer if it is negative: those taken are not taken away,
    /// but not given out again.
    pub(crate) fn resize(&self, more: i64) {
        let change = usize::try_from(more.unsigned_abs()).unwrap_or(Semaphore::MAX_PERMITS);
        let places = &self.places;
        if more < 0 {
            let missing = change - places.free.forget_permits(change);
            places.too_many.fetch_add(missing, Ordering::SeqCst);
        } else {
            (0..change).for_each(|_| places.give_back());
        }
    }

    /// Waits until `is_over`, or for at most `timeout`; looks again whenever a place comes back
    /// after the gate was closed. Whether it is over.
    pub(crate) async fn wait_back(&self, timeout: Duration, is_over: impl Fn() -> bool) -> bool {
        let wait = async {
            loop {
                let back = self.places.back.notified();
                if is_over() {
                    return;
                }
                back.await;
            }
        };
        tokio::time::timeout(timeout, wait).await.is_ok()
    }

    /// Lets nobody in any more and sends those who wait away.
    pub(crate) fn close(&self) {
        self.places.free.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    fn ledger() -> Arc<Ledger> {
        Arc::new(Ledger::new("u@h:1/d", 0, 1))
    }

    async fn until(condition: impl Fn() -> bool) {
        let end = Instant::now() + LONG;
        while !condition() {
            assert!(Instant::now() < end, "did not come about within {LONG:?}");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn waiters_are_served_in_the_order_they_came() {
        let (gate, ledger) = (Arc::new(Gate::new("pool", 1, None)), ledger());
        let first = gate.enter(&ledger, LONG).await.expect("free");
        let (served, mut order) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..8 {
            let (gate, book, served) = (Arc::clone(&gate), Arc::clone(&ledger), served.clone());
            tokio::spawn(async move {
                let _place = gate.enter(&book, LONG).await.expect("served");
                served.send(number).expect("the test listens");
            });
            until(|| ledger.status().waiting == number + 1).await;
        }
        drop(first);
        for number in 0..8 {
            assert_eq!(order.recv().await, Some(number));
        }
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_leaves_its_place_to_the_next() {
        let (gate, ledger) = (Gate::new("pool", 1, None), ledger());
        let place = gate.enter(&ledger, LONG).await.expect("free");
        let error = gate.enter(&ledger, Duration::from_millis(5)).await.err();
        assert!(error.is_some_and(|error| error.is_timeout()));
        assert_eq!(ledger.status().waiting, 0);
        drop(place);
        assert!(gate.enter(&ledger, Duration::ZERO).await.is_ok());
    }

    #[tokio::test]
    async fn one_waiter_too_many_is_refused_at_once() {
        let (gate, ledger) = (Gate::new("pool", 1, Some(0)), ledger());
        let _place = gate.enter(&ledger, LONG).await.expect("free");
        let began = Instant::now();
        let error = gate.enter(&ledger, LONG).await.err().expect("full");
        assert!(matches!(error, Error::QueueFull { .. }), "{error}");
        assert!(began.elapsed() < LONG / 10);
    }

    #[tokio::test]
    async fn closing_wakes_everybody() {
        let (gate, ledger) = (Arc::new(Gate::new("pool", 1, None)), ledger());
        let place = gate.enter(&ledger, LONG).await.expect("free");
        let waiter = {
            let (gate, ledger) = (Arc::clone(&gate), Arc::clone(&ledger));
            tokio::spawn(async move { gate.enter(&ledger, LONG).await.map(drop) })
        };
        until(|| ledger.status().waiting == 1).await;
        gate.close();
        let error = waiter.await.expect("no panic").expect_err("closed");
        assert!(error.is_closed());
        drop(place);
        assert!(
            gate.enter(&ledger, LONG)
                .await
                .is_err_and(|e| e.is_closed())
        );
    }

    #[tokio::test]
    async fn a_smaller_gate_takes_no_place_away_and_gives_none_out_again() {
        let (gate, ledger) = (Gate::new("pool", 2, None), ledger());
        let (first, second) = (gate.try_enter(), gate.try_enter());
        assert!(first.is_some() && second.is_some() && gate.try_enter().is_none());
        gate.resize(-1);
        drop(first);
        assert!(
            gate.enter(&ledger, Duration::ZERO).await.is_err(),
            "one is out"
        );
        drop(second);
        gate.resize(1);
        let both = [gate.try_enter(), gate.try_enter()];
        assert!(both.iter().all(Option::is_some) && gate.try_enter().is_none());
    }
}
