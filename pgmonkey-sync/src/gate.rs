//! Who may have a session next: as many as the pool is large, in the order they came.
//!
//! r2d2 wakes whoever comes first, so that a thread that asks again at once passes those that
//! wait. In front of it stands this gate: behind it nobody waits for anybody.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgmonkey_connect::ledger::Ledger;
use pgmonkey_connect::{Error, events};
use tracing::Span;

/// A fair, closable semaphore for threads.
pub(crate) struct Gate {
    queue: Mutex<Queue>,
    /// Notified when a place comes back after the gate was closed.
    back: Condvar,
    what: &'static str,
    max_waiting: Option<u32>,
}

struct Queue {
    /// Less than none while more are out than the size allows, after it was made smaller.
    free: i64,
    closed: bool,
    waiters: VecDeque<Arc<Waiter>>,
}

/// One thread that waits. Its condition variable is used with the gate's mutex only.
struct Waiter {
    /// Written and read under the gate's mutex.
    granted: AtomicBool,
    wake: Condvar,
}

/// The right to one session; give it back with [`Gate::leave`].
#[must_use = "a place that is not given back is lost"]
pub(crate) struct Place(());

impl Gate {
    pub(crate) fn new(what: &'static str, size: u32, max_waiting: Option<u32>) -> Self {
        Self {
            queue: Mutex::new(Queue {
                free: i64::from(size),
                closed: false,
                waiters: VecDeque::new(),
            }),
            back: Condvar::new(),
            what,
            max_waiting,
        }
    }

    /// Takes a place, waiting for at most `timeout` behind those who came before.
    pub(crate) fn enter(&self, ledger: &Ledger, timeout: Duration) -> Result<Place, Error> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(Error::Closed { what: self.what });
        }
        if queue.free > 0 && queue.waiters.is_empty() {
            queue.free -= 1;
            return Ok(Place(()));
        }
        if self
            .max_waiting
            .is_some_and(|most| queue.waiters.len() >= most as usize)
        {
            drop(queue);
            return Err(ledger.queue_full());
        }
        let waiter = Arc::new(Waiter {
            granted: AtomicBool::new(false),
            wake: Condvar::new(),
        });
        queue.waiters.push_back(Arc::clone(&waiter));
        self.wait(queue, &waiter, ledger, timeout)
    }

    fn wait(
        &self,
        mut queue: MutexGuard<'_, Queue>,
        waiter: &Arc<Waiter>,
        ledger: &Ledger,
        timeout: Duration,
    ) -> Result<Place, Error> {
        let _span = events::wait(ledger.name()).map(Span::entered);
        let began = Instant::now();
        let wait = ledger.waits(began);
        loop {
            if waiter.granted.load(Ordering::Relaxed) {
                return Ok(Place(()));
            }
            if queue.closed {
                return Err(Error::Closed { what: self.what });
            }
            let waited = began.elapsed();
            let Some(left) = timeout.checked_sub(waited).filter(|left| !left.is_zero()) else {
                queue.waiters.retain(|other| !Arc::ptr_eq(other, waiter));
                drop(queue);
                drop(wait);
                return Err(ledger.timed_out(waited, Instant::now()));
            };
            queue = match waiter.wake.wait_timeout(queue, left) {
                Ok((queue, _)) => queue,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Takes a place if one is free and nobody waits for it.
    pub(crate) fn try_enter(&self) -> Option<Place> {
        let mut queue = self.queue();
        if queue.closed || queue.free <= 0 || !queue.waiters.is_empty() {
            return None;
        }
        queue.free -= 1;
        Some(Place(()))
    }

    /// Gives a place back: to the one who has waited longest, if anybody waits.
    pub(crate) fn leave(&self, Place(()): Place) {
        let mut queue = self.queue();
        queue.free += 1;
        queue.admit();
        if queue.closed {
            self.back.notify_all();
        }
    }

    /// Has `more` places from now on, fewer if it is negative: those taken are not taken away,
    /// but not given out again.
    pub(crate) fn resize(&self, more: i64) {
        let mut queue = self.queue();
        queue.free += more;
        queue.admit();
    }

    /// Waits until `is_over` or the deadline; looks again whenever a place comes back after the
    /// gate was closed. Whether it is over.
    pub(crate) fn wait_back(&self, deadline: Instant, is_over: impl Fn() -> bool) -> bool {
        let mut queue = self.queue();
        while !is_over() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queue = match self.back.wait_timeout(queue, left) {
                Ok((queue, _)) => queue,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    /// Lets nobody in any more and sends those who wait away.
    pub(crate) fn close(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        for waiter in queue.waiters.drain(..) {
            waiter.wake.notify_one();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing in here can panic half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Lets in who has waited longest while there are places.
    fn admit(&mut self) {
        while self.free > 0
            && let Some(waiter) = self.waiters.pop_front()
        {
            self.free -= 1;
            waiter.granted.store(true, Ordering::Relaxed);
            waiter.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    const LONG: Duration = Duration::from_secs(10);

    fn ledger() -> Arc<Ledger> {
        Arc::new(Ledger::new("u@h:1/d", 0, 1))
    }

    fn until(condition: impl Fn() -> bool) {
        let end = Instant::now() + LONG;
        while !condition() {
            assert!(Instant::now() < end, "did not come about within {LONG:?}");
            thread::yield_now();
        }
    }

    #[test]
    fn waiters_are_served_in_the_order_they_came() {
        let (gate, ledger) = (Arc::new(Gate::new("pool", 1, None)), ledger());
        let first = gate.enter(&ledger, LONG).expect("free");
        let (served, order) = mpsc::channel();
        let mut threads = Vec::new();
        for number in 0..8 {
            let (gate, book, served) = (Arc::clone(&gate), Arc::clone(&ledger), served.clone());
            threads.push(thread::spawn(move || {
                let place = gate.enter(&book, LONG).expect("served");
                served.send(number).expect("the test listens");
                gate.leave(place);
            }));
            until(|| ledger.status().waiting == number + 1);
        }
        gate.leave(first);
        let order: Vec<u32> = order.iter().take(8).collect();
        assert_eq!(order, (0..8).collect::<Vec<_>>());
        for thread in threads {
            thread.join().expect("no panic");
        }
    }

    #[test]
    fn a_waiter_that_gives_up_leaves_its_place_to_the_next() {
        let (gate, ledger) = (Arc::new(Gate::new("pool", 1, None)), ledger());
        let place = gate.enter(&ledger, LONG).expect("free");
        let error = gate.enter(&ledger, Duration::from_millis(5)).err();
        assert!(error.is_some_and(|error| error.is_timeout()));
        assert_eq!(ledger.status().waiting, 0);
        gate.leave(place);
        let again = gate.enter(&ledger, Duration::ZERO).expect("free again");
        gate.leave(again);
    }

    #[test]
    fn one_waiter_too_many_is_refused_at_once() {
        let (gate, ledger) = (Gate::new("pool", 1, Some(0)), ledger());
        let place = gate.enter(&ledger, LONG).expect("free");
        let began = Instant::now();
        let error = gate.enter(&ledger, LONG).err().expect("full");
        assert!(matches!(error, Error::QueueFull { .. }), "{error}");
        assert!(began.elapsed() < LONG / 10);
        gate.leave(place);
    }

    #[test]
    fn closing_wakes_everybody() {
        let (gate, ledger) = (Arc::new(Gate::new("pool", 1, None)), ledger());
        let place = gate.enter(&ledger, LONG).expect("free");
        let waiter = {
            let (gate, ledger) = (Arc::clone(&gate), Arc::clone(&ledger));
            thread::spawn(move || gate.enter(&ledger, LONG).map(|_| ()))
        };
        until(|| ledger.status().waiting == 1);
        gate.close();
        let error = waiter.join().expect("no panic").expect_err("closed");
        assert!(error.is_closed());
        gate.leave(place);
        assert!(gate.enter(&ledger, LONG).is_err_and(|e| e.is_closed()));
    }

    #[test]
    fn a_smaller_gate_takes_no_place_away_and_gives_none_out_again() {
        let (gate, ledger) = (Gate::new("pool", 2, None), ledger());
        let (first, second) = (gate.try_enter(), gate.try_enter());
        assert!(first.is_some() && second.is_some() && gate.try_enter().is_none());
        gate.resize(-1);
        gate.leave(first.expect("free"));
        assert!(gate.enter(&ledger, Duration::ZERO).is_err(), "one is out");
        gate.leave(second.expect("free"));
        gate.resize(1);
        let both = [gate.try_enter(), gate.try_enter()];
        assert!(both.iter().all(Option::is_some) && gate.try_enter().is_none());
        both.into_iter()
            .flatten()
            .for_each(|place| gate.leave(place));
    }
}
