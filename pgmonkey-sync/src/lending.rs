//! How sessions are lent and taken back: what a pool does for its borrowers.
use std::panic::{Location, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use pgmonkey_connect::exit::CloseAtExit;
use pgmonkey_connect::hook::Approval;
use pgmonkey_connect::ledger::LoanId;
use pgmonkey_connect::retry::Patience;
use pgmonkey_connect::shelf::Put;
use pgmonkey_connect::{CloseReason, Error, events, limits};
use tracing::Span;

use crate::engine::{Loan, Slot};
use crate::gate::Place;
use crate::guard::ClientGuard;
use crate::pool::Shared;
use crate::session::Session;

impl Shared {
    pub(crate) fn acquire(
        self: &Arc<Self>,
        place: &'static Location<'static>,
    ) -> Result<ClientGuard, Error> {
        self.check_origin()?;
        let _span = events::acquire(self.ledger.name()).map(Span::entered);
        let began = Instant::now();
        let right = self.gate.enter(&self.ledger, self.settings.timeout)?;
        match self.take(began, |session| self.approve(session)) {
            Ok(loan) => {
                let number = self.ledger.lent(place, began);
                Ok(ClientGuard::new(Arc::clone(self), loan, number, right))
            }
            Err(error) => {
                self.gate.leave(right);
                Err(error)
            }
        }
    }

    /// Takes an idle session that `approve` has nothing against, or opens one; retries while the
    /// server is away.
    fn take(
        &self,
        began: Instant,
        approve: impl Fn(&mut Session) -> Result<bool, Error>,
    ) -> Result<Loan, Error> {
        let mut failures = 0;
        loop {
            let Some(mut loan) = self.take_idle(began).or_else(|| self.open(began)) else {
                return Err(self.ledger.timed_out(began.elapsed(), Instant::now()));
            };
            if self.is_closed() {
                return Err(Error::Closed { what: self.what });
            }
            let error = match &mut **loan {
                Slot::Open(session) => match approve(session) {
                    Ok(true) => return Ok(loan),
                    Ok(false) => {
                        self.discard(loan);
                        continue;
                    }
                    Err(error) => error,
                },
                Slot::Failed(error) => error.clone(),
            };
            drop(loan);
            failures += 1;
            let (patience, now) = (self.patience(began), Instant::now());
            match patience.pause(&error, failures, now) {
                Some(pause) => std::thread::sleep(pause),
                None => return Err(patience.give_up(error, now)),
            }
        }
    }

    /// An idle session that is still good; those that are not are discarded.
    fn take_idle(&self, began: Instant) -> Option<Loan> {
        while let Some(mut loan) = self.shelf.take() {
            if self.is_good(&mut loan, began) {
                return Some(loan);
            }
            self.discard(loan);
        }
        None
    }

    /// A new session as soon as it is open, or one that comes back before. The time to open it is
    /// bounded by `connect_timeout`; `timeout` is for waiting, and 0 means not to wait for
    /// others, not that nothing may ever be opened.
    fn open(&self, began: Instant) -> Option<Loan> {
        loop {
            let timeout = self.settings.timeout;
            let left = timeout.saturating_sub(began.elapsed());
            let left = (!timeout.is_zero()).then_some(left);
            let mut loan = self.engine.open(left, || self.shelf.take())?;
            if self.is_good(&mut loan, began) {
                return Some(loan);
            }
            self.discard(loan);
        }
    }

    /// Whether a session may be handed out to a caller who asked at `began`. A failure is, for its
    /// reason.
    fn is_good(&self, loan: &mut Loan, began: Instant) -> bool {
        let Slot::Open(session) = &mut ***loan else {
            return true;
        };
        // What is closed meanwhile is discarded by whoever gets it.
        if self.is_closed() {
            return true;
        }
        let now = Instant::now();
        if session.is_over(now) {
            return false;
        }
        let waited = || now.saturating_duration_since(began);
        !self.settings.check_on_checkout
            || session.answers(limits::check(self.settings.timeout, waited()))
    }

    /// Lets the hook see a session before it is lent; false for one that it refused, where
    /// another is tried at once.
    fn approve(&self, session: &mut Session) -> Result<bool, Error> {
        let Some(hooks) = self.hooks.as_ref().filter(|h| h.asks_before_acquire()) else {
            return Ok(true);
        };
        match session.ask_before_acquire(hooks, self.settings.reset) {
            Approval::Lend => Ok(true),
            Approval::TryAnother => Ok(false),
            Approval::Fail(error) => {
                self.ledger.open_failed(&error, Instant::now());
                Err(error)
            }
        }
    }

    /// How long a caller who asked at `began` puts up with a server that gives no session.
    fn patience(&self, began: Instant) -> Patience<'_> {
        Patience {
            ledger: &self.ledger,
            settings: &self.settings,
            began,
        }
    }

    /// Opens `min_size` sessions, `num_workers` of them side by side. Nobody borrows them for that:
    /// no hook is asked, and nothing is counted but their opening.
    pub(crate) fn fill(&self) -> Result<(), Error> {
        let missing = AtomicU32::new(self.settings.min_size);
        let take_one = |left: u32| left.checked_sub(1);
        let open = || -> Result<Vec<Loan>, Error> {
            let mut opened = Vec::new();
            while missing
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one)
                .is_ok()
            {
                opened.push(self.take(Instant::now(), |_| Ok(true))?);
            }
            Ok(opened)
        };
        let workers = self.settings.num_workers.min(self.settings.min_size);
        // All are held until all are open, so that none is taken for another.
        let held: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(ScopedJoinHandle::join).collect()
        });
        for opened in held {
            let opened = opened.unwrap_or_else(|panic| resume_unwind(panic))?;
            for loan in opened {
                self.put(loan, Instant::now());
            }
        }
        Ok(())
    }

    /// Takes a session back: clean, or not at all.
    pub(crate) fn release(&self, mut loan: Loan, number: LoanId, right: Place) {
        if let Some(holder) = &self.holder {
            holder.release();
        }
        let now = Instant::now();
        let clean = match &mut **loan {
            Slot::Open(session) => {
                session.recycle(self.settings.reset)
                    && self.is_wanted(session)
                    && !session.is_known_over(now)
            }
            Slot::Failed(_) => false,
        };
        self.ledger.returned(number);
        match clean {
            true => self.put_back(loan, now),
            false => self.discard(loan),
        }
        self.gate.leave(right);
    }

    fn put_back(&self, mut loan: Loan, now: Instant) {
        if let Slot::Open(session) = &mut **loan {
            session.is_back(now);
        }
        self.put(loan, now);
    }

    /// Lets the hook say whether a session that was made clean is kept.
    fn is_wanted(&self, session: &mut Session) -> bool {
        let hooks = self.hooks.as_ref().filter(|h| h.asks_after_release());
        hooks.is_none_or(|hooks| session.ask_after_release(hooks))
    }

    /// Puts an idle session down, or hands it to whoever waits for one to be opened.
    pub(crate) fn put(&self, loan: Loan, now: Instant) {
        let Put::Shelved = self.shelf.put(loan, now);
        // In this order, as those who begin to wait look at the shelf once more.
        if self.engine.is_awaited()
            && let Some(loan) = self.shelf.take()
        {
            self.engine.hand_over(loan);
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

    /// Ends idle sessions that were taken out without a place.
    pub(crate) fn discard_all(&self, loans: Vec<Loan>, reason: Option<CloseReason>) {
        if loans.is_empty() {
            return;
        }
        for mut loan in loans {
            if let (Slot::Open(session), Some(reason)) = (&mut **loan, reason) {
                session.ends_for(reason);
            }
            self.discard(loan);
        }
        self.engine.nudge();
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
        self.engine.make_room(max_size);
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

    /// Ends the idle sessions of a pool that is closed.
    fn clear(&self) {
        let (idle, _) = self.shelf.clear();
        drop(idle);
        while let Some(loan) = self.engine.left_behind() {
            drop(loan);
        }
        self.engine.nudge();
    }
}

impl CloseAtExit for Shared {
    fn close_at_exit(&self) {
        self.close();
    }
}
