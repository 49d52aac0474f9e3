//! What happens to a session that comes back: it is made clean, or it is not kept.

use std::pin::pin;
use std::time::{Duration, Instant};

use pgmonkey_config::Reset;
use pgmonkey_connect::plan::Address;
use pgmonkey_connect::recycle::{Undo, Verdict, has_too_many, verdict};
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{CloseReason, events, limits};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_postgres::NoTls;

use super::Session;

/// How long an answer that is on its way may take before the statement counts as running.
const GRACE: Duration = Duration::from_millis(10);
/// How long a cancel request is given to take effect before another is sent.
const CANCEL_AGAIN: Duration = Duration::from_millis(250);

impl Session {
    /// Whether it can go straight back: nothing is open, nothing is under way, nothing waits in
    /// the driver's queue, and nothing else is to be undone.
    pub(crate) fn is_clean(&self, reset: Reset) -> bool {
        self.outer.is_none()
            && self.turns.comes_to_rest()
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
        let clean = clean
            && match &self.outer {
                Some(outer) => {
                    let kept = self.within(limits::STATEMENT, self.keep_outer(outer));
                    kept.await.unwrap_or(false)
                }
                None => self.put_back(reset).await,
            };
        if !clean {
            self.reason = match state {
                WireState::Closed => CloseReason::Dead,
                _ if self.is_silent() => CloseReason::Dead,
                _ => CloseReason::Dirty,
            };
        }
        clean
    }

    /// What is to be undone of what a borrower may have changed of the session.
    pub(super) fn undo(&self, reset: Reset) -> Undo {
        let used = self.observer.requests() != self.restored_at;
        if has_too_many(self.observer.statements(), self.prepared.capacity()) {
            return Undo::Replace;
        }
        self.restore
            .undo(reset, Some(self.observer.left_behind()), used)
    }

    /// Undoes what a borrower may have changed of the session, if that is asked for.
    pub(super) async fn put_back(&mut self, reset: Reset) -> bool {
        let undo = self.undo(reset);
        if undo != Undo::PutBack {
            return undo == Undo::Nothing;
        }
        let restore = async {
            self.client.batch_execute(self.restore.text()).await?;
            if let Some(settings) = self.restore.settings() {
                let parameters = settings.parameters();
                self.client
                    .query_typed(settings.text(), &parameters)
                    .await?;
            }
            Ok(())
        };
        let restored = self.within(limits::STATEMENT, restore).await;
        if let Some(Err(error)) = &restored
            && self.restore.failed(error)
        {
            events::behind_pooler(self.ledger.name());
        }
        self.settle().await;
        if !matches!(restored, Some(Ok(()))) {
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

    pub(super) fn is_as_opened(&mut self) {
        self.observer.put_back();
        self.restored_at = self.observer.requests();
    }

    /// Gives the driver a few turns, to send what is in its queue and to take an answer that has
    /// come: a failed statement is reported before the server says that it is ready again, and
    /// the end of a statement that was prepared for one query is sent behind it.
    pub(super) async fn settle(&self) {
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
    pub(super) async fn drain(&self) -> bool {
        let is_busy = || matches!(self.state(), WireState::Busy(_));
        if !is_busy() && self.turns.at_rest() {
            return true;
        }
        let end = Instant::now() + limits::STATEMENT;
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
        self.observer.fall_silent();
        false
    }

    /// Asks the server to stop what it is doing for this session.
    pub(super) async fn cancel(&self) -> bool {
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
        matches!(timeout(limits::STATEMENT, sent).await, Ok(Some(())))
    }

    pub(super) async fn roll_back(&self, reset: Reset) -> bool {
        match verdict(self.state(), reset) {
            Verdict::Keep => true,
            Verdict::RollBack => {
                let undo = self.client.batch_execute("ROLLBACK");
                let undone = self.within(limits::STATEMENT, undo).await;
                matches!(undone, Some(Ok(()))) && self.state() == WireState::Idle
            }
            _ => false,
        }
    }

    /// Stops what the server does for a session that ends with its answers uncounted: it would
    /// not notice the end while it waits for a lock.
    pub(super) async fn stop_if_lost(&self) {
        if self.observer.has_lost_count() {
            self.cancel().await;
        }
    }
}
