//! One pool's state and all its decisions, without a lock, a clock or a socket.
//!
//! Every event (an acquire, a release, the end of a connect task, a maintenance tick) is one call
//! that receives the current time and returns the actions to carry out. Callers wait for a session
//! in arrival order. Connect tasks belong to the pool, not to a caller: the number of waiters, the
//! sizes, `num_workers` and recent failures decide how many run, and a new session goes to the
//! caller that has waited longest.
//!
//! Invariants between two events:
//!
//! - idle sessions, sessions in use and connect tasks together do not exceed `max_size`, except for
//!   sessions that were in use when it was reduced;
//! - no caller waits while a session that it may use is idle;
//! - while callers wait, each has a connect task, or as many connect tasks run as are allowed, or
//!   all sessions are in use;
//! - a pool that sleeps has no session and no waiter.

use std::collections::VecDeque;
use std::time::Duration;

use super::checkouts::{CheckoutId, Checkouts, Entry, Use};
use super::home::{Home, Homes};
use super::idle::{Idle, IdleList, ThreadMark};
use super::limits::Limits;
use super::outcome::{Acquired, Granted, Released, Request, Ticket, Todo};
use super::pacing::Pacing;
use super::sync::Instant;
use crate::Error;
use crate::status::{CloseReason, Closed};

mod closing;
mod in_use;
mod maintenance;
mod openings;
mod selection;
mod sleep;
mod status;

use sleep::LastUse;

/// All of one pool: its sessions `S` and its waiters `W`.
#[derive(Debug)]
pub struct PoolState<S, W> {
    pub(super) limits: Limits,
    pub(super) idle: IdleList<S>,
    /// In the order of their tickets.
    waiters: VecDeque<Queued<W>>,
    checkouts: Checkouts,
    /// Current connect tasks, including those that pause before an attempt.
    pub(super) opening: u32,
    /// Connect tasks of earlier rounds: bound to the runtime that was the only one at the time.
    stale: u32,
    /// Incremented when the current connect tasks become stale.
    round: u32,
    pacing: Pacing,
    homes: Homes,
    /// Whether `min_size` is maintained.
    kept: bool,
    closed: bool,
    asleep: bool,
    /// Whether maintenance runs, or will end itself once it notices that the pool sleeps.
    maintained: bool,
    last_use: LastUse,
    /// Notified once a closed pool has no session left.
    watchers: Vec<W>,
    last_ticket: u64,
    acquires: u64,
    last_acquired: Option<Instant>,
    last_failure: Option<(Instant, Error)>,
    opened: u64,
    ended: Closed,
    timeouts: u64,
    longest_wait: Duration,
}

#[derive(Debug)]
struct Queued<W> {
    ticket: Ticket,
    request: Request,
    waiter: W,
}

impl<S, W> PoolState<S, W> {
    /// Creates a pool without sessions.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            idle: IdleList::new(),
            waiters: VecDeque::new(),
            checkouts: Checkouts::default(),
            opening: 0,
            stale: 0,
            round: 0,
            pacing: Pacing::default(),
            homes: Homes::None,
            kept: false,
            closed: false,
            asleep: false,
            maintained: true,
            last_use: LastUse::default(),
            watchers: Vec::new(),
            last_ticket: 0,
            acquires: 0,
            last_acquired: None,
            last_failure: None,
            opened: 0,
            ended: Closed::default(),
            timeouts: 0,
            longest_wait: Duration::ZERO,
        }
    }

    /// Acquires a session for a caller. Call [`todo`](Self::todo) afterwards if it was queued.
    #[inline]
    pub fn acquire(&mut self, request: Request, waiter: impl FnOnce() -> W) -> Acquired<S> {
        if self.closed {
            return Acquired::Closed;
        }
        if self.homes != Homes::One(request.home) && self.homes.seen(request.home) {
            // Current tasks are bound to a runtime that may stay busy: start others beside them.
            self.stale += std::mem::take(&mut self.opening);
            self.round += 1;
        }
        let ticket = request.ticket.unwrap_or_else(|| {
            self.last_ticket += 1;
            Ticket(self.last_ticket)
        });
        match self.idle.take(request.home) {
            Some(idle) => Acquired::Granted(self.give(idle, &request, ticket, request.began)),
            None => self.wait(request, ticket, waiter),
        }
    }

    fn wait(
        &mut self,
        request: Request,
        ticket: Ticket,
        waiter: impl FnOnce() -> W,
    ) -> Acquired<S> {
        if let Some(error) = self
            .pacing
            .away(request.began)
            .filter(|_| request.turns_away)
        {
            return Acquired::Away(error.clone());
        }
        // An idle session that this caller may not use makes room for one that it may.
        let others = self.idle.len() as u32;
        let beyond = self.beyond(self.waiters.len() + 1).saturating_sub(others);
        if request.ticket.is_none() && beyond > 0 {
            if request.timeout.is_zero() {
                return Acquired::TimedOut;
            }
            if !request.moved && self.limits.max_waiting.is_some_and(|most| beyond > most) {
                return Acquired::QueueFull;
            }
        }
        self.asleep = false;
        let waiting = Queued {
            ticket,
            request,
            waiter: waiter(),
        };
        if self.waiters.back().is_none_or(|last| last.ticket < ticket) {
            self.waiters.push_back(waiting);
        } else {
            let later = self.waiters.iter().rev();
            let later = later.take_while(|other| other.ticket > ticket).count();
            self.waiters.insert(self.waiters.len() - later, waiting);
        }
        Acquired::Queued(ticket)
    }

    /// How many of `waiters` waiters need a session that is in use now.
    fn beyond(&self, waiters: usize) -> u32 {
        let to_come = self.opening + self.room();
        u32::try_from(waiters)
            .unwrap_or(u32::MAX)
            .saturating_sub(to_come)
    }

    #[inline]
    fn give(
        &mut self,
        idle: Idle<S>,
        request: &Request,
        ticket: Ticket,
        now: Instant,
    ) -> Granted<S> {
        self.acquires += 1;
        self.last_acquired = Some(now);
        let id = self.checkouts.begin(Entry {
            location: request.location,
            since: now,
            opened_at: idle.opened_at,
            used: Use::Acquired,
            warned: false,
            ticket: Some(ticket),
        });
        Granted {
            id,
            session: idle.session,
            since: idle.since,
            ticket,
        }
    }

    /// Releases a clean session: it goes to the first waiter that may use it, or becomes idle. With
    /// `gives_up` it is closed for another pool.
    #[inline]
    pub fn release(
        &mut self,
        id: CheckoutId,
        session: S,
        home: Home,
        now: Instant,
        gives_up: bool,
    ) -> Released<S, W> {
        let Some(ended) = self.checkouts.end(id) else {
            return Released::Ended(session, CloseReason::Shutdown);
        };
        self.pacing.succeeded();
        if gives_up {
            self.ended.count(CloseReason::Budget);
            return Released::Ended(session, CloseReason::Budget);
        }
        self.hand_over(Idle {
            session,
            home,
            opened_at: ended.opened_at,
            since: now,
            checked_at: now,
            by: ThreadMark::current(),
        })
    }

    #[inline]
    fn hand_over(&mut self, idle: Idle<S>) -> Released<S, W> {
        let reason = if self.closed {
            Some(CloseReason::Shutdown)
        } else if self.size() >= self.limits.max_size {
            Some(CloseReason::Idle)
        } else {
            None
        };
        if let Some(reason) = reason {
            self.ended.count(reason);
            return Released::Ended(idle.session, reason);
        }
        let serves = |waiting: &Queued<W>| idle.home.serves(waiting.request.home);
        let Some(at) = self.waiters.iter().position(serves) else {
            self.idle.push(idle);
            return Released::Idle;
        };
        let first = match at {
            0 => self.waiters.pop_front(),
            _ => self.waiters.remove(at),
        };
        match first {
            Some(waiting) => {
                let now = idle.checked_at;
                self.waited(now.saturating_duration_since(waiting.request.began));
                let granted = self.give(idle, &waiting.request, waiting.ticket, now);
                Released::Handed(waiting.waiter, granted)
            }
            None => Released::Idle,
        }
    }

    /// Ends a checkout whose session was closed.
    pub fn end(&mut self, id: CheckoutId, reason: CloseReason, now: Instant) {
        if let Some(ended) = self.checkouts.end(id) {
            self.count_end(reason, ended.opened_at, now);
        }
    }

    fn count_end(&mut self, reason: CloseReason, opened_at: Instant, now: Instant) {
        self.ended.count(reason);
        if reason == CloseReason::Dead {
            self.pacing.lost(opened_at, now);
        }
    }

    /// When a checkout's caller acquired the session.
    #[inline]
    pub fn since(&self, id: CheckoutId) -> Option<Instant> {
        self.checkouts.get(id).map(|entry| entry.since)
    }

    /// Removes a caller that gives up; `None` if it has already been served.
    pub fn leave(&mut self, ticket: Ticket) -> Option<W> {
        let at = self.waiters.iter().position(|w| w.ticket == ticket)?;
        self.waiters.remove(at).map(|waiting| waiting.waiter)
    }

    fn waited(&mut self, waited: Duration) {
        self.longest_wait = self.longest_wait.max(waited);
    }

    /// Sets new sizes; returns the previous `max_size`.
    pub fn resize(&mut self, min_size: u32, max_size: u32) -> u32 {
        self.limits.min_size = min_size;
        std::mem::replace(&mut self.limits.max_size, max_size)
    }

    /// Whether nothing is due: no caller waits, or all that wait have only releases to wait for.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        let is_full = || self.idle.len() == 0 && self.room() == 0 && self.maintained;
        !self.closed && (self.waiters.is_empty() || is_full())
    }

    /// Returns the actions due after an event that may have made room or added a waiter.
    pub fn todo(&mut self, now: Instant) -> Todo<S, W> {
        let mut todo = Todo::default();
        if self.closed {
            for idle in self.idle.clear() {
                self.ended.count(CloseReason::Shutdown);
                todo.end.push((idle.session, CloseReason::Shutdown));
            }
            let what = self.limits.what;
            let waiters = self.waiters.drain(..);
            let closed = waiters.map(|waiting| (waiting.waiter, Error::Closed { what }));
            todo.refuse.extend(closed);
            if self.size() == 0 {
                todo.drained = std::mem::take(&mut self.watchers);
            }
            return todo;
        }
        if self.asleep {
            for idle in self.idle.clear() {
                self.ended.count(CloseReason::Idle);
                todo.end.push((idle.session, CloseReason::Idle));
            }
            return todo;
        }
        todo.maintain = self.starts_maintenance();
        self.make_room(&mut todo);
        let most = self.workers().min(self.wanted(now));
        todo.open = most.saturating_sub(self.opening).min(self.room());
        if todo.open > 0 {
            todo.site = self.site();
            self.opening += todo.open;
        }
        todo
    }

    /// Closes idle sessions above `max_size`, and idle sessions that no waiter may use while one
    /// that it may use could be opened instead.
    fn make_room(&mut self, todo: &mut Todo<S, W>) {
        while self.idle.len() > 0 {
            let reason = if self.size() > self.limits.max_size {
                CloseReason::Idle
            } else if self.beyond(self.waiters.len()) > 0 {
                CloseReason::Moved
            } else {
                return;
            };
            if let Some(idle) = self.idle.take_oldest() {
                self.ended.count(reason);
                todo.end.push((idle.session, reason));
            }
        }
    }

    /// How many connect tasks the waiters and `min_size` call for.
    fn wanted(&self, now: Instant) -> u32 {
        // While the server refuses logins, waiters have the sessions in use to wait for.
        let depends = self.checkouts.len() == 0 || self.pacing.may_repeat(now);
        let waiting = match depends {
            true => u32::try_from(self.waiters.len()).unwrap_or(u32::MAX),
            false => 0,
        };
        let missing = match self.kept && !self.asleep && self.pacing.may_fill(now) {
            true => self.limits.min_size.saturating_sub(self.size()),
            false => 0,
        };
        waiting.max(missing)
    }

    /// How many connect tasks may run at the same time.
    pub(super) fn workers(&self) -> u32 {
        match self.pacing.is_troubled() {
            true => 1,
            false => self.limits.num_workers.max(1),
        }
    }

    /// How many more sessions `max_size` allows.
    fn room(&self) -> u32 {
        let taken = self.size() + self.opening + self.stale;
        self.limits.max_size.saturating_sub(taken)
    }

    /// The number of open sessions.
    fn size(&self) -> u32 {
        self.idle.len() as u32 + self.checkouts.len()
    }
}
