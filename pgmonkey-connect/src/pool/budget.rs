//! A limit on the sessions of several pools at one server.
//!
//! Each session holds a [`Permit`] from before its login until it is closed. A pool that needs one
//! more session when none is left first takes the place of the session that has been idle longest
//! in any pool; otherwise it waits for its turn.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, Weak};

use self::state::{MemberId, State};
use super::sync::{Arc, Instant, Mutex, MutexGuard};

mod state;

/// The budgets of one manager: one for each list of servers.
#[derive(Debug)]
pub struct Budgets {
    limit: u32,
    by_servers: Mutex<HashMap<String, Weak<Budget>>>,
}

impl Budgets {
    /// Budgets of `limit` sessions each.
    pub fn new(limit: u32) -> Self {
        Self {
            limit,
            by_servers: Mutex::new(HashMap::new()),
        }
    }

    /// Returns the budget for these servers, `host:port` separated by commas.
    pub fn of(&self, servers: &str) -> Arc<Budget> {
        let budgets = self.by_servers.lock();
        let mut budgets = budgets.unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = budgets.get(servers).and_then(Weak::upgrade) {
            return known;
        }
        budgets.retain(|_, budget| budget.strong_count() > 0);
        let budget = Arc::new(Budget::new(servers, self.limit));
        budgets.insert(servers.to_owned(), Arc::downgrade(&budget));
        budget
    }
}

/// The sessions that the pools of a manager may have at one server together.
pub struct Budget {
    servers: String,
    inner: Mutex<Inner>,
    /// The number of waiting tasks, readable without the lock.
    waiting: AtomicUsize,
}

struct Inner {
    state: State<Box<dyn Waiting>>,
    members: BTreeMap<MemberId, Weak<dyn Member>>,
}

/// A pool that shares a budget.
pub(super) trait Member: Send + Sync {
    /// When the session that has been idle longest was released.
    fn longest_idle(&self) -> Option<Instant>;

    /// Closes that session; false if there is none any more.
    fn give_up_idle(&self) -> bool;

    /// `user@host:port/database`.
    fn target(&self) -> Arc<str>;
}

/// A task that waits to open a session.
pub(super) trait Waiting: Send {
    /// Opens the session.
    fn start(self: Box<Self>, permit: Permit);
}

impl Budget {
    /// Creates a budget of `limit` sessions.
    pub fn new(servers: &str, limit: u32) -> Self {
        Self {
            servers: servers.to_owned(),
            inner: Mutex::new(Inner {
                state: State::new(limit),
                members: BTreeMap::new(),
            }),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Adds a pool.
    pub(super) fn join(self: &Arc<Self>, member: Weak<dyn Member>) -> Membership {
        let mut inner = self.lock();
        let id = inner.state.join();
        inner.members.insert(id, member);
        Membership {
            budget: Arc::clone(self),
            id,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every event leaves the state consistent.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the number of waiting tasks before the lock is released.
    fn publish(&self, inner: &Inner) {
        self.waiting.store(inner.state.waiting(), Ordering::Relaxed);
    }

    /// Closes the session that has been idle longest in any pool.
    fn make_room(&self) {
        let inner = self.lock();
        let holders = inner.state.holders().into_iter();
        let holders = holders.filter_map(|(id, _)| inner.members.get(&id)?.upgrade());
        let holders: Vec<_> = holders.collect();
        drop(inner);
        let mut idle: Vec<_> = holders
            .iter()
            .filter_map(|pool| Some((pool.longest_idle()?, pool)))
            .collect();
        idle.sort_by_key(|(since, _)| *since);
        // A caller may acquire a session in the meantime.
        let _ = idle.iter().any(|(_, pool)| pool.give_up_idle());
    }

    fn release(self: &Arc<Self>, id: MemberId) {
        let mut inner = self.lock();
        let next = inner.state.release(id, Instant::now());
        self.publish(&inner);
        drop(inner);
        if let Some((id, task)) = next {
            task.start(Permit {
                budget: Arc::clone(self),
                id,
            });
        }
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

/// A pool's part in a budget.
#[derive(Debug)]
pub(super) struct Membership {
    budget: Arc<Budget>,
    id: MemberId,
}

impl Membership {
    /// Asks for one more session, without waiting.
    pub(super) fn try_permit(&self) -> Option<Permit> {
        let mut inner = self.budget.lock();
        let is_free = inner.state.ask_if_free(self.id, Instant::now());
        is_free.then(|| self.permit())
    }

    /// Asks for one more session for `task`, which is started now or when it is this pool's turn.
    pub(super) fn wait(&self, task: Box<dyn Waiting>) {
        let mut inner = self.budget.lock();
        let granted = inner.state.ask(self.id, task, Instant::now());
        self.budget.publish(&inner);
        drop(inner);
        match granted {
            Some(task) => task.start(self.permit()),
            None => self.budget.make_room(),
        }
    }

    fn permit(&self) -> Permit {
        Permit {
            budget: Arc::clone(&self.budget),
            id: self.id,
        }
    }

    /// Whether a session that is being released is to be closed for another pool, even if a caller
    /// of this one waits.
    pub(super) fn gives_up(&self, now: Instant) -> bool {
        self.is_contended() && self.budget.lock().state.gives_up(self.id, now)
    }

    /// Whether tasks wait.
    pub(super) fn is_contended(&self) -> bool {
        self.budget.waiting.load(Ordering::Relaxed) > 0
    }

    /// Follows on a session that has become idle: tasks may wait for its place. Call it after the
    /// pool's lock was released: a task that begins to wait later finds the session.
    pub(super) fn has_idle(&self) {
        if self.is_contended() {
            self.budget.make_room();
        }
    }

    /// Drops the pool's waiting tasks.
    pub(super) fn withdraw(&self) {
        let mut inner = self.budget.lock();
        let left = inner.state.withdraw(self.id);
        self.budget.publish(&inner);
        drop(inner);
        drop(left);
    }

    /// Who holds the sessions, for the error of a caller that waited too long; `None` if none of
    /// this pool's tasks waits.
    pub(super) fn holders(&self) -> Option<String> {
        if !self.is_contended() {
            return None;
        }
        let inner = self.budget.lock();
        let holders = inner.state.holders();
        let limit = inner.state.limit();
        let pool = |id| inner.members.get(&id).and_then(Weak::upgrade);
        let told =
            |(id, held): &(MemberId, u32)| Some(format!("{held} by {}", pool(*id)?.target()));
        let most: Vec<String> = holders.iter().filter_map(told).take(TOLD).collect();
        drop(inner);
        let servers = &self.budget.servers;
        let mut text =
            format!("all {limit} sessions that the manager may have at {servers} are taken");
        if !most.is_empty() {
            text += &format!(": {}", most.join(", "));
        }
        if holders.len() > most.len() {
            text += &format!(" and others by {} more pools", holders.len() - most.len());
        }
        Some(text)
    }
}

/// How many pools an error names.
const TOLD: usize = 3;

impl Drop for Membership {
    fn drop(&mut self) {
        let mut inner = self.budget.lock();
        let left = inner.state.leave(self.id);
        let member = inner.members.remove(&self.id);
        self.budget.publish(&inner);
        drop(inner);
        drop((left, member));
    }
}

/// The right to have one session at a server; dropped when the session has been closed.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    id: MemberId,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.release(self.id);
    }
}
