//! What bb8 and mobc ask about a session when it is returned.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Instant;

use pgmonkey_config::Reset;
use pgmonkey_connect::events;

use super::{ManagedSession, SessionManager};
use crate::session::Session;

impl SessionManager {
    /// Looks at a returned session without waiting for anything, and returns whether the pool may
    /// keep it: it is alive, and it is clean or will be checked.
    pub(super) fn keeps(&self, managed: &mut ManagedSession) -> bool {
        if !std::mem::take(&mut managed.is_checked)
            && !self.skips_checks.swap(true, Ordering::Relaxed)
        {
            events::unchecked(self.factory.label.name());
        }
        let reset = self.settings.reset;
        let session = managed.session();
        if session.end_reason(Instant::now()).is_some() {
            return false;
        }
        if session.is_clean(reset) {
            return true;
        }
        if self.skips_checks.load(Ordering::Relaxed) {
            managed.close(reset);
            return false;
        }
        roll_back_soon(session, reset);
        true
    }
}

impl ManagedSession {
    /// Closes the session, after what runs on it was cancelled.
    fn close(&mut self, reset: Reset) {
        if let Some(mut session) = self.session.take() {
            let runtime = session.runtime().clone();
            runtime.spawn(async move {
                let _ = session.recycle(reset).await;
            });
        }
    }
}

/// Has an open transaction rolled back, so that its locks are released, without waiting for it:
/// whatever is sent next comes after it. Outside a transaction it does nothing.
fn roll_back_soon(session: &Session, reset: Reset) {
    if reset != Reset::None && session.observer().was_in_transaction() {
        let mut undo = pin!(session.client().batch_execute("ROLLBACK"));
        let _ = undo.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
}
