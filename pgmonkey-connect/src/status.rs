//! Pool statistics.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A snapshot of a handle's statistics.
///
/// `size = idle + in_use + checking`; a session being opened is counted only in `opening`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Open sessions.
    pub size: u32,
    /// Idle sessions.
    pub idle: u32,
    /// Sessions in use, or being cleaned after their release.
    pub in_use: u32,
    /// Sessions being checked before they are handed out: by `check_on_checkout`, a hook, or
    /// maintenance.
    pub checking: u32,
    /// Sessions being opened, or waiting to be opened after a failure.
    pub opening: u32,
    /// Callers waiting for a session.
    pub waiting: u32,
    /// The number of sessions kept open.
    pub min_size: u32,
    /// The maximum number of sessions.
    pub max_size: u32,
    /// The longest wait of any caller so far.
    pub longest_wait: Duration,
    /// Sessions acquired since the start.
    pub acquires: u64,
    /// Sessions opened since the start.
    pub opened: u64,
    /// Sessions closed since the start, by reason.
    pub closed: Closed,
    /// Callers that gave up waiting.
    pub timeouts: u64,
    /// Whether the handle sleeps: it has no session, not even `min_size`, until it is used again.
    pub asleep: bool,
    /// Statistics of the sessions' statement caches.
    pub statement_cache: StatementCacheStatus,
    /// Statistics of the statements; zero with `statement_stats: false`.
    pub statements: StatementStatus,
}

/// Statistics of all statements of a handle's sessions, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatementStatus {
    /// Statements that have ended.
    pub count: u64,
    /// Those that failed.
    pub errors: u64,
    /// Their durations together, with the network's time.
    pub total: Duration,
}

/// Statistics of the statement caches of all of a handle's sessions, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatementCacheStatus {
    /// Statements that were already prepared.
    pub hits: u64,
    /// Statements that had to be prepared.
    pub misses: u64,
    /// Statements closed to make room for another.
    pub evictions: u64,
    /// Statements closed because the schema changed or the server no longer knew them.
    pub stale: u64,
    /// Statements that failed because the schema had changed, were prepared again and succeeded
    /// without an error for the caller.
    pub healed: u64,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} in use, {} idle, {} waiting",
            self.in_use, self.max_size, self.idle, self.waiting
        )?;
        for (count, what) in [(self.checking, "checked"), (self.opening, "opened")] {
            if count > 0 {
                write!(f, ", {count} being {what}")?;
            }
        }
        if self.asleep {
            f.write_str(", asleep")?;
        }
        Ok(())
    }
}

/// Why a session was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// It reached its `max_lifetime`.
    Lifetime,
    /// It was idle longer than `max_idle`.
    Idle,
    /// The server or the network had ended it.
    Dead,
    /// It could not be cleaned.
    Dirty,
    /// Its server no longer has the role that `target_session_attrs` asks for.
    Role,
    /// Its host name no longer has its address (`follow_dns`).
    Address,
    /// Its standby is too far behind or does not answer, or has more sessions than another one.
    Standby,
    /// A hook discarded it or failed.
    Hook,
    /// It made room for a caller in another runtime, or its own runtime has ended.
    Moved,
    /// It made room for another pool with the same budget of sessions.
    Budget,
    /// The handle was closed or dropped.
    Shutdown,
}

impl CloseReason {
    /// All reasons, in declaration order.
    pub(crate) const ALL: [Self; 11] = [
        Self::Lifetime,
        Self::Idle,
        Self::Dead,
        Self::Dirty,
        Self::Role,
        Self::Address,
        Self::Standby,
        Self::Hook,
        Self::Moved,
        Self::Budget,
        Self::Shutdown,
    ];

    /// The reason's name in events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lifetime => "lifetime",
            Self::Idle => "idle",
            Self::Dead => "dead",
            Self::Dirty => "dirty",
            Self::Role => "role",
            Self::Address => "address",
            Self::Standby => "standby",
            Self::Hook => "hook",
            Self::Moved => "moved",
            Self::Budget => "budget",
            Self::Shutdown => "shutdown",
        }
    }

    /// The reason as a part of a sentence.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Lifetime => "it reached max_lifetime",
            Self::Idle => "it was idle for max_idle",
            Self::Dead => "the server or the network had ended it",
            Self::Dirty => "it could not be cleaned",
            Self::Role => "its server no longer has the role of target_session_attrs",
            Self::Address => "its host name no longer has its address",
            Self::Standby => "its standby is not used, or has more sessions than another one",
            Self::Hook => "a hook discarded it or failed",
            Self::Moved => "its runtime ended, or it made room for a caller in another one",
            Self::Budget => "it made room for another pool with the same budget",
            Self::Shutdown => "its handle was closed or dropped",
        }
    }
}

/// Closed sessions, counted by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// See [`CloseReason::Lifetime`].
    pub lifetime: u64,
    /// See [`CloseReason::Idle`].
    pub idle: u64,
    /// See [`CloseReason::Dead`].
    pub dead: u64,
    /// See [`CloseReason::Dirty`].
    pub dirty: u64,
    /// See [`CloseReason::Role`].
    pub role: u64,
    /// See [`CloseReason::Address`].
    pub address: u64,
    /// See [`CloseReason::Standby`].
    pub standby: u64,
    /// See [`CloseReason::Hook`].
    pub hook: u64,
    /// See [`CloseReason::Moved`].
    pub moved: u64,
    /// See [`CloseReason::Budget`].
    pub budget: u64,
    /// See [`CloseReason::Shutdown`].
    pub shutdown: u64,
}

impl Closed {
    /// The sum over all reasons.
    pub fn total(&self) -> u64 {
        let by_age = self.lifetime + self.idle;
        let by_state = self.dead + self.dirty + self.hook;
        let by_place = self.role + self.address + self.standby;
        by_age + by_state + by_place + self.moved + self.budget + self.shutdown
    }

    pub(crate) fn count(&mut self, reason: CloseReason) {
        *match reason {
            CloseReason::Lifetime => &mut self.lifetime,
            CloseReason::Idle => &mut self.idle,
            CloseReason::Dead => &mut self.dead,
            CloseReason::Dirty => &mut self.dirty,
            CloseReason::Role => &mut self.role,
            CloseReason::Address => &mut self.address,
            CloseReason::Standby => &mut self.standby,
            CloseReason::Hook => &mut self.hook,
            CloseReason::Moved => &mut self.moved,
            CloseReason::Budget => &mut self.budget,
            CloseReason::Shutdown => &mut self.shutdown,
        } += 1;
    }
}

/// One server of a cluster's reading side.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StandbyStatus {
    /// The host as configured, with its port.
    pub host: Arc<str>,
    /// Its address.
    pub address: Arc<str>,
    /// Sessions of the pool at it, in use or idle.
    pub sessions: u32,
    /// How old its data was when it was last asked; `None` if that is unknown.
    pub lag: Option<Duration>,
    /// How long ago it was last asked; `None` if it has not answered yet.
    pub asked: Option<Duration>,
    /// How long ago a session at it was last seen in use, to the second; `None` if none was.
    pub last_used: Option<Duration>,
    /// Why it is not used, if so.
    pub unused: Option<Arc<str>>,
}

impl fmt::Display for StandbyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} sessions", self.host, self.sessions)?;
        match self.lag {
            Some(lag) => write!(f, ", {:.1} s behind", lag.as_secs_f64())?,
            None => f.write_str(", lag unknown")?,
        }
        match &self.unused {
            Some(why) => write!(f, ", not used: {why}"),
            None => Ok(()),
        }
    }
}
