//! A point in time by which the work of a request must have ended.

use std::time::{Duration, Instant};

/// Stands for a time that the clock cannot express, as `Duration::MAX` from now.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// A point in time by which calls must have ended, waiting included.
///
/// It is `Copy`, so that a request can pass it through its layers. Each call gets the time that is
/// left, and no layer has to count how much of it the others have used.
///
/// ```
/// use std::time::{Duration, Instant};
/// use pgmonkey_connect::Deadline;
///
/// let request = Deadline::after(Duration::from_secs(5));
/// let step = request.min(Deadline::after(Duration::from_secs(1))); // whichever is earlier
/// assert!(step.remaining(Instant::now()) <= Duration::from_secs(1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline this long after now. A duration that the clock cannot express counts as 30 years.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        let now = Instant::now();
        Self(now.checked_add(limit).unwrap_or_else(|| now + FAR))
    }

    /// A deadline at this time.
    #[must_use]
    pub const fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// Returns the time of the deadline.
    #[must_use]
    pub const fn instant(self) -> Instant {
        self.0
    }

    /// Returns the time that is left at `now`: zero once the deadline has passed.
    #[must_use]
    pub fn remaining(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// Whether the deadline has passed at `now`.
    #[must_use]
    pub fn is_over(self, now: Instant) -> bool {
        now >= self.0
    }
}

impl From<Instant> for Deadline {
    fn from(instant: Instant) -> Self {
        Self::at(instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_ends_at_the_deadline() {
        let now = Instant::now();
        let deadline = Deadline::at(now + Duration::from_secs(2));
        assert_eq!(deadline.remaining(now), Duration::from_secs(2));
        assert!(!deadline.is_over(now));
        let (end, later) = (deadline.instant(), now + Duration::from_secs(3));
        assert!(deadline.is_over(end) && deadline.is_over(later));
        assert_eq!(deadline.remaining(later), Duration::ZERO);
    }

    #[test]
    fn the_longest_limit_is_far_away() {
        let far = Deadline::after(Duration::MAX);
        assert!(far.remaining(Instant::now()) > Duration::from_secs(3600));
        assert!(Deadline::after(Duration::ZERO) < far);
    }
}
