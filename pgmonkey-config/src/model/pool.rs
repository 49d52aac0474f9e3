use std::time::Duration;

use crate::schema::choice::Reset;

/// `pool_settings` and `async_pool_settings`: how many sessions a pool keeps, and for how long.
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
    /// Sessions opened at start and kept open, in use or idle. Default: 1.
    pub min_size: u32,
    /// Maximum number of sessions, idle and in use together. Default: 10, or `min_size` if that is
    /// more.
    pub max_size: u32,
    /// Longest wait in `acquire`; zero means no wait. Default: 30 s.
    pub timeout: Duration,
    /// A session above `min_size` is closed after being idle this long. Default: 600 s.
    pub max_idle: Duration,
    /// Age at which a session is closed, plus or minus a tenth; `None` means never. Default: 3600
    /// s.
    pub max_lifetime: Option<Duration>,
    /// Whether a session is checked with a round trip at checkout. Default: false.
    pub check_on_checkout: bool,
    /// Maximum number of waiting callers; `None`, the default, means no limit.
    pub max_waiting: Option<u32>,
    /// How long the pool retries an unreachable server before it reports failure; `None` means no
    /// limit. Default: 300 s.
    pub reconnect_timeout: Option<Duration>,
    /// Sessions opened concurrently in the background. Default: 3.
    pub num_workers: u32,
    /// What is reset when a session is released. Default: what may have been changed.
    pub reset: Reset,
    /// Prepared statements cached per session, also by a single connection; 0 means none, for a
    /// pooler in transaction mode. Default: 256.
    pub statement_cache: usize,
    /// A guard held longer than this is logged once; `None`, the default, means never.
    pub leak_warning: Option<Duration>,
    /// Whether standalone statements may share a session by pipelining when no session is idle;
    /// only in `async_pool_settings`. Default: false.
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
