//! Statements that must end by a deadline.
//!
//! A statement blocks its thread, so the keeper tells when the deadline has passed. It hands the
//! cancel request to the threads that open sessions, because sending one takes a connection. A
//! server that does not react has its session closed by the observer's limit. On a Unix socket,
//! where the wire is not observed, the thread waits for the server.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use pgmonkey_connect::deadline::{Overdue, OverdueStep, TimedCall, give_up_at};
use pgmonkey_connect::error::DeadlineExceeded;
use pgmonkey_connect::wire::Observer;
use pgmonkey_connect::{ConnectedTo, Error, limits};
use postgres::CancelToken;

use super::Session;
use crate::threads::keeper::{Keeper, Kept};
use crate::threads::openers::Opener;

impl Session {
    /// Limits the calls on this session, until the next call of this method; returns the limit so
    /// far.
    pub(crate) fn limit_to(&mut self, call: Option<TimedCall>) -> Option<TimedCall> {
        std::mem::replace(&mut self.limit, call)
    }

    /// What limits the calls on this session.
    pub(crate) fn limit(&self) -> Option<TimedCall> {
        self.limit
    }

    /// Runs `work` within the limit of the session's calls.
    pub(crate) fn bounded<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.bounded_to(self.limit, work)
    }

    /// Runs `work` within this limit, if there is one.
    pub(crate) fn bounded_to<T>(
        &mut self,
        limit: Option<TimedCall>,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Some(call) = limit else {
            return work(self);
        };
        // Calls within the call have the same limit.
        let outer = self.limit_to(None);
        let done = match self.arm(call) {
            Ok(armed) => armed.end(work(self)),
            Err(passed) => Err(passed),
        };
        self.limit = outer;
        done
    }

    /// Undoes work: by the deadline, but within no less than a second.
    pub(crate) fn bounded_undo<T>(
        &mut self,
        undo: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let limit = self.limit.map(|call| call.at_least(limits::OVERDUE));
        self.bounded_to(limit, undo)
    }

    /// Begins a call with a deadline.
    ///
    /// # Errors
    ///
    /// [`Error::DeadlineExceeded`] if it has passed.
    pub(crate) fn arm(&self, call: TimedCall) -> Result<Armed, Error> {
        call.check()?;
        let observer = self.observer.clone();
        let before = observer
            .as_ref()
            .and_then(|observer| observer.limit_to(Some(give_up_at(call.deadline))));
        Ok(Armed {
            call,
            alarm: Alarm::set(self, call),
            observer,
            before,
        })
    }
}

/// A call in progress that has a deadline.
pub(crate) struct Armed {
    call: TimedCall,
    alarm: Alarm,
    observer: Option<Arc<Observer>>,
    /// The observer's limit outside the call.
    before: Option<Instant>,
}

impl Armed {
    /// Ends the call: afterwards, no cancel request can reach another statement.
    pub(crate) fn end<T>(mut self, done: Result<T, Error>) -> Result<T, Error> {
        let rang = self.disarm();
        let silent = self.observer.as_ref().is_some_and(|one| one.is_silent());
        match rang || silent {
            true => DeadlineExceeded::of_answer(done, silent, self.call),
            false => done,
        }
    }

    /// Returns whether the deadline has passed.
    fn disarm(&mut self) -> bool {
        let rang = self.alarm.stop();
        let Some(observer) = &self.observer else {
            return rang != Rang::No;
        };
        match rang {
            Rang::No => {}
            // The statement may have completed just before it was cancelled.
            Rang::Yes => observer.mark_changed(),
            // The cancel request may still arrive: nothing else may run on this session.
            Rang::AndRings => observer.fall_silent(),
        }
        observer.limit_to(self.before);
        rang != Rang::No
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        self.disarm();
    }
}

/// Whether an alarm has gone off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rang {
    No,
    Yes,
    /// Its cancel request is still under way.
    AndRings,
}

/// Sends cancel requests from the deadline on, until it is stopped.
struct Alarm {
    clock: Arc<Clock>,
    /// `None` once it was stopped.
    keeper: Option<Keeper>,
    rang: Rang,
}

/// What the keeper calls.
struct Clock {
    itself: Weak<Self>,
    call: TimedCall,
    token: CancelToken,
    connected_to: Arc<ConnectedTo>,
    state: Mutex<State>,
    /// Notified when a cancel request is over.
    cancelled: Condvar,
}

struct State {
    overdue: Overdue,
    rang: bool,
    is_cancelling: bool,
    is_stopped: bool,
    /// From the first cancel request on.
    opener: Option<Arc<Opener>>,
}

impl Alarm {
    fn set(session: &Session, call: TimedCall) -> Self {
        let clock = Arc::new_cyclic(|itself| Clock {
            itself: Weak::clone(itself),
            call,
            token: session.client().cancel_token(),
            connected_to: Arc::clone(&session.connected_to),
            state: Mutex::new(State {
                overdue: Overdue::new(call.deadline),
                rang: false,
                is_cancelling: false,
                is_stopped: false,
                opener: None,
            }),
            cancelled: Condvar::new(),
        });
        let kept = Arc::downgrade(&clock) as Weak<dyn Kept>;
        Self {
            keeper: Some(Keeper::register_at(kept, call.deadline.instant())),
            clock,
            rang: Rang::No,
        }
    }

    /// Waits for the end of a cancel request that is under way.
    fn stop(&mut self) -> Rang {
        let Some(keeper) = self.keeper.take() else {
            return self.rang;
        };
        drop(keeper);
        let mut state = self.clock.state();
        let end = give_up_at(self.clock.call.deadline);
        while state.is_cancelling {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.clock.cancelled.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_stopped = true;
        self.rang = match (state.rang, state.is_cancelling) {
            (false, _) => Rang::No,
            (true, false) => Rang::Yes,
            (true, true) => Rang::AndRings,
        };
        let opener = state.opener.take();
        drop(state);
        drop(opener);
        self.rang
    }
}

impl Clock {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self) {
        let end = give_up_at(self.call.deadline);
        let connector = self.connected_to.canceller(Some(end));
        // If it fails, another one follows.
        let _ = self.token.cancel_query(connector);
    }
}

impl Kept for Clock {
    /// Never blocks: the cancel request is sent on another thread.
    fn keep(&self, now: Instant) -> Duration {
        let mut state = self.state();
        if state.is_stopped {
            return Duration::MAX;
        }
        if state.is_cancelling {
            return limits::CANCEL_AGAIN;
        }
        match state.overdue.step(now) {
            OverdueStep::Wait(left) => return left,
            OverdueStep::GiveUp => return Duration::MAX,
            OverdueStep::Cancel => {}
        }
        let Some(clock) = self.itself.upgrade() else {
            return Duration::MAX;
        };
        (state.rang, state.is_cancelling) = (true, true);
        let request = Request(clock);
        let opener = state.opener.get_or_insert_with(|| {
            // Apart from the openings at this host, which may all be waiting for it.
            let host = format!("cancel {}", self.connected_to.host());
            Arc::new(Opener::register(host.into(), 1))
        });
        let opener = Arc::clone(opener);
        // Without a thread the request is dropped, which takes the lock.
        drop(state);
        opener.submit(move || request.0.cancel());
        limits::CANCEL_AGAIN
    }
}

/// A cancel request that is under way until this is dropped.
struct Request(Arc<Clock>);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.state().is_cancelling = false;
        self.0.cancelled.notify_all();
    }
}
