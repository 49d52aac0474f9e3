//! What a pool reports: its statistics, the permits it owes, and the details of a timeout.

use std::time::Duration;

use super::PoolState;
use crate::Error;
use crate::pool::outcome::TimedOut;
use crate::pool::sync::Instant;
use crate::status::Status;

impl<S, W> PoolState<S, W> {
    /// Counts a timeout of a caller that has waited since `began`. Returns the longest checkout and
    /// the last error.
    pub fn timed_out(&mut self, began: Instant, now: Instant) -> TimedOut {
        self.timeouts += 1;
        self.waited(now.saturating_duration_since(began));
        TimedOut {
            longest_held: self.checkouts.longest(now),
            last_error: self.pacing.last_error.clone(),
        }
    }

    /// Whether a caller gets a session without waiting for a release: a new caller, or with
    /// `queued` one that is already in the queue.
    pub fn has_room(&self, queued: bool) -> bool {
        let idle = self.waiters.is_empty() && self.idle.len() > 0;
        idle || self.beyond(self.waiters.len() + usize::from(!queued)) == 0
    }

    /// Whether callers wait.
    pub fn has_waiters(&self) -> bool {
        !self.waiters.is_empty()
    }

    /// Permits owed: callers waiting for a release, plus sessions over a reduced `max_size`.
    pub fn permits_owed(&self) -> u32 {
        let over = self.size().saturating_sub(self.limits.max_size);
        self.beyond(self.waiters.len()) + over
    }

    /// How long ago the pool was used; `None` if no session has been acquired yet.
    pub fn unused_for(&self, now: Instant) -> Option<Duration> {
        let last = self.last_acquired?;
        match self.checkouts.in_use() {
            0 => Some(now.saturating_duration_since(last)),
            _ => Some(Duration::ZERO),
        }
    }

    /// The last failure to open a session, and how long ago it was.
    pub fn last_failure(&self, now: Instant) -> Option<(Duration, Error)> {
        let (at, error) = self.last_failure.as_ref()?;
        Some((now.saturating_duration_since(*at), error.clone()))
    }

    /// The current statistics.
    pub fn status(&self) -> Status {
        Status {
            size: self.size(),
            idle: self.idle.len() as u32,
            in_use: self.checkouts.in_use(),
            checking: self.checkouts.checked(),
            opening: self.opening + self.stale,
            waiting: u32::try_from(self.waiters.len()).unwrap_or(u32::MAX),
            min_size: self.limits.min_size,
            max_size: self.limits.max_size,
            longest_wait: self.longest_wait,
            acquires: self.acquires,
            opened: self.opened,
            closed: self.ended,
            timeouts: self.timeouts,
            asleep: self.is_asleep(),
            ..Status::default()
        }
    }
}
