//! The crashes of servers that this process has seen.
//!
//! A server says when it last recovered, not how often. What the tickets and answers of all pools of
//! the process have said together shows a crash between two others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

/// How many recoveries of one server are kept, the latest ones.
const KEPT: usize = 64;

/// When each server has recovered, in microseconds of its own clock, by its system identifier.
static SEEN: Mutex<BTreeMap<String, BTreeSet<u64>>> = Mutex::new(BTreeMap::new());

/// Remembers that the server's statistics begin at `statistics`, in seconds.
pub(super) fn note(system: &str, statistics: &str) {
    let Some(time) = microseconds(statistics) else {
        return;
    };
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    if !seen.contains_key(system) {
        seen.insert(system.to_owned(), BTreeSet::new());
    }
    if let Some(times) = seen.get_mut(system) {
        times.insert(time);
        if times.len() > KEPT {
            times.pop_first();
        }
    }
}

/// Whether the server has recovered between two times at which its statistics began.
pub(super) fn any_between(system: &str, then: &str, now: &str) -> bool {
    let (Some(then), Some(now)) = (microseconds(then), microseconds(now)) else {
        return false;
    };
    let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let times = seen.get(system);
    times.is_some_and(|times| times.iter().any(|time| then < *time && *time < now))
}

fn microseconds(seconds: &str) -> Option<u64> {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let digits = fraction.chars().chain(std::iter::repeat('0')).take(6);
    let fraction: u64 = digits.collect::<String>().parse().ok()?;
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_between_two_others_is_seen_for_its_server_alone() {
        let system = "of this test";
        for time in ["10.5", "20", "30.25"] {
            note(system, time);
        }
        assert!(any_between(system, "10.5", "30.25"));
        assert!(!any_between(system, "10.5", "20.000000"));
        assert!(!any_between(system, "20", "30.25"));
        assert!(!any_between("another of this test", "10.5", "30.25"));
    }

    #[test]
    fn the_oldest_are_forgotten_and_count_as_seen() {
        let system = "of the other test";
        for time in 1..=2 * KEPT {
            note(system, &time.to_string());
        }
        assert!(any_between(system, "1", &(2 * KEPT).to_string()));
        let seen = SEEN.lock().unwrap();
        assert_eq!(seen[system].len(), KEPT);
    }

    #[test]
    fn times_are_read_to_the_microsecond() {
        assert_eq!(
            microseconds("1700000000.123456"),
            Some(1_700_000_000_123_456)
        );
        assert_eq!(microseconds("1700000000.5"), Some(1_700_000_000_500_000));
        assert_eq!(microseconds("7"), Some(7_000_000));
        for text in ["", "x", "-1.5", "1.x"] {
            assert_eq!(microseconds(text), None, "{text}");
        }
    }
}
