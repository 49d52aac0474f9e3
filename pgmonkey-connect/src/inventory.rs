//! The contents of a manager's cache, for display.

use std::fmt;
use std::time::Duration;

use pgmonkey_config::{ConnectionType, Fingerprint};

use crate::Status;

/// One cached handle.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CacheEntry {
    /// The connection type.
    pub connection_type: ConnectionType,
    /// Identifies the configuration; prints as a short id that reveals no secret.
    pub fingerprint: Fingerprint,
    /// `user@host:port/database`.
    pub target: String,
    /// How long ago the handle was created.
    pub age: Duration,
    /// How often the handle was requested since.
    pub hits: u64,
    /// The handle's statistics.
    pub status: Status,
}

impl CacheEntry {
    /// Creates an entry.
    pub fn new(
        connection_type: ConnectionType,
        fingerprint: Fingerprint,
        target: impl Into<String>,
        age: Duration,
        hits: u64,
        status: Status,
    ) -> Self {
        Self {
            connection_type,
            fingerprint,
            target: target.into(),
            age,
            hits,
            status,
        }
    }
}

impl fmt::Display for CacheEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} ({:.0?} old, {} hits): {}",
            self.connection_type, self.fingerprint, self.target, self.age, self.hits, self.status
        )
    }
}
