//! One server session with what the pool must know of it.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgmonkey_config::Reset;
use pgmonkey_connect::hook::{Approval, approval};
use pgmonkey_connect::ledger::Ledger;
use pgmonkey_connect::plan::Address;
use pgmonkey_connect::recycle::{Restore, Undo, Verdict, verdict};
use pgmonkey_connect::wire::{Observer, WireState};
use pgmonkey_connect::{CloseReason, Error, HookFailure, HookVerdict, Route, events};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::NoTls;

use crate::dial::Opened;
use crate::driver::Turns;
use crate::hooks::Hooks;
use crate::prepared::Prepared;

mod nesting;

/// How long an answer that is on its way may take before the statement counts as running.
const GRACE: Duration = Duration::from_millis(10);
/// How long a cancelled statement may take to end. Beyond it the session is not worth more
/// waiting than opening another.
const CANCEL_LIMIT: Duration = Duration::from_secs(5);
/// How long a cancel request is given to take effect before another is sent.
const CANCEL_AGAIN: Duration = Duration::from_millis(250);

/// A live session. Dropping it ends it: the driver's task sends the farewell.
pub(crate) struct Session {
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

    pub(crate) fn observer(&self) -> &Observer {
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

    /// Asks the server for a sign of life; remembers why if there is none.
    pub(crate) async fn answers(&mut self) -> bool {
        let alive = self.client.batch_execute("").await.is_ok();
        !self.note_dead(!alive)
    }

    /// Whether its driver has taken in all that it was woken for.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.turns.at_rest()
    }

    /// Whether it can go straight back: nothing is open, nothing is under way, nothing waits in
    /// the driver's queue, and nothing else is to be undone.
    pub(crate) fn is_clean(&self, reset: Reset) -> bool {
        self.turns.comes_to_rest()
            && verdict(self.state(), reset) == Verdict::Keep
            && self.undo(reset) == Undo::Nothing
    }

    /// Makes a session that came back clean; whether it is.
    pub(crate) async fn recycle(&mut self, reset: Reset) -> bool {
        self.settle().await;
        let state = self.state();
        let verdict = verdict(state, reset);
        events::recycled(self.ledger.name(), verdict);
        let clean = match verdict {
            Verdict::Keep if self.turns.at_rest() => true,
            Verdict::Discard => {
                self.stop_if_lost().await;
                false
            }
            _ => {
                if verdict == Verdict::CancelAndDrain {
                    // It may have done its work in the instant before it was stopped.
                    self.observer.mark_changed();
                }
                self.drain().await && self.roll_back(reset).await
            }
        };
        let clean = clean && self.put_back(reset).await;
        if !clean {
            self.reason = match state {
                WireState::Closed => CloseReason::Dead,
                _ => CloseReason::Dirty,
            };
        }
        clean
    }

    /// Asks the hook whether it may be lent.
    pub(crate) async fn ask_before_acquire(&mut self, hooks: &Hooks, reset: Reset) -> Approval {
        self.reason = CloseReason::Hook;
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

    /// What is to be undone of what a borrower may have changed of the session.
    fn undo(&self, reset: Reset) -> Undo {
        let used = self.observer.requests() != self.restored_at;
        self.restore
            .undo(reset, Some(self.observer.left_behind()), used)
    }

    /// Undoes what a borrower may have changed of the session, if that is asked for.
    async fn put_back(&mut self, reset: Reset) -> bool {
        let undo = self.undo(reset);
        if undo != Undo::PutBack {
            return undo == Undo::Nothing;
        }
        let restored = timeout(CANCEL_LIMIT, self.client.batch_execute(self.restore.text())).await;
        if let Ok(Err(error)) = &restored
            && self.restore.failed(error)
        {
            events::behind_pooler(self.ledger.name());
        }
        self.settle().await;
        if !matches!(restored, Ok(Ok(()))) {
            return false;
        }
        self.is_as_opened();
        true
    }

    /// Says so once if what was left behind is not undone.
    pub(crate) fn tell_out_of_reach(&self, reset: Reset) {
        let left = self.observer.left_behind();
        if self.restore.tells_out_of_reach(reset, left) {
            events::out_of_reach(self.ledger.name());
        }
    }

    fn is_as_opened(&mut self) {
        self.observer.put_back();
        self.restored_at = self.observer.requests();
    }

    /// Gives the driver a few turns, to send what is in its queue and to take an answer that has
    /// come: a failed statement is reported before the server says that it is ready again, and
    /// the end of a statement that was prepared for one query is sent behind it.
    async fn settle(&self) {
        let settled = || self.turns.comes_to_rest() && !matches!(self.state(), WireState::Busy(_));
        for _ in 0..16 {
            if settled() {
                return;
            }
            tokio::task::yield_now().await;
        }
        let end = Instant::now() + GRACE;
        while !settled() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until every request before it is answered; cancels what is still running after the
    /// grace of [`settle`](Self::settle), again and again: a cancel request that arrives before its
    /// statement stops nothing.
    async fn drain(&self) -> bool {
        let is_busy = || matches!(self.state(), WireState::Busy(_));
        if !is_busy() && self.turns.at_rest() {
            return true;
        }
        let end = Instant::now() + CANCEL_LIMIT;
        let mut busy = is_busy();
        let mut rest = pin!(self.client.batch_execute(""));
        while Instant::now() < end {
            if busy && !self.cancel().await {
                return false;
            }
            if let Ok(done) = timeout(CANCEL_AGAIN, &mut rest).await {
                return done.is_ok();
            }
            busy = true;
        }
        false
    }

    /// Asks the server to stop what it is doing for this session.
    async fn cancel(&self) -> bool {
        let token = self.client.cancel_token();
        let sent = async {
            let connector = self.route.canceller(None);
            match self.route.address() {
                Address::Unix(directory, port) => {
                    let path = directory.join(format!(".s.PGSQL.{port}"));
                    let socket = UnixStream::connect(path).await.ok()?;
                    let stream = connector.observe(socket);
                    token.cancel_query_raw(stream, NoTls).await.ok()
                }
                _ => token.cancel_query(connector).await.ok(),
            }
        };
        matches!(timeout(CANCEL_LIMIT, sent).await, Ok(Some(())))
    }

    async fn roll_back(&self, reset: Reset) -> bool {
        match verdict(self.state(), reset) {
            Verdict::Keep => true,
            Verdict::RollBack => {
                let undone = timeout(CANCEL_LIMIT, self.client.batch_execute("ROLLBACK")).await;
                matches!(undone, Ok(Ok(()))) && self.state() == WireState::Idle
            }
            _ => false,
        }
    }

    /// Stops what the server does for a session that ends with its answers uncounted: it would
    /// not notice the end while it waits for a lock.
    async fn stop_if_lost(&self) {
        if self.observer.has_lost_count() {
            self.cancel().await;
        }
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
        self.settle().await;
        if !self.turns.at_rest() || matches!(self.state(), WireState::Busy(_)) {
            self.run("").await?;
        }
        Ok(self.state())
    }

    /// Begins, ends or undoes: a statement that the session itself needs.
    pub(crate) async fn run(&self, statement: &str) -> Result<(), Error> {
        Ok(self.client.batch_execute(statement).await?)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.ledger.closed(self.reason);
    }
}
