//! The limits that a pool's settings set.

use std::time::Duration;

use pgmonkey_config::{MOST_SESSIONS, PoolSettings};

use crate::Error;

/// The longest pause between maintenance ticks: an expired or overdue session is noticed within
/// this time, a lost one within 1.5 times this. Short compared with any sensible age limit, long
/// compared with the cost of a tick.
const LOOK: Duration = Duration::from_secs(1);
/// How long before its timeout a tick wakes a waiter, which needs no timer until then. Ticks may be
/// late by twice their longest pause.
pub(super) const ALARM: Duration = LOOK.saturating_mul(3);
/// The shortest pause between ticks, however short the age limits are.
const SHORTEST: Duration = Duration::from_millis(20);

/// The limits that a pool's decisions observe.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `pool` or `connection`, for [`Error::Closed`](crate::Error::Closed).
    pub what: &'static str,
    /// The number of sessions kept open.
    pub min_size: u32,
    /// The maximum number of sessions.
    pub max_size: u32,
    /// The maximum number of callers waiting for a release.
    pub max_waiting: Option<u32>,
    /// The maximum number of sessions opened in parallel.
    pub num_workers: u32,
    /// How long a session above `min_size` may be idle.
    pub max_idle: Duration,
    /// How long callers wait for an unavailable server to return.
    pub reconnect_timeout: Option<Duration>,
}

impl Limits {
    /// Takes the limits from `settings`; `what` is `pool` or `connection`.
    pub fn new(what: &'static str, settings: &PoolSettings) -> Self {
        Self {
            what,
            min_size: settings.min_size,
            max_size: settings.max_size,
            max_waiting: settings.max_waiting,
            num_workers: settings.num_workers,
            max_idle: settings.max_idle,
            reconnect_timeout: settings.reconnect_timeout,
        }
    }
}

/// Checks new sizes for a pool.
///
/// # Errors
///
/// [`Error::Sizes`] if `min_size` exceeds `max_size`, or `max_size` is 0 or exceeds
/// [`MOST_SESSIONS`], as in the config file.
pub fn check_sizes(min_size: u32, max_size: u32) -> Result<(), Error> {
    match (1..=MOST_SESSIONS).contains(&max_size) && min_size <= max_size {
        true => Ok(()),
        false => Err(Error::Sizes { min_size, max_size }),
    }
}

/// The pause between maintenance ticks: a quarter of the shortest age limit, at least 20 ms and at
/// most 1 s.
pub fn interval(settings: &PoolSettings) -> Duration {
    let ages = [
        settings.max_lifetime,
        Some(settings.max_idle),
        settings.leak_warning,
    ];
    let shortest = ages.into_iter().flatten().min().unwrap_or(LOOK);
    (shortest / 4).clamp(SHORTEST, LOOK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ages_are_looked_at_more_often() {
        let mut settings = PoolSettings::default();
        assert_eq!(interval(&settings), LOOK);
        settings.max_idle = Duration::from_millis(400);
        assert_eq!(interval(&settings), Duration::from_millis(100));
        settings.max_lifetime = Some(Duration::ZERO);
        assert_eq!(interval(&settings), SHORTEST);
    }

    #[test]
    fn sizes_are_checked_as_in_the_file() {
        assert!(check_sizes(0, 1).is_ok() && check_sizes(3, MOST_SESSIONS).is_ok());
        for (min_size, max_size) in [(0, 0), (2, 1), (0, MOST_SESSIONS + 1), (0, u32::MAX)] {
            assert!(
                check_sizes(min_size, max_size).is_err(),
                "{min_size} {max_size}"
            );
        }
    }
}
