//! What the hooks say of a session that is handed out or taken back.

use std::time::Duration;

use pgmonkey_config::Reset;
use pgmonkey_connect::deadline::TimedCall;
use pgmonkey_connect::hook::{Approval, approval};
use pgmonkey_connect::recycle::{Verdict, verdict};
use pgmonkey_connect::sql::Effects;
use pgmonkey_connect::{CloseReason, HookFailure, HookVerdict, events};

use super::Session;
use crate::context;
use crate::session::hooks::Hooks;

impl Session {
    /// Asks the hook whether the session may be handed out, by the deadline of the caller.
    pub(crate) fn ask_before_acquire(
        &mut self,
        hooks: &Hooks,
        reset: Reset,
        call: Option<TimedCall>,
    ) -> Approval {
        let as_opened = self.left_behind() == Effects::NONE;
        let mut answer = self.ask_in_time(hooks, call);
        if let Ok(HookVerdict::Keep) = answer
            && verdict(self.settled_state(), reset) != Verdict::Keep
        {
            answer = Err(HookFailure::LeftOpen {
                hook: "before_acquire",
            });
        }
        if let Err(failure) = &answer {
            events::hook_failed(self.label.name(), failure);
        }
        let approval = approval(answer, self.was_acquired);
        if let Approval::Accept = approval {
            if as_opened {
                // What the hook has set belongs to the program, not to the caller.
                self.is_as_opened();
            }
            self.was_acquired = true;
        }
        approval
    }

    /// Asks the hook. At the deadline its statement is cancelled; the hook itself cannot be stopped.
    fn ask_in_time(
        &mut self,
        hooks: &Hooks,
        call: Option<TimedCall>,
    ) -> Result<HookVerdict, HookFailure> {
        let passed = |_| HookFailure::TimedOut {
            hook: "before_acquire",
            limit: Duration::ZERO,
        };
        let armed = call.map(|call| self.arm(call)).transpose();
        let _armed = armed.map_err(passed)?;
        hooks.ask_before_acquire(self.client_mut())
    }

    /// Asks the hook whether the session, now reset, is kept. Returns why not.
    pub(crate) fn ask_after_release(&mut self, hooks: &Hooks) -> Result<(), CloseReason> {
        if !context::may_block() {
            return Err(CloseReason::Hook);
        }
        match hooks.ask_after_release(self.client_mut()) {
            Ok(HookVerdict::Keep) => {
                // Settings made by the hook stay; what it left open does not.
                let clean = self.recycle(Reset::Transaction);
                self.is_as_opened();
                clean
            }
            Ok(HookVerdict::Discard) => Err(CloseReason::Hook),
            Err(failure) => {
                events::hook_failed(self.label.name(), &failure);
                Err(CloseReason::Hook)
            }
        }
    }
}
