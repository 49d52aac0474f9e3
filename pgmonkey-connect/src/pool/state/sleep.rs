//! Sleep: a pool that is not used has no session, keeps no `min_size`, and needs no maintenance.
//!
//! A caller that finds no idle session wakes the pool, which is the only way to get one from it. So
//! a caller that finds one pays nothing.

use super::PoolState;
use crate::pool::sync::Instant;

/// The last use of a pool, as far as it was noticed.
#[derive(Debug, Default)]
pub(super) struct LastUse {
    /// The number of callers so far.
    callers: u64,
    at: Option<Instant>,
}

impl<S, W> PoolState<S, W> {
    /// Since when no caller has used the pool; `None` while one holds a session or waits.
    ///
    /// The start of a use is known exactly; its end is noticed by these calls, so between two of
    /// them the result may lie before the end.
    pub fn unused_since(&mut self, now: Instant) -> Option<Instant> {
        let is_used = !self.waiters.is_empty() || self.checkouts.in_use() > 0;
        let known = self.last_use.at;
        let at = match known {
            Some(known) if !is_used => {
                let acquired = self.last_acquired.filter(|acquired| *acquired > known);
                let called = (self.last_ticket != self.last_use.callers).then_some(now);
                acquired.or(called).unwrap_or(known)
            }
            _ => now,
        };
        self.last_use = LastUse {
            callers: self.last_ticket,
            at: Some(at),
        };
        (!is_used).then_some(at)
    }

    /// Puts the pool to sleep: its idle sessions end, and connect tasks end themselves. Call
    /// [`todo`](Self::todo) afterwards.
    ///
    /// Returns false, and changes nothing, while a session is in use, being checked or cleaned, or
    /// while a caller waits; and if the pool is closed or sleeps already.
    pub fn sleep(&mut self) -> bool {
        let is_used = !self.waiters.is_empty() || self.checkouts.len() > 0;
        if is_used || self.closed || self.asleep {
            return false;
        }
        self.asleep = true;
        self.checkouts.shrink();
        self.waiters.shrink_to_fit();
        self.pacing.slept();
        true
    }

    /// Whether the pool sleeps.
    pub fn is_asleep(&self) -> bool {
        self.asleep && !self.closed
    }

    /// Asks on behalf of the maintenance whether it must end, because the pool sleeps. If so, the
    /// pool starts another when it wakes. However late a sleep is noticed, there is one maintenance
    /// at most, and one as long as the pool is awake.
    pub fn ends_maintenance(&mut self) -> bool {
        if self.asleep {
            self.maintained = false;
        }
        self.asleep
    }

    /// Whether maintenance must be started: the pool was woken after its maintenance had ended.
    pub(super) fn starts_maintenance(&mut self) -> bool {
        !self.asleep && !std::mem::replace(&mut self.maintained, true)
    }
}
