//! One session being opened on behalf of the pool.

use super::budget::{Permit, Waiting};
use super::home::Home;
use super::outcome::{Site, Step};
use super::shell::{Shell, unlock, unlock_released};
use super::sync::{Arc, Instant};
use crate::Error;

/// Opens one session: call [`step`](Self::step) until it returns [`Step::End`] or a session is
/// open. A task dropped before that, for example with its runtime, counts as lost; the pool starts
/// another if it needs one.
pub struct ConnectTask<P: Shell> {
    pool: Arc<P>,
    site: Site,
    waited: bool,
    over: bool,
    permit: Option<Permit>,
}

impl<P: Shell> ConnectTask<P> {
    pub(super) fn new(pool: Arc<P>, site: Site) -> Self {
        Self {
            pool,
            site,
            waited: false,
            over: false,
            permit: None,
        }
    }

    /// The pool.
    pub fn pool(&self) -> &Arc<P> {
        &self.pool
    }

    /// The runtime to open the session in.
    pub fn home(&self) -> Home {
        self.site.home
    }

    /// Returns what to do next.
    pub fn step(&mut self) -> Step {
        let (core, now) = (self.pool.core(), Instant::now());
        let mut state = core.lock();
        let step = state.step(self.site, self.waited, now);
        self.waited = true;
        if step == Step::End {
            self.over = true;
            // The ended task may leave room for another.
            let todo = state.todo(now);
            unlock(core, state, todo).run(&self.pool);
        }
        step
    }

    /// Returns the task if the pool may open a session now, as [`Step::Open`] asks for. Otherwise
    /// the pool starts the task again when it may, or ends it if no caller waits for the session.
    pub fn permitted(mut self) -> Option<Self> {
        let pool = Arc::clone(&self.pool);
        let Some(member) = pool.core().membership() else {
            return Some(self);
        };
        self.permit = self.permit.take().or_else(|| member.try_permit());
        if self.permit.is_some() {
            return Some(self);
        }
        let mut state = pool.core().lock();
        if state.has_waiters() {
            drop(state);
            member.wait(Box::new(self));
            return None;
        }
        self.over = true;
        let now = Instant::now();
        state.postponed(self.site, now);
        let todo = state.todo(now);
        unlock(pool.core(), state, todo).run(&pool);
        None
    }

    /// Takes the permit, which the session keeps until it has been closed.
    pub fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }

    /// Hands the opened session to the pool.
    pub fn opened(mut self, session: P::Session) {
        self.over = true;
        let (core, now) = (self.pool.core(), Instant::now());
        let home = P::home(&session);
        let mut state = core.lock();
        let put = state.opened(self.site, session, home, now);
        unlock_released(core, state, put, now).run(&self.pool);
        core.label().opened();
    }

    /// Reports that the attempt failed; call [`step`](Self::step) again.
    pub fn failed(&mut self, error: &Error) {
        let core = self.pool.core();
        let mut state = core.lock();
        let todo = state.open_failed(self.site, error, Instant::now());
        unlock(core, state, todo).run(&self.pool);
        core.label().open_failed(error);
    }
}

impl<P: Shell> Waiting for ConnectTask<P> {
    fn start(mut self: Box<Self>, permit: Permit) {
        self.permit = Some(permit);
        let pool = Arc::clone(&self.pool);
        pool.open(*self);
    }
}

impl<P: Shell> Drop for ConnectTask<P> {
    fn drop(&mut self) {
        let core = self.pool.core();
        if self.over || !core.origin().is_here() {
            return;
        }
        let mut state = core.lock();
        state.opening_lost(self.site);
        let todo = state.todo(Instant::now());
        unlock(core, state, todo).run(&self.pool);
    }
}
