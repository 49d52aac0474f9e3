//! One session in use, until it is released or closed.

use std::mem;
use std::ops::{Deref, DerefMut};

use super::caller::Caller;
use super::checkouts::CheckoutId;
use super::outcome::{Granted, Released};
use super::shell::{Acquiring, Shell, acquire, unlock, unlock_released};
use super::state::PoolState;
use super::sync::{Arc, Instant};
use crate::Error;
use crate::status::CloseReason;

/// A session and its entry among the checkouts. Dropping it releases the session if neither a
/// caller nor a statement has used it; otherwise closes it, because its state is unknown.
pub struct Checkout<P: Shell> {
    pool: Arc<P>,
    /// `None` once the session was released or closed.
    session: Option<P::Session>,
    id: CheckoutId,
    /// When it was last released, or was opened.
    since: Instant,
    stage: Stage,
}

/// The stage of a checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The session is untouched.
    Taken,
    /// The session is being checked; dropping the checkout now closes it for this reason.
    Checked(CloseReason),
    /// A caller holds the session.
    Acquired,
}

impl<P: Shell> Checkout<P> {
    #[inline]
    pub(super) fn new(pool: Arc<P>, granted: Granted<P::Session>) -> Self {
        Self {
            pool,
            session: Some(granted.session),
            id: granted.id,
            since: granted.since,
            stage: Stage::Taken,
        }
    }

    /// The session's pool.
    #[inline]
    pub fn pool(&self) -> &Arc<P> {
        &self.pool
    }

    /// When the session was released by its previous caller, or was opened.
    #[inline]
    pub fn since(&self) -> Instant {
        self.since
    }

    /// Why the session must not be handed out, if so.
    #[inline]
    pub fn end_reason(&self, now: Instant) -> Option<CloseReason> {
        P::end_reason(self, now)
    }

    /// Marks the session as being checked before the caller gets it. A drop until then closes it
    /// with the reason `if_dropped`.
    pub fn check(&mut self, if_dropped: CloseReason) {
        if self.stage == Stage::Taken {
            self.pool.core().lock().check(self.id);
        }
        self.stage = Stage::Checked(if_dropped);
    }

    /// Marks the session as acquired by the caller.
    #[inline]
    fn mark_acquired(&mut self, caller: &Caller) {
        if let Stage::Checked(_) = self.stage {
            self.pool
                .core()
                .lock()
                .mark_acquired(self.id, Instant::now());
        }
        let label = self.pool.core().label();
        label.acquired(caller.location, caller.began);
        P::acquired(self, caller);
        self.stage = Stage::Acquired;
    }

    /// Marks the session as released and being cleaned.
    pub fn clean(&self) {
        self.pool.core().lock().clean(self.id);
    }

    #[inline]
    fn release(mut self, now: Instant) {
        if let Some(session) = self.session.take() {
            self.release_taken(session, now);
        }
    }

    #[inline]
    fn release_taken(&self, session: P::Session, now: Instant) {
        let core = self.pool.core();
        let home = P::home(&session);
        let gives_up = core.gives_up(now);
        let mut state = core.lock();
        let held = self.held_since(&mut state);
        let put = state.release(self.id, session, home, now, gives_up);
        match put {
            Released::Idle if state.is_quiet() => {
                drop(state);
                core.has_idle();
            }
            Released::Handed(slot, granted) if state.is_quiet() => {
                let waker = slot.fill(Ok(granted));
                drop(state);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            put => unlock_released(core, state, put, now).run(&self.pool),
        }
        // The program's recorder and subscribers come last: they may panic.
        if let Some(since) = held {
            core.label().released(now.saturating_duration_since(since));
        }
    }

    /// When a caller acquired the session, if one did.
    #[inline]
    fn held_since<W>(&self, state: &mut PoolState<P::Session, W>) -> Option<Instant> {
        if self.stage != Stage::Acquired {
            state.not_acquired();
            return None;
        }
        state.since(self.id)
    }

    /// Releases a clean session to the pool, or closes it if it must not be handed out again.
    #[inline]
    pub fn release_clean(self) {
        let now = Instant::now();
        match self.end_reason(now) {
            None => self.release(now),
            Some(reason) => self.end(reason),
        }
    }

    /// Closes the session.
    pub fn end(mut self, reason: CloseReason) {
        if let Some(session) = self.session.take() {
            self.finish(session, reason);
        }
    }

    fn finish(&self, session: P::Session, reason: CloseReason) {
        let core = self.pool.core();
        let home = P::home(&session);
        P::discard(session);
        let now = Instant::now();
        let mut state = core.lock();
        let held = self.held_since(&mut state);
        state.end(self.id, reason, now);
        if reason == CloseReason::Moved {
            state.home_ended(home);
        }
        let todo = state.todo(now);
        unlock(core, state, todo).run(&self.pool);
        if let Some(since) = held {
            core.label().released(now.saturating_duration_since(since));
        }
        core.label().ended(reason);
    }

    /// Closes the session and acquires another, at the caller's old position in the queue.
    ///
    /// # Errors
    ///
    /// As [`acquire`].
    pub fn replace(self, reason: CloseReason, caller: &Caller) -> Result<Acquiring<P>, Error> {
        let pool = Arc::clone(&self.pool);
        let ticket = pool.core().lock().ticket(self.id);
        self.end(reason);
        acquire(&pool, caller, ticket)
    }
}

impl<P: Shell> Deref for Checkout<P> {
    type Target = P::Session;

    #[inline]
    fn deref(&self) -> &P::Session {
        let session = self.session.as_ref();
        session.expect("what takes the session consumes the checkout")
    }
}

impl<P: Shell> DerefMut for Checkout<P> {
    #[inline]
    fn deref_mut(&mut self) -> &mut P::Session {
        let session = self.session.as_mut();
        session.expect("what takes the session consumes the checkout")
    }
}

/// A session that its caller uses. Dropping it releases the session, see [`Shell::release`].
pub struct InUse<P: Shell>(Option<Checkout<P>>);

impl<P: Shell> InUse<P> {
    /// Hands the session to `caller`.
    #[inline]
    pub fn new(mut checkout: Checkout<P>, caller: &Caller) -> Self {
        checkout.mark_acquired(caller);
        Self(Some(checkout))
    }

    /// The session's pool.
    #[inline]
    pub fn pool(&self) -> &Arc<P> {
        let checkout = self.0.as_ref();
        checkout.expect(NOT_DROPPED).pool()
    }

    /// Names the transaction for which the session is held.
    pub fn set_label(&self, label: std::sync::Arc<str>) {
        let checkout = self.0.as_ref().expect(NOT_DROPPED);
        checkout.pool.core().lock().set_label(checkout.id, label);
    }
}

const NOT_DROPPED: &str = "only the drop takes the checkout";

impl<P: Shell> Deref for InUse<P> {
    type Target = P::Session;

    #[inline]
    fn deref(&self) -> &P::Session {
        self.0.as_ref().expect(NOT_DROPPED)
    }
}

impl<P: Shell> DerefMut for InUse<P> {
    #[inline]
    fn deref_mut(&mut self) -> &mut P::Session {
        self.0.as_mut().expect(NOT_DROPPED)
    }
}

impl<P: Shell> Drop for InUse<P> {
    #[inline]
    fn drop(&mut self) {
        if let Some(checkout) = self.0.take()
            && checkout.pool.core().origin().is_here()
        {
            P::release(checkout);
        }
    }
}

impl<P: Shell> Drop for Checkout<P> {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        if !self.pool.core().origin().is_here() {
            // In a child of `fork`, a drop would close what the parent uses or wait for its
            // threads.
            return mem::forget((Arc::clone(&self.pool), session));
        }
        let now = Instant::now();
        match (P::end_reason(&session, now), self.stage) {
            (Some(reason), _) => self.finish(session, reason),
            (None, Stage::Taken) => self.release_taken(session, now),
            (None, Stage::Checked(reason)) => self.finish(session, reason),
            (None, Stage::Acquired) => self.finish(session, CloseReason::Dirty),
        }
    }
}
