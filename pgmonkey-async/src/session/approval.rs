//! What the hooks say of a session that is handed out or taken back.

use pgmonkey_config::Reset;
use pgmonkey_connect::deadline::TimedCall;
use pgmonkey_connect::hook::{Approval, approval};
use pgmonkey_connect::recycle::{Verdict, verdict};
use pgmonkey_connect::sql::Effects;
use pgmonkey_connect::{CloseReason, HookFailure, HookVerdict, events};

use super::Session;
use crate::session::hooks::Hooks;

impl Session {
    /// Asks the hook whether the session may be handed out, by the deadline of the caller.
    pub(crate) async fn ask_before_acquire(
        &mut self,
        hooks: &Hooks,
        reset: Reset,
        call: Option<TimedCall>,
    ) -> Approval {
        let as_opened = self.observer.left_behind() == Effects::NONE;
        let mut answer = hooks.ask_before_acquire(&mut self.client, call).await;
        if answer.is_ok() {
            self.settle().await;
        }
        let clean =
            self.activity.spin_until_idle() && verdict(self.state(), reset) == Verdict::Keep;
        if matches!(answer, Ok(HookVerdict::Keep)) && !clean {
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

    /// Asks the hook whether the session, now reset, is kept. Returns why not.
    pub(crate) async fn ask_after_release(&mut self, hooks: &Hooks) -> Result<(), CloseReason> {
        match hooks.ask_after_release(&mut self.client).await {
            Ok(HookVerdict::Keep) => {
                // Settings made by the hook stay; what it left open does not.
                let clean = self.recycle(Reset::Transaction).await;
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
