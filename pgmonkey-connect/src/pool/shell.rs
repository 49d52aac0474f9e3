//! One pool's state behind its lock, and the code that carries out the returned actions.
//!
//! Nothing waits, emits an event or is dropped while the lock is held: actions run after it is
//! released. Only a waiter's slot is filled under the lock, so that a caller that leaves the queue
//! knows whether it was served.

use std::sync::{OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use pgmonkey_config::PoolSettings;

use super::budget::Membership;
use super::caller::Caller;
use super::checkout::Checkout;
use super::connect_task::ConnectTask;
use super::home::Home;
use super::label::Label;
use super::limits::Limits;
use super::outcome::{Acquired, Granted, Ticket, Usage};
use super::slot::{SharedSlot, Slot};
use super::state::PoolState;
use super::sync::{Arc, Instant, Mutex, MutexGuard};
use super::waiter::{Place, Waiter};
use crate::Error;
use crate::error::AcquireTimeout;
use crate::process::Origin;
use crate::status::{CloseReason, Status};
use crate::telemetry::events;

mod closing;
mod deferred;
mod member;
mod refusal;
mod selection;
mod sleeping;

pub use closing::{Drained, close, drained};
pub(super) use deferred::{unlock, unlock_released};
pub use member::join;
pub use selection::acquire_idle;
use selection::request;
pub use sleeping::sleep;

/// What a waiter receives.
pub(super) type Delivery<S> = Result<Granted<S>, Error>;
type State<S> = PoolState<S, SharedSlot<Delivery<S>>>;

/// Carries out a pool's decisions: the part that differs between threads and tasks.
pub trait Shell: Send + Sync + Sized + 'static {
    /// The session type of the driver crate.
    type Session: Send + 'static;

    /// The part that both driver crates share.
    fn core(&self) -> &PoolCore<Self::Session>;

    /// Starts to open a session. `task` says what to do next and receives the outcome.
    fn open(self: &Arc<Self>, task: ConnectTask<Self>);

    /// Starts the pool's maintenance again, which ended while the pool was asleep.
    fn maintain(self: &Arc<Self>);

    /// The runtime in which a session may be used.
    fn home(session: &Self::Session) -> Home;

    /// Why a session must not be handed out again, if so. Sends nothing.
    fn end_reason(session: &Self::Session, now: Instant) -> Option<CloseReason>;

    /// Hands a session to its caller.
    fn acquired(_: &Self::Session, _: &Caller) {}

    /// Takes a session back from its caller: releases it if it is clean, otherwise cleans it first.
    fn release(checkout: Checkout<Self>);

    /// Closes a session.
    fn discard(session: Self::Session) {
        drop(session);
    }
}

/// The immediate result of an acquire.
pub enum Acquiring<P: Shell> {
    /// A session.
    Ready(Checkout<P>),
    /// A position in the queue.
    Waiting(Waiter<P>),
}

/// One pool: its state behind a lock, and its label.
#[derive(Debug)]
pub struct PoolCore<S> {
    state: Mutex<State<S>>,
    label: Arc<Label>,
    origin: Origin,
    what: &'static str,
    timeout: Duration,
    /// The pool's part in a budget that it shares with others.
    membership: OnceLock<Membership>,
}

impl<S> PoolCore<S> {
    /// Creates a pool without sessions; `what` is `pool` or `connection`.
    pub fn new(what: &'static str, label: Arc<Label>, settings: &PoolSettings) -> Self {
        Self {
            state: Mutex::new(PoolState::new(Limits::new(what, settings))),
            label,
            origin: Origin::here(),
            what,
            timeout: settings.timeout,
            membership: OnceLock::new(),
        }
    }

    /// The pool's part in a budget, if it shares one.
    #[inline]
    pub(super) fn membership(&self) -> Option<&Membership> {
        self.membership.get()
    }

    /// Whether a session that is being released is to be closed for another pool.
    #[inline]
    pub(super) fn gives_up(&self, now: Instant) -> bool {
        self.membership().is_some_and(|member| member.gives_up(now))
    }

    /// Tells the budget that a session has become idle.
    #[inline]
    pub(super) fn has_idle(&self) {
        if let Some(member) = self.membership() {
            member.has_idle();
        }
    }

    /// The pool's name, target and metrics.
    #[inline]
    pub fn label(&self) -> &Arc<Label> {
        &self.label
    }

    /// `pool` or `connection`.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// The process that created the pool.
    #[inline]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Checks that this process created the pool.
    ///
    /// # Errors
    ///
    /// [`Error::OpenedBeforeFork`] in a child of `fork` that inherited it.
    #[inline]
    pub fn check_origin(&self) -> Result<(), Error> {
        self.origin.check(self.what)
    }

    /// The current statistics.
    pub fn status(&self) -> Status {
        let mut status = self.lock().status();
        status.statement_cache = self.label.statements().status();
        status.statements = self.label.statement_status();
        status
    }

    /// The current statistics, and when the pool was used and failed last.
    pub fn usage(&self) -> Usage {
        let now = Instant::now();
        let state = self.lock();
        let (unused_for, last_failure) = (state.unused_for(now), state.last_failure(now));
        drop(state);
        Usage {
            status: self.status(),
            unused_for,
            last_failure,
        }
    }

    /// Whether the pool is closed.
    pub fn is_closed(&self) -> bool {
        self.lock().is_closed()
    }

    /// Permits owed, see [`PoolState::permits_owed`]. `None` if a caller (a new one, or with
    /// `queued` one in the queue) need not wait for a release, or if the pool is closed.
    pub fn permits_owed(&self, queued: bool) -> Option<u32> {
        let state = self.lock();
        let shares = !state.has_room(queued) && !state.is_closed();
        shares.then(|| state.permits_owed())
    }

    /// Starts to maintain `min_size`.
    pub fn keep_min_size(&self) {
        self.lock().keep_min_size();
    }

    /// Records that a session was refused with `error`; returns whether another attempt may help.
    pub fn refused(&self, error: &Error, now: Instant) -> bool {
        self.label.open_failed(error);
        let mut state = self.lock();
        let can_help = state.can_help(error, now);
        state.refused(error, now);
        can_help
    }

    /// The timeout error for a caller that has waited since `began`.
    pub fn timed_out(&self, began: Instant) -> Error {
        let now = Instant::now();
        let mut state = self.lock();
        let warned = state.timed_out(began, now);
        let status = state.status();
        drop(state);
        self.label.timed_out();
        let waited = now.saturating_duration_since(began);
        let mut timeout = AcquireTimeout::new(Arc::clone(self.label.target()), waited, status);
        if let Some(longest) = warned.longest_held {
            timeout.longest_held = Some((longest.location, longest.held));
            timeout.longest_label = longest.label;
        }
        timeout.last_error = warned.last_error;
        timeout.budget = self.membership().and_then(Membership::holders);
        let error = Error::Timeout(Arc::new(timeout));
        events::acquire_failed(self.label.name(), waited, &error);
        error
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<S>> {
        // Every event leaves the state consistent: a panic elsewhere in the thread that holds the
        // lock cannot damage it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Acquires a session for `caller`; `ticket` is its position in the queue if it had one before.
///
/// # Errors
///
/// [`Error::Closed`], [`Error::QueueFull`], or [`Error::Timeout`] if `timeout` is 0 and all
/// sessions are in use.
#[inline]
pub fn acquire<P: Shell>(
    pool: &Arc<P>,
    caller: &Caller,
    ticket: Option<Ticket>,
) -> Result<Acquiring<P>, Error> {
    let core = pool.core();
    let request = request(pool, caller, ticket);
    let mut slot = None;
    let mut state = core.lock();
    let acquired = state.acquire(request, || {
        Arc::clone(slot.insert(SharedSlot::new(Slot::new())))
    });
    match acquired {
        Acquired::Granted(granted) => {
            drop(state);
            Ok(Acquiring::Ready(Checkout::new(Arc::clone(pool), granted)))
        }
        Acquired::Queued(ticket) => {
            let watched = state.is_kept();
            let deferred = match state.is_quiet() {
                true => {
                    drop(state);
                    None
                }
                false => {
                    let todo = state.todo(Instant::now());
                    Some(unlock(core, state, todo))
                }
            };
            let slot = slot.unwrap_or_default();
            let place = Place { ticket, watched };
            let mut waiting = Waiter::new(Arc::clone(pool), slot, place, caller.began);
            if let Some(deferred) = deferred {
                deferred.run(pool);
            }
            waiting.count();
            Ok(Acquiring::Waiting(waiting))
        }
        Acquired::QueueFull => {
            drop(state);
            Err(core.queue_full())
        }
        Acquired::TimedOut => {
            drop(state);
            Err(core.timed_out(caller.began))
        }
        Acquired::Away(error) => {
            drop(state);
            Err(error)
        }
        Acquired::Closed => Err(Error::Closed { what: core.what }),
    }
}

/// Sets new pool sizes.
pub fn resize<P: Shell>(pool: &Arc<P>, min_size: u32, max_size: u32) {
    let core = pool.core();
    let mut state = core.lock();
    state.resize(min_size, max_size);
    let todo = state.todo(Instant::now());
    let deferred = unlock(core, state, todo);
    core.label.resized(min_size, max_size);
    deferred.run(pool);
}

/// Runs one maintenance tick: wakes waiters whose timeout is near, warns about sessions held for
/// `leak_warning` or longer, takes out expired and long-idle sessions, and fills up to `min_size`. `end` receives the sessions to close
/// with [`end_all`].
pub fn tick<P: Shell>(
    pool: &Arc<P>,
    leak_warning: Option<Duration>,
    end: impl FnOnce(Vec<(P::Session, CloseReason)>),
) {
    let core = pool.core();
    let now = Instant::now();
    let mut state = core.lock();
    let overdue = leak_warning.map_or_else(Vec::new, |limit| state.overdue(now, limit));
    let mut cut_off = Vec::new();
    let over = state.tick(now, |session| {
        let reason = P::end_reason(session, now)?;
        if reason == CloseReason::Moved {
            cut_off.push(P::home(session));
        }
        Some(reason)
    });
    cut_off.into_iter().for_each(|home| state.home_ended(home));
    let ending: Vec<_> = state.ending(now).filter_map(|slot| slot.nudge()).collect();
    let mut todo = state.todo(now);
    todo.end.extend(over);
    let mut deferred = unlock(core, state, todo);
    ending.into_iter().for_each(Waker::wake);
    for checkout in overdue {
        let label = checkout.label.as_deref();
        events::leaked(core.label.name(), checkout.location, label, checkout.held);
    }
    let over = std::mem::take(&mut deferred.end);
    if !over.is_empty() {
        end(over);
    }
    deferred.run(pool);
}

/// Closes sessions that were idle.
pub fn end_all<P: Shell>(pool: &P, sessions: Vec<(P::Session, CloseReason)>) {
    for (session, reason) in sessions {
        P::discard(session);
        pool.core().label.ended(reason);
    }
}
