//! One server session with what the pool must know of it.

use std::sync::Arc;
use std::time::Instant;

use pgmonkey_config::Reset;
use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::hook::{Approval, approval};
use pgmonkey_connect::ledger::Ledger;
use pgmonkey_connect::recycle::{Restore, Verdict, verdict};
use pgmonkey_connect::sql::Effects;
use pgmonkey_connect::wire::{Observer, WireState};
use pgmonkey_connect::{CloseReason, Error, HookFailure, HookVerdict, Route, events};
use tokio::runtime::Handle;

use crate::dial::Opened;
use crate::driver::Turns;
use crate::hooks::Hooks;
use crate::prepared::Prepared;

use self::outer::Outer;

mod limited;
mod nesting;
mod outer;
mod recycling;

/// A live session. Dropping it ends it: the driver's task sends the farewell.
pub(crate) struct Session {
    /// The transaction that it never leaves, if it is one for tests.
    outer: Option<Outer>,
    client: tokio_postgres::Client,
    observer: Arc<Observer>,
    turns: Arc<Turns>,
    route: Route,
    ends: Option<Instant>,
    ledger: Arc<Ledger>,
    reason: CloseReason,
    /// What puts it back as it was when it was opened.
    restore: Restore,
    /// How many requests there were when it was so last.
    restored_at: u32,
    was_lent: bool,
    prepared: Prepared,
    /// The runtime that the session lives in.
    runtime: Handle,
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
            restore,
            restored_at: opened.route.observer().requests(),
            client: opened.client,
            observer: Arc::clone(opened.route.observer()),
            turns: opened.turns,
            route: opened.route,
            ends,
            ledger,
            reason: CloseReason::Shutdown,
            runtime: Handle::current(),
        }
    }

    pub(crate) fn client(&self) -> &tokio_postgres::Client {
        &self.client
    }

    pub(crate) fn client_mut(&mut self) -> &mut tokio_postgres::Client {
        &mut self.client
    }

    pub(crate) fn route(&self) -> &Route {
        &self.route
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

    /// What the session is doing. Costs nothing.
    pub(crate) fn state(&self) -> WireState {
        self.observer.state()
    }

    /// Whether the session must not be handed out any more; remembers why. Sends nothing: the
    /// driver's task notices by itself when the server ends a session, as soon as the runtime has
    /// looked at the socket, and ends with the runtime it lives in.
    pub(crate) fn is_over(&mut self, now: Instant) -> bool {
        if self.ends.is_some_and(|end| now >= end) {
            self.reason = CloseReason::Lifetime;
            return true;
        }
        if self.route.is_broken() {
            self.reason = CloseReason::Role;
            return true;
        }
        let dead = self.client.is_closed() || self.state() == WireState::Closed;
        self.note_dead(dead)
    }

    /// Whether it must not get more to do, as [`is_over`](Self::is_over) says.
    pub(crate) fn must_go(&self, now: Instant) -> bool {
        self.ends.is_some_and(|end| now >= end)
            || self.route.is_broken()
            || self.client.is_closed()
            || self.state() == WireState::Closed
    }

    /// Whether its driver has taken in all that it was woken for.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.turns.at_rest()
    }

    /// Asks the hook whether it may be lent.
    pub(crate) async fn ask_before_acquire(&mut self, hooks: &Hooks, reset: Reset) -> Approval {
        self.reason = CloseReason::Hook;
        let as_opened = self.observer.left_behind() == Effects::NONE;
        let mut answer = hooks.ask_before_acquire(&mut self.client).await;
        if answer.is_ok() {
            self.settle().await;
        }
        let clean = self.turns.comes_to_rest() && verdict(self.state(), reset) == Verdict::Keep;
        if matches!(answer, Ok(HookVerdict::Keep)) && !clean {
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
    pub(crate) async fn ask_after_release(&mut self, hooks: &Hooks) -> bool {
        self.reason = CloseReason::Hook;
        match hooks.ask_after_release(&mut self.client).await {
            Ok(HookVerdict::Keep) => {
                self.reason = CloseReason::Shutdown;
                // What the hook has set is to stay, what it left open is not.
                let clean = self.recycle(Reset::Transaction).await;
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

    /// Says why it ends.
    pub(crate) fn ends_for(&mut self, reason: CloseReason) {
        self.reason = reason;
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
    pub(crate) async fn state_at_rest(&self) -> Result<WireState, Error> {
        self.check_usable()?;
        self.settle().await;
        if !self.turns.at_rest() || matches!(self.state(), WireState::Busy(_)) {
            self.run("").await?;
        }
        Ok(self.state())
    }

    /// Refuses a session that a child of `fork` inherited.
    ///
    /// # Errors
    ///
    /// [`Error::OpenedBeforeFork`].
    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        self.observer.origin().check("session")
    }

    /// Begins, ends or undoes: a statement that the session itself needs.
    pub(crate) async fn run(&self, statement: &str) -> Result<(), Error> {
        self.check_usable()?;
        let done = self.client.batch_execute(statement).await;
        done.map_err(|error| self.explain_answer(error, Takes::Rows))
    }

    /// The same for a statement of which this was taken.
    pub(crate) fn explain_answer(&self, error: tokio_postgres::Error, takes: Takes) -> Error {
        takes.explain(error, Some(&self.observer))
    }

    /// An error of the driver's, with the reason if the session has ended.
    pub(crate) fn explain(&self, error: tokio_postgres::Error) -> Error {
        Error::of_session(error, &*self.observer)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.ledger.closed(self.reason);
        self.take_leave();
    }
}
