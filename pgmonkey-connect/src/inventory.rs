//! The contents of a manager's cache, for display.

use std::fmt;
use std::time::Duration;

use pgmonkey_config::{ConnectionType, Fingerprint};

use crate::pool::Usage;
use crate::sources::ConfigSource;
use crate::status::Status;

/// One cached handle.
///
/// Its display form shows everything but the counters. It is never that of another handle, because
/// it has the handle's number.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CacheEntry {
    /// The handle's number: no other handle of the process has it, not even a later one of the same
    /// configuration.
    pub number: u64,
    /// The handle's name in events and metrics; by default its target.
    pub name: String,
    /// The connection type.
    pub connection_type: ConnectionType,
    /// Identifies the configuration; prints as a short id that reveals no secret, and is the same
    /// for configurations that differ only in secrets.
    pub fingerprint: Fingerprint,
    /// `user@host:port/database`.
    pub target: String,
    /// Where the configuration came from: the files that give the handle, in order of their paths,
    /// and code.
    pub sources: Vec<ConfigSource>,
    /// How long ago the handle was created.
    pub age: Duration,
    /// How long ago a session was last acquired, or the handle was created; zero while one is in
    /// use.
    pub unused_for: Duration,
    /// How often the handle was requested since.
    pub hits: u64,
    /// Why a session could not be opened, the last time that happened.
    pub last_failure: Option<LastFailure>,
    /// The handle's statistics: its sizes, and how many sessions it has opened.
    pub status: Status,
}

/// Why a handle could not open a session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LastFailure {
    /// How long ago.
    pub ago: Duration,
    /// The error's text.
    pub reason: String,
}

/// A cached handle, as the manager that caches it knows it.
#[derive(Debug)]
pub struct Listed<'a> {
    /// See [`CacheEntry::number`].
    pub number: u64,
    /// See [`CacheEntry::name`].
    pub name: &'a str,
    /// See [`CacheEntry::connection_type`].
    pub connection_type: ConnectionType,
    /// See [`CacheEntry::fingerprint`].
    pub fingerprint: Fingerprint,
    /// See [`CacheEntry::target`].
    pub target: &'a str,
    /// See [`CacheEntry::sources`].
    pub sources: Vec<ConfigSource>,
    /// See [`CacheEntry::age`].
    pub age: Duration,
    /// See [`CacheEntry::hits`].
    pub hits: u64,
    /// The rest.
    pub usage: Usage,
}

impl From<Listed<'_>> for CacheEntry {
    fn from(listed: Listed<'_>) -> Self {
        let usage = listed.usage;
        Self {
            number: listed.number,
            name: listed.name.to_owned(),
            connection_type: listed.connection_type,
            fingerprint: listed.fingerprint,
            target: listed.target.to_owned(),
            sources: listed.sources,
            age: listed.age,
            unused_for: usage.unused_for.unwrap_or(listed.age).min(listed.age),
            hits: listed.hits,
            last_failure: usage.last_failure.map(|(ago, error)| LastFailure {
                ago,
                reason: error.to_string(),
            }),
            status: usage.status,
        }
    }
}

impl fmt::Display for CacheEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.connection_type;
        write!(
            f,
            "#{} {kind} {} {}",
            self.number, self.fingerprint, self.target
        )?;
        if self.name != self.target {
            write!(f, " \"{}\"", self.name)?;
        }
        for (at, source) in self.sources.iter().enumerate() {
            let before = if at == 0 { " from" } else { "," };
            write!(f, "{before} {source}")?;
        }
        let (age, unused_for, opened) = (self.age, self.unused_for, self.status.opened);
        write!(
            f,
            " ({age:.0?} old, used {unused_for:.0?} ago, {} hits, {opened} sessions opened): {}",
            self.hits, self.status
        )?;
        if let Some(failure) = &self.last_failure {
            write!(f, "; failed {:.0?} ago: {}", failure.ago, failure.reason)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use pgmonkey_config::Config;

    fn entry(number: u64) -> CacheEntry {
        let config = Config::from_yaml("connection_settings: { host: db }").expect("it is right");
        let connection_type = ConnectionType::Pool;
        CacheEntry::from(Listed {
            number,
            name: "orders",
            connection_type,
            fingerprint: *config.fingerprint(connection_type),
            target: "app@db:5432/shop",
            sources: vec![ConfigSource::Code, ConfigSource::File("app.yaml".into())],
            age: Duration::from_secs(90),
            hits: 3,
            usage: Usage {
                status: Status::default(),
                unused_for: Some(Duration::from_secs(2)),
                last_failure: Some((Duration::from_secs(5), Error::Closed { what: "pool" })),
            },
        })
    }

    #[test]
    fn equal_handles_can_be_told_apart() {
        let text = entry(7).to_string();
        assert_ne!(text, entry(8).to_string());
        let id = entry(7).fingerprint;
        let expected = format!(
            "#7 pool {id} app@db:5432/shop \"orders\" from code, app.yaml (90s old, used 2s ago, \
             3 hits, 0 sessions opened): 0 of 0 in use, 0 idle, 0 waiting; failed 5s ago: the pool \
             is closed: ask the connection manager for a new one"
        );
        assert_eq!(text, expected);
    }
}
