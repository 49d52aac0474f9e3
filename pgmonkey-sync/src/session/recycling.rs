//! Resets a released session, or decides that it is not kept.

use std::time::{Duration, Instant};

use fallible_iterator::FallibleIterator;
use pgmonkey_config::Reset;
use pgmonkey_connect::recycle::{Undo, Verdict, verdict};
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{CloseReason, events, limits};

use super::Session;
use crate::context;

/// How long an answer may be under way before its statement counts as running.
const GRACE: Duration = Duration::from_millis(10);

impl Session {
    /// Resets a released session, or returns why it is not kept. Sends nothing if the session is
    /// already clean. Inside an async task, where nothing may be sent, only a clean session is
    /// kept.
    pub(crate) fn recycle(&mut self, reset: Reset) -> Result<(), CloseReason> {
        let cleaned = if self.given_up.is_some() {
            Err(CloseReason::Dirty)
        } else if self.is_clean(reset) {
            self.warn_out_of_reach(reset);
            events::recycled(self.label.name(), Verdict::Keep);
            Ok(())
        } else if context::may_block() {
            context::block(|| self.recycle_and_release(reset))
        } else {
            Err(CloseReason::Dirty)
        };
        self.has_begun = false;
        match self.is_silent() {
            true => Err(CloseReason::Dead),
            false => cleaned,
        }
    }

    /// Undoes the changes that a caller may have made to the session, if `reset` asks for it.
    /// Returns whether the session is clean.
    pub(super) fn reset(&mut self, reset: Reset) -> bool {
        let undo = self.undo(reset);
        if undo != Undo::Reset {
            return undo == Undo::Nothing;
        }
        let restored = self.within(limits::STATEMENT, Self::restore);
        if let Err(error) = restored {
            if self.restore.failed(&error) {
                events::behind_pooler(self.label.name());
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

    pub(super) fn is_as_opened(&mut self) {
        if let Some(observer) = &self.observer {
            observer.reset();
            self.restored_at = observer.requests();
        }
    }

    /// Marks the session as changed: an abandoned statement may have completed just before it was
    /// stopped.
    pub(super) fn mark_changed(&self) {
        if let Some(observer) = &self.observer {
            observer.mark_changed();
        }
    }

    fn recycle_and_release(&mut self, reset: Reset) -> Result<(), CloseReason> {
        let state = self.settled_state();
        let verdict = verdict(state, reset);
        events::recycled(self.label.name(), verdict);
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
        let clean = clean
            && match self.outer.is_some() {
                true => self.within(limits::STATEMENT, Self::keep_outer),
                false => self.reset(reset),
            };
        match state {
            _ if clean => Ok(()),
            WireState::Closed => Err(CloseReason::Dead),
            _ => Err(CloseReason::Dirty),
        }
    }

    /// Returns the state after giving an answer that is under way time to arrive: the driver
    /// reports a failed statement before the server is ready again.
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

    /// Reads the answers to the cancelled statements.
    pub(super) fn drain(&mut self) -> bool {
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

    /// Cancels the running statement; the next statement reads its answers.
    pub(super) fn cancel(&self) -> bool {
        let connector = self
            .connected_to
            .canceller(Some(Instant::now() + limits::STATEMENT));
        self.client().cancel_token().cancel_query(connector).is_ok()
    }

    /// Cancels the running statement of a session that is closed because its answers can no longer
    /// be counted: a server waiting for a lock would not notice that the connection is closed.
    pub(super) fn stop_if_lost(&self) {
        let observer = self.observer.as_ref();
        if observer.is_some_and(|observer| observer.has_lost_count()) {
            self.cancel();
        }
    }
}
