//! Maintenance of a pool: closes sessions that are too old or were idle too long, opens missing
//! ones, looks for sessions that the server has closed, and warns about sessions in use for long.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use pgmonkey_connect::CloseReason;
use pgmonkey_connect::pool::{self, IdleCheck};

use crate::pool::Shared;
use crate::pool::keeper::{Keeper, Kept};

/// The maintenance of a pool. Holds the pool weakly and ends with it.
pub(crate) struct Maintenance(Weak<Shared>);

impl Maintenance {
    /// Registers the pool with the keeper. A pool without lifetimes and sizes to maintain is called
    /// only when woken.
    pub(crate) fn start(pool: &Arc<Shared>) -> Arc<Self> {
        let this = Arc::new(Self(Arc::downgrade(pool)));
        let first = match pool.is_kept {
            true => pool::interval(&pool.settings),
            false => Duration::MAX,
        };
        let kept = Arc::downgrade(&this) as Weak<dyn Kept>;
        // Set once for each pool, so the cell was empty.
        let _ = pool.keeper.set(Keeper::register(kept, first));
        this
    }
}

impl Kept for Maintenance {
    /// Never blocks: sessions are closed, and sockets looked at, on the threads that open sessions.
    fn keep(&self, _: Instant) -> Duration {
        let Some(pool) = self.0.upgrade().filter(|pool| !pool.core.is_closed()) else {
            return Duration::MAX;
        };
        pool::tick(&pool, pool.settings.leak_warning, |over| {
            let shared = Arc::clone(&pool);
            pool.opener.submit(move || pool::end_all(&*shared, over));
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
