//! One idle session that maintenance checks.

use std::panic::Location;

use super::outcome::Unchecked;
use super::shell::{Shell, unlock, unlock_released};
use super::sync::{Arc, Instant};
use crate::status::CloseReason;

/// An idle session that was taken out for a check. Dropping it closes the session.
pub struct IdleCheck<P: Shell> {
    pool: Arc<P>,
    /// `None` once the session was returned or closed.
    unchecked: Option<Unchecked<P::Session>>,
}

impl<P: Shell> IdleCheck<P> {
    /// Takes out an idle session that has not been checked since `before`, if there is one.
    #[track_caller]
    pub fn begin(pool: &Arc<P>, before: Instant) -> Option<Self> {
        let unchecked = pool
            .core()
            .lock()
            .take_unchecked(before, Location::caller())?;
        Some(Self {
            pool: Arc::clone(pool),
            unchecked: Some(unchecked),
        })
    }

    /// The session.
    pub fn session(&mut self) -> Option<&mut P::Session> {
        self.unchecked
            .as_mut()
            .map(|unchecked| &mut unchecked.session)
    }

    /// Returns the session to its position in the idle list.
    pub fn back(mut self) {
        if let Some(unchecked) = self.unchecked.take() {
            let (core, now) = (self.pool.core(), Instant::now());
            let mut state = core.lock();
            let put = state.reset(unchecked, now);
            unlock_released(core, state, put, now).run(&self.pool);
        }
    }

    /// Closes the session.
    pub fn end(mut self, reason: CloseReason) {
        self.finish(reason);
    }

    fn finish(&mut self, reason: CloseReason) {
        let Some(unchecked) = self.unchecked.take() else {
            return;
        };
        let core = self.pool.core();
        P::discard(unchecked.session);
        let now = Instant::now();
        let mut state = core.lock();
        state.end(unchecked.id, reason, now);
        let todo = state.todo(now);
        unlock(core, state, todo).run(&self.pool);
        core.label().ended(reason);
    }
}

impl<P: Shell> Drop for IdleCheck<P> {
    fn drop(&mut self) {
        if !self.pool.core().origin().is_here() {
            return std::mem::forget((Arc::clone(&self.pool), self.unchecked.take()));
        }
        self.finish(CloseReason::Dirty);
    }
}
