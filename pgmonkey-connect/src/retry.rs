//! Whether and when to try a server again.

use std::time::{Duration, Instant};

use pgmonkey_config::PoolSettings;

use crate::Error;
use crate::ledger::Ledger;

/// The first pause: a server that restarts on the same machine is back within a few of these.
const FIRST: Duration = Duration::from_millis(20);
/// The longest pause: at most this long after the server is back a waiter notices.
const LONGEST: Duration = Duration::from_secs(1);

/// The pause before the next try after `failures` failures in a row, at least 1; `None` when no
/// retry can help or none is due any more because `left` is over.
///
/// Pauses double from 20 ms to 1 s and never pass `left`, the time its caller still has.
pub fn pause(error: &Error, failures: u32, left: Duration) -> Option<Duration> {
    if !error.is_transient() || left.is_zero() {
        return None;
    }
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    Some(doubled.min(LONGEST).min(left))
}

/// How long one caller of a pool puts up with a server that gives no session.
#[derive(Debug, Clone, Copy)]
pub struct Patience<'a> {
    /// The pool's book.
    pub ledger: &'a Ledger,
    /// The pool's settings.
    pub settings: &'a PoolSettings,
    /// When the caller asked.
    pub began: Instant,
}

impl Patience<'_> {
    /// The pause before the next try after `failures` in a row; `None` if there is none.
    pub fn pause(&self, error: &Error, failures: u32, now: Instant) -> Option<Duration> {
        // A server that was never reached is more likely misnamed than away.
        if !self.ledger.ever_opened() || self.is_given_up(now) {
            return None;
        }
        let left = self.settings.timeout.saturating_sub(now - self.began);
        pause(error, failures, left)
    }

    /// The error for a caller who tries no more: the time-out with its reason, or the reason itself.
    pub fn give_up(&self, error: Error, now: Instant) -> Error {
        if error.is_transient() && self.ledger.ever_opened() && !self.is_given_up(now) {
            self.ledger.timed_out(now - self.began, now)
        } else {
            error
        }
    }

    /// Whether the server has been away for longer than `reconnect_timeout`.
    fn is_given_up(&self, now: Instant) -> bool {
        let limit = self.settings.reconnect_timeout;
        let away = limit.and_then(|_| self.ledger.away_for(now));
        away.zip(limit).is_some_and(|(away, limit)| away >= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_with_reconnect_timeout_and_begins_with_a_session() {
        let (ledger, began) = (Ledger::new("u@h:1/d", 0, 1), Instant::now());
        let settings = PoolSettings::default();
        let patience = Patience {
            ledger: &ledger,
            settings: &settings,
            began,
        };
        let away = crate::error::tests::refused();
        assert_eq!(patience.pause(&away, 1, began), None, "never reached");
        assert!(!patience.give_up(away.clone(), began).is_timeout());
        ledger.opened();
        ledger.open_failed(&away, began);
        assert_eq!(patience.pause(&away, 1, began), Some(FIRST));
        assert!(patience.give_up(away.clone(), began).is_timeout());
        let late = began + settings.reconnect_timeout.expect("a default");
        assert_eq!(patience.pause(&away, 1, late), None);
        assert!(
            !patience.give_up(away, late).is_timeout(),
            "the reason itself"
        );
    }

    #[test]
    fn pauses_grow_to_a_limit_and_end_with_the_time() {
        let away = Error::Closed { what: "test" };
        assert_eq!(pause(&away, 1, Duration::from_secs(9)), None, "final");
        let transient = crate::error::tests::refused();
        let long = Duration::from_secs(60);
        assert_eq!(pause(&transient, 1, long), Some(FIRST));
        assert_eq!(pause(&transient, 2, long), Some(FIRST * 2));
        assert_eq!(pause(&transient, 4000, long), Some(LONGEST));
        assert_eq!(
            pause(&transient, 9, Duration::from_millis(3)),
            Some(Duration::from_millis(3))
        );
        assert_eq!(pause(&transient, 9, Duration::ZERO), None);
    }
}
