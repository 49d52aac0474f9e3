//! Sessions that several callers use at the same time, by pipelining.
//!
//! A caller that finds no session idle sends its statement behind those of others instead of
//! waiting for them. What may share is decided by the text (`sharing`); each request ends with its
//! own Sync, so that errors stay with their caller. Such a session is on loan like any other, and
//! goes back when its last caller is through: then it is made clean, or stopped, like any other.

use std::panic::Location;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::Poll;
use std::time::{Duration, Instant};

use pgmonkey_connect::parameter_types::check_count;
use pgmonkey_connect::sharing::may_share;
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{Error, events};
use tokio::sync::{Notify, watch};
use tokio_postgres::Statement;
use tracing::Instrument;

use crate::answer::{Answer, Params};
use crate::gate::Gate;
use crate::guard::ClientGuard;
use crate::pool::Pool;
use crate::prepared::{Company, Failed, Statements};
use crate::session::Session;

/// The sessions of a pool that are shared now.
pub(crate) struct Multiplex {
    sessions: RwLock<Vec<Arc<SharedSession>>>,
    /// Told when there is one more.
    grown: Notify,
    /// Callers in the gate's queue who would share as well.
    queued: AtomicU32,
    /// Sessions that take no more callers and have not gone back yet.
    leaving: Arc<AtomicU32>,
    statements: Statements,
    /// How long a session may be shared before somebody would think it leaked.
    longest: Option<Duration>,
}

/// A session on loan to all who use it.
struct SharedSession {
    guard: ClientGuard,
    callers: AtomicU32,
    since: Instant,
    /// Texts that are being prepared.
    preparing: Mutex<Vec<Preparing>>,
    left: AtomicBool,
    leaving: Arc<AtomicU32>,
}

struct Preparing {
    text: Box<str>,
    prepared: Outcome,
}

/// `None` until it is known.
type Outcome = watch::Receiver<Option<Result<Statement, Error>>>;

impl SharedSession {
    fn session(&self) -> &Session {
        self.guard.session()
    }
}

impl Drop for SharedSession {
    fn drop(&mut self) {
        if *self.left.get_mut() {
            self.leaving.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A caller's part in a shared session.
struct Seat<'a> {
    multiplex: &'a Multiplex,
    shared: Arc<SharedSession>,
    answered: bool,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let last = self.shared.callers.fetch_sub(1, Ordering::AcqRel) == 1;
        // A statement whose caller has gone may run for long yet: nobody else is to stand behind
        // it, and when those who do are through, it is stopped.
        if last || !self.answered {
            self.multiplex.let_go(&self.shared, !self.answered);
        }
    }
}

/// Where a statement is to run.
enum Lodging<'a> {
    Shared(Seat<'a>),
    /// Found inside a transaction, as `reset: none` may leave it.
    Alone(Box<ClientGuard>),
}

/// One caller in the gate's queue.
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
            leaving: Arc::default(),
            statements,
            longest: leak_warning.map(|warning| warning / 2),
        }
    }

    /// Whether a statement may share. One without a name needs types, and asking for them takes
    /// a transaction.
    pub(crate) fn takes(&self, text: &str, params: Params<'_>) -> bool {
        let ready = !self.statements.are_unnamed()
            || params.is_empty()
            || self.statements.types().knows(text);
        ready && may_share(text)
    }

    /// A seat where the fewest others are; none if nothing is shared.
    ///
    /// As many sessions as are wanted back, by callers who wait for one of their own or for a
    /// size that was made smaller, take nobody any more, so that they come free.
    fn join(&self, gate: &Gate) -> Option<Seat<'_>> {
        let now = Instant::now();
        loop {
            let sessions = self.read();
            let least = sessions
                .iter()
                .min_by_key(|shared| shared.callers.load(Ordering::Relaxed))?;
            let leaves = self.missing(gate) > self.leaving.load(Ordering::Relaxed);
            if !leaves && !self.is_over(least, now) {
                // Under the lock: whoever takes it out looks at the count with the lock held.
                least.callers.fetch_add(1, Ordering::Relaxed);
                return Some(self.seat(Arc::clone(least)));
            }
            let least = Arc::clone(least);
            drop(sessions);
            self.let_go(&least, true);
        }
    }

    /// How many sessions are wanted back by others than those who would share.
    fn missing(&self, gate: &Gate) -> u32 {
        let before = self.queued.load(Ordering::SeqCst);
        let wanted = gate.wanted();
        // One who comes or goes in between is in one of the two counts at least.
        wanted.saturating_sub(before.max(self.queued.load(Ordering::SeqCst)))
    }

    fn is_over(&self, shared: &SharedSession, now: Instant) -> bool {
        let since = now.saturating_duration_since(shared.since);
        self.longest.is_some_and(|longest| since >= longest) || shared.session().must_go(now)
    }

    /// Begins to share a session.
    fn take_in(&self, guard: ClientGuard) -> Seat<'_> {
        let shared = Arc::new(SharedSession {
            guard,
            callers: AtomicU32::new(1),
            since: Instant::now(),
            preparing: Mutex::default(),
            left: AtomicBool::new(false),
            leaving: Arc::clone(&self.leaving),
        });
        self.write().push(Arc::clone(&shared));
        self.grown.notify_waiters();
        self.seat(shared)
    }

    fn seat(&self, shared: Arc<SharedSession>) -> Seat<'_> {
        Seat {
            multiplex: self,
            shared,
            answered: false,
        }
    }

    /// Lets nobody join a session any more: if nobody uses it, or in any case.
    fn let_go(&self, shared: &Arc<SharedSession>, in_any_case: bool) {
        let mut sessions = self.write();
        if !in_any_case && shared.callers.load(Ordering::Acquire) > 0 {
            return;
        }
        let Some(at) = sessions.iter().position(|one| Arc::ptr_eq(one, shared)) else {
            return;
        };
        self.leaving.fetch_add(1, Ordering::Relaxed);
        shared.left.store(true, Ordering::Relaxed);
        let gone = sessions.swap_remove(at);
        drop(sessions);
        // Maybe the last one: the session goes back with it.
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

impl Pool {
    /// Runs one statement on a session that others may use at the same time.
    pub(crate) async fn run_shared<A: Answer>(
        &self,
        multiplex: &Multiplex,
        place: &'static Location<'static>,
        text: &str,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let lodging = match self.join(multiplex) {
            Some(seat) => Lodging::Shared(seat),
            None => self.find_lodging(multiplex, place).await?,
        };
        match lodging {
            Lodging::Alone(guard) => guard.session().run_text::<A>(text, params).await,
            Lodging::Shared(mut seat) => {
                let answer = seat.shared.run::<A>(text, params).await;
                seat.answered = true;
                answer
            }
        }
    }

    /// A seat with others, if there is no session that nobody has.
    fn join<'a>(&self, multiplex: &'a Multiplex) -> Option<Seat<'a>> {
        let gate = &self.shared().gate;
        match gate.has_room() || gate.is_closed() {
            true => None,
            false => multiplex.join(gate),
        }
    }

    /// Takes a session to share, or joins those who got one first.
    async fn find_lodging<'a>(
        &self,
        multiplex: &'a Multiplex,
        place: &'static Location<'static>,
    ) -> Result<Lodging<'a>, Error> {
        let span = events::acquire(self.shared().ledger.name());
        let wait = self.wait_for_lodging(multiplex, place);
        match span {
            Some(span) => Box::pin(wait.instrument(span)).await,
            None => Box::pin(wait).await,
        }
    }

    async fn wait_for_lodging<'a>(
        &self,
        multiplex: &'a Multiplex,
        place: &'static Location<'static>,
    ) -> Result<Lodging<'a>, Error> {
        let began = Instant::now();
        // Counted for as long as the gate counts it, so that it takes no session from others.
        let mut queued = None;
        let mut enter = pin!(self.shared().enter());
        let right = loop {
            let mut grown = pin!(multiplex.grown.notified());
            grown.as_mut().enable();
            if let Some(seat) = self.join(multiplex) {
                return Ok(Lodging::Shared(seat));
            }
            queued.get_or_insert_with(|| Queued::begin(&multiplex.queued));
            let entered = std::future::poll_fn(|cx| {
                if let Poll::Ready(entered) = enter.as_mut().poll(cx) {
                    return Poll::Ready(Some(entered));
                }
                grown.as_mut().poll(cx).map(|()| None)
            });
            if let Some(entered) = entered.await {
                break entered?;
            }
        };
        drop(queued);
        let guard = self
            .shared()
            .lend_to(right, place, began, Instant::now())
            .await?;
        match guard.session().state() {
            WireState::Idle => Ok(Lodging::Shared(multiplex.take_in(guard))),
            _ => Ok(Lodging::Alone(Box::new(guard))),
        }
    }
}

impl SharedSession {
    async fn run<A: Answer>(
        self: &Arc<Self>,
        text: &str,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let session = self.session();
        if session.prepared().is_off() {
            return session
                .run_unnamed::<A>(text, params, Company::Shared)
                .await;
        }
        let found = session.find_prepared(text, &[]);
        let kept = found.is_some();
        let statement = match found {
            Some(statement) => statement,
            None => Box::pin(self.prepare_once(text)).await?,
        };
        check_count(params.len(), statement.params())?;
        match A::run(session.client(), &statement, params).await {
            Ok(output) => Ok(output),
            Err(error) => {
                let failed = Failed {
                    error,
                    statement,
                    kept,
                    company: Company::Shared,
                };
                Box::pin(session.run_anew::<A>(text, params, failed)).await
            }
        }
    }

    /// Prepares a text once for all who want it at the same time.
    ///
    /// In a task of its own: a caller who goes, or who is not polled, keeps nobody waiting.
    async fn prepare_once(self: &Arc<Self>, text: &str) -> Result<Statement, Error> {
        let mut prepared = match self.begin_preparing(text) {
            Ok(statement) => return Ok(statement),
            Err(prepared) => prepared,
        };
        let outcome = match prepared.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        match outcome {
            Some(outcome) => outcome,
            // The runtime that it was to happen in has ended.
            None => self.session().prepare(text, &[]).await,
        }
    }

    fn begin_preparing(self: &Arc<Self>, text: &str) -> Result<Statement, Outcome> {
        let mut preparing = self
            .preparing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = preparing.iter().find(|one| *one.text == *text) {
            return Err(one.prepared.clone());
        }
        // Somebody was quicker: it is kept before it is no longer being prepared.
        if let Some(kept) = self.session().prepared().cache().peek(text, &[]) {
            return Ok(kept.statement);
        }
        let (announce, prepared) = watch::channel(None);
        preparing.push(Preparing {
            text: text.into(),
            prepared: prepared.clone(),
        });
        drop(preparing);
        let (shared, text) = (Arc::clone(self), Box::<str>::from(text));
        self.session().runtime().spawn(async move {
            let outcome = shared.session().prepare(&text, &[]).await;
            shared.end_preparing(&text);
            let _ = announce.send(Some(outcome));
        });
        Err(prepared)
    }

    fn end_preparing(&self, text: &str) {
        self.preparing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|one| *one.text != *text);
    }
}

const _: () = {
    const fn used_by_many<T: Send + Sync>() {}
    used_by_many::<SharedSession>();
};
