//! Retry pacing: whether and when to retry a server that gave no session.

use std::time::Duration;

use super::sync::Instant;
use crate::Error;
use crate::backoff::{LONGEST, pause, pause_after};

/// How long attempts pause after a final refusal while the pool has sessions for its waiters, or
/// none wait: only a change at the server helps.
const REFUSED: Duration = Duration::from_secs(30);
/// A session that ends sooner than this after its login counts as an early end.
const YOUNG: Duration = Duration::from_secs(1);

/// The recent history of opening sessions.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    /// Failed attempts since the last success.
    failures: u32,
    /// Sessions refused, or ended right after their login, since one was last released clean.
    early_ends: u32,
    /// The earliest time of the next attempt.
    next: Option<Instant>,
    /// The earliest time of the next attempt that no waiter depends on.
    background: Option<Instant>,
    /// Whether the server refused the login or the database for good: then no attempt is made
    /// until a caller waits, because repeated refusals may lock the account.
    is_refused: bool,
    /// When the server became unavailable.
    away_since: Option<Instant>,
    pub(super) last_error: Option<Error>,
}

impl Pacing {
    /// An attempt opened a session.
    pub(super) fn opened(&mut self) {
        let early_ends = self.early_ends;
        *self = Self {
            early_ends,
            next: self.next.filter(|_| early_ends > 0),
            last_error: self.last_error.take().filter(|_| early_ends > 0),
            ..Self::default()
        };
    }

    /// A session was used and released clean.
    #[inline]
    pub(super) fn succeeded(&mut self) {
        if self.early_ends > 0 {
            self.early_ends = 0;
            self.next = None;
            self.last_error = None;
        }
    }

    /// The server ended a session that was opened at `opened_at`.
    pub(super) fn lost(&mut self, opened_at: Instant, now: Instant) {
        if now.saturating_duration_since(opened_at) < YOUNG {
            self.early_ends += 1;
            self.next = Some(now + pause(self.early_ends));
        }
    }

    /// A session was opened and then refused by a hook.
    pub(super) fn refused(&mut self, error: &Error, now: Instant) {
        self.last_error = Some(error.clone());
        self.early_ends += 1;
        self.next = Some(now + pause(self.early_ends));
    }

    /// An attempt failed; `can_help` says whether another may succeed.
    pub(super) fn failed(&mut self, error: &Error, can_help: bool, now: Instant) {
        self.last_error = Some(error.clone());
        if error.is_transient() {
            self.away_since.get_or_insert(now);
        }
        self.is_refused = !can_help && error.refuses_login();
        self.failures = self.failures.saturating_add(1);
        let longer = pause_after(self.failures, error.found_other_role());
        match can_help {
            true => self.next = Some(now + longer),
            false if error.is_transient() => self.background = Some(now + longer),
            false => self.background = Some(now + REFUSED),
        }
    }

    /// No more sessions may be opened at the server for now, and no caller waits for one.
    pub(super) fn postponed(&mut self, now: Instant) {
        self.background = Some(now + LONGEST);
    }

    /// The pool fell asleep: how long the server was away, how often it failed, and how soon its
    /// sessions ended say nothing about the time when it wakes. That the server refused the login
    /// for good still does.
    pub(super) fn slept(&mut self) {
        let before = std::mem::take(self);
        if before.is_refused {
            self.is_refused = true;
            self.failures = before.failures;
            self.background = before.background;
            self.last_error = before.last_error;
        }
    }

    /// How long the server has been unavailable.
    pub(super) fn away_for(&self, now: Instant) -> Option<Duration> {
        let since = self.away_since?;
        Some(now.saturating_duration_since(since))
    }

    /// Why the last attempt failed, while the next one has to wait.
    pub(super) fn away(&self, now: Instant) -> Option<&Error> {
        let waits = self.failures > 0 && self.left(now).is_some();
        self.last_error.as_ref().filter(|_| waits)
    }

    /// Whether to limit attempts to one at a time.
    pub(super) fn is_troubled(&self) -> bool {
        self.failures > 0 || self.early_ends > 0
    }

    /// The remaining pause before the next attempt.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.next?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Whether the server refused the last attempt for good.
    #[cfg(test)]
    pub(super) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// Whether an attempt may start although the waiters have other sessions to wait for.
    pub(super) fn may_repeat(&self, now: Instant) -> bool {
        !self.is_refused || self.is_due(now)
    }

    /// Whether an attempt may start although no caller waits.
    pub(super) fn may_fill(&self, now: Instant) -> bool {
        !self.is_refused && self.is_due(now)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.background.is_none_or(|due| now >= due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_away_from_the_first_failure_to_the_next_session() {
        let (mut pacing, now) = (Pacing::default(), Instant::now());
        let second = Duration::from_secs(1);
        pacing.failed(&Error::Closed { what: "test" }, false, now);
        assert_eq!(pacing.away_for(now), None, "a final refusal");
        pacing.failed(&crate::error::tests::refused(), true, now);
        pacing.failed(&crate::error::tests::refused(), true, now + second);
        assert_eq!(pacing.away_for(now + 3 * second), Some(3 * second));
        pacing.opened();
        assert_eq!(pacing.away_for(now + 3 * second), None);
    }

    #[test]
    fn a_promotion_is_looked_for_more_often_than_a_server() {
        let (mut pacing, now) = (Pacing::default(), Instant::now());
        let quarter = Duration::from_millis(250);
        for _ in 0..20 {
            pacing.failed(&crate::error::tests::of_other_role(), true, now);
            assert!(pacing.left(now).is_some_and(|left| left <= quarter));
        }
        pacing.failed(&crate::error::tests::refused(), true, now);
        assert_eq!(pacing.left(now), Some(LONGEST));
    }

    #[test]
    fn a_server_that_refused_is_left_alone_for_longer() {
        let (mut pacing, now) = (Pacing::default(), Instant::now());
        pacing.failed(&Error::Closed { what: "test" }, false, now);
        assert!(!pacing.may_fill(now + LONGEST) && pacing.left(now).is_none());
        assert!(pacing.may_fill(now + REFUSED));
    }

    #[test]
    fn sessions_that_end_right_after_their_login_cost_pauses_that_grow() {
        let (mut pacing, now) = (Pacing::default(), Instant::now());
        for ends in 1..4 {
            pacing.opened();
            pacing.lost(now, now + YOUNG / 2);
            assert_eq!(pacing.left(now + YOUNG / 2), Some(pause(ends)));
        }
        pacing.succeeded();
        assert_eq!(pacing.left(now), None);
        pacing.lost(now, now + YOUNG);
        assert_eq!(pacing.left(now + YOUNG), None, "not an early end");
    }
}
