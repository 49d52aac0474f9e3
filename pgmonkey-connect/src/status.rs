//! A pool's numbers.

use std::fmt;
use std::time::Duration;

/// What a handle holds and has done, at one moment.
///
/// `size = idle + in_use`; a session that is being opened is counted in neither yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Sessions open.
    pub size: u32,
    /// Sessions open and not lent.
    pub idle: u32,
    /// Sessions lent, or being cleaned after they came back.
    pub in_use: u32,
    /// Callers waiting for one.
    pub waiting: u32,
    /// Sessions opened at start.
    pub min_size: u32,
    /// Most sessions.
    pub max_size: u32,
    /// The longest that any caller has waited so far.
    pub longest_wait: Duration,
    /// Sessions lent since the start.
    pub acquires: u64,
    /// Sessions opened since the start.
    pub opened: u64,
    /// Sessions ended since the start, by reason.
    pub closed: Closed,
    /// Callers that gave up waiting.
    pub timeouts: u64,
    /// What the statement caches of all its sessions have done.
    pub statement_cache: StatementCacheStatus,
}

/// What the statement caches of a handle's sessions have done since the start, together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatementCacheStatus {
    /// Statements that were prepared already.
    pub hits: u64,
    /// Statements that had to be prepared.
    pub misses: u64,
    /// Statements closed because there was no room for another.
    pub evictions: u64,
    /// Statements closed because the schema changed or the server did not know them any more.
    pub stale: u64,
    /// Statements that failed because the schema had changed, were prepared anew and succeeded: the
    /// caller noticed nothing.
    pub healed: u64,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} in use, {} idle, {} waiting",
            self.in_use, self.max_size, self.idle, self.waiting
        )
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// It reached its `max_lifetime`.
    Lifetime,
    /// It was idle longer than `max_idle`.
    Idle,
    /// The server or the network had ended it.
    Dead,
    /// It could not be made clean.
    Dirty,
    /// Its server is no longer what `target_session_attrs` asks for.
    Role,
    /// A hook did not want it kept, or failed.
    Hook,
    /// The handle was closed or dropped.
    Shutdown,
}

impl CloseReason {
    /// All of them, in the order of their declaration.
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 7] = [
        Self::Lifetime,
        Self::Idle,
        Self::Dead,
        Self::Dirty,
        Self::Role,
        Self::Hook,
        Self::Shutdown,
    ];

    /// Its name, as events and metrics give it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lifetime => "lifetime",
            Self::Idle => "idle",
            Self::Dead => "dead",
            Self::Dirty => "dirty",
            Self::Role => "role",
            Self::Hook => "hook",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Ended sessions, counted by reason.
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
    /// See [`CloseReason::Hook`].
    pub hook: u64,
    /// See [`CloseReason::Shutdown`].
    pub shutdown: u64,
}

impl Closed {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.lifetime + self.idle + self.dead + self.dirty + self.role + self.hook + self.shutdown
    }

    pub(crate) fn count(&mut self, reason: CloseReason) {
        *match reason {
            CloseReason::Lifetime => &mut self.lifetime,
            CloseReason::Idle => &mut self.idle,
            CloseReason::Dead => &mut self.dead,
            CloseReason::Dirty => &mut self.dirty,
            CloseReason::Role => &mut self.role,
            CloseReason::Hook => &mut self.hook,
            CloseReason::Shutdown => &mut self.shutdown,
        } += 1;
    }
}
