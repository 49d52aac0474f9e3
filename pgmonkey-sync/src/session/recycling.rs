//! What happens to a session that comes back: it is made clean, or it is not kept.

use std::time::{Duration, Instant};

use fallible_iterator::FallibleIterator;
use pgmonkey_config::Reset;
use pgmonkey_connect::recycle::{Undo, Verdict, has_too_many, verdict};
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{CloseReason, events, limits};

use super::Session;
use crate::context;

/// How long an answer that is on its way may take before the statement counts as running.
const GRACE: Duration = Duration::from_millis(10);

impl Session {
    /// Makes a session that came back clean; whether it is. Sends nothing for a session that is
    /// clean already. Inside an async task, where nothing may be sent, only such a session is kept.
    pub(crate) fn recycle(&mut self, reset: Reset) -> bool {
        let clean = if self.given_up.is_some() {
            false
        } else if self.is_clean(reset) {
            self.tell_out_of_reach(reset);
            events::recycled(self.ledger.name(), Verdict::Keep);
            true
        } else {
            context::may_block()
                && context::block(|| {
                    self.make_clean(reset)
                        && match self.outer.is_some() {
                            true => self.within(limits::STATEMENT, Self::keep_outer),
                            false => self.put_back(reset),
                        }
                })
        };
        if self.is_silent() {
            self.reason = CloseReason::Dead;
        } else if !clean && self.reason == CloseReason::Shutdown {
            self.reason = CloseReason::Dirty;
        }
        clean
    }

    /// Whether it can go straight back: nothing is open and nothing is to be undone. On a Unix
    /// socket that takes a question to the server.
    pub(super) fn is_clean(&self, reset: Reset) -> bool {
        let observer = self.observer.as_ref().filter(|_| self.outer.is_none());
        observer.is_some_and(|observer| {
            verdict(observer.state(), reset) == Verdict::Keep && self.undo(reset) == Undo::Nothing
        })
    }

    /// What is to be undone of what a borrower may have changed of the session.
    pub(super) fn undo(&self, reset: Reset) -> Undo {
        let observer = self.observer.as_ref();
        let used = observer.is_none_or(|observer| observer.requests() != self.restored_at);
        let left = observer.map(|observer| observer.left_behind());
        let statements = observer.map_or(0, |observer| observer.statements());
        if has_too_many(statements, self.prepared.capacity()) {
            return Undo::Replace;
        }
        self.restore.undo(reset, left, used)
    }

    /// Undoes what a borrower may have changed of the session, if that is asked for.
    pub(super) fn put_back(&mut self, reset: Reset) -> bool {
        let undo = self.undo(reset);
        if undo != Undo::PutBack {
            return undo == Undo::Nothing;
        }
        let restored = self.within(limits::STATEMENT, Self::restore);
        if let Err(error) = restored {
            if self.restore.failed(&error) {
                events::behind_pooler(self.ledger.name());
            }
            return false;
        }
        self.is_as_opened();
        true
    }

    fn restore(&mut self) -> Result<(), postgres::Error> {
        let client = self.client.as_mut();
        let client = client.expect("only the drop takes the client");
        client.batch_execute(self.restore.text())?;
        if let Some(settings) = self.restore.settings() {
            client.query_typed(settings.text(), &settings.parameters())?;
        }
        Ok(())
    }

    /// Says so once if what was left behind is not undone.
    pub(crate) fn tell_out_of_reach(&self, reset: Reset) {
        let observer = self.observer.as_ref();
        let left = observer.map(|observer| observer.left_behind());
        if left.is_some_and(|left| self.restore.tells_out_of_reach(reset, left)) {
            events::out_of_reach(self.ledger.name());
        }
    }

    pub(super) fn is_as_opened(&mut self) {
        if let Some(observer) = &self.observer {
            observer.put_back();
            self.restored_at = observer.requests();
        }
    }

    /// A statement that was abandoned may have done its work in the instant before it was stopped.
    pub(super) fn mark_changed(&self) {
        if let Some(observer) = &self.observer {
            observer.mark_changed();
        }
    }

    pub(super) fn make_clean(&mut self, reset: Reset) -> bool {
        let state = self.settled_state();
        let verdict = verdict(state, reset);
        events::recycled(self.ledger.name(), verdict);
        let clean = match verdict {
            Verdict::Keep => true,
            Verdict::RollBack => self.roll_back(),
            Verdict::CancelAndDrain => {
                self.mark_changed();
                self.cancel() && self.drain() && self.roll_back_unless_kept(reset)
            }
            _ => {
                self.stop_if_lost();
                false
            }
        };
        if !clean {
            self.reason = match state {
                WireState::Closed => CloseReason::Dead,
                _ => CloseReason::Dirty,
            };
        }
        clean
    }

    /// The state once an answer that is on its way has had the time to come: a failed statement
    /// is reported before the server says that it is ready again.
    pub(super) fn settled_state(&mut self) -> WireState {
        let state = self.state();
        if !matches!(state, WireState::Busy(_)) {
            return state;
        }
        let end = Instant::now() + GRACE;
        while matches!(self.state(), WireState::Busy(_)) && Instant::now() < end {
            if let Some(observer) = &self.observer {
                observer.request_probe();
            }
            let left = end.saturating_duration_since(Instant::now());
            let mut notifications = self.client_mut().notifications();
            if notifications.timeout_iter(left).next().is_err() {
                break;
            }
        }
        self.state()
    }

    /// Takes the answers to what was cancelled.
    fn drain(&mut self) -> bool {
        let drain = |session: &mut Self| session.client_mut().batch_execute("").is_ok();
        self.within(limits::STATEMENT, drain)
    }

    fn roll_back_unless_kept(&mut self, reset: Reset) -> bool {
        match verdict(self.state(), reset) {
            Verdict::Keep => true,
            Verdict::RollBack => self.roll_back(),
            _ => false,
        }
    }

    pub(super) fn roll_back(&mut self) -> bool {
        let undo = |session: &mut Self| session.client_mut().batch_execute("ROLLBACK");
        self.within(limits::STATEMENT, undo).is_ok() && self.state() == WireState::Idle
    }

    /// Stops what still runs; the answers are taken by the statement that follows.
    pub(super) fn cancel(&self) -> bool {
        let connector = self
            .route
            .canceller(Some(Instant::now() + limits::STATEMENT));
        self.client().cancel_token().cancel_query(connector).is_ok()
    }

    /// Stops what the server does for a session that ends with its answers uncounted: it would
    /// not notice the end while it waits for a lock.
    pub(super) fn stop_if_lost(&self) {
        let observer = self.observer.as_ref();
        if observer.is_some_and(|observer| observer.has_lost_count()) {
            self.cancel();
        }
    }
}
