//! The durations of one text's runs, in a few hundred bytes.

use std::time::Duration;

/// Four buckets for each power of two, from a microsecond to four minutes.
const BUCKETS: usize = 112;

/// Counts durations in buckets whose bounds are a quarter of a power of two apart, so that a
/// quantile is exact to an eighth.
#[derive(Debug, Clone)]
pub(super) struct Histogram([u16; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Histogram {
    #[inline]
    pub(super) fn count(&mut self, nanos: u64) {
        let bucket = &mut self.0[bucket_of(nanos)];
        *bucket += 1;
        if *bucket == u16::MAX {
            self.halve();
        }
    }

    /// Makes room: quantiles depend on the proportions alone.
    #[cold]
    fn halve(&mut self) {
        self.0.iter_mut().for_each(|bucket| *bucket /= 2);
    }

    /// The duration that this share of the runs does not exceed, from 0 to 1.
    pub(super) fn quantile(&self, share: f64) -> Duration {
        let all: u64 = self.0.iter().map(|count| u64::from(*count)).sum();
        let wanted = (share * all as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.0.iter().position(|count| {
            seen += u64::from(*count);
            seen >= wanted
        });
        bucket.map_or(Duration::ZERO, middle_of)
    }
}

/// Units of 1,024 nanoseconds.
const UNIT: u32 = 10;

#[inline]
fn bucket_of(nanos: u64) -> usize {
    let units = nanos >> UNIT;
    if units < 4 {
        return units as usize;
    }
    let power = units.ilog2();
    let quarter = (units >> (power - 2)) & 3;
    ((power as usize - 1) * 4 + quarter as usize).min(BUCKETS - 1)
}

fn middle_of(bucket: usize) -> Duration {
    let lower = |bucket: usize| match bucket {
        0..4 => bucket as u64,
        _ => (4 + bucket as u64 % 4) << (bucket / 4 - 1),
    };
    let middle = (lower(bucket) + lower(bucket + 1)) << (UNIT - 1);
    Duration::from_nanos(middle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_is_narrow(nanos in 4096..200_000_000_000_u64) {
            let duration = Duration::from_nanos(nanos);
            let middle = middle_of(bucket_of(nanos)).as_secs_f64();
            let ratio = middle / duration.as_secs_f64();
            prop_assert!((0.87..=1.13).contains(&ratio), "{duration:?}: {ratio}");
        }

        #[test]
        fn a_quantile_is_that_of_the_sorted_runs(
            mut millis in proptest::collection::vec(1..10_000_u64, 1..300), share in 0.01..=1.0_f64,
        ) {
            let mut histogram = Histogram::default();
            millis.iter().for_each(|ms| histogram.count(*ms * 1_000_000));
            millis.sort_unstable();
            let at = (share * millis.len() as f64).ceil() as usize - 1;
            let ratio = histogram.quantile(share).as_secs_f64() * 1000.0 / millis[at] as f64;
            prop_assert!((0.87..=1.13).contains(&ratio), "{ratio}");
        }
    }

    #[test]
    fn many_runs_keep_their_proportions() {
        let mut histogram = Histogram::default();
        for run in 0..400_000 {
            histogram.count(if run % 50 == 0 {
                1_000_000_000
            } else {
                1_000_000
            });
        }
        assert!(histogram.quantile(0.97) < Duration::from_millis(2));
        assert!(histogram.quantile(0.995) > Duration::from_millis(800));
    }

    #[test]
    fn any_duration_has_a_bucket() {
        for nanos in [0, 1, u64::MAX] {
            Histogram::default().count(nanos);
        }
        assert_eq!(Histogram::default().quantile(0.99), Duration::ZERO);
    }
}
