//! The limits of a manager's handles: which leave the cache, and the sweep that puts unused ones to
//! sleep.

use std::sync::{Arc, Weak};
use std::time::Duration;

use pgmonkey_connect::process::PerProcess;
use pgmonkey_connect::tenants::{Census, HandleLimits};

use crate::handle::pool::Pool;
use crate::pool::Shared;
use crate::runtimes;

use super::ConnectionManager;
use super::handles::{Handles, Key};

/// The sweep of a manager with limits. Ends with the manager's handles.
pub(super) struct Sweep(());

/// What the task needs. Holds no handle.
struct Sweeper {
    manager: Weak<PerProcess<Handles>>,
    census: Weak<Census<Key, Shared>>,
    limits: HandleLimits,
}

impl Sweep {
    fn start(manager: &ConnectionManager) -> Self {
        let sweeper = Sweeper {
            manager: Arc::downgrade(&manager.handles),
            census: Arc::downgrade(&manager.handles.get().census),
            limits: manager.limits,
        };
        runtimes::drivers().spawn(sweeper.run());
        Self(())
    }
}

impl Sweeper {
    async fn run(self) {
        loop {
            tokio::time::sleep(self.limits.interval()).await;
            let Some(census) = self.census.upgrade() else {
                return;
            };
            self.sweep(&census);
        }
    }

    fn sweep(&self, census: &Census<Key, Shared>) {
        for (pool, at_least) in census.awake(self.limits) {
            if !pool.sleep(at_least) && at_least.is_zero() {
                census.sleep_soon(&pool);
            }
        }
        if census.has_surplus() {
            let (manager, limits) = (Weak::clone(&self.manager), self.limits);
            // Not here: it may drop the last handle with its provider, which is the program's code.
            runtimes::openings().spawn(async move {
                if let Some(handles) = manager.upgrade() {
                    handles.get().evict(limits, None);
                }
            });
        }
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
