//! What a listener is subscribed to, and when it tries again after it lost its session.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio_postgres::Notification;

use crate::sql::identifier;
use crate::{Error, retry};

/// PostgreSQL cuts longer names short, in `LISTEN` but not in `pg_notify()`.
const LONGEST_NAME: usize = 63;
/// The pause after an error that no retry can help: whoever asks again all the same does not
/// keep a server busy.
const FINAL_PAUSE: Duration = Duration::from_secs(1);

/// What a listener hears.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Heard {
    /// A notification: its channel, payload, and the process that sent it.
    Notification(Notification),
    /// The session was lost and there is another, subscribed to the same channels. What was sent
    /// meanwhile was missed: whoever keeps something in step by notifications reads it anew now.
    Reconnected,
}

impl Heard {
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
    /// Adds a channel; the statement that subscribes to it.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] for a name that PostgreSQL would cut short.
    pub fn add(&mut self, channel: &str) -> Result<String, Error> {
        if channel.len() > LONGEST_NAME {
            return Err(Error::Unsupported {
                what: format!("a channel name of {} bytes", channel.len()),
                advice: "PostgreSQL takes 63 at most",
            });
        }
        self.0.insert(channel.to_owned());
        Ok(statement("LISTEN", channel))
    }

    /// Takes a channel off; the statement that ends the subscription.
    pub fn remove(&mut self, channel: &str) -> String {
        self.0.remove(channel);
        statement("UNLISTEN", channel)
    }

    /// Whether a channel is one of them.
    pub fn contains(&self, channel: &str) -> bool {
        self.0.contains(channel)
    }

    /// Their names, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The statements that subscribe a new session to all of them.
    pub fn subscribe(&self) -> String {
        self.names()
            .map(|channel| statement("LISTEN", channel))
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// A channel's name is an identifier: quoted, it is taken as it is written.
fn statement(verb: &str, channel: &str) -> String {
    format!("{verb} {}", identifier(channel))
}

/// A time without a session.
#[derive(Debug)]
pub struct Absence {
    failures: u32,
    next: Instant,
}

impl Absence {
    /// It began at `now`; the first attempt is due at once.
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

    /// An attempt has failed at `now`; whether there is another without anybody being told.
    pub fn failed(&mut self, error: &Error, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let pause = retry::pause(error, self.failures, Duration::MAX);
        self.next = now + pause.unwrap_or(FINAL_PAUSE);
        pause.is_some()
    }
}

/// Whether an error of `LISTEN` means that the session is lost: then it is subscribed to with
/// the next one. Any other error is the statement's own.
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
