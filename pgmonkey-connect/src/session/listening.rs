//! A listener's subscriptions, and when it reconnects after it has lost its session.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio_postgres::Notification;

use crate::Error;
use crate::backoff;
use crate::sql::identifier;

/// PostgreSQL truncates longer names in `LISTEN`, but not in `pg_notify()`.
const LONGEST_NAME: usize = 63;
/// The pause after a final error, so that a caller that retries anyway does not keep the server
/// busy.
const FINAL_PAUSE: Duration = Duration::from_secs(1);

/// How often a listener pings the server if another host may take over: without a statement, a host
/// that stands still is not noticed.
pub const HOST_ASKED_EVERY: Duration = Duration::from_secs(2);

/// An event that a listener receives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ListenEvent {
    /// A notification: its channel, its payload, and the process that sent it.
    Notification(Notification),
    /// The session was lost and replaced by another, subscribed to the same channels. Notifications
    /// sent meanwhile were missed: reload any state that is kept up to date by notifications.
    Reconnected,
}

impl ListenEvent {
    /// The notification, if it is one.
    pub fn notification(self) -> Option<Notification> {
        match self {
            Self::Notification(notification) => Some(notification),
            Self::Reconnected => None,
        }
    }
}

/// The channels that a listener is subscribed to.
#[derive(Debug, Clone, Default)]
pub struct Channels(BTreeSet<String>);

impl Channels {
    /// Adds a channel and returns the statement that subscribes to it.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a name that PostgreSQL would truncate.
    pub fn add(&mut self, channel: &str) -> Result<String, Error> {
        if channel.len() > LONGEST_NAME {
            return Err(Error::Unsupported {
                what: format!("a channel name of {} bytes", channel.len()),
                advice: "PostgreSQL allows 63 at most",
            });
        }
        self.0.insert(channel.to_owned());
        Ok(statement("LISTEN", channel))
    }

    /// Removes a channel and returns the statement that ends the subscription.
    pub fn remove(&mut self, channel: &str) -> String {
        self.0.remove(channel);
        statement("UNLISTEN", channel)
    }

    /// Whether the listener is subscribed to a channel.
    pub fn contains(&self, channel: &str) -> bool {
        self.0.contains(channel)
    }

    /// The channels' names, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The statements that subscribe a new session to all channels.
    pub fn subscribe(&self) -> String {
        self.names()
            .map(|channel| statement("LISTEN", channel))
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// A channel's name is an identifier; quoting preserves it exactly.
fn statement(verb: &str, channel: &str) -> String {
    format!("{verb} {}", identifier(channel))
}

/// A period without a session.
#[derive(Debug)]
pub struct Absence {
    failures: u32,
    next: Instant,
}

impl Absence {
    /// Starts the period at `now`; the first attempt is due at once.
    pub fn begun(now: Instant) -> Self {
        Self {
            failures: 0,
            next: now,
        }
    }

    /// How long to wait before the next attempt.
    pub fn pause(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    /// Records a failed attempt at `now`; true if the next one follows without reporting the error.
    pub fn failed(&mut self, error: &Error, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let helps = error.is_transient();
        self.next = now
            + match helps {
                true => backoff::pause_after(self.failures, error.found_other_role()),
                false => FINAL_PAUSE,
            };
        helps
    }
}

/// Whether an error of `LISTEN` means that the session is lost, so that the next one subscribes to
/// the channel. Any other error concerns the statement.
pub fn is_lost(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => code.code().starts_with("57P") || code.code().starts_with("08"),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_whatever_is_in_them() {
        let mut channels = Channels::default();
        assert_eq!(channels.add("Jobs").expect("short"), "LISTEN \"Jobs\"");
        let hostile = "a\"; DROP TABLE t; --";
        let quoted = "LISTEN \"a\"\"; DROP TABLE t; --\"";
        assert_eq!(channels.add(hostile).expect("short"), quoted);
        assert_eq!(channels.subscribe(), format!("LISTEN \"Jobs\"; {quoted}"));
        assert_eq!(channels.remove("Jobs"), "UNLISTEN \"Jobs\"");
        assert!(!channels.contains("Jobs") && channels.contains(hostile));
    }

    #[test]
    fn a_name_that_would_be_cut_short_is_refused() {
        let mut channels = Channels::default();
        assert!(channels.add(&"n".repeat(63)).is_ok());
        let error = channels.add(&"ä".repeat(32)).expect_err("64 bytes");
        assert!(error.to_string().contains("64 bytes"), "{error}");
        assert_eq!(channels.names().len(), 1);
    }

    #[test]
    fn attempts_are_made_with_pauses_until_one_is_final() {
        let now = Instant::now();
        let mut absence = Absence::begun(now);
        assert_eq!(absence.pause(now), Duration::ZERO);
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            assert!(absence.failed(&crate::error::tests::refused(), now));
            assert!(absence.pause(now) >= last && absence.pause(now) <= Duration::from_secs(1));
            last = absence.pause(now);
        }
        assert!(!absence.failed(&Error::Closed { what: "test" }, now));
        assert_eq!(absence.pause(now), FINAL_PAUSE);
        assert_eq!(absence.pause(now + FINAL_PAUSE * 2), Duration::ZERO);
    }
}
