//! The idle sessions of a pool, and who waits for one to come back.
//!
//! The one used last lies on top, so that under little load the others grow old and end. Among
//! those near the top a thread gets the one that it had last.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A session that came back less than this ago is not looked at: a look takes a microsecond, and
/// tells nothing of the microseconds after it.
pub const FRESH: Duration = Duration::from_micros(20);

/// Idle sessions `T` and waiters `W`: there are never both.
///
/// ```
/// use pgmonkey_connect::shelf::{Put, Shelf};
/// use std::time::Instant;
///
/// let shelf: Shelf<&str, &str> = Shelf::new();
/// assert!(matches!(shelf.put("session", Instant::now()), Put::Shelved));
/// assert_eq!(shelf.take(), Some("session"));
/// let ticket = shelf.take_or_wait("waiter").expect_err("there is none");
/// assert!(matches!(shelf.put("session", Instant::now()), Put::Handed("session", "waiter")));
/// assert_eq!(shelf.leave(ticket), None, "it was served");
/// ```
#[derive(Debug)]
pub struct Shelf<T, W = ()> {
    inner: Mutex<Inner<T, W>>,
}

#[derive(Debug)]
struct Inner<T, W> {
    /// The one used last at the back.
    idle: VecDeque<Idle<T>>,
    /// The one that came first at the front.
    waiters: VecDeque<(Ticket, W)>,
    last_ticket: u64,
}

#[derive(Debug)]
struct Idle<T> {
    session: T,
    since: Instant,
    /// The thread that put it down.
    by: ThreadMark,
}

/// Tells threads that live at the same time apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ThreadMark(usize);

impl ThreadMark {
    /// The address of something that each thread has one of.
    fn current() -> Self {
        thread_local!(static MARK: Cell<u8> = const { Cell::new(0) });
        Self(MARK.with(|mark| ptr::from_ref(mark).addr()))
    }
}

/// How many sessions, from the top, are looked through for one that this thread put down.
const REACH: usize = 16;

/// A waiter's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// What became of a session that came back.
#[derive(Debug)]
#[must_use = "a session that was handed to a waiter has to be brought to it"]
pub enum Put<T, W> {
    /// It lies on the shelf.
    Shelved,
    /// It is the first waiter's.
    Handed(T, W),
}

impl<T, W> Shelf<T, W> {
    /// An empty shelf.
    pub fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                idle: VecDeque::new(),
                waiters: VecDeque::new(),
                last_ticket: 0,
            }),
        }
    }

    /// Takes the session that this thread put down last, if it lies near the top, else the one on
    /// top.
    ///
    /// The server's process for a session runs best where its client does: a thread that keeps
    /// its session is answered on its own core.
    pub fn take(&self) -> Option<T> {
        self.inner().pop()
    }

    /// As [`take`](Self::take), if that one came back at `since` or later.
    pub fn take_fresh(&self, since: Instant) -> Option<T> {
        let mut inner = self.inner();
        let at = inner.next()?;
        match inner.idle[at].since >= since {
            true => inner.take(at),
            false => None,
        }
    }

    /// Whether `judge` says so of every session that lies here. It is asked under the lock and
    /// must be quick.
    pub fn all(&self, judge: impl Fn(&T) -> bool) -> bool {
        self.inner().idle.iter().all(|idle| judge(&idle.session))
    }

    /// Takes a session as [`take`](Self::take) does, or stands in line: in one step, so that none can come back
    /// unnoticed in between.
    ///
    /// # Errors
    ///
    /// The waiter's number, to be handed in when it gives up.
    pub fn take_or_wait(&self, waiter: W) -> Result<T, Ticket> {
        let mut inner = self.inner();
        if let Some(session) = inner.pop() {
            return Ok(session);
        }
        inner.last_ticket += 1;
        let ticket = Ticket(inner.last_ticket);
        inner.waiters.push_back((ticket, waiter));
        Err(ticket)
    }

    /// Puts a session down that is idle since this moment, unless somebody waits for it.
    pub fn put(&self, session: T, since: Instant) -> Put<T, W> {
        let mut inner = self.inner();
        match inner.waiters.pop_front() {
            Some((_, waiter)) => Put::Handed(session, waiter),
            None => {
                let by = ThreadMark::current();
                inner.lay(Idle { session, since, by });
                Put::Shelved
            }
        }
    }

    /// Takes a waiter out of the line; `None` if it was served, or has left before.
    pub fn leave(&self, ticket: Ticket) -> Option<W> {
        let mut inner = self.inner();
        let at = inner.waiters.iter().position(|(t, _)| *t == ticket)?;
        inner.waiters.remove(at).map(|(_, waiter)| waiter)
    }

    /// Whether this waiter still stands in line.
    pub fn is_waiting(&self, ticket: Ticket) -> bool {
        self.inner().waiters.iter().any(|(t, _)| *t == ticket)
    }

    /// Takes a session out to be looked at if it came back before `limit`, with the moment when
    /// it did; 0 is the one that was idle longest. [`put`](Self::put) brings it back to its place.
    pub fn take_nth(&self, n: usize, limit: Instant) -> Option<(T, Instant)> {
        let mut inner = self.inner();
        inner.idle.get(n).filter(|idle| idle.since < limit)?;
        let idle = inner.idle.remove(n)?;
        Some((idle.session, idle.since))
    }

    /// Takes out every idle session that `is_over` says is over. It is asked under the lock and
    /// must be quick.
    pub fn take_over(&self, mut is_over: impl FnMut(&mut T) -> bool) -> Vec<T> {
        let mut inner = self.inner();
        let kept = VecDeque::with_capacity(inner.idle.len());
        let all = std::mem::replace(&mut inner.idle, kept);
        let mut over = Vec::new();
        for mut idle in all {
            match is_over(&mut idle.session) {
                true => over.push(idle.session),
                false => inner.idle.push_back(idle),
            }
        }
        over
    }

    /// Takes out at most `most` sessions that were idle for `limit` or longer at `now`, those
    /// that were idle longest first.
    pub fn take_stale(&self, now: Instant, limit: Duration, most: usize) -> Vec<T> {
        let mut inner = self.inner();
        let is_stale = |idle: &&Idle<T>| now.saturating_duration_since(idle.since) >= limit;
        let stale = inner.idle.iter().take(most).take_while(is_stale).count();
        inner.idle.drain(..stale).map(|idle| idle.session).collect()
    }

    /// What `look` sees of the waiter that came first. It is called under the lock and must be
    /// quick.
    pub fn first<R>(&self, look: impl FnOnce(&W) -> R) -> Option<(Ticket, R)> {
        let inner = self.inner();
        let (ticket, waiter) = inner.waiters.front()?;
        Some((*ticket, look(waiter)))
    }

    /// Takes everything and sends everybody away.
    pub fn clear(&self) -> (Vec<T>, Vec<W>) {
        let mut inner = self.inner();
        let idle = std::mem::take(&mut inner.idle);
        let waiters = std::mem::take(&mut inner.waiters);
        drop(inner);
        (
            idle.into_iter().map(|idle| idle.session).collect(),
            waiters.into_iter().map(|(_, waiter)| waiter).collect(),
        )
    }

    /// How many sessions lie here.
    pub fn len(&self) -> usize {
        self.inner().idle.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T, W>> {
        // Nothing in here can panic half-way through a change but a caller's `is_over`, and that
        // loses idle sessions, which is safe.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, W> Inner<T, W> {
    /// Where the session lies that is taken next.
    fn next(&self) -> Option<usize> {
        let us = ThreadMark::current();
        let mut top = self.idle.iter().rev().take(REACH);
        let depth = top.position(|idle| idle.by == us).unwrap_or(0);
        self.idle.len().checked_sub(1 + depth)
    }

    fn take(&mut self, at: usize) -> Option<T> {
        let idle = match at + 1 == self.idle.len() {
            true => self.idle.pop_back(),
            false => self.idle.remove(at),
        };
        idle.map(|idle| idle.session)
    }

    fn pop(&mut self) -> Option<T> {
        let at = self.next()?;
        self.take(at)
    }

    /// On top, but for one that was taken out to be looked at.
    fn lay(&mut self, idle: Idle<T>) {
        if self.idle.back().is_none_or(|top| top.since <= idle.since) {
            return self.idle.push_back(idle);
        }
        let later = self.idle.iter().rev();
        let later = later.take_while(|other| other.since > idle.since).count();
        self.idle.insert(self.idle.len() - later, idle);
    }
}

impl<T, W> Default for Shelf<T, W> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(sessions: &[u32]) -> Shelf<u32, &'static str> {
        let shelf = Shelf::new();
        let now = Instant::now();
        for (age, session) in sessions.iter().rev().enumerate().rev() {
            let since = now - Duration::from_secs(age as u64);
            assert!(matches!(shelf.put(*session, since), Put::Shelved));
        }
        shelf
    }

    #[test]
    fn the_session_used_last_comes_first() {
        let shelf = filled(&[1, 2, 3]);
        assert_eq!((shelf.take(), shelf.len()), (Some(3), 2));
        let first = shelf.take_nth(0, Instant::now());
        assert_eq!(first.map(|(session, _)| session), Some(1));
    }

    #[test]
    fn a_thread_gets_the_session_that_it_had_last() {
        let shelf = filled(&[1, 2]);
        let put_by_another = |session| {
            std::thread::scope(|scope| {
                let put = || shelf.put(session, Instant::now());
                let put = scope.spawn(put).join().expect("no panic");
                assert!(matches!(put, Put::Shelved));
            });
        };
        put_by_another(3);
        assert_eq!((shelf.take(), shelf.take()), (Some(2), Some(1)));
        assert_eq!(shelf.take(), Some(3), "better than none");
        assert!(matches!(shelf.put(4, Instant::now()), Put::Shelved));
        (0..REACH as u32).for_each(put_by_another);
        assert_eq!(shelf.take(), Some(REACH as u32 - 1), "4 lies too deep");
    }

    #[test]
    fn only_what_came_back_just_now_is_fresh() {
        let shelf = filled(&[1, 2]);
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        assert_eq!(shelf.take_fresh(now + second), None);
        assert_eq!(shelf.take_fresh(now - second / 2), Some(2));
        assert_eq!(
            shelf.take_fresh(now - second / 2),
            None,
            "1 is a second old"
        );
        assert!(shelf.all(|session| *session == 1) && !shelf.all(|session| *session == 2));
    }

    #[test]
    fn a_session_that_was_looked_at_goes_back_to_its_place() {
        let shelf = filled(&[1, 2, 3]);
        let now = Instant::now();
        for n in [1, 0, 2, 1] {
            let (session, since) = shelf.take_nth(n, now).expect("three");
            assert!(matches!(shelf.put(session, since), Put::Shelved));
        }
        assert!(shelf.take_nth(3, now).is_none());
        let a_while_ago = now - Duration::from_millis(500);
        assert!(
            shelf.take_nth(2, a_while_ago).is_none(),
            "it came back just now"
        );
        assert_eq!(shelf.clear().0, [1, 2, 3]);
    }

    #[test]
    fn waiters_are_served_in_the_order_they_came() {
        let shelf: Shelf<u32, &str> = Shelf::new();
        let first = shelf.take_or_wait("first").expect_err("empty");
        let second = shelf.take_or_wait("second").expect_err("empty");
        let third = shelf.take_or_wait("third").expect_err("empty");
        assert_eq!(shelf.leave(second), Some("second"));
        assert_eq!(shelf.first(|waiter| *waiter), Some((first, "first")));
        let now = Instant::now();
        assert!(matches!(shelf.put(7, now), Put::Handed(7, "first")));
        assert!(!shelf.is_waiting(first) && shelf.is_waiting(third));
        assert!(matches!(shelf.put(8, now), Put::Handed(8, "third")));
        assert!(matches!(shelf.put(9, now), Put::Shelved));
        assert_eq!(shelf.take_or_wait("late"), Ok(9));
    }

    #[test]
    fn stale_sessions_leave_from_the_bottom_and_no_more_than_allowed() {
        let (now, limit) = (Instant::now(), Duration::from_millis(1500));
        assert_eq!(filled(&[1, 2, 3, 4]).take_stale(now, limit, 9), [1, 2]);
        assert_eq!(filled(&[1, 2, 3, 4]).take_stale(now, limit, 1), [1]);
        assert!(filled(&[1, 2]).take_stale(now, limit, 9).is_empty());
    }

    #[test]
    fn sessions_that_are_over_leave_from_anywhere() {
        let shelf = filled(&[1, 2, 3, 4]);
        assert_eq!(shelf.take_over(|session| *session % 2 == 0), [2, 4]);
        assert_eq!(shelf.clear().0, [1, 3]);
        assert!(shelf.is_empty());
    }
}
