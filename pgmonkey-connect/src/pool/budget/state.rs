//! Which pool may open the next session at a server, decided without a lock.
//!
//! Invariants between two events:
//!
//! - the sessions of all pools, including those being opened, do not exceed the limit;
//! - no pool waits while the limit is not reached;
//! - pools get their turn in the order in which they began to wait, one session at a time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::pool::sync::Instant;

/// How long a pool may use a session for its own callers while other pools wait. Shorter turns
/// would spend the time on logins.
const TURN: Duration = Duration::from_millis(100);

/// Identifies a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MemberId(u64);

/// One pool: its sessions, and its tasks `T` that wait to open one.
#[derive(Debug)]
struct Member<T> {
    held: u32,
    waiting: VecDeque<T>,
    /// When it was last allowed to open a session.
    turn_began: Option<Instant>,
}

/// A limit on sessions, and the pools that share it.
#[derive(Debug)]
pub(super) struct State<T> {
    limit: u32,
    taken: u32,
    members: BTreeMap<MemberId, Member<T>>,
    /// The pools that wait, the next one first.
    order: VecDeque<MemberId>,
    last: u64,
}

impl<T> State<T> {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            taken: 0,
            members: BTreeMap::new(),
            order: VecDeque::new(),
            last: 0,
        }
    }

    /// Adds a pool.
    pub(super) fn join(&mut self) -> MemberId {
        self.last += 1;
        let id = MemberId(self.last);
        let member = Member {
            held: 0,
            waiting: VecDeque::new(),
            turn_began: None,
        };
        self.members.insert(id, member);
        id
    }

    /// Asks for one more session; returns the task if it may be opened now. Otherwise the task
    /// waits, and a later [`release`](Self::release) returns it.
    pub(super) fn ask(&mut self, id: MemberId, task: T, now: Instant) -> Option<T> {
        if self.taken < self.limit && self.order.is_empty() {
            self.take(id, now);
            return Some(task);
        }
        let member = self.members.get_mut(&id)?;
        if member.waiting.is_empty() {
            self.order.push_back(id);
        }
        member.waiting.push_back(task);
        None
    }

    /// Asks for one more session that no caller waits for; false if the limit is reached.
    pub(super) fn ask_if_free(&mut self, id: MemberId, now: Instant) -> bool {
        let free = self.taken < self.limit && self.order.is_empty();
        if free {
            self.take(id, now);
        }
        free
    }

    fn take(&mut self, id: MemberId, now: Instant) {
        self.taken += 1;
        if let Some(member) = self.members.get_mut(&id) {
            member.held += 1;
            member.turn_began = Some(now);
        }
    }

    /// Records that a session of this pool has ended; returns the task that may open one now.
    pub(super) fn release(&mut self, id: MemberId, now: Instant) -> Option<(MemberId, T)> {
        self.taken -= 1;
        if let Some(member) = self.members.get_mut(&id) {
            member.held -= 1;
        }
        let next = self.order.pop_front()?;
        let member = self.members.get_mut(&next)?;
        let task = member.waiting.pop_front()?;
        if !member.waiting.is_empty() {
            self.order.push_back(next);
        }
        self.take(next, now);
        Some((next, task))
    }

    /// Removes a pool's waiting tasks.
    pub(super) fn withdraw(&mut self, id: MemberId) -> VecDeque<T> {
        self.order.retain(|other| *other != id);
        let member = self.members.get_mut(&id);
        member.map_or_else(VecDeque::new, |member| std::mem::take(&mut member.waiting))
    }

    /// Removes a pool that has ended.
    pub(super) fn leave(&mut self, id: MemberId) -> VecDeque<T> {
        let left = self.withdraw(id);
        self.members.remove(&id);
        left
    }

    /// Whether a session that this pool could hand to its own next caller is to be closed for the
    /// pool whose turn it is: because this one has more than its share, or has had its turn.
    pub(super) fn gives_up(&self, id: MemberId, now: Instant) -> bool {
        let Some(member) = self.members.get(&id) else {
            return false;
        };
        if self.order.iter().all(|other| *other == id) {
            return false;
        }
        let is_over = member
            .turn_began
            .is_none_or(|began| now.saturating_duration_since(began) >= TURN);
        is_over || member.held > self.share()
    }

    /// How many sessions each pool may keep while others wait.
    fn share(&self) -> u32 {
        let interested = |member: &&Member<T>| member.held > 0 || !member.waiting.is_empty();
        let pools = self.members.values().filter(interested).count();
        let pools = u32::try_from(pools).unwrap_or(u32::MAX).max(1);
        (self.limit / pools).max(1)
    }

    /// The number of tasks that wait.
    pub(super) fn waiting(&self) -> usize {
        let waiting = self.order.iter().filter_map(|id| self.members.get(id));
        waiting.map(|member| member.waiting.len()).sum()
    }

    /// The limit.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// The pools that hold sessions, with their numbers, those with most first.
    pub(super) fn holders(&self) -> Vec<(MemberId, u32)> {
        let members = self.members.iter();
        let holds = members.filter(|(_, member)| member.held > 0);
        let mut holders: Vec<_> = holds.map(|(id, member)| (*id, member.held)).collect();
        holders.sort_by_key(|(_, held)| std::cmp::Reverse(*held));
        holders
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Event {
        Ask(usize),
        AskIfFree(usize),
        Release(usize),
        Withdraw(usize),
        Pass(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => (0..4usize).prop_map(Event::Ask),
            2 => (0..4usize).prop_map(Event::AskIfFree),
            6 => any::<usize>().prop_map(Event::Release),
            1 => (0..4usize).prop_map(Event::Withdraw),
            1 => (0..200u64).prop_map(Event::Pass),
        ]
    }

    proptest! {
        #[test]
        fn the_limit_holds_and_pools_take_turns(
            limit in 1..5u32,
            events in prop::collection::vec(event(), 0..100),
        ) {
            let (mut state, mut now) = (State::new(limit), Instant::now());
            let pools: Vec<_> = (0..4).map(|_| state.join()).collect();
            // The sessions, and the tasks that wait, by pool.
            let mut open: Vec<MemberId> = Vec::new();
            let mut waiting: Vec<(MemberId, u32)> = Vec::new();
            let mut next = 0;
            for event in events {
                match event {
                    Event::Ask(pool) => {
                        next += 1;
                        match state.ask(pools[pool], next, now) {
                            Some(_) => open.push(pools[pool]),
                            None => waiting.push((pools[pool], next)),
                        }
                    }
                    Event::AskIfFree(pool) => {
                        if state.ask_if_free(pools[pool], now) {
                            open.push(pools[pool]);
                        }
                    }
                    Event::Release(at) if !open.is_empty() => {
                        let ended = open.swap_remove(at % open.len());
                        let first = waiting.first().copied();
                        match state.release(ended, now) {
                            Some((pool, task)) => {
                                let at = waiting.iter().position(|w| *w == (pool, task));
                                prop_assert!(at.is_some(), "it waited");
                                let own = waiting.iter().find(|(other, _)| *other == pool);
                                prop_assert_eq!(own, Some(&(pool, task)), "first come");
                                waiting.retain(|w| *w != (pool, task));
                                open.push(pool);
                            }
                            None => prop_assert_eq!(first, None, "no pool waits"),
                        }
                    }
                    Event::Release(_) => {}
                    Event::Withdraw(pool) => {
                        let left = state.withdraw(pools[pool]).len();
                        let before = waiting.len();
                        waiting.retain(|(other, _)| *other != pools[pool]);
                        prop_assert_eq!(left, before - waiting.len());
                    }
                    Event::Pass(millis) => now += Duration::from_millis(millis),
                }
                prop_assert!(open.len() <= limit as usize);
                prop_assert_eq!(state.taken as usize, open.len());
                prop_assert_eq!(state.waiting(), waiting.len());
                prop_assert!(waiting.is_empty() || open.len() == limit as usize, "room is used");
                let held: u32 = state.holders().iter().map(|(_, held)| held).sum();
                prop_assert_eq!(held, state.taken);
            }
            // Each pool that waits gets a turn before another gets two.
            let mut turns = Vec::new();
            let contenders = waiting.iter().map(|(pool, _)| *pool);
            let contenders: std::collections::BTreeSet<_> = contenders.collect();
            while let Some(ended) = open.pop() {
                if let Some((pool, _)) = state.release(ended, now) {
                    turns.push(pool);
                    open.insert(0, pool);
                }
            }
            let first: std::collections::BTreeSet<_> = turns.iter().take(contenders.len()).copied().collect();
            prop_assert_eq!(first, contenders);
            prop_assert_eq!(turns.len(), waiting.len());
        }
    }

    #[test]
    fn a_pool_keeps_its_share_for_a_turn() {
        let (mut state, now) = (State::new(4), Instant::now());
        let [one, other] = [state.join(), state.join()];
        for task in 0..4 {
            assert_eq!(state.ask(one, task, now), Some(task));
        }
        assert!(!state.gives_up(one, now + TURN), "no other pool waits");
        assert_eq!(state.ask(other, 7, now), None);
        assert!(state.gives_up(one, now), "more than half");
        assert_eq!(state.release(one, now), Some((other, 7)));
        assert_eq!(state.ask(other, 8, now), None);
        assert_eq!(state.release(one, now), Some((other, 8)));
        assert_eq!(state.ask(other, 9, now), None);
        assert!(!state.gives_up(one, now), "half");
        assert!(state.gives_up(one, now + TURN));
    }
}
