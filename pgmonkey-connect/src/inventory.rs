//! What a manager's cache holds, for people to look at.

use std::fmt;
use std::time::Duration;

use pgmonkey_config::{ConnectionType, Fingerprint};

use crate::Status;

/// One cached handle.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CacheEntry {
    /// Which of the four types it is.
    pub connection_type: ConnectionType,
    /// The configuration it was made from; prints as a short id that tells no secret.
    pub fingerprint: Fingerprint,
    /// `user@host:port/database`.
    pub target: String,
    /// How long ago it was made.
    pub age: Duration,
    /// How often it was asked for since.
    pub hits: u64,
    /// Its sessions.
    pub status: Status,
}

impl CacheEntry {
    /// Puts an entry together.
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
