//! Acquiring and releasing sessions: carries out the decisions of the pool's state.

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgmonkey_config::Reset;
use pgmonkey_connect::deadline::TimedCall;
use pgmonkey_connect::exit::CloseAtExit;
use pgmonkey_connect::hook::Approval;
use pgmonkey_connect::pool::{
    self, Acquiring, Caller, ConnectTask, Home, Permit, PoolCore, Shell, Step, Waiter,
};
use pgmonkey_connect::recycle::Verdict;
use pgmonkey_connect::{CloseReason, Error, events, expiry, limits};
use tracing::Span;

use crate::pool::Shared;
use crate::session::Session;
use crate::session::hooks::Hooks;

/// A session released less than this long ago needs no check: looking at the socket would take
/// longer.
const FRESH: Duration = Duration::from_micros(20);

/// A session together with the entry that records its caller.
pub(crate) type Checkout = pool::Checkout<Shared>;

/// A session that its caller uses: dropping it releases the session.
pub(crate) type InUse = pool::InUse<Shared>;

impl Shell for Shared {
    type Session = Box<Session>;

    #[inline]
    fn core(&self) -> &PoolCore<Box<Session>> {
        &self.core
    }

    fn open(self: &Arc<Self>, task: ConnectTask<Self>) {
        let job = OpenJob(Some(task));
        self.opener.submit(move || job.run());
    }

    fn maintain(self: &Arc<Self>) {
        self.start_maintenance();
    }

    #[inline]
    fn home(_: &Box<Session>) -> Home {
        Home::ANYWHERE
    }

    #[inline]
    fn acquired(session: &Box<Session>, caller: &Caller) {
        session.acquired_at(caller.location);
    }

    #[inline]
    fn end_reason(session: &Box<Session>, now: Instant) -> Option<CloseReason> {
        session.end_reason(now)
    }

    /// Releases a clean session at once; another one is reset here.
    fn release(mut checkout: Checkout) {
        checkout.limit_to(None);
        let pool = checkout.pool();
        if let Some(holder) = &pool.holder {
            holder.release();
        }
        let reset = pool.settings.reset;
        let hooks = pool.hooks.as_ref().filter(|h| h.asks_after_release());
        if hooks.is_none() && checkout.is_clean(reset) {
            checkout.warn_out_of_reach(reset);
            events::recycled(pool.core.label().name(), Verdict::Keep);
            checkout.is_back();
            return checkout.release_clean();
        }
        let hooks = hooks.cloned();
        checkout.clean();
        match recycle(&mut checkout, reset, hooks) {
            Ok(()) => {
                checkout.is_back();
                checkout.release_clean();
            }
            Err(reason) => checkout.end(reason),
        }
    }
}

/// Opens a session, retrying until there is one or none is needed. If dropped before it ran, it
/// reports to the pool that the system cannot start a thread.
struct OpenJob(Option<ConnectTask<Shared>>);

impl OpenJob {
    fn run(mut self) {
        let Some(mut task) = self.0.take() else {
            return;
        };
        let pool = Arc::clone(task.pool());
        loop {
            match task.step() {
                Step::End => return,
                Step::Pause(pause) => return pool.open_later(pause, task),
                Step::Open => {
                    let Some(permitted) = task.permitted() else {
                        return;
                    };
                    task = permitted;
                    match pool.open_session(task.take_permit()) {
                        Ok(session) => return task.opened(session),
                        Err(error) => task.failed(&error),
                    }
                }
            }
        }
    }
}

impl Drop for OpenJob {
    fn drop(&mut self) {
        if let Some(task) = &mut self.0
            && task.pool().core.origin().is_here()
        {
            let error = task.pool().factory.connect_target.no_thread();
            task.failed(&error);
        }
    }
}

impl Shared {
    #[inline]
    pub(crate) fn acquire(self: &Arc<Self>, caller: &mut Caller) -> Result<InUse, Error> {
        if let Some(holder) = &self.holder {
            holder.check()?;
        }
        self.core.check_origin()?;
        let _span = events::acquire(self.core.label().name()).map(Span::entered);
        match pool::acquire(self, caller, None)? {
            Acquiring::Ready(checkout) if self.is_good(&checkout, caller) => {
                Ok(InUse::new(checkout, caller))
            }
            acquiring => self.acquire_checked(acquiring, caller),
        }
    }

    /// Whether a session was released just now, may be handed out, and needs no check.
    #[inline]
    fn is_good(&self, checkout: &Checkout, caller: &Caller) -> bool {
        let now = caller.began;
        !self.checks
            && !caller.checks
            && now.saturating_duration_since(checkout.since()) < FRESH
            && !checkout.was_disturbed()
            && checkout.end_reason(now).is_none()
    }

    /// As [`acquire`](Self::acquire), for a session that needs a check or has to be waited for.
    pub(crate) fn acquire_checked(
        self: &Arc<Self>,
        mut acquiring: Acquiring<Self>,
        caller: &mut Caller,
    ) -> Result<InUse, Error> {
        loop {
            let mut checkout = match acquiring {
                Acquiring::Ready(checkout) => checkout,
                Acquiring::Waiting(waiting) => self.wait(waiting, caller)?,
            };
            match self.examine(&mut checkout, caller)? {
                None => return Ok(InUse::new(checkout, caller)),
                Some(reason) => {
                    self.look_for_more(reason);
                    acquiring = checkout.replace(reason, caller)?;
                }
            }
        }
    }

    /// Waits for a session to be released or opened. With a `timeout` of 0 no caller waits for
    /// another; the wait is then for a session being opened, which `connect_timeout` limits.
    fn wait(&self, mut waiting: Waiter<Self>, caller: &mut Caller) -> Result<Checkout, Error> {
        let _span = events::wait(self.core.label().name()).map(Span::entered);
        let deadline = match caller.wait_for(self.settings.timeout) {
            Duration::ZERO => None,
            timeout => caller.began.checked_add(timeout),
        };
        let deadline = deadline.into_iter().chain(caller.until).min();
        match waiting.wait(deadline) {
            Some(delivery) => delivery,
            None => waiting.time_out(),
        }
    }

    /// Checks a session before it is handed out. Returns why it must not be, or the hook's error
    /// that ends the search.
    fn examine(
        &self,
        checkout: &mut Checkout,
        caller: &Caller,
    ) -> Result<Option<CloseReason>, Error> {
        let now = Instant::now();
        if let Some(reason) = checkout.end_reason(now) {
            return Ok(Some(reason));
        }
        let fresh = now.saturating_duration_since(checkout.since()) < FRESH;
        if (!fresh || checkout.was_disturbed()) && checkout.is_lost() {
            return Ok(Some(CloseReason::Dead));
        }
        if self.settings.check_on_checkout || caller.checks {
            checkout.check(CloseReason::Dead);
            let timeout = caller.at_most(self.settings.timeout);
            let limit = limits::check(timeout, caller.began.elapsed());
            if !checkout.answers(limit) {
                return Ok(Some(CloseReason::Dead));
            }
        }
        let Some(hooks) = self.hooks.as_ref().filter(|h| h.asks_before_acquire()) else {
            return Ok(None);
        };
        checkout.check(CloseReason::Hook);
        let call = |until| TimedCall::until(until, caller.began);
        let call = caller.until.map(call);
        match checkout.ask_before_acquire(hooks, self.settings.reset, call) {
            Approval::Accept => Ok(None),
            Approval::TryAnother => Ok(Some(CloseReason::Hook)),
            Approval::Fail(error) => match self.core.refused(&error, Instant::now()) {
                true => Ok(Some(CloseReason::Hook)),
                false => Err(error),
            },
        }
    }

    /// If the server has closed one session, it may have closed others.
    fn look_for_more(&self, reason: CloseReason) {
        if let (CloseReason::Dead, Some(registered)) = (reason, self.keeper.get()) {
            registered.keeper.wake();
        }
    }

    /// Opens a session.
    fn open_session(self: &Arc<Self>, permit: Option<Permit>) -> Result<Box<Session>, Error> {
        self.check_first()?;
        self.watch_standbys();
        let opened = self.factory.open()?;
        self.watch_hosts();
        // Its standbys are known from now on, if it is the first session.
        self.watch_standbys();
        let ends = expiry::end_of_life(Instant::now(), self.settings.max_lifetime, expiry::draw());
        let restore = opened.restore(&self.factory.connect_target);
        let (label, prepared) = (Arc::clone(self.core.label()), self.statements.begin());
        let mut session = Box::new(Session::new(opened, ends, restore, label, prepared));
        session.keep(permit);
        if self.holder.is_some() {
            session.begin_outer()?;
        }
        Ok(session)
    }

    /// Continues an opening after a pause, on another thread.
    fn open_later(self: &Arc<Self>, pause: Duration, task: ConnectTask<Self>) {
        let pool = Arc::clone(self);
        if let Some(registered) = self.keeper.get() {
            registered.keeper.after(pause, move || pool.open(task));
        }
    }

    /// A second session of a pool for tests would not see the uncommitted work of the first one.
    fn check_first(&self) -> Result<(), Error> {
        match self.holder.is_some() && self.core.status().opened > 0 {
            true => Err(Error::TestTransactionOver),
            false => Ok(()),
        }
    }

    /// Opens `min_size` sessions. They are not acquired: no hook is asked, and only their opening
    /// is counted.
    pub(crate) fn fill(self: &Arc<Self>) -> Result<(), Error> {
        let mut caller = Caller::new(Location::caller(), Home::ANYWHERE);
        let mut acquiring = Vec::new();
        for _ in 0..self.settings.min_size {
            acquiring.push(pool::acquire(self, &caller, None)?);
        }
        // All are held until all are open, so that none is handed out twice.
        let mut held = Vec::new();
        for acquiring in acquiring {
            held.push(match acquiring {
                Acquiring::Ready(checkout) => checkout,
                Acquiring::Waiting(waiting) => match self.wait(waiting, &mut caller) {
                    // A cluster begins without its readers, and opens them once they are there.
                    Err(error) if self.is_reading() && error.is_transient() => return Ok(()),
                    opened => opened?,
                },
            });
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        pool::close(self);
    }
}

/// Resets a released session, or returns why it is not kept.
fn recycle(checkout: &mut Checkout, reset: Reset, hooks: Option<Hooks>) -> Result<(), CloseReason> {
    checkout.recycle(reset)?;
    hooks.map_or(Ok(()), |hooks| checkout.ask_after_release(&hooks))
}

impl CloseAtExit for Shared {
    fn close_at_exit(&self) {
        self.close();
    }
}
