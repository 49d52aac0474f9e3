//! r2d2, and what it takes to keep our promises on top of it. The only file that knows r2d2.
//!
//! r2d2 0.8 keeps the idle sessions, opens new ones on threads of its own and counts. It is
//! told little else: its minimum, its ages and its queue are switched off, for they act late
//! (a sweep every 30 s, idle sessions only) or out of order, and it never opens anything before
//! somebody waits for it.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pgmonkey_connect::ledger::Ledger;
use pgmonkey_connect::{Dialing, Error, events, expiry};
use r2d2::{ManageConnection, NopErrorHandler, PooledConnection};
use scheduled_thread_pool::{OnPoolDropBehavior, ScheduledThreadPool};

use crate::builder::Provider;
use crate::dial::{Terms, dial};
use crate::hooks::Hooks;
use crate::prepared::Statements;
use crate::session::Session;

/// What r2d2 is given as a connection.
///
/// r2d2 retries a failed connect until the caller's time-out and keeps only its text. So a
/// failure is handed to it as a connection: it reaches the caller at once, whole, and is
/// discarded when it comes back.
pub(crate) enum Slot {
    Open(Box<Session>),
    Failed(Error),
}

/// A slot on loan.
pub(crate) type Loan = PooledConnection<Manager>;

/// r2d2's pool, with the wake-up it forgets.
///
/// r2d2 0.8 opens a session for a waiter only when it begins to wait, and not if it counts as
/// many as it may have; when it discards one it wakes nobody. The gate sees to it that there is
/// room for everybody behind it, but for one case: what takes sessions out without a place, as
/// [`drain`](Self::drain) does, takes that room for a moment.
pub(crate) struct Engine {
    pool: r2d2::Pool<Manager>,
    waiting: AtomicU32,
}

/// Opens and judges sessions on r2d2's behalf.
pub(crate) struct Manager {
    pub(crate) what: &'static str,
    pub(crate) dialing: Dialing,
    pub(crate) provider: Option<Provider>,
    pub(crate) hooks: Option<Hooks>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) closing: Arc<AtomicBool>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) statements: Statements,
}

impl Engine {
    /// Builds the engine. Opens nothing.
    pub(crate) fn new(manager: Manager, max_size: u32, workers: u32) -> Self {
        // r2d2's own default is three threads a pool that linger for 30 s after it is gone.
        let threads = ScheduledThreadPool::builder()
            .num_threads(workers.clamp(1, max_size) as usize)
            .thread_name_pattern("pgmonkey-open-{}")
            .on_drop_behavior(OnPoolDropBehavior::DiscardPendingScheduled)
            .build();
        let pool = r2d2::Pool::builder()
            .max_size(max_size)
            .min_idle(Some(0))
            .max_lifetime(None)
            .idle_timeout(None)
            .test_on_check_out(false)
            .error_handler(Box::new(NopErrorHandler))
            .thread_pool(Arc::new(threads))
            .build_unchecked(manager);
        Self {
            pool,
            waiting: AtomicU32::new(0),
        }
    }

    /// Takes an idle session out, or opens one and waits for it until `timeout` (for ever if
    /// there is none). A session that is over is discarded on the way.
    pub(crate) fn take(&self, manager: &Judge, timeout: Option<Duration>) -> Option<Loan> {
        let began = Instant::now();
        loop {
            let mut loan = match self.take_idle() {
                Some(loan) => loan,
                None => {
                    self.wait(timeout.map(|timeout| timeout.saturating_sub(began.elapsed())))?
                }
            };
            if manager.approves(&mut loan) {
                return Some(loan);
            }
        }
    }

    /// Takes the idle sessions out, whatever their state. They are discarded when they come
    /// back, so that this ends.
    pub(crate) fn drain(&self) {
        while let Some(loan) = self.take_idle() {
            drop(loan);
        }
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // Not waiting at all, r2d2 still begins to open a session and wakes a waiter with it.
            drop(self.pool.get_timeout(Duration::ZERO));
        }
    }

    fn take_idle(&self) -> Option<Loan> {
        self.pool.try_get()
    }

    fn wait(&self, timeout: Option<Duration>) -> Option<Loan> {
        // r2d2 adds the time-out to the clock, which must not overflow.
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let taken = self.pool.get_timeout(timeout.unwrap_or(YEAR).min(YEAR));
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        taken.ok()
    }
}

/// Says whether a session may be handed out.
pub(crate) struct Judge {
    pub(crate) closing: Arc<AtomicBool>,
    pub(crate) check_on_checkout: bool,
}

impl Judge {
    fn approves(&self, loan: &mut Loan) -> bool {
        let Slot::Open(session) = &mut **loan else {
            // A failure is handed out for its reason.
            return true;
        };
        let over = self.closing.load(Ordering::Acquire)
            || session.is_over(Instant::now())
            || self.check_on_checkout && !session.answers();
        if over {
            session.discard();
        }
        !over
    }
}

impl ManageConnection for Manager {
    type Connection = Slot;
    type Error = Infallible;

    fn connect(&self) -> Result<Slot, Infallible> {
        let _span = events::connect(self.ledger.name()).entered();
        let began = Instant::now();
        let terms = Terms {
            provider: self.provider.as_ref(),
            hooks: self.hooks.as_ref(),
            ..Terms::default()
        };
        let opened = dial(&self.dialing, terms);
        Ok(match opened {
            // Nobody may be left to take it, and nobody would close it then.
            Ok(_) if self.closing.load(Ordering::Acquire) => {
                Slot::Failed(Error::Closed { what: self.what })
            }
            Ok(opened) => {
                self.ledger.connected(began);
                let ends = expiry::end_of_life(Instant::now(), self.max_lifetime, expiry::draw());
                let ledger = Arc::clone(&self.ledger);
                let prepared = self.statements.begin();
                Slot::Open(Box::new(Session::new(opened, ends, ledger, prepared)))
            }
            Err(error) => {
                self.ledger.open_failed(&error);
                Slot::Failed(error)
            }
        })
    }

    /// Never asked: sessions are judged outside, where their discarding is known.
    fn is_valid(&self, _: &mut Slot) -> Result<(), Infallible> {
        Ok(())
    }

    /// Asked when a slot comes back: true discards it.
    fn has_broken(&self, slot: &mut Slot) -> bool {
        match slot {
            Slot::Failed(_) => true,
            Slot::Open(session) => {
                session.is_discarded()
                    || session.is_expired(Instant::now())
                    || self.closing.load(Ordering::Acquire)
            }
        }
    }
}
