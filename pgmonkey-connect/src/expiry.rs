//! When a session must go.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

/// How far a session's age limit strays from `max_lifetime`, so that sessions opened together
/// do not end together.
const JITTER: f64 = 0.10;

/// The moment at which a session opened at `born` must end, drawn once at its birth: `lifetime`
/// ± 10 %. `unit` picks the place in that range and lies in 0..=1.
///
/// `None`, and any moment too far to express, mean never.
pub fn end_of_life(born: Instant, lifetime: Option<Duration>, unit: f64) -> Option<Instant> {
    let factor = 1.0 + JITTER * (2.0 * unit.clamp(0.0, 1.0) - 1.0);
    let span = Duration::try_from_secs_f64(lifetime?.as_secs_f64() * factor).ok()?;
    born.checked_add(span)
}

/// A fresh number in 0..1 for [`end_of_life`]: unpredictable enough to spread ages, no more.
pub fn draw() -> f64 {
    let bits = RandomState::new().hash_one(0_u8) >> 11;
    bits as f64 / (1_u64 << 53) as f64
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
            let born = Instant::now();
            let lifetime = Duration::from_secs(seconds);
            let end = end_of_life(born, Some(lifetime), unit).expect("in range") - born;
            let (low, high) = (lifetime.mul_f64(0.8999), lifetime.mul_f64(1.1001));
            prop_assert!(low <= end && end <= high, "{end:?}");
        }

        #[test]
        fn no_lifetime_panics(seconds in any::<u64>(), unit in any::<f64>()) {
            let _ = end_of_life(Instant::now(), Some(Duration::from_secs(seconds)), unit);
        }
    }

    #[test]
    fn draws_differ() {
        let drawn: Vec<f64> = (0..32).map(|_| draw()).collect();
        assert!(drawn.iter().all(|unit| (0.0..1.0).contains(unit)));
        assert!(drawn.windows(2).any(|pair| pair[0] != pair[1]));
    }
}
