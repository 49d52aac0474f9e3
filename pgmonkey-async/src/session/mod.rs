//! One server session and what the pool must know about it.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use pgmonkey_config::Reset;
use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::deadline::TimedCall;
use pgmonkey_connect::pool::{Home, Label, Permit};
use pgmonkey_connect::recycle::{Restore, Undo, Verdict, has_too_many, verdict};
use pgmonkey_connect::wire::{Observer, WireState};
use pgmonkey_connect::{CloseReason, ConnectedTo, Error, events};
use tokio::runtime::Handle;

use crate::runtimes;
use crate::session::connect::Connected;
use crate::session::driver::DriverActivity;
use crate::session::prepared::Prepared;

use self::outer::Outer;
use self::unread::UnreadStreams;

pub(crate) mod answer;
mod approval;
mod begin;
mod closing;
pub(crate) mod confirmation;
pub(crate) mod connect;
mod cursor;
pub(crate) mod driver;
pub(crate) mod engine;
mod first_run;
pub(crate) mod hooks;
pub(crate) mod hosts;
mod last_statement;
mod limited;
mod outcome;
mod outer;
mod overdue;
mod place;
pub(crate) mod prepared;
mod recycling;
mod savepoint;
mod unnamed;
pub(crate) mod unread;

/// A session idle for longer than this is checked with certainty, which takes some ten
/// microseconds.
const IDLE: Duration = Duration::from_millis(1);

/// A live session. Dropping it closes it: the driver's task sends Terminate.
pub(crate) struct Session {
    /// The transaction that the session never leaves, if it is one for tests.
    outer: Option<Outer>,
    client: tokio_postgres::Client,
    observer: Arc<Observer>,
    activity: Arc<DriverActivity>,
    connected_to: ConnectedTo,
    ends: Option<Instant>,
    label: Arc<Label>,
    /// Restores the state that the session was opened with.
    restore: Restore,
    /// The number of requests when the session was last in that state.
    restored_at: u32,
    was_acquired: bool,
    /// How many cursors were opened.
    cursors: AtomicU32,
    /// What limits the calls on the session.
    limit: Option<TimedCall>,
    /// Streams that were dropped before their end.
    unread: Arc<UnreadStreams>,
    prepared: Prepared,
    /// The runtime that the session lives in.
    runtime: Handle,
    /// Where the session may be used.
    home: Home,
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
            cursors: AtomicU32::new(0),
            limit: None,
            unread: Arc::default(),
            restore,
            restored_at: opened.connected_to.observer().requests(),
            client: opened.client,
            observer: Arc::clone(opened.connected_to.observer()),
            activity: opened.activity,
            connected_to: opened.connected_to,
            ends,
            label,
            home: runtimes::home_of(&opened.runtime),
            runtime: opened.runtime,
        }
    }

    pub(crate) fn client(&self) -> &tokio_postgres::Client {
        &self.client
    }

    pub(crate) fn client_mut(&mut self) -> &mut tokio_postgres::Client {
        &mut self.client
    }

    pub(crate) fn label(&self) -> &Label {
        &self.label
    }

    pub(crate) fn connected_to(&self) -> &ConnectedTo {
        &self.connected_to
    }

    /// Keeps the permit until the session has been closed.
    pub(crate) fn keep(&mut self, permit: Option<Permit>) {
        self.activity.keep(permit);
    }

    pub(crate) fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    pub(crate) fn observer(&self) -> &Arc<Observer> {
        &self.observer
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Returns what the session is doing. Costs nothing.
    pub(crate) fn state(&self) -> WireState {
        self.observer.state()
    }

    /// Where the session may be used.
    pub(crate) fn home(&self) -> Home {
        self.home
    }

    /// Returns why the session must not be handed out any more, if so. Sends nothing: the driver's
    /// task notices that the server has closed a session as soon as the runtime has looked at the
    /// socket, and ends with the runtime it lives in.
    #[inline]
    pub(crate) fn end_reason(&self, now: Instant) -> Option<CloseReason> {
        if self.ends.is_some_and(|end| now >= end) {
            Some(CloseReason::Lifetime)
        } else if let Some(reason) = self.connected_to.misplaced() {
            Some(reason)
        } else if self.client.is_closed() || self.state() == WireState::Closed {
            Some(match self.activity.was_cut_off() {
                true => CloseReason::Moved,
                false => CloseReason::Dead,
            })
        } else {
            None
        }
    }

    /// Lets the runtime look at the session's socket and the driver process what arrived: a session
    /// that the server closed looks alive until then.
    pub(crate) async fn look_at_socket(&self, unused_for: Duration) {
        if unused_for >= IDLE {
            runtimes::poll_io(&self.runtime).await;
        }
        for attempt in 0..32 {
            // Resumes after the runtime has polled its I/O driver, or while another of its threads
            // is waiting in that poll.
            tokio::task::yield_now().await;
            if self.activity.is_idle() {
                return;
            }
            // The thread that is to poll may be waiting for a processor.
            if attempt >= 16 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Whether the session can be reused as it is: nothing is open, nothing is under way or queued
    /// in the driver, and nothing needs to be undone.
    pub(crate) fn is_clean(&self, reset: Reset) -> bool {
        self.outer.is_none()
            && self.activity.spin_until_idle()
            && self.has_no_transaction(reset)
            && self.undo(reset) == Undo::Nothing
    }

    fn has_no_transaction(&self, reset: Reset) -> bool {
        self.cancel_begin_now();
        verdict(self.state(), reset) == Verdict::Keep
    }

    /// What has to be undone of the session state that a caller may have changed.
    fn undo(&self, reset: Reset) -> Undo {
        let used = self.observer.requests() != self.restored_at;
        if has_too_many(self.observer.statements(), self.prepared.capacity()) {
            return Undo::Replace;
        }
        self.restore
            .undo(reset, Some(self.observer.left_behind()), used)
    }

    /// Warns once if state that a caller left behind is not undone.
    pub(crate) fn warn_out_of_reach(&self, reset: Reset) {
        let left = self.observer.left_behind();
        if self.restore.tells_out_of_reach(reset, left) {
            events::out_of_reach(self.label.name());
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
    pub(crate) async fn idle_state(&self) -> Result<WireState, Error> {
        self.make_ready().await?;
        self.settle().await;
        if !self.activity.is_idle() || matches!(self.state(), WireState::Busy(_)) {
            self.run("").await?;
        }
        Ok(self.state())
    }

    /// Whether a statement that failed before any of it ran can run again: it has not ended a
    /// transaction that was open.
    pub(crate) async fn runs_again(&self) -> bool {
        let state = self.idle_state().await;
        matches!(state, Ok(WireState::Idle | WireState::InTransaction))
    }

    /// Refuses a session that a child of `fork` inherited.
    ///
    /// # Errors
    ///
    /// [`Error::OpenedBeforeFork`].
    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        self.observer.origin().check("session")
    }

    /// Runs a statement that the session itself needs: to begin, end or undo something.
    pub(crate) async fn run(&self, statement: &str) -> Result<(), Error> {
        self.make_ready().await?;
        let done = self.client.batch_execute(statement).await;
        done.map_err(|error| self.explain_answer(error, Takes::Rows))
    }

    /// Converts a driver error; adds the reason if the session has ended.
    pub(crate) fn explain(&self, error: tokio_postgres::Error) -> Error {
        Error::of_session(error, &*self.observer)
    }
}
