//! Sessions that several callers use at the same time, by pipelining.
//!
//! A caller that finds no idle session sends its statement behind those of other callers instead of
//! waiting for them. The text decides whether it may share a session (`sharing`). Each request ends
//! with its own Sync, so errors stay with their caller. A shared session is checked out like any
//! other, and released when its last caller has finished: it is then reset or cancelled like any
//! other.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::Poll;
use std::time::{Duration, Instant};

use pgmonkey_connect::pool::{Caller, Home};
use pgmonkey_connect::sharing::may_share;
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{Error, events};
use tokio::sync::Notify;
use tracing::Instrument;

use crate::pool::Shared;
use crate::pool::acquire::InUse;
use crate::session::answer::{Answer, Params};
use crate::session::prepared::Statements;

use self::shared_session::SharedSession;

mod shared_session;

/// The sessions of a pool that are currently shared.
pub(crate) struct Multiplex {
    sessions: RwLock<Vec<Arc<SharedSession>>>,
    /// Notified when a session is added.
    grown: Notify,
    /// Callers in the pool's queue that would also share a session.
    queued: AtomicU32,
    /// Sessions that accept no more callers and have not been released yet.
    retiring: Arc<AtomicU32>,
    statements: Statements,
    /// How long a session may be shared before it could be reported as leaked.
    longest: Option<Duration>,
}

/// A caller's use of a shared session.
struct SharedPermit<'a> {
    multiplex: &'a Multiplex,
    shared: Arc<SharedSession>,
    answered: bool,
}

impl Drop for SharedPermit<'_> {
    fn drop(&mut self) {
        let last = self.shared.callers.fetch_sub(1, Ordering::AcqRel) == 1;
        if last {
            self.shared.left.notify_waiters();
        }
        // A statement whose caller has gone may still run for long: no more statements may queue
        // behind it, and once those already queued have finished, it is cancelled.
        if last || !self.answered {
            self.multiplex.retire(&self.shared, !self.answered);
        }
    }
}

/// Where a statement runs.
enum SharedCheckout<'a> {
    Shared(SharedPermit<'a>),
    /// The session was found inside a transaction, as `reset: none` may leave it.
    Alone(Box<InUse>),
}

/// A caller in the pool's queue.
struct Queued<'a>(&'a AtomicU32);

impl<'a> Queued<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Multiplex {
    pub(crate) fn new(statements: Statements, leak_warning: Option<Duration>) -> Self {
        Self {
            sessions: RwLock::default(),
            grown: Notify::new(),
            queued: AtomicU32::new(0),
            retiring: Arc::default(),
            statements,
            longest: leak_warning.map(|warning| warning / 2),
        }
    }

    /// Whether a statement may share a session. An unnamed statement needs parameter types, and
    /// asking for them takes a transaction.
    pub(crate) fn takes(&self, text: &str, params: Params<'_>) -> bool {
        let ready = !self.statements.are_unnamed()
            || params.is_empty()
            || self.statements.types().knows(text);
        ready && may_share(text)
    }

    /// Joins the session with the fewest callers; `None` if no session is shared, or if the caller
    /// can get a session of its own.
    ///
    /// As many sessions accept no more callers as are needed by callers waiting for a session of
    /// their own or by a reduced size, so that these sessions become free.
    fn join(&self, pool: &Shared, home: Home, waits: bool) -> Option<SharedPermit<'_>> {
        let now = Instant::now();
        loop {
            let missing = self.missing(pool, waits)?;
            let sessions = self.read();
            let ours = sessions.iter().filter(|shared| shared.serves(home));
            let least = ours.min_by_key(|shared| shared.callers.load(Ordering::Relaxed))?;
            let leaves = missing > self.retiring.load(Ordering::Relaxed);
            if !leaves && !self.is_over(least, now) {
                // Under the lock, because removing a session checks the count with the lock held.
                least.callers.fetch_add(1, Ordering::Relaxed);
                return Some(self.permit(Arc::clone(least)));
            }
            let least = Arc::clone(least);
            drop(sessions);
            self.retire(&least, true);
        }
    }

    /// Whether all shared sessions may be used at `home`.
    fn all_serve(&self, home: Home) -> bool {
        self.read().iter().all(|shared| shared.serves(home))
    }

    /// Returns how many sessions are needed apart from those for callers that would share; `None`
    /// if callers need not share.
    fn missing(&self, pool: &Shared, waits: bool) -> Option<u32> {
        let before = self.queued.load(Ordering::SeqCst);
        let wanted = pool.core.permits_owed(waits)?;
        // A caller that arrives or leaves in between is in at least one of the two counts.
        let queued = before.max(self.queued.load(Ordering::SeqCst));
        Some(wanted.saturating_sub(queued))
    }

    fn is_over(&self, shared: &SharedSession, now: Instant) -> bool {
        let since = now.saturating_duration_since(shared.since);
        self.longest.is_some_and(|longest| since >= longest)
            || shared.session().end_reason(now).is_some()
    }

    /// Begins to share a session.
    fn share(&self, in_use: InUse) -> SharedPermit<'_> {
        let shared = Arc::new(SharedSession::new(in_use, &self.retiring));
        self.write().push(Arc::clone(&shared));
        self.grown.notify_waiters();
        self.permit(shared)
    }

    fn permit(&self, shared: Arc<SharedSession>) -> SharedPermit<'_> {
        SharedPermit {
            multiplex: self,
            shared,
            answered: false,
        }
    }

    /// Stops callers from joining a session: if it has no callers, or in any case.
    fn retire(&self, shared: &Arc<SharedSession>, in_any_case: bool) {
        let mut sessions = self.write();
        if !in_any_case && shared.callers.load(Ordering::Acquire) > 0 {
            return;
        }
        let Some(at) = sessions.iter().position(|one| Arc::ptr_eq(one, shared)) else {
            return;
        };
        self.retiring.fetch_add(1, Ordering::Relaxed);
        shared.retired.store(true, Ordering::Relaxed);
        let gone = sessions.swap_remove(at);
        drop(sessions);
        // Possibly the last reference: dropping it releases the session.
        drop(gone);
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Arc<SharedSession>>> {
        self.sessions.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Arc<SharedSession>>> {
        self.sessions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Runs one statement on a session that other callers may use at the same time.
    pub(crate) async fn run_shared<A: Answer>(
        self: &Arc<Self>,
        multiplex: &Multiplex,
        caller: &mut Caller,
        text: &str,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let checkout = match multiplex.join(self, caller.home, false) {
            Some(permit) => SharedCheckout::Shared(permit),
            None => self.find_shared(multiplex, caller).await?,
        };
        match checkout {
            SharedCheckout::Alone(in_use) => in_use.run_text::<A>(text, params).await,
            SharedCheckout::Shared(mut permit) => {
                let answer = permit.shared.run::<A>(text, params).await;
                permit.answered = true;
                answer
            }
        }
    }

    /// Acquires a session to share, or joins the callers of one that becomes available first.
    async fn find_shared<'a>(
        self: &Arc<Self>,
        multiplex: &'a Multiplex,
        caller: &mut Caller,
    ) -> Result<SharedCheckout<'a>, Error> {
        let span = events::acquire(self.core.label().name());
        let wait = self.wait_for_shared(multiplex, caller);
        match span {
            Some(span) => Box::pin(wait.instrument(span)).await,
            None => Box::pin(wait).await,
        }
    }

    async fn wait_for_shared<'a>(
        self: &Arc<Self>,
        multiplex: &'a Multiplex,
        caller: &mut Caller,
    ) -> Result<SharedCheckout<'a>, Error> {
        self.core.check_origin()?;
        let home = caller.home;
        // Counted for as long as the pool counts this caller, so that it takes no session from
        // others.
        let (mut queued, mut waits) = (None, false);
        let mut acquire = pin!(self.acquire_in_span(caller));
        let in_use = loop {
            let mut grown = pin!(multiplex.grown.notified());
            grown.as_mut().enable();
            if let Some(permit) = multiplex.join(self, home, waits) {
                return Ok(SharedCheckout::Shared(permit));
            }
            // Otherwise this caller counts as one that needs a session back, so that the sessions
            // shared in another runtime do not stay shared indefinitely.
            queued = match multiplex.all_serve(home) {
                true => queued.or_else(|| Some(Queued::begin(&multiplex.queued))),
                false => None,
            };
            let acquired = std::future::poll_fn(|cx| {
                if let Poll::Ready(acquired) = acquire.as_mut().poll(cx) {
                    return Poll::Ready(Some(acquired));
                }
                grown.as_mut().poll(cx).map(|()| None)
            });
            if let Some(acquired) = acquired.await {
                break acquired?;
            }
            waits = true;
        };
        drop(queued);
        match in_use.state() {
            WireState::Idle => Ok(SharedCheckout::Shared(multiplex.share(in_use))),
            _ => Ok(SharedCheckout::Alone(Box::new(in_use))),
        }
    }
}
