//! The actions of an event, carried out after the lock is released.

use std::task::Waker;

use super::{Delivery, PoolCore, Shell, State, end_all};
use crate::Error;
use crate::pool::connect_task::ConnectTask;
use crate::pool::outcome::{Released, Site, Todo};
use crate::pool::slot::SharedSlot;
use crate::pool::sync::{Arc, Instant, MutexGuard};
use crate::status::CloseReason;

/// Actions to run after the lock is released.
#[must_use = "this wakes waiters and starts connect tasks"]
pub(in crate::pool) struct Deferred<S> {
    wake: Vec<Waker>,
    pub(super) end: Vec<(S, CloseReason)>,
    open: u32,
    site: Site,
    /// Whether a session has become idle.
    is_idle: bool,
    maintain: bool,
}

impl<S> Default for Deferred<S> {
    fn default() -> Self {
        Self {
            wake: Vec::new(),
            end: Vec::new(),
            open: 0,
            site: Site::default(),
            is_idle: false,
            maintain: false,
        }
    }
}

/// Fills the slots of refused waiters and of watchers, then releases the lock.
pub(in crate::pool) fn unlock<S>(
    core: &PoolCore<S>,
    state: MutexGuard<'_, State<S>>,
    todo: Todo<S, SharedSlot<Delivery<S>>>,
) -> Deferred<S> {
    let what = core.what;
    let refused = todo.refuse.into_iter();
    let drained = todo.drained.into_iter();
    let wake = refused
        .filter_map(|(slot, error)| slot.fill(Err(error)))
        .chain(drained.filter_map(|slot| slot.fill(Err(Error::Closed { what }))));
    let wake = wake.collect();
    drop(state);
    Deferred {
        wake,
        end: todo.end,
        open: todo.open,
        site: todo.site,
        is_idle: false,
        maintain: todo.maintain,
    }
}

/// Delivers or closes a released session, adds the actions now due, and releases the lock.
pub(in crate::pool) fn unlock_released<S>(
    core: &PoolCore<S>,
    mut state: MutexGuard<'_, State<S>>,
    put: Released<S, SharedSlot<Delivery<S>>>,
    now: Instant,
) -> Deferred<S> {
    let mut deferred = Deferred::default();
    let over = match put {
        Released::Idle => {
            deferred.is_idle = true;
            None
        }
        Released::Handed(slot, granted) => {
            deferred.wake.extend(slot.fill(Ok(granted)));
            None
        }
        Released::Ended(session, reason) => Some((session, reason)),
    };
    if state.is_quiet() && over.is_none() {
        return deferred;
    }
    let mut todo = state.todo(now);
    todo.end.extend(over);
    let more = unlock(core, state, todo);
    deferred.wake.extend(more.wake);
    Deferred {
        wake: deferred.wake,
        is_idle: deferred.is_idle,
        ..more
    }
}

impl<S> Deferred<S> {
    pub(in crate::pool) fn run<P: Shell<Session = S>>(self, pool: &Arc<P>) {
        // Create the tasks before any of the program's code runs: a subscriber may panic, and only
        // a task that is dropped is replaced.
        let begin = |_| ConnectTask::new(Arc::clone(pool), self.site);
        let openings: Vec<_> = (0..self.open).map(begin).collect();
        if self.maintain {
            pool.maintain();
        }
        openings.into_iter().for_each(|task| pool.open(task));
        let is_idle = self.is_idle;
        self.tell(&**pool);
        if is_idle {
            pool.core().has_idle();
        }
    }

    /// Like [`run`](Self::run), for a pool that opens no more sessions.
    pub(super) fn tell<P: Shell<Session = S>>(self, pool: &P) {
        self.wake.into_iter().for_each(Waker::wake);
        end_all(pool, self.end);
    }
}
