//! Watches the hosts of a pool's sessions: asks those at which a statement has been silent for a
//! while, and resolves names again.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use pgmonkey_connect::failover::{Failover, FailoverStep, Name, Suspect};
use pgmonkey_connect::{limits, pool};

use crate::pool::Shared;
use crate::session::connect::resolve;
use crate::session::hosts;
use crate::threads::keeper::{Keeper, Kept};
use crate::threads::openers::Opener;

/// A pool's registration for this; none before the first session is opened.
#[derive(Default)]
pub(crate) struct HostWatch(Mutex<Option<Registered>>);

struct Registered {
    /// Dropped first: no call begins after it.
    keeper: Keeper,
    _rounds: Arc<Rounds>,
}

/// What the keeper calls. Holds the pool weakly.
struct Rounds {
    pool: Weak<Shared>,
    failover: Arc<Failover>,
    /// Apart from the openings, which may all be waiting for a host that does not answer.
    opener: Opener,
}

impl Shared {
    /// Begins to watch the sessions' hosts, unless that is under way or there is nothing to watch.
    #[inline]
    pub(crate) fn watch_hosts(self: &Arc<Self>) {
        if let Some(failover) = self.factory.connect_target.failover()
            && failover.starts()
        {
            self.start_host_watch(failover);
        }
    }

    fn start_host_watch(self: &Arc<Self>, failover: &Arc<Failover>) {
        // No code that can panic runs under the lock.
        let watch = self.host_watch.0.lock();
        let mut watch = watch.unwrap_or_else(PoisonError::into_inner);
        if let Some(registered) = &*watch {
            return registered.keeper.wake();
        }
        let key = format!("probe {}", self.factory.connect_target.servers());
        let rounds = Arc::new(Rounds {
            pool: Arc::downgrade(self),
            failover: Arc::clone(failover),
            opener: Opener::register(key.into(), 2),
        });
        let kept = Arc::downgrade(&rounds) as Weak<dyn Kept>;
        *watch = Some(Registered {
            keeper: Keeper::register(kept, Duration::ZERO),
            _rounds: rounds,
        });
    }

    /// Asks the suspect and, if it does not answer, the other hosts.
    fn probe(self: &Arc<Self>, suspect: Suspect) {
        let (target, provider) = (&self.factory.connect_target, &self.factory.provider);
        if hosts::ask(target, provider.as_ref(), suspect) > 0 {
            self.end_misplaced();
        }
    }

    fn resolve_again(self: &Arc<Self>, failover: &Failover, name: &Name) {
        let deadline = Instant::now() + limits::STATEMENT;
        let found = resolve(name.name.clone(), name.port, Some(deadline));
        if failover.resolved(name, &found.unwrap_or_default()) {
            self.end_misplaced();
        }
    }

    /// Ends idle sessions at once that must not be handed out again.
    pub(super) fn end_misplaced(self: &Arc<Self>) {
        if self.is_kept {
            pool::tick(self, None, |over| self.end_later(over));
        }
    }
}

impl Kept for Rounds {
    /// Never blocks: hosts are asked on the threads that open sessions.
    fn keep(&self, now: Instant) -> Duration {
        let Some(pool) = self.pool.upgrade().filter(|pool| !pool.core.is_closed()) else {
            return Duration::MAX;
        };
        loop {
            let (pool, failover) = (Arc::clone(&pool), Arc::clone(&self.failover));
            match failover.step(now) {
                FailoverStep::Pause(pause) => return pause,
                FailoverStep::End => return Duration::MAX,
                FailoverStep::Probe(suspect) => self.opener.submit(move || pool.probe(suspect)),
                FailoverStep::Resolve(names) => self.opener.submit(move || {
                    let again = |name| pool.resolve_again(&failover, name);
                    names.iter().for_each(again);
                }),
            }
        }
    }
}
