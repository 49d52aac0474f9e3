//! The handles of a manager that serves many tenants: how many it caches, and which of them sleep.
//!
//! A manager with limits counts its handles here, and looks at all of them in one sweep. The sweep
//! reads what each pool records anyway, so no use of a handle pays for it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::Error;
use crate::pool::Shell;

/// The pause between sweeps without `idle_handle_timeout`, and the longest one with it.
const LONGEST: Duration = Duration::from_secs(1);
/// The shortest pause between sweeps.
const SHORTEST: Duration = Duration::from_millis(20);

/// The limits of a manager's handles; by default none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HandleLimits {
    /// The maximum number of cached handles that no caller uses.
    pub max_handles: Option<usize>,
    /// How long a handle may be unused before it sleeps.
    pub idle_handle_timeout: Option<Duration>,
    /// The maximum number of sessions at one server.
    pub max_sessions_per_server: Option<u32>,
}

impl HandleLimits {
    /// Checks the limits.
    ///
    /// # Errors
    ///
    /// [`Error::ManagerLimit`] if one is zero.
    pub fn check(&self) -> Result<(), Error> {
        if self.max_handles == Some(0) {
            return Err(Error::ManagerLimit {
                limit: "max_handles",
                reason: "0 would cache nothing: it must be at least 1, or be left out for no limit",
            });
        }
        if self.idle_handle_timeout == Some(Duration::ZERO) {
            return Err(Error::ManagerLimit {
                limit: "idle_handle_timeout",
                reason: "it must be longer than 0, or be left out so that no handle sleeps",
            });
        }
        if self.max_sessions_per_server == Some(0) {
            return Err(Error::ManagerLimit {
                limit: "max_sessions_per_server",
                reason: "0 would allow no session: it must be at least 1, or be left out for no limit",
            });
        }
        Ok(())
    }

    /// Whether there is no limit.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the manager needs no sweep over its handles.
    pub fn needs_no_sweep(&self) -> bool {
        self.max_handles.is_none() && self.idle_handle_timeout.is_none()
    }

    /// The pause between two sweeps: a quarter of `idle_handle_timeout`, at least 20 ms and at most
    /// 1 s.
    pub fn interval(&self) -> Duration {
        let quarter = self.idle_handle_timeout.map(|timeout| timeout / 4);
        quarter.unwrap_or(LONGEST).clamp(SHORTEST, LONGEST)
    }
}

/// The pools `P` that a manager has opened under the keys `K` and that still exist, cached or not.
/// Holds them weakly.
pub struct Census<K, P> {
    tenants: Mutex<Vec<Tenant<K, P>>>,
    /// Whether the cache holds more handles than allowed, because too many were in use.
    has_surplus: AtomicBool,
}

struct Tenant<K, P> {
    key: K,
    pool: Weak<P>,
    /// Whether it is to sleep as soon as it can, because it has left the cache to make room.
    is_drowsy: bool,
}

impl<K, P> Default for Census<K, P> {
    fn default() -> Self {
        Self {
            tenants: Mutex::default(),
            has_surplus: AtomicBool::new(false),
        }
    }
}

impl<K: Clone, P: Shell> Census<K, P> {
    /// Counts a pool that was opened under `key`; once, however often it is called.
    pub fn add(&self, key: &K, pool: &Arc<P>) {
        let mut tenants = self.tenants();
        tenants.retain(|tenant| tenant.pool.strong_count() > 0);
        let is_it = |tenant: &Tenant<K, P>| tenant.pool.as_ptr() == Arc::as_ptr(pool);
        if !tenants.iter().any(is_it) {
            tenants.push(Tenant {
                key: key.clone(),
                pool: Arc::downgrade(pool),
                is_drowsy: false,
            });
        }
        drop(tenants);
        // The first look: a handle is as good as used when it is opened.
        let _ = pool.core().unused_since();
    }

    /// Has the next sweep put a pool to sleep that has left the cache to make room, and could not
    /// sleep yet.
    pub fn sleep_soon(&self, pool: &Arc<P>) {
        let is_it = |tenant: &&mut Tenant<K, P>| tenant.pool.as_ptr() == Arc::as_ptr(pool);
        if let Some(tenant) = self.tenants().iter_mut().find(is_it) {
            tenant.is_drowsy = true;
        }
    }

    /// The pools that are awake and are to sleep, and how long each must have been unused for that.
    /// Forgets which of them were to [sleep soon](Self::sleep_soon): for those it is zero.
    pub fn awake(&self, limits: HandleLimits) -> Vec<(Arc<P>, Duration)> {
        let mut tenants = self.tenants();
        tenants.retain(|tenant| tenant.pool.strong_count() > 0);
        let awake = tenants.iter_mut().filter_map(|tenant| {
            let pool = tenant.pool.upgrade()?;
            let is_drowsy = std::mem::take(&mut tenant.is_drowsy);
            if pool.core().is_asleep() {
                return None;
            }
            match is_drowsy {
                true => Some((pool, Duration::ZERO)),
                false => Some((pool, limits.idle_handle_timeout?)),
            }
        });
        awake.collect()
    }

    /// The pools that no caller uses, the least recently used first.
    pub fn unused(&self) -> Vec<(K, Arc<P>)> {
        let tenants = self.tenants();
        let existing = tenants
            .iter()
            .filter_map(|tenant| Some((tenant.key.clone(), tenant.pool.upgrade()?)));
        let existing: Vec<_> = existing.collect();
        drop(tenants);
        let unused = existing.into_iter().filter_map(|(key, pool)| {
            let since = pool.core().unused_since()?;
            Some((since, key, pool))
        });
        let mut unused: Vec<_> = unused.collect();
        unused.sort_by_key(|(since, ..)| *since);
        unused
            .into_iter()
            .map(|(_, key, pool)| (key, pool))
            .collect()
    }

    /// Records whether the cache holds more handles than allowed.
    pub fn set_surplus(&self, has_surplus: bool) {
        self.has_surplus.store(has_surplus, Ordering::Relaxed);
    }

    /// Whether the cache may hold more handles than allowed.
    pub fn has_surplus(&self) -> bool {
        self.has_surplus.load(Ordering::Relaxed)
    }

    fn tenants(&self) -> MutexGuard<'_, Vec<Tenant<K, P>>> {
        // No code that can panic runs under the lock.
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, P> fmt::Debug for Census<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Census").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_zero_is_an_error_that_says_what_to_do() {
        let no_handle = HandleLimits {
            max_handles: Some(0),
            ..HandleLimits::default()
        };
        let no_time = HandleLimits {
            idle_handle_timeout: Some(Duration::ZERO),
            ..HandleLimits::default()
        };
        for (limits, name) in [(no_handle, "max_handles"), (no_time, "idle_handle_timeout")] {
            let error = limits.check().expect_err("it is zero");
            assert!(error.is_configuration() && !limits.needs_no_sweep());
            let text = error.to_string();
            assert!(text.starts_with(&format!("invalid {name}: ")), "{text}");
            assert!(text.contains("left out"), "{text}");
        }
        assert!(HandleLimits::default().check().is_ok());
    }

    #[test]
    fn short_timeouts_are_looked_at_more_often() {
        let of = |millis| {
            let limits = HandleLimits {
                max_handles: None,
                idle_handle_timeout: Some(Duration::from_millis(millis)),
                ..HandleLimits::default()
            };
            limits.interval()
        };
        assert_eq!([of(1), of(400), of(60_000)], [SHORTEST, of(400), LONGEST]);
        assert_eq!(of(400), Duration::from_millis(100));
        assert_eq!(HandleLimits::default().interval(), LONGEST);
    }
}
