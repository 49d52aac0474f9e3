//! Selecting an idle session by what is known of it.

use super::PoolState;
use crate::pool::outcome::{Granted, Request, Ticket};

impl<S, W> PoolState<S, W> {
    /// Acquires an idle session that `fits`, if there is one. No caller that waits may use it, or it
    /// would not be idle.
    pub fn acquire_idle(
        &mut self,
        request: Request,
        fits: impl Fn(&S) -> bool,
    ) -> Option<Granted<S>> {
        if self.closed {
            return None;
        }
        let idle = self.idle.take_fitting(request.home, fits)?;
        self.last_ticket += 1;
        Some(self.give(idle, &request, Ticket(self.last_ticket), request.began))
    }
}
