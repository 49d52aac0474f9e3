//! What a pool does by itself, in one task of its own that ends with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use pgmonkey_connect::{CloseReason, events, upkeep};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::pool::Shared;

/// The maintenance of one pool; dropping it ends it.
pub(crate) struct Maintenance(Arc<Signal>);

/// What wakes the maintenance before its time, and brings it back to life.
#[derive(Default)]
pub(crate) struct Signal {
    changed: Notify,
    wanted: AtomicBool,
    running: AtomicBool,
}

impl Maintenance {
    /// Starts the task, which holds the pool weakly.
    pub(crate) fn start(pool: &Arc<Shared>) -> Self {
        pool.signal.wanted.store(true, Ordering::SeqCst);
        pool.signal.revive(pool);
        Self(Arc::clone(&pool.signal))
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.0.wanted.store(false, Ordering::SeqCst);
        self.0.wake();
    }
}

impl Signal {
    /// Has the maintenance look now: something has ended or changed.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Starts the task again where it ended with the runtime that it lived in.
    pub(crate) fn revive(self: &Arc<Self>, pool: &Arc<Shared>) {
        let is_due =
            self.wanted.load(Ordering::SeqCst) && !self.running.swap(true, Ordering::SeqCst);
        if is_due {
            let running = Running(Arc::clone(self));
            let first = upkeep::interval(&pool.settings);
            tokio::spawn(run(Arc::downgrade(pool), running, first));
        }
    }
}

/// Dropped when the task ends, also with its runtime.
struct Running(Arc<Signal>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::SeqCst);
    }
}

async fn run(pool: Weak<Shared>, running: Running, first: Duration) {
    let signal = &running.0;
    let (mut pause, mut failures) = (first, 0);
    loop {
        // Woken or not, the time has come.
        let _ = tokio::time::timeout(pause, signal.changed.notified()).await;
        let Some(pool) = pool.upgrade().filter(|pool| !pool.is_closed()) else {
            return;
        };
        pool.tell_of_leaks();
        pool.end_what_is_over();
        pool.end_what_is_stale();
        pause = upkeep::interval(&pool.settings);
        if let Some(longer) = pool.open_what_is_missing(&mut failures).await {
            pause = longer;
        }
    }
}

impl Shared {
    fn tell_of_leaks(&self) {
        let Some(limit) = self.settings.leak_warning else {
            return;
        };
        for loan in self.ledger.overdue(Instant::now(), limit) {
            events::leaked(self.ledger.name(), loan.place, loan.held);
        }
    }

    fn end_what_is_over(&self) {
        let now = Instant::now();
        let over = self.shelf.take_over(|loan| loan.is_over(now));
        self.discard_all(over, None);
    }

    fn end_what_is_stale(&self) {
        let status = self.ledger.status();
        let now = Instant::now();
        let excess = upkeep::excess(&status);
        let stale = self.shelf.take_stale(now, Duration::ZERO, excess);
        self.discard_all(stale, Some(CloseReason::Idle));
        let surplus = upkeep::surplus(&self.ledger.status());
        let stale = self.shelf.take_stale(now, self.settings.max_idle, surplus);
        self.discard_all(stale, Some(CloseReason::Idle));
    }

    /// Opens sessions until there are `min_size`, or one cannot be opened; the pause then.
    async fn open_what_is_missing(self: &Arc<Self>, failures: &mut u32) -> Option<Duration> {
        loop {
            let opening = self.opening.load(Ordering::SeqCst);
            let missing = upkeep::missing(&self.ledger.status(), opening);
            let mut openers = JoinSet::new();
            for _ in 0..missing.min(self.settings.num_workers.max(1)) {
                // Whoever has the last place opens what he needs himself.
                let Some(place) = self.gate.try_enter() else {
                    break;
                };
                let pool = Arc::clone(self);
                openers.spawn(async move {
                    let _permit = pool.openers.acquire().await;
                    let loan = pool.open().await?;
                    pool.put(loan, Instant::now(), place);
                    Ok::<_, pgmonkey_connect::Error>(())
                });
            }
            if openers.is_empty() {
                return None;
            }
            let ends = openers.join_all().await;
            if let Some(error) = ends.into_iter().find_map(Result::err) {
                *failures += 1;
                return Some(upkeep::pause(&error, *failures));
            }
            *failures = 0;
        }
    }
}
