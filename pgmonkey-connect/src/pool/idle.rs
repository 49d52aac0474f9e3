//! A pool's idle sessions, a stack with the most recently used on top.
//!
//! Under low load the sessions further down expire. Among the top sessions a thread gets the one
//! that it released last: the server's process for a session runs best on the core of its client,
//! and a thread that keeps its session is answered on its own core.

use std::cell::Cell;
use std::ptr;
use std::time::Duration;

use super::Home;
use super::sync::Instant;

/// How many sessions from the top are searched for one that this thread released.
const REACH: usize = 16;

/// An idle session.
#[derive(Debug)]
pub(super) struct Idle<S> {
    pub(super) session: S,
    pub(super) home: Home,
    /// When it was opened.
    pub(super) opened_at: Instant,
    /// When it was released.
    pub(super) since: Instant,
    /// When it was last checked.
    pub(super) checked_at: Instant,
    /// The thread that released it.
    pub(super) by: ThreadMark,
}

/// Distinguishes threads that exist at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ThreadMark(usize);

impl ThreadMark {
    /// The address of a thread-local.
    #[inline]
    pub(super) fn current() -> Self {
        thread_local!(static MARK: Cell<u8> = const { Cell::new(0) });
        Self(MARK.with(|mark| ptr::from_ref(mark).addr()))
    }
}

/// All idle sessions, the most recently used last.
#[derive(Debug)]
pub(super) struct IdleList<S>(Vec<Idle<S>>);

impl<S> IdleList<S> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes the session that this thread released last if it is near the top, otherwise the top
    /// one; in either case one that may be used at `home`.
    #[inline]
    pub(super) fn take(&mut self, home: Home) -> Option<Idle<S>> {
        let us = ThreadMark::current();
        let top = self.0.last()?;
        match top.by == us && top.home.serves(home) {
            true => self.0.pop(),
            false => self.take_near(us, home),
        }
    }

    /// As [`take`](Self::take), a session that `fits`: the most recently used one.
    pub(super) fn take_fitting(
        &mut self,
        home: Home,
        fits: impl Fn(&S) -> bool,
    ) -> Option<Idle<S>> {
        let is_it = |idle: &Idle<S>| idle.home.serves(home) && fits(&idle.session);
        let at = self.0.iter().rposition(is_it)?;
        Some(self.0.remove(at))
    }

    fn take_near(&mut self, us: ThreadMark, home: Home) -> Option<Idle<S>> {
        let fits = |idle: &Idle<S>| idle.home.serves(home);
        let mut near = self.0.iter().rev().take(REACH);
        let depth = near
            .position(|idle| idle.by == us && fits(idle))
            .or_else(|| self.0.iter().rev().position(fits))?;
        Some(self.0.remove(self.0.len() - 1 - depth))
    }

    /// Puts a session on top; one that was taken out for a check returns to its old position.
    #[inline]
    pub(super) fn push(&mut self, idle: Idle<S>) {
        if self.0.last().is_none_or(|top| top.since <= idle.since) {
            return self.0.push(idle);
        }
        let later = self.0.iter().rev();
        let later = later.take_while(|other| other.since > idle.since).count();
        self.0.insert(self.0.len() - later, idle);
    }

    /// When the session that has been idle longest was released.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.0.first().map(|idle| idle.since)
    }

    /// Takes the session that has been idle longest.
    pub(super) fn take_oldest(&mut self) -> Option<Idle<S>> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }

    /// Takes the most recently used session that has not been checked since `before`.
    pub(super) fn take_unchecked(&mut self, before: Instant) -> Option<Idle<S>> {
        let at = self.0.iter().rposition(|idle| idle.checked_at < before)?;
        Some(self.0.remove(at))
    }

    /// Takes out at most `most` sessions that have been idle for `limit` or longer at `now`,
    /// longest idle first.
    pub(super) fn take_stale(
        &mut self,
        now: Instant,
        limit: Duration,
        most: usize,
    ) -> impl Iterator<Item = Idle<S>> {
        let is_stale = |idle: &&Idle<S>| now.saturating_duration_since(idle.since) >= limit;
        let stale = self.0.iter().take(most).take_while(is_stale).count();
        self.0.drain(..stale)
    }

    /// Takes out every session for which `judge` returns a reason.
    pub(super) fn take_over<R>(
        &mut self,
        mut judge: impl FnMut(&mut S) -> Option<R>,
    ) -> Vec<(Idle<S>, R)> {
        let mut over = Vec::new();
        let mut at = 0;
        while let Some(idle) = self.0.get_mut(at) {
            match judge(&mut idle.session) {
                Some(reason) => over.push((self.0.remove(at), reason)),
                None => at += 1,
            }
        }
        over
    }

    /// Takes all sessions.
    pub(super) fn clear(&mut self) -> Vec<Idle<S>> {
        std::mem::take(&mut self.0)
    }

    #[cfg(test)]
    pub(super) fn homes(&self) -> impl Iterator<Item = Home> {
        self.0.iter().map(|idle| idle.home)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(session: u32, since: Instant) -> Idle<u32> {
        Idle {
            session,
            home: Home::ANYWHERE,
            opened_at: since,
            since,
            checked_at: since,
            by: ThreadMark::current(),
        }
    }

    /// The last session was released just now, each one before it a second earlier.
    fn filled(sessions: &[u32]) -> (IdleList<u32>, Instant) {
        let (mut list, now) = (IdleList::new(), Instant::now());
        for (age, session) in sessions.iter().rev().enumerate().rev() {
            list.push(idle(*session, now - Duration::from_secs(age as u64)));
        }
        (list, now)
    }

    fn take(list: &mut IdleList<u32>) -> Option<u32> {
        list.take(Home::ANYWHERE).map(|idle| idle.session)
    }

    #[test]
    fn the_session_used_last_comes_first() {
        let (mut list, _) = filled(&[1, 2, 3]);
        assert_eq!((take(&mut list), list.len()), (Some(3), 2));
        assert_eq!(list.take_oldest().map(|idle| idle.session), Some(1));
    }

    #[test]
    fn a_thread_gets_the_session_that_it_had_last() {
        let (mut list, now) = filled(&[1, 2]);
        let another = std::thread::spawn(ThreadMark::current);
        let another = another.join().expect("no panic");
        let put_by_another = |list: &mut IdleList<u32>, session| {
            list.push(Idle {
                by: another,
                ..idle(session, now)
            });
        };
        // A mark may be reused after its thread has ended.
        assert_ne!(another, ThreadMark::current());
        put_by_another(&mut list, 3);
        assert_eq!((take(&mut list), take(&mut list)), (Some(2), Some(1)));
        assert_eq!(take(&mut list), Some(3), "better than none");
        list.push(idle(4, now));
        (0..REACH as u32).for_each(|session| put_by_another(&mut list, session));
        assert_eq!(take(&mut list), Some(REACH as u32 - 1), "4 is too deep");
    }

    #[test]
    fn a_session_that_was_looked_at_goes_back_to_its_place() {
        let (mut list, now) = filled(&[1, 2, 3]);
        let mut seen = Vec::new();
        while let Some(one) = list.take_unchecked(now) {
            seen.push(one.session);
            list.push(Idle {
                checked_at: now,
                ..one
            });
        }
        assert_eq!(seen, [2, 1], "3 was released just now");
        let all: Vec<_> = list.clear().into_iter().map(|idle| idle.session).collect();
        assert_eq!(all, [1, 2, 3]);
    }

    #[test]
    fn stale_sessions_leave_from_the_bottom_and_no_more_than_allowed() {
        let limit = Duration::from_millis(1500);
        let stale = |most| {
            let (mut list, now) = filled(&[1, 2, 3, 4]);
            let stale = list.take_stale(now, limit, most);
            stale.map(|idle| idle.session).collect::<Vec<_>>()
        };
        assert_eq!(stale(9), [1, 2]);
        assert_eq!(stale(1), [1]);
    }

    #[test]
    fn sessions_that_are_over_leave_from_anywhere() {
        let (mut list, _) = filled(&[1, 2, 3, 4]);
        let over = list.take_over(|session| (*session % 2 == 0).then_some("even"));
        let over: Vec<_> = over.into_iter().map(|(idle, _)| idle.session).collect();
        assert_eq!((over, list.len()), (vec![2, 4], 2));
    }
}
