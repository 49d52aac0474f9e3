//! One server session and what the pool must know about it.

use std::sync::Arc;
use std::time::Instant;

use fallible_iterator::FallibleIterator;
use pgmonkey_config::Reset;
use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::deadline::TimedCall;
use pgmonkey_connect::error::DROPPED_IN_TASK;
use pgmonkey_connect::pool::{Label, Permit};
use pgmonkey_connect::recycle::{Restore, Undo, Verdict, has_too_many, verdict};
use pgmonkey_connect::sql::Effects;
use pgmonkey_connect::wire::{Observer, ServerFailure, WireState};
use pgmonkey_connect::{CloseReason, ConnectedTo, Error, events, limits};

use crate::session::connect::Connected;
use crate::session::prepared::Prepared;

use self::outer::Outer;

pub(crate) mod answer;
mod approval;
pub(crate) mod closing;
pub(crate) mod confirmation;
pub(crate) mod connect;
mod cursor;
pub(crate) mod engine;
mod first_run;
pub(crate) mod hooks;
pub(crate) mod hosts;
mod last_statement;
mod limited;
mod outcome;
mod outer;
pub(crate) mod overdue;
mod place;
pub(crate) mod prepared;
mod recycling;
mod savepoint;
mod unnamed;
mod unobserved;
mod unread;

/// Asks the server whether a transaction is open: inside one, `now()` does not advance.
const ASK_STATE: &str = "SELECT pg_catalog.now() <> pg_catalog.statement_timestamp()";

/// Returns what a session is doing. Costs nothing over TCP; on a Unix socket, where the wire is not
/// observed, it asks the server.
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

/// A live session. Dropping it closes it politely, wherever that happens.
pub(crate) struct Session {
    /// The transaction that the session never leaves, if it is one for tests.
    outer: Option<Outer>,
    prepared: Prepared,
    /// `Some` until the drop takes it.
    client: Option<postgres::Client>,
    /// `None` on a Unix socket.
    observer: Option<Arc<Observer>>,
    connected_to: Arc<ConnectedTo>,
    ends: Option<Instant>,
    label: Arc<Label>,
    /// Restores the state that the session was opened with.
    restore: Restore,
    /// The number of requests when the session was last in that state.
    restored_at: u32,
    was_acquired: bool,
    /// Why the session was given up while a guard still holds it.
    given_up: Option<Error>,
    /// How many cursors were opened.
    cursors: u32,
    /// What limits the calls on the session.
    limit: Option<TimedCall>,
    /// Whether a stream was dropped before its end.
    unread: bool,
    /// The number of transactions begun while the wire is not observed.
    unwatched: u32,
    /// Whether a transaction was begun by `begin`, and not ended since.
    has_begun: bool,
    /// Its part of a budget of sessions.
    permit: Option<Permit>,
}

impl Session {
    pub(crate) fn new(
        opened: Connected,
        ends: Option<Instant>,
        restore: Restore,
        label: Arc<Label>,
        prepared: Prepared,
    ) -> Self {
        Self {
            outer: None,
            prepared,
            was_acquired: false,
            given_up: None,
            cursors: 0,
            limit: None,
            unread: false,
            unwatched: 0,
            has_begun: false,
            permit: None,
            restore,
            restored_at: opened.connected_to.observer().requests(),
            client: Some(opened.client),
            observer: opened
                .observed
                .then(|| Arc::clone(opened.connected_to.observer())),
            connected_to: Arc::new(opened.connected_to),
            ends,
            label,
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

    /// Whether a prepared statement was refused since the last call; always false on a Unix socket.
    pub(crate) fn take_stale(&self) -> bool {
        self.observer
            .as_ref()
            .is_some_and(|observer| observer.take_stale())
    }

    /// What statements may have left behind; unknown on a Unix socket.
    pub(crate) fn left_behind(&self) -> Effects {
        let observer = self.observer.as_ref();
        observer.map_or(Effects::NONE, |observer| observer.left_behind())
    }

    /// The last failure that the observer saw; none on a Unix socket.
    pub(crate) fn last_failure(&self) -> Option<ServerFailure> {
        self.observer.as_ref()?.last_failure()
    }

    /// `None` on a Unix socket.
    pub(crate) fn observer(&self) -> Option<&Arc<Observer>> {
        self.observer.as_ref()
    }

    /// Keeps the permit until the session has been closed.
    pub(crate) fn keep(&mut self, permit: Option<Permit>) {
        self.permit = permit;
    }

    pub(crate) fn label(&self) -> &Label {
        &self.label
    }

    pub(crate) fn connected_to(&self) -> &ConnectedTo {
        &self.connected_to
    }

    /// Returns what the session is doing; see [`state_of`].
    pub(crate) fn state(&mut self) -> WireState {
        let client = self.client.as_mut();
        let client = client.expect("only the drop takes the client");
        state_of(client, self.observer.as_deref())
    }

    /// Returns why the session must not be handed out any more, if so. Sends nothing and does not
    /// look at the socket: see [`is_lost`](Self::is_lost).
    #[inline]
    pub(crate) fn end_reason(&self, now: Instant) -> Option<CloseReason> {
        if self.ends.is_some_and(|end| now >= end) {
            Some(CloseReason::Lifetime)
        } else if let Some(reason) = self.connected_to.misplaced() {
            Some(reason)
        } else if self.client().is_closed() || self.is_seen_closed() {
            Some(CloseReason::Dead)
        } else {
            None
        }
    }

    fn is_seen_closed(&self) -> bool {
        let observer = self.observer.as_ref();
        observer.is_some_and(|observer| observer.state() == WireState::Closed)
    }

    /// Looks at the socket and returns whether the server has closed the session.
    ///
    /// The driver looks at its socket only while it waits for something, so a session that the
    /// server closed looks alive. Over TCP the observer gives the driver something to wait for that
    /// costs no round trip; on a Unix socket an empty query does.
    pub(crate) fn is_lost(&mut self) -> bool {
        !self.within(limits::LOOK, |session| match session.observer.clone() {
            Some(observer) => session.probe(&observer),
            None => session.client_mut().batch_execute("").is_ok(),
        })
    }

    /// Whether the previous caller has left anything in the driver's queue.
    #[inline]
    pub(crate) fn was_disturbed(&self) -> bool {
        let observer = self.observer.as_ref();
        observer.is_none_or(|observer| observer.was_disturbed())
    }

    fn probe(&mut self, observer: &Observer) -> bool {
        observer.request_probe();
        let mut notifications = self.client_mut().notifications();
        let mut answers = notifications.blocking_iter();
        // Queued notifications come first; the probe's answer is the one from process 0.
        while let Ok(Some(answer)) = answers.next() {
            if answer.process_id() == 0 {
                // Requests that the last caller left in the driver's queue have been sent by now;
                // an answer to them would be taken for an answer to the next caller.
                return !matches!(observer.state(), WireState::Closed | WireState::Busy(_));
            }
        }
        false
    }

    /// Whether the session can be reused as it is: nothing is open and nothing needs to be undone.
    /// Never true on a Unix socket, where the server has to be asked.
    pub(crate) fn is_clean(&self, reset: Reset) -> bool {
        let plain = self.outer.is_none() && self.given_up.is_none();
        let observer = self.observer.as_ref().filter(|_| plain);
        observer.is_some_and(|observer| {
            verdict(observer.state(), reset) == Verdict::Keep && self.undo(reset) == Undo::Nothing
        })
    }

    /// What has to be undone of the session state that a caller may have changed.
    fn undo(&self, reset: Reset) -> Undo {
        let observer = self.observer.as_ref();
        let used = observer.is_none_or(|observer| observer.requests() != self.restored_at);
        let left = observer.map(|observer| observer.left_behind());
        let statements = observer.map_or(0, |observer| observer.statements());
        if has_too_many(statements, self.prepared.capacity()) {
            return Undo::Replace;
        }
        self.restore.undo(reset, left, used)
    }

    /// Warns once if state that a caller left behind is not undone.
    pub(crate) fn warn_out_of_reach(&self, reset: Reset) {
        let observer = self.observer.as_ref();
        let left = observer.map(|observer| observer.left_behind());
        if left.is_some_and(|left| self.restore.tells_out_of_reach(reset, left)) {
            events::out_of_reach(self.label.name());
        }
    }

    /// Discards the notifications that the driver has queued: the next caller has not asked for
    /// them.
    pub(crate) fn is_back(&mut self) {
        let mut unread = self.client_mut().notifications();
        // Beyond the last one, the iterator would look at the socket.
        for _ in 0..unread.len() {
            let _ = unread.iter().next();
        }
    }

    /// Returns the state after every earlier request has been answered.
    ///
    /// The driver reports a failed statement before the server is ready again; until then it is not
    /// known that a transaction has failed. Only in that case, an empty query is sent to get the
    /// answer.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub(crate) fn idle_state(&mut self) -> Result<WireState, Error> {
        self.make_ready()?;
        if let WireState::Busy(_) = self.state() {
            self.run("")?;
        }
        Ok(self.state())
    }

    /// Whether a statement that failed before any of it ran can run again: it has not ended a
    /// transaction that was open.
    pub(crate) fn runs_again(&mut self) -> bool {
        let state = self.idle_state();
        matches!(state, Ok(WireState::Idle | WireState::InTransaction))
    }

    /// Runs a statement that the session itself needs: to begin, end or undo something.
    pub(crate) fn run(&mut self, statement: &str) -> Result<(), Error> {
        self.make_ready()?;
        self.check_text(statement, Takes::Rows)?;
        self.note_text(statement);
        let done = self.client_mut().batch_execute(statement);
        done.map_err(|error| self.explain_answer(error, Takes::Rows))
    }

    /// Converts a driver error; adds the reason if the session has ended. On a Unix socket, only
    /// the driver's reason is known.
    pub(crate) fn explain(&self, error: postgres::Error) -> Error {
        self.note_failure(&error);
        Error::of_session(error, self.observer.as_deref())
    }

    /// Refuses a session that was given up while a guard still holds it, or that a child of `fork`
    /// inherited.
    ///
    /// # Errors
    ///
    /// [`Error::DroppedInTask`], [`Error::WrongCopy`], [`Error::OpenedBeforeFork`].
    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        self.connected_to.observer().origin().check("session")?;
        match &self.given_up {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Blocks further use: a transaction could not be rolled back.
    pub(crate) fn give_up(&mut self) {
        self.given_up = Some(Error::DroppedInTask);
        if let Some(observer) = &self.observer {
            observer.condemn(DROPPED_IN_TASK);
        }
    }
}
