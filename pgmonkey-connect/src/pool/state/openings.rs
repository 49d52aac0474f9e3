//! The steps of connect tasks, and what their outcomes mean for waiters.

use std::time::Duration;

use super::PoolState;
use crate::Error;
use crate::pool::home::Home;
use crate::pool::idle::{Idle, ThreadMark};
use crate::pool::outcome::{Released, Site, Step, Todo};
use crate::pool::sync::Instant;
use crate::status::CloseReason;

/// How long to wait for a session that is being cleaned before opening another. Opening takes
/// longer than most cleanups.
const GRACE: Duration = Duration::from_millis(5);

impl<S, W> PoolState<S, W> {
    /// The next step of a connect task; call [`todo`](Self::todo) after [`Step::End`]. `waited`
    /// says that the task has already paused for sessions being cleaned.
    pub fn step(&mut self, site: Site, waited: bool, now: Instant) -> Step {
        if site.round != self.round {
            self.opening_over(site);
            return Step::End;
        }
        let most = self.workers().min(self.wanted(now));
        if self.closed || self.opening > most {
            self.opening -= 1;
            return Step::End;
        }
        if let Some(left) = self.pacing.left(now) {
            return Step::Pause(left);
        }
        if !waited && self.checkouts.cleaned() > 0 && !self.waiters.is_empty() {
            return Step::Pause(GRACE);
        }
        Step::Open
    }

    /// Adds the session that a connect task opened. Call [`todo`](Self::todo) afterwards.
    pub fn opened(&mut self, site: Site, session: S, home: Home, now: Instant) -> Released<S, W> {
        self.opened += 1;
        self.pacing.opened();
        self.opening_over(site);
        if self.asleep {
            self.ended.count(CloseReason::Idle);
            return Released::Ended(session, CloseReason::Idle);
        }
        self.hand_over(Idle {
            session,
            home,
            opened_at: now,
            since: now,
            checked_at: now,
            by: ThreadMark::current(),
        })
    }

    /// Records that a connect task's attempt failed; its next [`step`](Self::step) follows.
    ///
    /// No waiter is refused if another attempt may help, or if the server refuses logins while
    /// sessions are in use that will be released. Otherwise the caller that has waited longest is
    /// refused, or every waiter if there is no other source of sessions.
    pub fn open_failed(&mut self, site: Site, error: &Error, now: Instant) -> Todo<S, W> {
        self.last_failure = Some((now, error.clone()));
        if site.round != self.round {
            return Todo::default();
        }
        let can_help = self.can_help(error, now);
        self.pacing.failed(error, can_help, now);
        let mut todo = Todo::default();
        self.turn_away(error, &mut todo);
        let waits = error.refuses_login() && self.checkouts.len() > 0;
        if !can_help && !waits {
            let alone = self.checkouts.len() == 0 && self.opening <= 1;
            let refused = if alone { self.waiters.len() } else { 1 };
            let refused = self.waiters.drain(..refused.min(self.waiters.len()));
            todo.refuse
                .extend(refused.map(|waiting| (waiting.waiter, error.clone())));
        }
        todo
    }

    /// Refuses the waiters that have another server to turn to.
    fn turn_away(&mut self, error: &Error, todo: &mut Todo<S, W>) {
        let mut at = 0;
        while let Some(waiting) = self.waiters.get(at) {
            match waiting.request.turns_away {
                true => {
                    let left = self.waiters.remove(at);
                    let refused = left.map(|waiting| (waiting.waiter, error.clone()));
                    todo.refuse.extend(refused);
                }
                false => at += 1,
            }
        }
    }

    /// Ends a connect task that may not open a session now and for which no caller waits. Call
    /// [`todo`](Self::todo) afterwards.
    pub fn postponed(&mut self, site: Site, now: Instant) {
        self.opening_over(site);
        self.pacing.postponed(now);
    }

    /// Records that a session was opened but refused with `error`.
    pub fn refused(&mut self, error: &Error, now: Instant) {
        self.last_failure = Some((now, error.clone()));
        self.pacing.refused(error, now);
    }

    /// Whether another attempt may succeed.
    pub fn can_help(&self, error: &Error, now: Instant) -> bool {
        // A server that has never been reached is more likely misconfigured than down.
        error.is_transient() && self.opened > 0 && !self.is_given_up(now)
    }

    /// Whether the server has been unavailable for `reconnect_timeout` or longer.
    fn is_given_up(&self, now: Instant) -> bool {
        let away = self.pacing.away_for(now);
        let limit = self.limits.reconnect_timeout;
        away.zip(limit).is_some_and(|(away, limit)| away >= limit)
    }

    /// Records that a connect task ended without an outcome: with its runtime, or by a panic.
    pub fn opening_lost(&mut self, site: Site) {
        self.opening_over(site);
        self.homes.ended(site.home);
    }

    fn opening_over(&mut self, site: Site) {
        match site.round == self.round {
            true => self.opening -= 1,
            false => self.stale -= 1,
        }
    }

    /// Whether waiters depend on the sessions in use, because the server refuses logins.
    #[cfg(test)]
    pub(in crate::pool) fn waits_for_releases(&self) -> bool {
        self.checkouts.len() > 0 && self.pacing.is_refused()
    }

    /// Records that the runtime at `home` has ended.
    pub fn home_ended(&mut self, home: Home) {
        self.homes.ended(home);
    }

    /// Where to open the next session: where every waiter may use it.
    pub(in crate::pool) fn site(&self) -> Site {
        let next = self.homes.next();
        let mut waiters = self.waiters.iter();
        let home = match waiters.all(|waiting| next.serves(waiting.request.home)) {
            true => next,
            false => Home::ANYWHERE,
        };
        Site {
            home,
            round: self.round,
        }
    }
}
