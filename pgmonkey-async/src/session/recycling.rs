//! Resets a released session, or decides that it is not kept.

use std::pin::pin;
use std::time::{Duration, Instant};

use pgmonkey_config::Reset;
#[cfg(unix)]
use pgmonkey_connect::plan::Address;
use pgmonkey_connect::recycle::{Undo, Verdict, verdict};
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{CloseReason, events, limits};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::time::{timeout, timeout_at};
#[cfg(unix)]
use tokio_postgres::NoTls;

use super::Session;

/// How long an answer may be under way before its statement counts as running.
const GRACE: Duration = Duration::from_millis(10);

impl Session {
    /// Resets a released session, or returns why it is not kept.
    pub(crate) async fn recycle(&mut self, reset: Reset) -> Result<(), CloseReason> {
        self.settle().await;
        self.cancel_begin_now();
        let state = self.state();
        let verdict = verdict(state, reset);
        events::recycled(self.label.name(), verdict);
        let clean = match verdict {
            Verdict::Keep if self.activity.is_idle() => true,
            Verdict::Discard => {
                self.stop_if_lost().await;
                false
            }
            _ => {
                if verdict == Verdict::CancelAndDrain {
                    // The statement may have completed just before it was stopped.
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
                None => self.reset(reset).await,
            };
        match state {
            _ if clean => Ok(()),
            WireState::Closed => Err(CloseReason::Dead),
            _ if self.is_silent() => Err(CloseReason::Dead),
            _ => Err(CloseReason::Dirty),
        }
    }

    /// Undoes the changes that a caller may have made to the session, if `reset` asks for it.
    /// Returns whether the session is clean.
    pub(super) async fn reset(&mut self, reset: Reset) -> bool {
        let undo = self.undo(reset);
        if undo != Undo::Reset {
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
            events::behind_pooler(self.label.name());
        }
        self.settle().await;
        if !matches!(restored, Some(Ok(()))) {
            return false;
        }
        self.is_as_opened();
        true
    }

    pub(super) fn is_as_opened(&mut self) {
        self.observer.reset();
        self.restored_at = self.observer.requests();
    }

    /// Lets the driver run a few times, to send what is in its queue and to read an answer that has
    /// arrived. The driver reports a failed statement before the server is ready again, and sends
    /// the Close of a statement prepared for one query after that query.
    pub(super) async fn settle(&self) {
        let settled =
            || self.activity.spin_until_idle() && !matches!(self.state(), WireState::Busy(_));
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

    /// Waits until every earlier request is answered. Cancels what is still running after the grace
    /// period of [`settle`](Self::settle), repeatedly, because a cancel request that arrives before
    /// its statement stops nothing.
    pub(super) async fn drain(&self) -> bool {
        let is_busy = || matches!(self.state(), WireState::Busy(_));
        if !is_busy() && self.activity.is_idle() {
            return true;
        }
        let end = Instant::now() + self.patience();
        let mut busy = is_busy();
        let mut rest = pin!(self.client.batch_execute(""));
        while Instant::now() < end {
            if busy && !self.cancel().await {
                return false;
            }
            if let Ok(done) = timeout(limits::CANCEL_AGAIN, &mut rest).await {
                return done.is_ok();
            }
            busy = true;
        }
        self.observer.fall_silent();
        false
    }

    /// How long a cancelled statement may take to end.
    fn patience(&self) -> Duration {
        let now = Instant::now();
        match self.limit() {
            Some(call) if call.deadline.is_over(now) => limits::OVERDUE,
            _ => limits::STATEMENT,
        }
    }

    /// Asks the server to cancel the running statement of this session.
    pub(super) async fn cancel(&self) -> bool {
        self.cancel_until(Instant::now() + self.patience()).await
    }

    /// As [`cancel`](Self::cancel), until `end`.
    pub(super) async fn cancel_until(&self, end: Instant) -> bool {
        let token = self.client.cancel_token();
        let sent = async {
            let connector = self.connected_to.canceller(None);
            match self.connected_to.address() {
                #[cfg(unix)]
                Address::Unix(directory, port) => {
                    let path = directory.join(format!(".s.PGSQL.{port}"));
                    let socket = UnixStream::connect(path).await.ok()?;
                    let stream = connector.observe(socket);
                    token.cancel_query_raw(stream, NoTls).await.ok()
                }
                _ => token.cancel_query(connector).await.ok(),
            }
        };
        matches!(timeout_at(end.into(), sent).await, Ok(Some(())))
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

    /// Cancels the running statement of a session that is closed because its answers can no longer
    /// be counted: a server waiting for a lock would not notice that the connection is closed.
    pub(super) async fn stop_if_lost(&self) {
        if self.observer.has_lost_count() {
            self.cancel().await;
        }
    }
}
