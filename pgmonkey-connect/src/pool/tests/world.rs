//! A simulated shell around a pool's state, and the invariants.

use std::collections::{BTreeMap, BTreeSet};

use tokio::runtime::{Builder, Id};

use super::*;

mod due;
mod sleeping;

/// The phase of a connect task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Phase {
    Begun,
    Paused(Instant),
    Opening,
}

/// A simulated shell: everything that a real one would hold for the pool.
pub(super) struct World {
    pub(super) state: State,
    pub(super) now: Instant,
    homes: Vec<Home>,
    /// Sessions held by callers, by checkout.
    pub(super) held: Vec<(CheckoutId, Session, Ticket, Home)>,
    pub(super) openings: Vec<(Phase, Site)>,
    /// Callers in the queue, with their home.
    waiting: BTreeMap<u32, (Ticket, Home)>,
    pub(super) live: BTreeSet<u32>,
    next_session: u32,
    next_waiter: u32,
    /// The latest `max_size`; sessions in use when it was reduced may exceed it.
    most: u32,
    refused: u32,
    /// How many run.
    pub(super) maintenances: u32,
}

pub(super) fn runtimes() -> Vec<Id> {
    thread_local! {
        static IDS: Vec<Id> = (0..3)
            .map(|_| Builder::new_current_thread().build().expect("a runtime").handle().id())
            .collect();
    }
    IDS.with(Clone::clone)
}

impl World {
    pub(super) fn new(
        min_size: u32,
        max_size: u32,
        num_workers: u32,
        runtimes_used: usize,
    ) -> Self {
        let limits = Limits {
            what: "pool",
            min_size,
            max_size,
            max_waiting: Some(6),
            num_workers,
            max_idle: Duration::from_secs(5),
            reconnect_timeout: Some(Duration::from_secs(3)),
        };
        let mut state = State::new(limits);
        state.keep_min_size();
        let homes = runtimes().into_iter().map(Home::at).take(runtimes_used);
        let mut homes: Vec<_> = homes.collect();
        if homes.is_empty() {
            homes.push(Home::ANYWHERE);
        }
        Self {
            state,
            now: Instant::now(),
            homes,
            held: Vec::new(),
            openings: Vec::new(),
            waiting: BTreeMap::new(),
            live: BTreeSet::new(),
            next_session: 0,
            next_waiter: 0,
            most: max_size,
            refused: 0,
            maintenances: 1,
        }
    }

    pub(super) fn acquire(&mut self, home: Home, waits: bool, ticket: Option<Ticket>) {
        let request = Request {
            location: Location::caller(),
            began: self.now,
            home,
            timeout: Duration::from_secs(u64::from(waits) * 30),
            moved: false,
            turns_away: self.turns_away(),
            ticket,
        };
        let waiter = self.next_waiter;
        self.next_waiter += 1;
        match self.state.acquire(request, || waiter) {
            Acquired::Granted(granted) => {
                assert!(granted.session.home.serves(home), "another runtime");
                self.held
                    .push((granted.id, granted.session, granted.ticket, home));
            }
            Acquired::Queued(ticket) => {
                assert!(!self.state.is_asleep(), "a caller wakes it");
                self.waiting.insert(waiter, (ticket, home));
                return self.todo_if_due();
            }
            Acquired::QueueFull => assert!(waits && !self.state.is_closed()),
            Acquired::Away(_) => assert!(request.turns_away),
            Acquired::TimedOut => assert!(!waits),
            Acquired::Closed => assert!(self.state.is_closed()),
        }
        self.todo();
    }

    /// Whether the next caller has another server to turn to.
    fn turns_away(&self) -> bool {
        self.next_waiter.is_multiple_of(3)
    }

    fn settle_released(&mut self, put: Released<Session, u32>) {
        let is_over = matches!(put, Released::Ended(..));
        match put {
            Released::Idle => {}
            Released::Handed(waiter, granted) => {
                let (ticket, home) = self.waiting.remove(&waiter).expect("it waits");
                assert_eq!(ticket, granted.ticket);
                assert!(granted.session.home.serves(home), "another runtime");
                let earlier = self
                    .waiting
                    .values()
                    .find(|(other, from)| *other < ticket && granted.session.home.serves(*from));
                assert_eq!(earlier, None, "first come, first served");
                self.held.push((granted.id, granted.session, ticket, home));
            }
            Released::Ended(session, _) => assert!(self.live.remove(&session.number)),
        }
        match is_over {
            true => self.todo(),
            false => self.todo_if_due(),
        }
    }

    fn take_lent(&mut self, at: u8) -> Option<(CheckoutId, Session, Ticket, Home)> {
        let count = self.held.len();
        (count > 0).then(|| self.held.swap_remove(at as usize % count))
    }

    fn opening(&mut self, at: u8, phase: impl Fn(Phase) -> bool) -> Option<usize> {
        let fits: Vec<_> = (0..self.openings.len())
            .filter(|at| phase(self.openings[*at].0))
            .collect();
        (!fits.is_empty()).then(|| fits[at as usize % fits.len()])
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Acquire { runtime, waits } => {
                let home = self.homes[runtime as usize % self.homes.len()];
                self.acquire(home, waits, None);
            }
            Event::Release(at) => self.release(at, false),
            Event::GiveUp(at) => self.release(at, true),
            Event::GiveUpIdle => {
                if let Some(session) = self.state.give_up_idle() {
                    assert!(self.live.remove(&session.number));
                    self.todo();
                }
            }
            Event::End(at, dead) => self.end(at, dead),
            Event::Replace(at) => self.replace(at),
            Event::Clean(at) => {
                if let Some(at) = (at as usize).checked_rem(self.held.len()) {
                    self.state.clean(self.held[at].0);
                }
            }
            Event::Step(at) => self.step(at),
            Event::Connected(at) => self.connected(at),
            Event::Failed(at, passes) => self.failed(at, passes),
            Event::Lost(at) => {
                if let Some(at) = self.opening(at, |_| true) {
                    let (_, site) = self.openings.swap_remove(at);
                    self.state.opening_lost(site);
                    self.todo();
                }
            }
            Event::Leave(at) => self.leave(at),
            Event::Pass(millis) => self.now += Duration::from_millis(millis.into()),
            Event::Tick(all_over) => self.tick(all_over),
            Event::IdleCheck => self.idle_check(),
            Event::Resize(min, max) => {
                self.state.resize(min.into(), max.into());
                self.most = max.into();
                self.todo();
            }
            Event::RuntimeEnds(at) => {
                let home = self.homes[at as usize % self.homes.len()];
                self.state.home_ended(home);
            }
            Event::Sleep => self.sleep(),
            Event::Maintain => {
                if self.maintenances > 0 && self.state.ends_maintenance() {
                    self.maintenances -= 1;
                }
            }
            Event::Close => {
                self.state.close();
                self.todo();
            }
        }
    }

    fn release(&mut self, at: u8, gives_up: bool) {
        if let Some((id, session, ..)) = self.take_lent(at) {
            let put = self
                .state
                .release(id, session, session.home, self.now, gives_up);
            self.settle_released(put);
        }
    }

    fn end(&mut self, at: u8, dead: bool) {
        if let Some((id, session, ..)) = self.take_lent(at) {
            let reason = if dead {
                CloseReason::Dead
            } else {
                CloseReason::Dirty
            };
            self.live.remove(&session.number);
            self.state.end(id, reason, self.now);
            self.todo();
        }
    }

    /// A checkout's session is dead, so its caller acquires another.
    fn replace(&mut self, at: u8) {
        if let Some((id, session, ticket, home)) = self.take_lent(at) {
            self.live.remove(&session.number);
            self.state.end(id, CloseReason::Dead, self.now);
            self.state.not_acquired();
            self.acquire(home, true, Some(ticket));
        }
    }

    fn connected(&mut self, at: u8) {
        if let Some(at) = self.opening(at, |phase| phase == Phase::Opening) {
            let (_, site) = self.openings.swap_remove(at);
            let number = self.next_session;
            self.next_session += 1;
            self.live.insert(number);
            let home = site.home;
            let session = Session { number, home };
            let put = self.state.opened(site, session, home, self.now);
            self.settle_released(put);
        }
    }

    fn failed(&mut self, at: u8, passes: bool) {
        if let Some(at) = self.opening(at, |phase| phase == Phase::Opening) {
            let error = match passes {
                true => crate::error::tests::refused(),
                false => crate::error::tests::unauthenticated(),
            };
            let site = self.openings[at].1;
            let todo = self.state.open_failed(site, &error, self.now);
            self.openings[at].0 = Phase::Paused(self.now);
            self.run(todo);
        }
    }

    fn leave(&mut self, at: u8) {
        let nth = (at as usize).checked_rem(self.waiting.len());
        let waiter = nth.and_then(|nth| self.waiting.keys().nth(nth).copied());
        if let Some((waiter, (ticket, _))) =
            waiter.and_then(|waiter| self.waiting.remove_entry(&waiter))
        {
            assert_eq!(self.state.leave(ticket), Some(waiter));
            assert_eq!(self.state.leave(ticket), None);
        }
    }

    fn tick(&mut self, all_over: bool) {
        let judge = |_: &mut Session| all_over.then_some(CloseReason::Lifetime);
        for (session, _) in self.state.tick(self.now, judge) {
            assert!(self.live.remove(&session.number));
        }
        self.todo();
    }

    fn idle_check(&mut self) {
        let before = self.now;
        if let Some(unchecked) = self.state.take_unchecked(before, Location::caller()) {
            assert!(self.state.status().checking > 0);
            let put = self.state.reset(unchecked, self.now);
            self.settle_released(put);
        }
    }

    pub(super) fn step(&mut self, at: u8) {
        let now = self.now;
        let is_due = |phase| match phase {
            Phase::Begun => true,
            Phase::Paused(until) => until <= now,
            Phase::Opening => false,
        };
        let Some(at) = self.opening(at, is_due) else {
            return;
        };
        let waited = self.openings[at].0 != Phase::Begun;
        let site = self.openings[at].1;
        match self.state.step(site, waited, self.now) {
            Step::Open => self.openings[at].0 = Phase::Opening,
            Step::Pause(pause) => self.openings[at].0 = Phase::Paused(self.now + pause),
            Step::End => {
                self.openings.swap_remove(at);
                self.todo();
            }
        }
    }

    pub(super) fn check(&self) {
        let status = self.state.status();
        let in_hands = u32::try_from(self.held.len()).expect("few");
        let openings = u32::try_from(self.openings.len()).expect("few");
        let site = self.state.site();
        let stale = self.openings.iter().filter(|(_, o)| o.round != site.round);
        let stale = u32::try_from(stale.count()).expect("few");
        assert_eq!(status.in_use + status.checking, in_hands);
        assert_eq!(status.size, status.idle + status.in_use + status.checking);
        assert_eq!(status.opening, openings);
        assert_eq!(status.waiting as usize, self.waiting.len());
        assert_eq!(status.size as usize, self.live.len(), "no session is lost");
        assert_eq!(
            status.opened,
            u64::from(status.size) + status.closed.total(),
            "counters add up"
        );
        // Sessions above a reduced size are closed when they are released.
        assert!(status.size <= self.most || status.idle == 0 && in_hands > self.most);
        if self.state.is_closed() {
            assert_eq!(
                (status.idle, status.waiting),
                (0, 0),
                "closing leaves nothing"
            );
            return;
        }
        self.check_sleep(&status);
        for (_, home) in self.waiting.values() {
            let could_have = self.state.idle.homes().any(|idle| idle.serves(*home));
            assert!(!could_have, "a caller waits beside an idle session");
        }
        let is_full = status.size + openings >= self.most;
        let most = self.state.workers();
        let served = openings - stale >= status.waiting.min(most)
            || is_full
            || self.state.waits_for_releases();
        assert!(served, "a waiter has no connect task: {status:?}");
        // Without a connect task, all sessions are in use and will be released.
        if status.waiting > 0 && openings == 0 {
            assert!(
                in_hands > 0,
                "no session will reach the waiters: {status:?}"
            );
        }
    }

    /// Runs to completion: each connect task succeeds and each session is released.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            if self.waiting.is_empty() || self.state.is_closed() {
                return;
            }
            self.happen(Event::Pass(1000));
            self.step(0);
            self.happen(Event::Connected(0));
            self.happen(Event::Release(0));
            self.check();
        }
        panic!("{} callers wait for ever", self.waiting.len());
    }
}
