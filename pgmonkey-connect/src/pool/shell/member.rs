//! A pool's part in a budget of sessions that it shares with other pools.

use super::Shell;
use crate::pool::budget::{Budget, Member};
use crate::pool::sync::{Arc, Instant};
use crate::status::CloseReason;

/// Has the pool keep to `budget` from now on. Call it before the pool opens a session; a pool keeps
/// to one budget.
pub fn join<P: Shell>(pool: &Arc<P>, budget: &Arc<Budget>) {
    let member = Arc::downgrade(pool);
    pool.core()
        .membership
        .get_or_init(|| budget.join(member as _));
}

impl<P: Shell> Member for P {
    fn longest_idle(&self) -> Option<Instant> {
        self.core().lock().longest_idle()
    }

    fn give_up_idle(&self) -> bool {
        let core = self.core();
        let given = core.lock().give_up_idle();
        let is_given = given.is_some();
        if let Some(session) = given {
            P::discard(session);
            core.label.ended(CloseReason::Budget);
        }
        is_given
    }

    fn target(&self) -> Arc<str> {
        Arc::clone(self.core().label.target())
    }
}
