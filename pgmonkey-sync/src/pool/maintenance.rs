//! Maintenance of a pool: closes sessions that are too old or were idle too long, opens missing
//! ones, looks for sessions that the server has closed, and warns about sessions in use for long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use pgmonkey_connect::CloseReason;
use pgmonkey_connect::pool::{self, IdleCheck};

use crate::pool::Shared;
use crate::session::Session;
use crate::threads::keeper::{Keeper, Kept};

/// A pool's registration with the keeper; none while the pool sleeps.
#[derive(Default)]
pub(crate) struct Registration(Mutex<Option<Arc<Registered>>>);

/// What the keeper knows of a pool.
pub(crate) struct Registered {
    /// Dropped first: no call begins after it.
    pub(crate) keeper: Keeper,
    _maintenance: Arc<Maintenance>,
}

/// What the keeper calls. Holds the pool weakly.
struct Maintenance(Weak<Shared>);

impl Registration {
    /// The registration, if there is one.
    pub(crate) fn get(&self) -> Option<Arc<Registered>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Registered>>> {
        // No code that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Registers the pool with the keeper. A pool without lifetimes and sizes to maintain is called
    /// only when woken.
    pub(crate) fn start_maintenance(self: &Arc<Self>) {
        let first = match self.is_kept {
            true => pool::interval(&self.settings),
            false => Duration::MAX,
        };
        let maintenance = Arc::new(Maintenance(Arc::downgrade(self)));
        let kept = Arc::downgrade(&maintenance) as Weak<dyn Kept>;
        let registered = Registered {
            keeper: Keeper::register(kept, first),
            _maintenance: maintenance,
        };
        let before = self.keeper.lock().replace(Arc::new(registered));
        // It drops its jobs, which may own anything.
        drop(before);
    }

    /// Puts the pool to sleep if it has been unused for `at_least`; returns whether it fell asleep.
    /// Never blocks.
    pub(crate) fn sleep(self: &Arc<Self>, at_least: Duration) -> bool {
        let slept = pool::sleep(&**self, at_least, |over| self.end_later(over));
        if slept {
            self.statements.forget_types();
            let mut registered = self.keeper.lock();
            // Under the lock: if the pool wakes, its new registration comes after this.
            let gone = match self.core.ends_maintenance() {
                true => registered.take(),
                false => None,
            };
            drop(registered);
            drop(gone);
        }
        slept
    }

    pub(crate) fn end_later(self: &Arc<Self>, over: Vec<(Box<Session>, CloseReason)>) {
        let shared = Arc::clone(self);
        self.opener.submit(move || pool::end_all(&*shared, over));
    }
}

impl Kept for Maintenance {
    /// Never blocks: sessions are closed, and sockets looked at, on the threads that open sessions.
    fn keep(&self, _: Instant) -> Duration {
        let Some(pool) = self.0.upgrade().filter(|pool| !pool.core.is_closed()) else {
            return Duration::MAX;
        };
        pool::tick(&pool, pool.settings.leak_warning, |over| {
            pool.end_later(over);
        });
        let pause = pool::interval(&pool.settings);
        if let Some(before) = Instant::now().checked_sub(pause / 2)
            && let Some(look) = IdleCheck::begin(&pool, before)
        {
            let shared = Arc::clone(&pool);
            pool.opener.submit(move || look_at(&shared, look, before));
        }
        pause
    }
}

/// Looks at the socket of each session that was idle for a while, most recently used first.
/// Sessions that are used again and again are checked when they are acquired, and taking them here
/// would delay callers.
fn look_at(pool: &Arc<Shared>, look: IdleCheck<Shared>, before: Instant) {
    let mut next = Some(look);
    while let Some(mut look) = next {
        match look.session().is_some_and(|session| session.is_lost()) {
            true => look.end(CloseReason::Dead),
            false => look.back(),
        }
        next = IdleCheck::begin(pool, before);
    }
}
