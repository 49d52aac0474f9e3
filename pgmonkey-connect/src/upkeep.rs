//! What a pool does by itself: keeping `min_size`, ending what is idle or old, looking for losses.

use std::time::Duration;

use pgmonkey_config::{MOST_SESSIONS, PoolSettings};

use crate::status::Status;
use crate::{Error, retry};

/// At most this long after a session grew too old or is held for too long it is noticed, and
/// half as long again after one was lost: short beside every age a server's administrator would set, long beside what a look
/// costs.
const LOOK: Duration = Duration::from_secs(1);
/// Not more often, however short the ages are.
const SHORTEST: Duration = Duration::from_millis(20);
/// How long to leave a server alone that refused for good: only a changed password or database
/// helps, and whoever acquires in the meantime asks anyway.
const REFUSED: Duration = Duration::from_secs(30);

/// Checks sizes that a pool is to have from now on.
///
/// # Errors
///
/// [`Error::Sizes`] if `min_size` is more than `max_size`, or that is 0 or more than
/// [`MOST_SESSIONS`]: r2d2 allocates for each one.
pub fn check_sizes(min_size: u32, max_size: u32) -> Result<(), Error> {
    match (1..=MOST_SESSIONS).contains(&max_size) && min_size <= max_size {
        true => Ok(()),
        false => Err(Error::Sizes { min_size, max_size }),
    }
}

/// The pause between two looks: a second, less for a pool whose ages are shorter than a few.
pub fn interval(settings: &PoolSettings) -> Duration {
    let ages = [
        settings.max_lifetime,
        Some(settings.max_idle),
        settings.leak_warning,
    ];
    let shortest = ages.into_iter().flatten().min().unwrap_or(LOOK);
    (shortest / 4).clamp(SHORTEST, LOOK)
}

/// How many sessions are to be opened to have `min_size`, while `opening` are under way.
pub fn missing(status: &Status, opening: u32) -> u32 {
    status
        .min_size
        .saturating_sub(status.size.saturating_add(opening))
}

/// How many idle sessions may end for being idle: those over `min_size`.
pub fn surplus(status: &Status) -> usize {
    let over = status.size.saturating_sub(status.min_size);
    over.min(status.idle) as usize
}

/// How many idle sessions must end, because the pool was made smaller.
pub fn excess(status: &Status) -> usize {
    let over = status.size.saturating_sub(status.max_size);
    over.min(status.idle) as usize
}

/// The pause before the next try to have `min_size`, after `failures` in a row.
pub fn pause(error: &Error, failures: u32) -> Duration {
    retry::pause(error, failures, Duration::MAX).unwrap_or(REFUSED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(size: u32, idle: u32) -> Status {
        Status {
            size,
            idle,
            min_size: 2,
            max_size: 4,
            ..Status::default()
        }
    }

    #[test]
    fn only_what_is_missing_is_opened() {
        assert_eq!(missing(&status(0, 0), 0), 2);
        assert_eq!(missing(&status(1, 0), 0), 1);
        assert_eq!(missing(&status(0, 0), 2), 0);
        assert_eq!(missing(&status(3, 3), 0), 0);
    }

    #[test]
    fn min_size_is_kept_and_what_is_in_use_is_left_alone() {
        assert_eq!(surplus(&status(4, 4)), 2);
        assert_eq!(surplus(&status(4, 1)), 1);
        assert_eq!(surplus(&status(2, 2)), 0);
        assert_eq!(excess(&status(4, 4)), 0);
        assert_eq!(excess(&status(7, 2)), 2);
        assert_eq!(excess(&status(5, 4)), 1);
    }

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
    fn a_server_that_refused_is_left_alone_for_longer() {
        let away = crate::error::tests::refused();
        assert!(pause(&away, 1) < LOOK && pause(&away, 99) <= LOOK);
        assert_eq!(pause(&Error::Closed { what: "test" }, 1), REFUSED);
    }
}
