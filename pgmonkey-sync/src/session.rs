//! One server session with what the pool must know of it.

use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Instant;

use fallible_iterator::FallibleIterator;
use pgmonkey_config::Reset;
use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::error::DROPPED_IN_TASK;
use pgmonkey_connect::hook::{Approval, approval};
use pgmonkey_connect::ledger::Ledger;
use pgmonkey_connect::process::Origin;
use pgmonkey_connect::recycle::{Restore, Verdict, verdict};
use pgmonkey_connect::shelf::FRESH;
use pgmonkey_connect::sql::Effects;
use pgmonkey_connect::wire::{Observer, ServerFailure, WireState};
use pgmonkey_connect::{CloseReason, Error, HookFailure, HookVerdict, Route, events, limits};

use crate::context;
use crate::dial::Opened;
use crate::hooks::Hooks;
use crate::prepared::Prepared;

use self::outer::Outer;

mod limited;
mod nesting;
mod outer;
mod recycling;

/// Whether a transaction is open, asked of the server: inside one, `now()` stands still.
const ASK_STATE: &str = "SELECT pg_catalog.now() <> pg_catalog.statement_timestamp()";

/// What a session is doing. Costs nothing over TCP; on a Unix socket, where nobody watches the
/// wire, the server is asked.
pub(crate) fn state_of(client: &mut postgres::Client, observer: Option<&Observer>) -> WireState {
    if let Some(observer) = observer {
        return observer.state();
    }
    if client.is_closed() {
        return WireState::Closed;
    }
    match client.simple_query(ASK_STATE) {
        Ok(answer) => {
            let inside = answer.iter().any(|message| match message {
                postgres::SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
                _ => false,
            });
            if inside {
                WireState::InTransaction
            } else {
                WireState::Idle
            }
        }
        Err(error) if error.as_db_error().is_some() => WireState::Failed,
        Err(_) => WireState::Closed,
    }
}

/// A live session. Dropping it ends it, politely and wherever that happens.
pub(crate) struct Session {
    /// The transaction that it never leaves, if it is one for tests.
    outer: Option<Outer>,
    prepared: Prepared,
    /// `Some` until the drop takes it.
    client: Option<postgres::Client>,
    /// `None` on a Unix socket.
    observer: Option<Arc<Observer>>,
    route: Route,
    ends: Option<Instant>,
    ledger: Arc<Ledger>,
    reason: CloseReason,
    /// Whether the engine is to keep it when it is given back.
    kept: bool,
    /// What puts it back as it was when it was opened.
    restore: Restore,
    /// How many requests there were when it was so last.
    restored_at: u32,
    was_lent: bool,
    /// When it came back last.
    back_at: Option<Instant>,
    /// Why it was given up while a guard of it lives on.
    given_up: Option<Error>,
    /// How many transactions were begun where nobody watches the wire.
    unwatched: u32,
}

impl Session {
    pub(crate) fn new(
        opened: Opened,
        ends: Option<Instant>,
        restore: Restore,
        ledger: Arc<Ledger>,
        prepared: Prepared,
    ) -> Self {
        ledger.opened();
        Self {
            outer: None,
            prepared,
            was_lent: false,
            back_at: None,
            given_up: None,
            unwatched: 0,
            restore,
            restored_at: opened.route.observer().requests(),
            client: Some(opened.client),
            observer: opened.observed.then(|| Arc::clone(opened.route.observer())),
            route: opened.route,
            ends,
            ledger,
            reason: CloseReason::Shutdown,
            kept: false,
        }
    }

    pub(crate) fn client(&self) -> &postgres::Client {
        self.client
            .as_ref()
            .expect("only the drop takes the client")
    }

    pub(crate) fn client_mut(&mut self) -> &mut postgres::Client {
        self.client
            .as_mut()
            .expect("only the drop takes the client")
    }

    pub(crate) fn prepared_mut(&mut self) -> &mut Prepared {
        &mut self.prepared
    }

    /// Whether a prepared statement was refused since this was last asked; on a Unix socket
    /// nobody knows.
    pub(crate) fn take_stale(&self) -> bool {
        self.observer
            .as_ref()
            .is_some_and(|observer| observer.take_stale())
    }

    /// What statements may have left behind; on a Unix socket nobody knows.
    pub(crate) fn left_behind(&self) -> Effects {
        let observer = self.observer.as_ref();
        observer.map_or(Effects::NONE, |observer| observer.left_behind())
    }

    /// The last failure that the wire showed; on a Unix socket nobody knows.
    pub(crate) fn last_failure(&self) -> Option<ServerFailure> {
        self.observer.as_ref()?.last_failure()
    }

    /// `None` on a Unix socket.
    pub(crate) fn observer(&self) -> Option<&Arc<Observer>> {
        self.observer.as_ref()
    }

    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    /// What the session is doing; see [`state_of`].
    pub(crate) fn state(&mut self) -> WireState {
        let client = self.client.as_mut();
        let client = client.expect("only the drop takes the client");
        state_of(client, self.observer.as_deref())
    }

    /// Whether the session must not be handed out any more; remembers why.
    ///
    /// The driver looks at its socket only while it waits for something, so that a session the
    /// server ended looks alive. Over TCP the observer gives it something to wait for that
    /// costs no round trip; on a Unix socket the empty query does.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        if self.is_known_over(now) {
            return true;
        }
        if self.is_fresh(now) {
            return false;
        }
        let alive = self.within(limits::LOOK, |session| match session.observer.clone() {
            Some(observer) => session.probe(&observer),
            None => session.client_mut().batch_execute("").is_ok(),
        });
        self.note_dead(!alive)
    }

    /// Whether it came back just now, from a borrower who left the driver nothing to say.
    fn is_fresh(&self, now: Instant) -> bool {
        let back = self
            .back_at
            .filter(|back| now.saturating_duration_since(*back) < FRESH);
        let observer = back.and(self.observer.as_ref());
        observer.is_some_and(|observer| !observer.was_disturbed())
    }

    fn probe(&mut self, observer: &Observer) -> bool {
        observer.request_probe();
        let mut notifications = self.client_mut().notifications();
        let mut answers = notifications.blocking_iter();
        // Real notifications that piled up come first; the probe's answer is the one from
        // process 0.
        while let Ok(Some(answer)) = answers.next() {
            if answer.process_id() == 0 {
                // What the last borrower left in the driver's queue has been sent by now; an
                // answer to it would be taken for one of the next borrower's.
                return !matches!(observer.state(), WireState::Closed | WireState::Busy(_));
            }
        }
        false
    }

    /// The same by what is known without a look at the socket.
    pub(crate) fn is_known_over(&mut self, now: Instant) -> bool {
        if self.ends.is_some_and(|end| now >= end) {
            self.reason = CloseReason::Lifetime;
            return true;
        }
        if self.route.is_broken() {
            self.reason = CloseReason::Role;
            return true;
        }
        let closed = self.client().is_closed() || self.is_seen_closed();
        self.note_dead(closed)
    }

    fn is_seen_closed(&self) -> bool {
        let observer = self.observer.as_ref();
        observer.is_some_and(|observer| observer.state() == WireState::Closed)
    }

    /// Asks the hook whether it may be lent.
    pub(crate) fn ask_before_acquire(&mut self, hooks: &Hooks, reset: Reset) -> Approval {
        self.reason = CloseReason::Hook;
        let as_opened = self.left_behind() == Effects::NONE;
        let mut answer = hooks.ask_before_acquire(self.client_mut());
        if let Ok(HookVerdict::Keep) = answer
            && verdict(self.settled_state(), reset) != Verdict::Keep
        {
            answer = Err(HookFailure::LeftOpen {
                hook: "before_acquire",
            });
        }
        if let Err(failure) = &answer {
            events::hook_failed(self.ledger.name(), failure);
        }
        let approval = approval(answer, self.was_lent);
        if let Approval::Lend = approval {
            if as_opened {
                // What the hook has set is the program's, not the borrower's.
                self.is_as_opened();
            }
            self.reason = CloseReason::Shutdown;
            self.was_lent = true;
        }
        approval
    }

    /// Asks the hook whether it is kept, now that it was made clean.
    pub(crate) fn ask_after_release(&mut self, hooks: &Hooks) -> bool {
        self.reason = CloseReason::Hook;
        if !context::may_block() {
            return false;
        }
        match hooks.ask_after_release(self.client_mut()) {
            Ok(HookVerdict::Keep) => {
                self.reason = CloseReason::Shutdown;
                // What the hook has set is to stay, what it left open is not.
                let clean = self.recycle(Reset::Transaction);
                self.is_as_opened();
                clean
            }
            Ok(HookVerdict::Discard) => false,
            Err(failure) => {
                events::hook_failed(self.ledger.name(), &failure);
                false
            }
        }
    }

    /// It came back, clean. The driver queues notifications until somebody reads them; the next
    /// borrower has not asked for these.
    pub(crate) fn is_back(&mut self, now: Instant) {
        self.back_at = Some(now);
        let mut unread = self.client_mut().notifications();
        // Beyond the last one the iterator would look at the socket.
        for _ in 0..unread.len() {
            let _ = unread.iter().next();
        }
    }

    /// Says why it ends.
    pub(crate) fn ends_for(&mut self, reason: CloseReason) {
        self.reason = reason;
    }

    /// Has the engine keep it when it is given back, once.
    pub(crate) fn keep(&mut self, kept: bool) {
        self.kept = kept;
    }

    /// Whether the engine keeps it.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    fn note_dead(&mut self, dead: bool) -> bool {
        if dead {
            self.reason = CloseReason::Dead;
        }
        dead
    }

    /// The state once every request before it is answered.
    ///
    /// The driver reports a failed statement before the server says that it is ready again; in
    /// between nobody knows yet that a transaction has failed. An empty query brings the
    /// answer. It is sent in that case only.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub(crate) fn state_at_rest(&mut self) -> Result<WireState, Error> {
        self.check_usable()?;
        if let WireState::Busy(_) = self.state() {
            self.run("")?;
        }
        Ok(self.state())
    }

    /// Begins, ends or undoes: a statement that the session itself needs.
    pub(crate) fn run(&mut self, statement: &str) -> Result<(), Error> {
        self.check_usable()?;
        self.check_text(statement, Takes::Rows)?;
        let done = self.client_mut().batch_execute(statement);
        done.map_err(|error| self.explain_answer(error, Takes::Rows))
    }

    /// The same for a statement of which this was taken.
    pub(crate) fn explain_answer(&mut self, error: postgres::Error, takes: Takes) -> Error {
        let error = takes.explain(error, self.observer.as_deref());
        self.give_up_for(&error);
        error
    }

    /// On a Unix socket, whether this can be taken of a text.
    pub(crate) fn check_text(&self, text: &str, takes: Takes) -> Result<(), Error> {
        match self.observer {
            Some(_) => Ok(()),
            None => takes.check(text),
        }
    }

    /// Lets nothing more run on it after a copy that its call does not take, where nobody sees
    /// whether the server waits for data.
    pub(crate) fn give_up_for(&mut self, error: &Error) {
        if let (Error::WrongCopy { .. }, None) = (error, &self.observer) {
            self.given_up = Some(error.clone());
        }
    }

    /// An error of the driver's, with the reason if the session has ended; on a Unix socket nobody
    /// knows more than the driver.
    pub(crate) fn explain(&self, error: postgres::Error) -> Error {
        Error::of_session(error, self.observer.as_deref())
    }

    /// Refuses a session that was given up while a guard of it lives on, or that a child of `fork`
    /// inherited.
    ///
    /// # Errors
    ///
    /// [`Error::DroppedInTask`], [`Error::WrongCopy`], [`Error::OpenedBeforeFork`].
    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        self.route.observer().origin().check("session")?;
        match &self.given_up {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Lets nothing more run on it: a transaction of it could not be rolled back.
    pub(crate) fn give_up(&mut self) {
        self.given_up = Some(Error::DroppedInTask);
        if let Some(observer) = &self.observer {
            observer.condemn(DROPPED_IN_TASK);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.ledger.closed(self.reason);
        let Some(client) = self.client.take() else {
            return;
        };
        self.take_leave();
        match self.given_up {
            // The driver waits for the end of a copy that may never come.
            Some(Error::WrongCopy { .. }) => end_apart(client),
            _ => end(client, self.route.observer().origin()),
        }
    }
}

/// Ends a session, politely and wherever that happens.
pub(crate) fn end(client: postgres::Client, origin: Origin) {
    if !origin.is_here() {
        // It would end for the parent, whose socket this is.
        return std::mem::forget(client);
    }
    if !context::near_a_runtime() {
        return drop(client);
    }
    // The driver's own drop blocks, which panics inside a task and aborts while a panic unwinds.
    end_apart(client);
}

fn end_apart(client: postgres::Client) {
    // If no thread can be had the client is leaked rather than dropped here.
    let client = ManuallyDrop::new(client);
    let _ = std::thread::Builder::new()
        .name("pgmonkey-close".to_owned())
        .spawn(move || drop(ManuallyDrop::into_inner(client)));
}
