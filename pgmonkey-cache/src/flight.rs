use std::cell::RefCell;
use std::sync::PoisonError;
use std::task::Waker;

use crate::sync::{Condvar, Mutex, MutexGuard, thread_local};

/// A build in progress and its waiters: threads wait on the condition variable, tasks leave their
/// wakers.
#[derive(Debug)]
pub(crate) struct Flight<V, E> {
    state: Mutex<State<V, E>>,
    landed: Condvar,
}

#[derive(Debug)]
struct State<V, E> {
    outcome: Option<Outcome<V, E>>,
    wakers: Vec<(u64, Waker)>,
    #[cfg(feature = "async")]
    next_ticket: u64,
}

/// How a build ended.
#[derive(Clone, Debug)]
pub(crate) enum Outcome<V, E> {
    Done(Result<V, E>),
    /// The builder panicked or was cancelled: a waiter that still wants the value builds it.
    Abandoned,
}

impl<V: Clone, E: Clone> Flight<V, E> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                outcome: None,
                wakers: Vec::new(),
                #[cfg(feature = "async")]
                next_ticket: 0,
            }),
            landed: Condvar::new(),
        }
    }

    /// Blocks until the build has ended.
    pub(crate) fn wait(&self) -> Outcome<V, E> {
        self.refuse_recursion();
        let mut state = lock(&self.state);
        loop {
            if let Some(outcome) = &state.outcome {
                return outcome.clone();
            }
            state = self
                .landed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns the outcome, or registers `waker`. `ticket` identifies the caller's entry in the
    /// list.
    #[cfg(feature = "async")]
    pub(crate) fn poll(&self, ticket: &mut Option<u64>, waker: &Waker) -> Option<Outcome<V, E>> {
        self.refuse_recursion();
        let mut state = lock(&self.state);
        if let Some(outcome) = &state.outcome {
            return Some(outcome.clone());
        }
        let known = state.wakers.iter_mut().find(|(id, _)| Some(*id) == *ticket);
        if let Some((_, known)) = known {
            known.clone_from(waker);
        } else {
            let id = state.next_ticket;
            state.next_ticket += 1;
            state.wakers.push((id, waker.clone()));
            *ticket = Some(id);
        }
        None
    }

    /// Removes a task that no longer waits from the list.
    #[cfg(feature = "async")]
    pub(crate) fn leave(&self, ticket: u64) {
        let mut state = lock(&self.state);
        let place = state.wakers.iter().position(|(id, _)| *id == ticket);
        let waker = place.map(|place| state.wakers.swap_remove(place));
        drop(state);
        // The waker may own the last handle of a task, whose drop runs foreign code: not under the
        // lock.
        drop(waker);
    }

    /// Ends the build and wakes all waiters.
    pub(crate) fn land(&self, outcome: Outcome<V, E>) {
        let mut state = lock(&self.state);
        state.outcome = Some(outcome);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.landed.notify_all();
        for (_, waker) in wakers {
            waker.wake();
        }
    }

    /// Marks this thread as the builder until the mark is dropped.
    pub(crate) fn mark(&self) -> Mark {
        // Without thread locals (the thread is exiting) recursion is not detected; all else works.
        let _ = BUILDING.try_with(|building| building.borrow_mut().push(self.address()));
        Mark(())
    }

    /// Panics if this thread waits for its own build, which would never end.
    fn refuse_recursion(&self) {
        let mine = BUILDING.try_with(|building| building.borrow().contains(&self.address()));
        assert!(
            !mine.unwrap_or(false),
            "the builder of a cache key asked the cache for that same key, which would deadlock; \
             build the value without the cache, or under another key"
        );
    }

    fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

thread_local! {
    /// The flights whose builders this thread is running right now, innermost last.
    static BUILDING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// See [`Flight::mark`]. Marks nest like the calls they belong to.
pub(crate) struct Mark(());

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = BUILDING.try_with(|building| building.borrow_mut().pop());
    }
}

/// Locks a mutex of this crate. Poison means that the user's `Clone` panicked; the protected data
/// is changed by single assignments and therefore consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
