//! A point in time by which the work of a request must have ended.

use std::time::{Duration, Instant};

use crate::limits;

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

/// How the calls of a view are limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeLimit {
    /// Each call by itself.
    Each(Duration),
    /// All calls together.
    Until(Deadline),
}

impl TimeLimit {
    /// Returns the deadline of a call that begins now.
    #[must_use]
    pub fn deadline(self) -> Deadline {
        match self {
            Self::Each(limit) => Deadline::after(limit),
            Self::Until(deadline) => deadline,
        }
    }
}

/// The times of a call with a deadline.
#[derive(Debug, Clone, Copy)]
pub struct TimedCall {
    /// By when it must have ended.
    pub deadline: Deadline,
    /// When it began.
    pub began: Instant,
    /// When it had its session.
    pub acquired: Instant,
}

impl TimedCall {
    /// A call that begins now.
    #[must_use]
    pub fn begin(limit: TimeLimit) -> Self {
        let began = Instant::now();
        Self {
            deadline: limit.deadline(),
            began,
            acquired: began,
        }
    }

    /// The same call, which has its session now.
    #[must_use]
    pub fn with_session(self) -> Self {
        Self {
            acquired: Instant::now(),
            ..self
        }
    }

    /// The call with the earlier deadline.
    #[must_use]
    pub fn earlier(self, other: Option<Self>) -> Self {
        other
            .filter(|other| other.deadline < self.deadline)
            .unwrap_or(self)
    }
}

/// Ends a statement that is still running at its deadline: says what to do at which time.
///
/// A cancel request that arrives before its statement stops nothing, so it is repeated. A server
/// that is frozen or cut off answers none; then the session is given up.
#[derive(Debug)]
pub struct Overdue {
    next: Instant,
    end: Instant,
}

/// What to do with a running statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverdueStep {
    /// Nothing for this long.
    Wait(Duration),
    /// Send a cancel request.
    Cancel,
    /// Close the session.
    GiveUp,
}

impl Overdue {
    /// The end of a statement with this deadline.
    #[must_use]
    pub fn new(deadline: Deadline) -> Self {
        Self {
            next: deadline.0,
            end: give_up_at(deadline),
        }
    }

    /// Returns what to do at `now`.
    pub fn step(&mut self, now: Instant) -> OverdueStep {
        if now >= self.end {
            return OverdueStep::GiveUp;
        }
        if now < self.next {
            return OverdueStep::Wait(self.next - now);
        }
        self.next = (now + limits::CANCEL_AGAIN).min(self.end);
        OverdueStep::Cancel
    }
}

/// When a session is given up whose statement has this deadline.
#[must_use]
pub fn give_up_at(deadline: Deadline) -> Instant {
    deadline.0 + limits::OVERDUE
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn an_overdue_statement_is_cancelled_repeatedly_and_then_given_up(
            early in 0_u64..2000,
            pauses in prop::collection::vec(0_u64..400, 1..40),
        ) {
            let began = Instant::now();
            let deadline = Deadline::at(began + Duration::from_millis(early));
            let mut overdue = Overdue::new(deadline);
            let (mut now, mut last, mut over) = (began, None, false);
            for pause in pauses {
                match overdue.step(now) {
                    OverdueStep::Wait(left) => {
                        prop_assert!(!over && left > Duration::ZERO);
                        // A caller that waits for exactly as long has something to do then.
                        now += left;
                        continue;
                    }
                    OverdueStep::Cancel => {
                        prop_assert!(!over && deadline.is_over(now));
                        prop_assert!(last.is_none_or(|last| now - last >= limits::CANCEL_AGAIN));
                        last = Some(now);
                    }
                    OverdueStep::GiveUp => {
                        prop_assert!(now >= deadline.instant() + limits::OVERDUE);
                        over = true;
                    }
                }
                now += Duration::from_millis(pause);
            }
        }
    }
}
