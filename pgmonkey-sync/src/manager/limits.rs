//! The limits of a manager's handles: which leave the cache, and the sweep that puts unused ones to
//! sleep.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use pgmonkey_connect::process::PerProcess;
use pgmonkey_connect::tenants::{Census, HandleLimits};

use crate::handle::pool::Pool;
use crate::pool::Shared;
use crate::threads::keeper::{Keeper, Kept};
use crate::threads::openers::Opener;

use super::ConnectionManager;
use super::handles::{Handles, Key};

/// Where the jobs of all sweeps wait for their turn with the threads that open sessions.
const LANE: &str = "managers";

/// The sweep of a manager with limits. Ends with the manager's handles.
pub(super) struct Sweep {
    /// Dropped first: no sweep begins after it.
    _keeper: Keeper,
    _sweeper: Arc<Sweeper>,
}

/// What the keeper calls. Holds no handle, because its drop could block the keeper.
struct Sweeper {
    manager: Weak<PerProcess<Handles>>,
    census: Arc<Census<Key, Shared>>,
    limits: HandleLimits,
    opener: Opener,
}

impl Sweep {
    fn start(manager: &ConnectionManager) -> Self {
        let sweeper = Arc::new(Sweeper {
            manager: Arc::downgrade(&manager.handles),
            census: Arc::clone(&manager.handles.get().census),
            limits: manager.limits,
            opener: Opener::register(LANE.into(), 1),
        });
        let kept = Arc::downgrade(&sweeper) as Weak<dyn Kept>;
        Self {
            _keeper: Keeper::register(kept, manager.limits.interval()),
            _sweeper: sweeper,
        }
    }
}

impl Kept for Sweeper {
    fn keep(&self, _: Instant) -> Duration {
        for (pool, at_least) in self.census.awake(self.limits) {
            if !pool.sleep(at_least) && at_least.is_zero() {
                self.census.sleep_soon(&pool);
            }
        }
        if self.census.has_surplus() {
            let (manager, limits) = (Weak::clone(&self.manager), self.limits);
            self.opener.submit(move || {
                if let Some(handles) = manager.upgrade() {
                    handles.get().evict(limits, None);
                }
            });
        }
        self.limits.interval()
    }
}

impl ConnectionManager {
    /// Counts a handle that was cached just now, and makes room for it.
    pub(super) fn admit(&self, key: &Key, pool: &Pool) {
        if self.limits.needs_no_sweep() {
            return;
        }
        let handles = self.handles.get();
        handles.census.add(key, pool.shared());
        handles.sweep.get_or_init(|| Sweep::start(self));
        handles.evict(self.limits, Some(pool));
    }
}

impl Handles {
    /// Takes the least recently used handles that no caller uses out of the cache, but not `new`,
    /// while it holds more than allowed.
    fn evict(&self, limits: HandleLimits, new: Option<&Pool>) {
        let Some(most) = limits.max_handles.filter(|most| self.cache.len() > *most) else {
            return self.census.set_surplus(false);
        };
        for (key, shared) in self.census.unused() {
            if self.cache.len() <= most {
                break;
            }
            if new.is_some_and(|new| Arc::ptr_eq(new.shared(), &shared)) {
                continue;
            }
            let is_unused = |found: &Pool| {
                Arc::ptr_eq(found.shared(), &shared) && shared.core.unused_since().is_some()
            };
            // Another one may have its place meanwhile, or it has left already.
            if let Some(evicted) = self.cache.remove_if(&key, is_unused) {
                self.sources().forget(|other| *other == key);
                if !shared.sleep(Duration::ZERO) {
                    self.census.sleep_soon(&shared);
                }
                drop(evicted);
            }
        }
        self.census.set_surplus(self.cache.len() > most);
    }
}
