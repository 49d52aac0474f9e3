//! Whether, how often and how soon a transaction that failed is run again.

use std::time::Duration;

use crate::backoff;

/// How often and how soon a transaction is run again after a failure that another attempt may
/// survive.
///
/// That is a serialization failure (SQLSTATE 40001) or a deadlock (40P01), whatever error the
/// closure makes of it, and with [`retry_lost_sessions`](Self::retry_lost_sessions) the loss of the
/// session before `COMMIT` was sent. Nothing of a failed attempt is left in the database. After a
/// `COMMIT` whose outcome is unknown there is no other attempt.
///
/// The default makes at most 5 attempts, with pauses of 20 ms, doubled up to 1 s. Each pause is
/// lengthened or shortened at random by up to half, so that transactions that conflicted do not meet
/// again.
///
/// ```
/// use std::time::Duration;
/// use pgmonkey_connect::transaction::Retry;
///
/// let patient = Retry::attempts(10)
///     .backoff(Duration::from_millis(5), Duration::from_millis(500))
///     .retry_lost_sessions(true);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "give it to a transaction builder"]
pub struct Retry {
    pub(super) attempts: u32,
    first: Duration,
    longest: Duration,
    pub(super) lost_sessions: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(20),
            longest: backoff::LONGEST,
            lost_sessions: false,
        }
    }
}

impl Retry {
    /// Makes at most this many attempts, the first one included; 0 counts as 1.
    pub fn attempts(attempts: u32) -> Self {
        Self {
            attempts: attempts.max(1),
            ..Self::default()
        }
    }

    /// Sets the pause before the second attempt, which doubles with each attempt up to `longest`.
    pub fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.first, self.longest) = (first, longest);
        self
    }

    /// Sets whether the loss of the session is followed by another attempt, on another session, as
    /// long as no `COMMIT` was sent. Defaults to false: what the attempt did outside the database
    /// is done again, possibly against another server after a failover.
    pub fn retry_lost_sessions(mut self, retry: bool) -> Self {
        self.lost_sessions = retry;
        self
    }

    /// The pause after this many failed attempts; `unit`, in 0..1, spreads it.
    pub(super) fn pause(&self, failures: u32, unit: f64) -> Duration {
        let pause = backoff::pause_between(self.first, self.longest, failures);
        // Not `mul_f64`, which panics for a duration that is too long.
        Duration::try_from_secs_f64(pause.as_secs_f64() * (0.5 + unit)).unwrap_or(Duration::MAX)
    }
}
