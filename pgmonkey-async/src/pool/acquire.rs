//! Acquiring and releasing sessions: carries out the decisions of the pool's state.

use std::future::poll_fn;
use std::panic::Location;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use pgmonkey_connect::deadline::TimedCall;
use pgmonkey_connect::exit::CloseAtExit;
use pgmonkey_connect::hook::Approval;
use pgmonkey_connect::pool::{
    self, Acquiring, Caller, ConnectTask, Home, Permit, PoolCore, Shell, Step, Waiter,
};
use pgmonkey_connect::recycle::Verdict;
use pgmonkey_connect::{CloseReason, Error, events, expiry, limits};
use tracing::Instrument;

use crate::pool::Shared;
use crate::runtimes;
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
        let runtime = self.runtimes.at(task.home());
        runtime.spawn(open_one(task));
    }

    fn maintain(self: &Arc<Self>) {
        self.start_maintenance();
    }

    #[inline]
    fn home(session: &Box<Session>) -> Home {
        session.home()
    }

    #[inline]
    fn acquired(session: &Box<Session>, caller: &Caller) {
        session.acquired_at(caller.location);
    }

    #[inline]
    fn end_reason(session: &Box<Session>, now: Instant) -> Option<CloseReason> {
        session.end_reason(now)
    }

    /// Releases a clean session at once; another one is reset by a task.
    fn release(mut checkout: Checkout) {
        checkout.forget_unread();
        let pool = checkout.pool();
        if let Some(holder) = &pool.holder {
            holder.release();
        }
        let reset = pool.settings.reset;
        let hooks = pool.hooks.as_ref().filter(|h| h.asks_after_release());
        if hooks.is_none() && checkout.is_clean(reset) {
            checkout.warn_out_of_reach(reset);
            events::recycled(pool.core.label().name(), Verdict::Keep);
            checkout.limit_to(None);
            return checkout.release_clean();
        }
        let hooks = hooks.cloned();
        checkout.clean();
        // A runtime that shuts down drops the task, and the session with it.
        let runtime = runtimes::beside(checkout.runtime()).clone();
        runtime.spawn(recycle_and_release(checkout, hooks));
    }
}

/// Opens a session, retrying until there is one or none is needed.
async fn open_one(mut task: ConnectTask<Shared>) {
    loop {
        match task.step() {
            Step::End => return,
            Step::Pause(pause) => tokio::time::sleep(pause).await,
            Step::Open => {
                let Some(permitted) = task.permitted() else {
                    return;
                };
                task = permitted;
                let pool = Arc::clone(task.pool());
                match pool.open_session(task.take_permit()).await {
                    Ok(session) => return task.opened(session),
                    Err(error) => task.failed(&error),
                }
            }
        }
    }
}

impl Shared {
    pub(crate) async fn acquire(self: &Arc<Self>, caller: &mut Caller) -> Result<InUse, Error> {
        if let Some(holder) = &self.holder {
            holder.check()?;
        }
        self.core.check_origin()?;
        if let Some(span) = events::acquire(self.core.label().name()) {
            return Box::pin(self.acquire_in_span(caller).instrument(span)).await;
        }
        match pool::acquire(self, caller, None)? {
            Acquiring::Ready(checkout) if self.is_good(&checkout, caller) => {
                Ok(InUse::new(checkout, caller))
            }
            acquiring => Box::pin(self.acquire_checked(acquiring, caller)).await,
        }
    }

    /// As [`acquire`](Self::acquire), within an existing span.
    pub(crate) async fn acquire_in_span(
        self: &Arc<Self>,
        caller: &mut Caller,
    ) -> Result<InUse, Error> {
        let acquiring = pool::acquire(self, caller, None)?;
        self.acquire_checked(acquiring, caller).await
    }

    /// Whether a session was released just now, may be handed out, and needs no check.
    #[inline]
    fn is_good(&self, checkout: &Checkout, caller: &Caller) -> bool {
        let now = caller.began;
        !self.checks
            && !caller.checks
            && now.saturating_duration_since(checkout.since()) < FRESH
            && checkout.end_reason(now).is_none()
    }

    /// As [`acquire`](Self::acquire), for a session that needs a check or has to be waited for.
    pub(crate) async fn acquire_checked(
        self: &Arc<Self>,
        mut acquiring: Acquiring<Self>,
        caller: &mut Caller,
    ) -> Result<InUse, Error> {
        loop {
            let mut checkout = match acquiring {
                Acquiring::Ready(checkout) => checkout,
                Acquiring::Waiting(waiting) => self.wait(waiting, caller).await?,
            };
            match self.examine(&mut checkout, caller).await? {
                None => return Ok(InUse::new(checkout, caller)),
                Some(reason) => acquiring = checkout.replace(reason, caller)?,
            }
        }
    }

    /// Waits for a session to be released or opened.
    pub(crate) async fn wait(
        &self,
        waiting: Waiter<Self>,
        caller: &mut Caller,
    ) -> Result<Checkout, Error> {
        let wait = self.wait_until(waiting, caller);
        match events::wait(self.core.label().name()) {
            Some(span) => Box::pin(wait.instrument(span)).await,
            None => wait.await,
        }
    }

    /// With a `timeout` of 0 no caller waits for another; the wait is then for a session being
    /// opened, which `connect_timeout` limits.
    async fn wait_until(
        &self,
        mut waiting: Waiter<Self>,
        caller: &mut Caller,
    ) -> Result<Checkout, Error> {
        let deadline = match caller.wait_for(self.settings.timeout) {
            Duration::ZERO => None,
            timeout => caller.began.checked_add(timeout),
        };
        let Some(deadline) = deadline.into_iter().chain(caller.until).min() else {
            return poll_fn(|cx| waiting.poll(cx)).await;
        };
        let left = || deadline.saturating_duration_since(Instant::now());
        // The pool wakes its callers for its own timeout only.
        let is_timed = caller.until.is_some();
        // Nearly every wait ends long before its timeout, and setting a timer costs as much as all
        // the rest of it.
        let early = poll_fn(|cx| match waiting.poll(cx) {
            Poll::Pending if is_timed || waiting.needs_timer(left()) => Poll::Ready(None),
            polled => polled.map(Some),
        });
        if let Some(delivery) = early.await {
            return delivery;
        }
        let delivery = poll_fn(|cx| waiting.poll(cx));
        let in_time = Box::pin(tokio::time::timeout_at(deadline.into(), delivery)).await;
        in_time.unwrap_or_else(|_| waiting.time_out())
    }

    /// Checks a session before it is handed out. Returns why it must not be, or the hook's error
    /// that ends the search.
    async fn examine(
        &self,
        checkout: &mut Checkout,
        caller: &Caller,
    ) -> Result<Option<CloseReason>, Error> {
        let mut now = Instant::now();
        let unused_for = now.saturating_duration_since(checkout.since());
        if unused_for >= FRESH {
            checkout.look_at_socket(unused_for).await;
            now = Instant::now();
        }
        if let Some(reason) = checkout.end_reason(now) {
            return Ok(Some(reason));
        }
        if self.settings.check_on_checkout || caller.checks {
            checkout.check(CloseReason::Dead);
            let timeout = caller.at_most(self.settings.timeout);
            let limit = limits::check(timeout, caller.began.elapsed());
            if !checkout.answers(limit).await {
                return Ok(Some(CloseReason::Dead));
            }
        }
        let Some(hooks) = self.hooks.as_ref().filter(|h| h.asks_before_acquire()) else {
            return Ok(None);
        };
        checkout.check(CloseReason::Hook);
        let call = |until| TimedCall::until(until, caller.began);
        let call = caller.until.map(call);
        // Boxed, so that callers without a hook do not pay for its size.
        let asked = Box::pin(checkout.ask_before_acquire(hooks, self.settings.reset, call)).await;
        match asked {
            Approval::Accept => Ok(None),
            Approval::TryAnother => Ok(Some(CloseReason::Hook)),
            Approval::Fail(error) => match self.core.refused(&error, Instant::now()) {
                true => Ok(Some(CloseReason::Hook)),
                false => Err(error),
            },
        }
    }

    /// Opens a session.
    async fn open_session(self: &Arc<Self>, permit: Option<Permit>) -> Result<Box<Session>, Error> {
        self.check_first()?;
        self.watch_standbys();
        let opened = self.engine.open().await?;
        self.watch_hosts();
        // Its standbys are known from now on, if it is the first session.
        self.watch_standbys();
        let ends = expiry::end_of_life(Instant::now(), self.settings.max_lifetime, expiry::draw());
        let restore = opened.restore(&self.factory.connect_target);
        let (label, prepared) = (Arc::clone(self.core.label()), self.statements.begin());
        let mut session = Box::new(Session::new(opened, ends, restore, label, prepared));
        session.keep(permit);
        if self.holder.is_some() {
            Box::pin(session.begin_outer()).await?;
        }
        Ok(session)
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
    pub(crate) async fn fill(self: &Arc<Self>) -> Result<(), Error> {
        let mut caller = Caller::new(Location::caller(), runtimes::opened_for());
        let mut acquiring = Vec::new();
        for _ in 0..self.settings.min_size {
            acquiring.push(pool::acquire(self, &caller, None)?);
        }
        // All are held until all are open, so that none is handed out twice.
        let mut held = Vec::new();
        for acquiring in acquiring {
            held.push(match acquiring {
                Acquiring::Ready(checkout) => checkout,
                Acquiring::Waiting(waiting) => match self.wait(waiting, &mut caller).await {
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

async fn recycle_and_release(mut checkout: Checkout, hooks: Option<Hooks>) {
    let reset = checkout.pool().settings.reset;
    let mut clean = checkout.recycle(reset).await;
    if let (Ok(()), Some(hooks)) = (clean, hooks) {
        clean = checkout.ask_after_release(&hooks).await;
    }
    match clean {
        Ok(()) => {
            checkout.limit_to(None);
            checkout.release_clean();
        }
        Err(reason) => checkout.end(reason),
    }
}

impl CloseAtExit for Shared {
    fn close_at_exit(&self) {
        self.close();
    }
}
