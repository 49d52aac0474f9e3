//! When a session reaches its maximum lifetime.

use std::time::{Duration, Instant};

pub use crate::random::draw;

/// How far a session's age limit may differ from `max_lifetime`, so that sessions opened together
/// do not expire together.
const JITTER: f64 = 0.10;

/// When a session opened at `opened_at` expires: after `lifetime` ± 10 %. `unit`, in 0..=1, picks
/// the point in that range.
///
/// `None` means never, also for a time too far in the future to represent.
pub fn end_of_life(opened_at: Instant, lifetime: Option<Duration>, unit: f64) -> Option<Instant> {
    let factor = 1.0 + JITTER * (2.0 * unit.clamp(0.0, 1.0) - 1.0);
    let span = Duration::try_from_secs_f64(lifetime?.as_secs_f64() * factor).ok()?;
    opened_at.checked_add(span)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_lifetime_is_no_end() {
        assert_eq!(end_of_life(Instant::now(), None, 0.5), None);
    }

    proptest! {
        #[test]
        fn the_end_strays_by_a_tenth_at_most(seconds in 1u64..100_000_000, unit in 0.0..=1.0f64) {
            let opened_at = Instant::now();
            let lifetime = Duration::from_secs(seconds);
            let end = end_of_life(opened_at, Some(lifetime), unit).expect("in range") - opened_at;
            let (low, high) = (lifetime.mul_f64(0.8999), lifetime.mul_f64(1.1001));
            prop_assert!(low <= end && end <= high, "{end:?}");
        }

        #[test]
        fn no_lifetime_panics(seconds in any::<u64>(), unit in any::<f64>()) {
            let _ = end_of_life(Instant::now(), Some(Duration::from_secs(seconds)), unit);
        }
    }
}
