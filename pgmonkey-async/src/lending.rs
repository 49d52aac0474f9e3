//! How sessions are lent and taken back: what a pool does for its borrowers.
use std::panic::{Location, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pgmonkey_connect::exit::CloseAtExit;
use pgmonkey_connect::hook::Approval;
use pgmonkey_connect::retry::Patience;
use pgmonkey_connect::shelf::{FRESH, Put};
use pgmonkey_connect::{CloseReason, Error, events, limits};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::engine::{self, Loan};
use crate::gate::Place;
use crate::guard::ClientGuard;
use crate::hooks::Hooks;
use crate::lease::Lease;
use crate::line::{Begun, Handed, Waiting};
use crate::pool::Shared;

/// How long a session that is being made clean is waited for before another is opened, which
/// takes longer than most of what has to be undone.
const GRACE: Duration = Duration::from_millis(5);

impl Shared {
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        place: &'static Location<'static>,
    ) -> Result<ClientGuard, Error> {
        self.check_origin()?;
        let began = Instant::now();
        match events::acquire(self.ledger.name()) {
            Some(span) => Box::pin(self.lend(place, began).instrument(span)).await,
            None => self.lend(place, began).await,
        }
    }

    async fn lend(
        self: &Arc<Self>,
        place: &'static Location<'static>,
        began: Instant,
    ) -> Result<ClientGuard, Error> {
        let (right, now) = match self.gate.try_enter() {
            Some(right) => (right, began),
            None => (self.enter().await?, Instant::now()),
        };
        self.lend_to(right, place, began, now).await
    }

    /// A session that came back just now, is good, and needs not be asked.
    fn take_good(&self, now: Instant) -> Option<Loan> {
        let asks = |hooks: &Hooks| hooks.asks_before_acquire();
        if self.settings.check_on_checkout || self.hooks.as_ref().is_some_and(asks) {
            return None;
        }
        let since = now.checked_sub(FRESH)?;
        while let Some(mut loan) = self.shelf.take_fresh(since) {
            if !self.is_closed() && !loan.is_over(now) {
                return Some(loan);
            }
            self.discard(loan);
        }
        None
    }

    /// Lets the runtime look at the sockets of the idle sessions, and their drivers take in what
    /// was found there: a session that the server ended looks alive until then.
    async fn look(&self) {
        let is_seen = || self.shelf.all(|loan| loan.is_at_rest());
        for _ in 0..16 {
            if self.shelf.is_empty() {
                return;
            }
            // Goes on only after the runtime has asked the system what has happened, or while
            // another of its threads waits for just that.
            tokio::task::yield_now().await;
            if is_seen() {
                return;
            }
        }
    }

    /// Waits for the right to a session.
    pub(crate) async fn enter(&self) -> Result<Place, Error> {
        self.gate.enter(&self.ledger, self.settings.timeout).await
    }

    /// Acquires a session for a caller that holds a permit since `now` and asked at `began`.
    pub(crate) async fn lend_to(
        self: &Arc<Self>,
        right: Place,
        place: &'static Location<'static>,
        began: Instant,
        now: Instant,
    ) -> Result<ClientGuard, Error> {
        match self.take_good(now) {
            Some(loan) => Ok(self.guard(loan, right, place, began)),
            None => Box::pin(self.look_for_one(right, place, began)).await,
        }
    }

    /// As [`lend_to`](Self::lend_to), where no session is known to be good.
    async fn look_for_one(
        self: &Arc<Self>,
        mut right: Place,
        place: &'static Location<'static>,
        began: Instant,
    ) -> Result<ClientGuard, Error> {
        let mut failures = 0;
        loop {
            self.look().await;
            let (mut loan, its_place) = match self.take_idle(began).await {
                Some(loan) => (loan, right),
                None => self.wait(right, began).await?,
            };
            right = its_place;
            // Closed meanwhile: what comes back now is discarded.
            if self.is_closed() {
                return Err(Error::Closed { what: self.what });
            }
            let error = match self.approve(&mut loan).await {
                Ok(true) => return Ok(self.guard(loan, right, place, began)),
                Ok(false) => {
                    self.discard(loan);
                    continue;
                }
                Err(error) => error,
            };
            drop(loan);
            failures += 1;
            let (patience, now) = (self.patience(began), Instant::now());
            match patience.pause(&error, failures, now) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(patience.give_up(error, now)),
            }
        }
    }

    fn guard(
        self: &Arc<Self>,
        loan: Loan,
        right: Place,
        place: &'static Location<'static>,
        began: Instant,
    ) -> ClientGuard {
        let number = self.ledger.lent(place, began);
        ClientGuard::new(Lease::new(Arc::clone(self), loan, number, right))
    }

    /// An idle session that is still good; those that are not are discarded.
    async fn take_idle(&self, began: Instant) -> Option<Loan> {
        while let Some(mut loan) = self.shelf.take() {
            if self.is_good(&mut loan, began).await {
                return Some(loan);
            }
            self.discard(loan);
        }
        None
    }

    /// Whether a session may be handed out to a caller who asked at `began`.
    async fn is_good(&self, loan: &mut Loan, began: Instant) -> bool {
        // What is closed meanwhile is discarded by whoever gets it.
        if self.is_closed() {
            return true;
        }
        let now = Instant::now();
        if loan.is_over(now) {
            return false;
        }
        let waited = || now.saturating_duration_since(began);
        !self.settings.check_on_checkout
            || loan
                .answers(limits::check(self.settings.timeout, waited()))
                .await
    }

    /// A new session as soon as it is open, or one that comes back before. The time to open it is
    /// bounded by `connect_timeout`; `timeout` is for waiting, and 0 means not to wait for
    /// others, not that nothing may ever be opened.
    async fn wait(
        self: &Arc<Self>,
        mut right: Place,
        began: Instant,
    ) -> Result<(Loan, Place), Error> {
        loop {
            let mut waiting = match Waiting::begin(self, began) {
                Begun::Waiting(waiting) => waiting,
                Begun::Idle(mut loan) => match self.is_good(&mut loan, began).await {
                    true => return Ok((loan, right)),
                    false => {
                        self.discard(loan);
                        continue;
                    }
                },
            };
            self.signal.revive(self);
            tokio::spawn(waiting.opener(right).run());
            let timeout = self.settings.timeout;
            let left = timeout.saturating_sub(began.elapsed());
            let left = (!timeout.is_zero()).then_some(left);
            let Some(handed) = waiting.handed(left).await else {
                return Err(self.ledger.timed_out(began.elapsed(), Instant::now()));
            };
            let Handed { mut loan, place } = handed?;
            if self.is_good(&mut loan, began).await {
                return Ok((loan, place));
            }
            self.discard(loan);
            right = place;
        }
    }

    /// Lets the hook see a session before it is lent; false for one that it refused, where
    /// another is tried at once.
    async fn approve(&self, loan: &mut Loan) -> Result<bool, Error> {
        let Some(hooks) = self.hooks.as_ref().filter(|h| h.asks_before_acquire()) else {
            return Ok(true);
        };
        // Boxed, so that nobody pays for its size who has no hook.
        let asked = Box::pin(loan.ask_before_acquire(hooks, self.settings.reset)).await;
        match asked {
            Approval::Lend => Ok(true),
            Approval::TryAnother => Ok(false),
            Approval::Fail(error) => {
                self.ledger.open_failed(&error, Instant::now());
                Err(error)
            }
        }
    }

    /// Waits a moment for sessions that are being made clean.
    pub(crate) async fn settled(&self) {
        let settled = async {
            loop {
                let recycled = self.recycled.notified();
                if self.recycling.load(Ordering::SeqCst) == 0 {
                    return;
                }
                recycled.await;
            }
        };
        if self.recycling.load(Ordering::SeqCst) > 0 {
            let _ = tokio::time::timeout(GRACE, settled).await;
        }
    }

    /// How long a caller who asked at `began` puts up with a server that gives no session.
    pub(crate) fn patience(&self, began: Instant) -> Patience<'_> {
        Patience {
            ledger: &self.ledger,
            settings: &self.settings,
            began,
        }
    }

    /// Opens a session.
    pub(crate) async fn open(&self) -> Result<Loan, Error> {
        engine::open(&self.engine, self.what).await
    }

    /// Opens `min_size` sessions, `num_workers` of them side by side. Nobody borrows them for that:
    /// no hook is asked, and nothing is counted but their opening.
    pub(crate) async fn fill(self: &Arc<Self>) -> Result<(), Error> {
        let missing = Arc::new(AtomicU32::new(self.settings.min_size));
        let mut workers = JoinSet::new();
        for _ in 0..self.settings.num_workers.min(self.settings.min_size) {
            let (shared, missing) = (Arc::clone(self), Arc::clone(&missing));
            workers.spawn(async move {
                let mut opened = Vec::new();
                let take_one = |left: u32| left.checked_sub(1);
                while missing
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one)
                    .is_ok()
                {
                    let place = shared.enter().await?;
                    opened.push(Box::pin(shared.wait(place, Instant::now())).await?);
                }
                Ok::<_, Error>(opened)
            });
        }
        // All are held until all are open, so that none is taken for another.
        let mut held = Vec::new();
        while let Some(opened) = workers.join_next().await {
            match opened {
                Ok(opened) => held.extend(opened?),
                Err(failed) => resume_unwind(failed.into_panic()),
            }
        }
        for (loan, place) in held {
            self.put(loan, Instant::now(), place);
        }
        Ok(())
    }

    /// Puts an idle session down, or hands it to whoever waits for one to be opened, with the
    /// place that it was taken by.
    pub(crate) fn put(&self, loan: Loan, since: Instant, place: Place) {
        let mut handed = Handed { loan, place };
        loop {
            let Handed { loan, place } = handed;
            match self.shelf.put(loan, since) {
                Put::Shelved => {
                    drop(place);
                    break;
                }
                Put::Handed(loan, waiter) => match waiter.hand(Handed { loan, place }) {
                    None => break,
                    Some(unwanted) => handed = unwanted,
                },
            }
        }
        if self.is_closed() {
            self.clear();
        }
    }

    /// Ends a session that says itself why.
    pub(crate) fn discard(&self, loan: Loan) {
        drop(loan);
        self.signal.wake();
    }

    /// Ends idle sessions.
    pub(crate) fn discard_all(&self, loans: Vec<Loan>, reason: Option<CloseReason>) {
        for mut loan in loans {
            if let Some(reason) = reason {
                loan.ends_for(reason);
            }
            self.discard(loan);
        }
    }

    /// Refuses a child of `fork` that inherited the pool.
    pub(crate) fn check_origin(&self) -> Result<(), Error> {
        self.origin.check(self.what)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn resize(&self, min_size: u32, max_size: u32) {
        let before = self.ledger.resized(min_size, max_size);
        self.gate.resize(i64::from(max_size) - i64::from(before));
        events::resized(self.ledger.name(), min_size, max_size);
        self.signal.wake();
    }

    pub(crate) fn close(&self) {
        if self.closing.swap(true, Ordering::SeqCst) || !self.origin.is_here() {
            return;
        }
        self.gate.close();
        self.clear();
        self.signal.wake();
        events::closed(self.ledger.name(), self.what);
    }

    /// Ends the idle sessions of a pool that is closed, and sends those who wait for one away.
    fn clear(&self) {
        let (idle, waiters) = self.shelf.clear();
        drop(idle);
        for waiter in waiters {
            waiter.refuse(Error::Closed { what: self.what });
        }
    }
}

impl CloseAtExit for Shared {
    fn close_at_exit(&self) {
        self.close();
    }
}
