use std::time::Duration;

use crate::choice::Reset;

/// Most sessions of a pool, 262,143: PostgreSQL cannot have more backends.
pub const MOST_SESSIONS: u32 = 262_143;

/// `pool_settings` and `async_pool_settings`: how many sessions a pool holds, and for how long.
///
/// ```
/// use std::time::Duration;
/// use pgmonkey_config::PoolSettings;
///
/// let pool = PoolSettings::default();
/// assert_eq!((pool.min_size, pool.max_size), (1, 10));
/// assert_eq!(pool.max_lifetime, Some(Duration::from_secs(3600)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolSettings {
    /// Sessions opened at start and kept, busy or not. 1.
    pub min_size: u32,
    /// Most sessions, idle and borrowed together. 10, or `min_size` if that is more.
    pub max_size: u32,
    /// Longest wait in `acquire`; zero does not wait. 30 s.
    pub timeout: Duration,
    /// A session over `min_size` ends after being idle this long. 600 s.
    pub max_idle: Duration,
    /// Age at which a session ends, give or take a tenth; `None` is never. 3600 s.
    pub max_lifetime: Option<Duration>,
    /// Whether a session is asked with a round trip before it is lent. False.
    pub check_on_checkout: bool,
    /// Most callers waiting at once; `None` is no limit. `None`.
    pub max_waiting: Option<u32>,
    /// How long the pool keeps trying to reach a server that is away before it reports it as
    /// failed; `None` is for ever. 300 s.
    pub reconnect_timeout: Option<Duration>,
    /// Sessions opened side by side in the background. 3.
    pub num_workers: u32,
    /// What is undone when a session comes back. What can have been changed.
    pub reset: Reset,
    /// Prepared statements kept per session, also by a single connection; 0 is none, for a
    /// pooler in transaction mode. 256.
    pub statement_cache: usize,
    /// A guard held longer than this is logged once; `None` is never. `None`.
    pub leak_warning: Option<Duration>,
    /// Whether standalone statements may share a session by pipelining when no session is idle;
    /// only in `async_pool_settings`. False.
    pub multiplex: bool,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            min_size: 1,
            max_size: 10,
            timeout: Duration::from_secs(30),
            max_idle: Duration::from_secs(600),
            max_lifetime: Some(Duration::from_secs(3600)),
            check_on_checkout: false,
            max_waiting: None,
            reconnect_timeout: Some(Duration::from_secs(300)),
            num_workers: 3,
            reset: Reset::Auto,
            statement_cache: 256,
            leak_warning: None,
            multiplex: false,
        }
    }
}
