//! What a pool does by itself, on one thread of its own that ends with it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use pgmonkey_connect::{CloseReason, events, upkeep};

use crate::engine::Slot;
use crate::pool::Shared;

/// The maintenance of one pool; dropping it ends it.
pub(crate) struct Maintenance(Arc<Signal>);

/// What wakes the maintenance before its time.
#[derive(Default)]
pub(crate) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    woken: bool,
    over: bool,
}

impl Maintenance {
    /// Starts the thread, which holds the pool weakly.
    pub(crate) fn start(pool: &Arc<Shared>) -> Self {
        let (weak, signal) = (Arc::downgrade(pool), Arc::clone(&pool.signal));
        let first = upkeep::interval(&pool.settings);
        // Where no thread can be had the pool does without: what comes out of it is still good.
        let _ = std::thread::Builder::new()
            .name("pgmonkey-keep".to_owned())
            .spawn(move || run(&weak, &signal, first));
        Self(Arc::clone(&pool.signal))
    }
}

impl Drop for Maintenance {
    fn drop(&mut self) {
        self.0.state().over = true;
        self.0.changed.notify_one();
    }
}

impl Signal {
    /// Has the maintenance look now: something has ended or changed.
    pub(crate) fn wake(&self) {
        self.state().woken = true;
        self.changed.notify_one();
    }

    /// Sleeps for `pause` or until woken; false when all is over.
    fn sleep(&self, pause: Duration) -> bool {
        let is_quiet = |state: &mut State| !state.woken && !state.over;
        let slept = self
            .changed
            .wait_timeout_while(self.state(), pause, is_quiet);
        let (mut state, _) = slept.unwrap_or_else(PoisonError::into_inner);
        state.woken = false;
        !state.over
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(pool: &Weak<Shared>, signal: &Signal, first: Duration) {
    let (mut pause, mut failures) = (first, 0);
    while signal.sleep(pause) {
        let Some(pool) = pool.upgrade().filter(|pool| !pool.is_closed()) else {
            return;
        };
        pool.tell_of_leaks();
        pool.end_what_is_over();
        pool.look_for_losses();
        pool.end_what_is_stale();
        pause = upkeep::interval(&pool.settings);
        if let Some(longer) = pool.open_what_is_missing(&mut failures) {
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
        while let Some(loan) = self.engine.left_behind() {
            self.put(loan, now);
        }
        let over = self.shelf.take_over(|loan| match &mut ***loan {
            Slot::Open(session) => session.is_known_over(now),
            Slot::Failed(_) => true,
        });
        self.discard_all(over, None);
    }

    /// Looks at the socket of each session that was idle for a while, the one used last first.
    /// Those in use again and again are looked at by who borrows them, and would be missed. It
    /// takes a place for that, as a borrower would, so that nobody opens a session in its stead.
    fn look_for_losses(&self) {
        let a_while = upkeep::interval(&self.settings) / 2;
        let Some(limit) = Instant::now().checked_sub(a_while) else {
            return;
        };
        for n in (0..self.shelf.len()).rev() {
            let Some(place) = self.gate.try_enter() else {
                return;
            };
            if let Some((mut loan, since)) = self.shelf.take_nth(n, limit) {
                let lost = match &mut **loan {
                    Slot::Open(session) => session.is_over(Instant::now()),
                    Slot::Failed(_) => true,
                };
                match lost {
                    true => self.discard(loan),
                    false => self.put(loan, since),
                }
            }
            self.gate.leave(place);
        }
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
    fn open_what_is_missing(&self, failures: &mut u32) -> Option<Duration> {
        while upkeep::missing(&self.ledger.status(), self.engine.opening()) > 0 {
            // Whoever has the last place opens what he needs himself.
            let place = self.gate.try_enter()?;
            let opened = self.engine.open(None, || None);
            let failure = match opened.as_ref().map(|loan| &***loan) {
                Some(Slot::Failed(error)) => Some(error.clone()),
                _ => None,
            };
            match (opened, &failure) {
                (Some(loan), None) => self.put(loan, Instant::now()),
                (opened, _) => drop(opened),
            }
            self.gate.leave(place);
            if let Some(error) = failure {
                *failures += 1;
                return Some(upkeep::pause(&error, *failures));
            }
            *failures = 0;
        }
        None
    }
}
