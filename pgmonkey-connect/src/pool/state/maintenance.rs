//! Pool maintenance: closes expired sessions and checks idle ones.

use std::panic::Location;
use std::time::Duration;

use super::{PoolState, Queued};
use crate::pool::checkouts::{Entry, Overdue, Use};
use crate::pool::idle::Idle;
use crate::pool::limits::ALARM;
use crate::pool::outcome::{Released, Unchecked};
use crate::pool::sync::Instant;
use crate::status::CloseReason;

impl<S, W> PoolState<S, W> {
    /// Starts to maintain `min_size`.
    pub fn keep_min_size(&mut self) {
        self.kept = true;
    }

    /// Whether maintenance runs, unless the pool sleeps or is closed.
    pub fn is_kept(&self) -> bool {
        self.kept
    }

    /// The waiters whose timeout is near: each needs a timer from now on.
    pub fn ending(&self, now: Instant) -> impl Iterator<Item = &W> {
        let is_near = move |waiting: &&Queued<W>| {
            let waited = now.saturating_duration_since(waiting.request.began);
            waiting.request.timeout.saturating_sub(waited) < ALARM
        };
        self.waiters
            .iter()
            .filter(is_near)
            .map(|waiting| &waiting.waiter)
    }

    /// Runs one maintenance tick: takes out the idle sessions for which `judge` returns a reason,
    /// and those idle for too long.
    pub fn tick(
        &mut self,
        now: Instant,
        judge: impl FnMut(&mut S) -> Option<CloseReason>,
    ) -> Vec<(S, CloseReason)> {
        let mut over = self.idle.take_over(judge);
        let spare = self.size().saturating_sub(self.limits.min_size) as usize;
        let stale = self.idle.take_stale(now, self.limits.max_idle, spare);
        over.extend(stale.map(|idle| (idle, CloseReason::Idle)));
        self.count_ends(over, now)
    }

    fn count_ends(
        &mut self,
        over: Vec<(Idle<S>, CloseReason)>,
        now: Instant,
    ) -> Vec<(S, CloseReason)> {
        let count = |(idle, reason): (Idle<S>, CloseReason)| {
            self.count_end(reason, idle.opened_at, now);
            (idle.session, reason)
        };
        over.into_iter().map(count).collect()
    }

    /// The checkouts held for `limit` or longer that have not been reported yet.
    pub fn overdue(&mut self, now: Instant, limit: Duration) -> Vec<Overdue> {
        self.checkouts.overdue(now, limit)
    }

    /// Takes out an idle session that has not been checked since `before`. Follow with
    /// [`reset`](Self::reset) or [`end`](Self::end).
    pub fn take_unchecked(
        &mut self,
        before: Instant,
        location: &'static Location<'static>,
    ) -> Option<Unchecked<S>> {
        let idle = self.idle.take_unchecked(before)?;
        let id = self.checkouts.begin(Entry {
            location,
            since: before,
            opened_at: idle.opened_at,
            used: Use::Checked,
            warned: false,
            ticket: None,
        });
        let (session, home, since, by) = (idle.session, idle.home, idle.since, idle.by);
        Some(Unchecked {
            id,
            session,
            home,
            since,
            by,
        })
    }

    /// Returns a session that was checked at `now`.
    pub fn reset(&mut self, unchecked: Unchecked<S>, now: Instant) -> Released<S, W> {
        let Some(ended) = self.checkouts.end(unchecked.id) else {
            return Released::Ended(unchecked.session, CloseReason::Shutdown);
        };
        self.hand_over(Idle {
            session: unchecked.session,
            home: unchecked.home,
            opened_at: ended.opened_at,
            since: unchecked.since,
            checked_at: now,
            by: unchecked.by,
        })
    }

    /// When the session that has been idle longest was released.
    pub fn longest_idle(&self) -> Option<Instant> {
        self.idle.oldest()
    }

    /// Takes out the session that has been idle longest, to be closed for another pool.
    pub fn give_up_idle(&mut self) -> Option<S> {
        let idle = self.idle.take_oldest()?;
        self.ended.count(CloseReason::Budget);
        Some(idle.session)
    }
}
