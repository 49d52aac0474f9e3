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

    /// A call that must end at `until`, and that has its session now.
    #[must_use]
    pub fn until(until: Instant, began: Instant) -> Self {
        Self {
            deadline: Deadline::at(until),
            began,
            acquired: Instant::now(),
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

    /// The same call with at least this much time: for what undoes work, which is needed most when
    /// the time is over.
    #[must_use]
    pub fn at_least(self, left: Duration) -> Self {
        let deadline = self.deadline.max(Deadline::after(left));
        Self { deadline, ..self }
    }

    /// The call with the earlier deadline.
    #[must_use]
    pub fn earlier(self, other: Option<Self>) -> Self {
        other
            .filter(|other| other.deadline < self.deadline)
            .unwrap_or(self)
    }
}

/// The limits of a call that returns a transaction, and of the transaction's own calls.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The limit of the call that begins it.
    pub begin: Option<TimedCall>,
    /// The limit of the calls that follow.
    pub later: Option<TimedCall>,
}

impl Limits {
    /// Limits a transaction that begins now. A `view` with one deadline for all calls limits those of
    /// the transaction too, as its own `timeout` does, and what limits the session's calls already.
    #[must_use]
    pub fn new(
        view: Option<TimeLimit>,
        timeout: Option<Duration>,
        session: Option<TimedCall>,
    ) -> Self {
        let earliest = |limits: [Option<TimeLimit>; 2]| {
            let calls = limits.into_iter().flatten().map(TimedCall::begin);
            let first = calls.min_by_key(|call| call.deadline);
            first.map_or(session, |call| Some(call.earlier(session)))
        };
        let own = timeout.map(TimeLimit::Each);
        let lasting = view.filter(|view| matches!(view, TimeLimit::Until(_)));
        Self {
            begin: earliest([view, own]),
            later: earliest([lasting, own]),
        }
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

    #[test]
    fn a_view_for_each_call_does_not_limit_what_follows() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let until = |limit| TimeLimit::Until(Deadline::after(limit));
        let near = |call: Option<TimedCall>, limit: Duration| {
            call.is_some_and(|call| {
                let left = call.deadline.remaining(Instant::now());
                left <= limit && left > limit / 2
            })
        };
        let each = Limits::new(Some(TimeLimit::Each(second)), None, None);
        assert!(near(each.begin, second) && each.later.is_none());
        let each = Limits::new(Some(TimeLimit::Each(second)), Some(minute), None);
        assert!(near(each.begin, second) && near(each.later, minute));
        let one = Limits::new(Some(until(second)), Some(minute), None);
        assert!(near(one.begin, second) && near(one.later, second));
        let session = Some(TimedCall::begin(TimeLimit::Each(second)));
        let inner = Limits::new(None, Some(minute), session);
        assert!(near(inner.begin, second) && near(inner.later, second));
        let none = Limits::new(None, None, None);
        assert!(none.begin.is_none() && none.later.is_none());
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
