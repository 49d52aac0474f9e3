//! Whether and when to try a server again.

use std::time::Duration;

use crate::Error;

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

#[cfg(test)]
mod tests {
    use super::*;

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
