//! Recommends a pool size.

use serde::Serialize;

use super::measure::{Measured, Room};

/// A smaller pool within this share of the best is better: sessions cost the server memory, and the
/// difference is within measurement noise.
const GOOD_ENOUGH: f64 = 0.95;

/// A size and the reason for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Advice {
    pub(crate) max_size: u32,
    pub(crate) reason: String,
}

/// The smallest size that serves about as much as the best.
///
/// # Panics
///
/// If nothing was measured.
pub(crate) fn recommend(sizes: &[Measured], room: &Room, skipped: &[u32]) -> Advice {
    let best = sizes
        .iter()
        .max_by(|a, b| a.per_second.total_cmp(&b.per_second));
    let best = best.expect("at least one size is measured");
    let enough = sizes
        .iter()
        .find(|row| row.per_second >= best.per_second * GOOD_ENOUGH);
    let chosen = enough.unwrap_or(best);
    let mut reason = if sizes.len() == 1 {
        "Only this size was measured.".to_owned()
    } else if chosen.size == best.size {
        format!(
            "It serves the most, {:.0} per second; no smaller size comes within 5 % of it.",
            best.per_second
        )
    } else {
        format!(
            "It serves {:.0} per second, within 5 % of the best ({:.0} with {} sessions), with fewer sessions.",
            chosen.per_second, best.per_second, best.size
        )
    };
    let largest = sizes.iter().map(|row| row.size).max();
    if Some(chosen.size) == largest && sizes.len() > 1 {
        reason += match skipped.is_empty() {
            true => {
                " It is the largest size that was measured: a larger one may serve more (--sizes)."
            }
            false => " It is the largest size that the server has room for.",
        };
    }
    if chosen.size * 2 > room.free {
        reason += &format!(
            " The server has no room for two such pools ({}): count all programs that use it.",
            room.free
        );
    }
    Advice {
        max_size: chosen.size,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::Latency;
    use super::*;

    fn measured(rates: &[(u32, f64)]) -> Vec<Measured> {
        let latency_ms = Latency {
            mean: 1.0,
            p50: 1.0,
            p99: 1.0,
            max: 1.0,
        };
        let row = |(size, per_second): &(u32, f64)| Measured {
            size: *size,
            operations: 1,
            per_second: *per_second,
            latency_ms: latency_ms.clone(),
            statements: Vec::new(),
        };
        rates.iter().map(row).collect()
    }

    fn room(free: u32) -> Room {
        Room {
            max_connections: 100,
            reserved: 3,
            in_use: 97 - free,
            free,
        }
    }

    #[test]
    fn the_smallest_that_is_good_enough() {
        let sizes = measured(&[(2, 500.0), (4, 960.0), (8, 1000.0), (16, 990.0)]);
        let advice = recommend(&sizes, &room(90), &[]);
        assert_eq!(advice.max_size, 4);
        assert!(advice.reason.contains("within 5 %"), "{advice:?}");
    }

    #[test]
    fn it_is_said_when_more_might_be_better() {
        let sizes = measured(&[(2, 500.0), (4, 1000.0)]);
        assert!(recommend(&sizes, &room(90), &[]).reason.contains("--sizes"));
        let bounded = recommend(&sizes, &room(5), &[8]).reason;
        assert!(bounded.contains("room for"), "{bounded}");
        assert!(bounded.contains("count all programs"), "{bounded}");
    }
}
