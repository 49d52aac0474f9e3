//! r2d2, and what it takes to keep our promises on top of it. The only file that knows r2d2.
//!
//! r2d2 0.8 opens sessions on threads of its own, counts them, bounds their number, and is where
//! a thread waits for one. Idle sessions lie on the pool's shelf instead, on loan from r2d2: its
//! minimum, its ages and its queue act late (a sweep every 30 s, idle sessions only) or out of
//! order, and it never opens anything before somebody waits for it.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
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

/// A slot on loan. In a box made when it is opened, for it moves with each loan and each return.
pub(crate) type Loan = Box<PooledConnection<Opener>>;

/// r2d2's pool, with the wake-up it forgets.
///
/// r2d2 0.8 opens a session for a waiter only when it begins to wait, and not if it counts as
/// many as it may have; when it discards one it wakes nobody. The gate sees to it that there is
/// room for everybody behind it, but for one case: what takes idle sessions out without a place
/// and discards them takes that room for a moment, and has to call [`nudge`](Self::nudge).
pub(crate) struct Engine {
    /// With the number of sessions it has room for.
    pool: RwLock<(u32, r2d2::Pool<Opener>)>,
    manager: Arc<Manager>,
    threads: Arc<ScheduledThreadPool>,
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
    /// Whether its one session never leaves its transaction.
    pub(crate) for_tests: bool,
    /// How many sessions are being opened now.
    pub(crate) opening: AtomicU32,
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
        let (manager, threads) = (Arc::new(manager), Arc::new(threads));
        Self {
            pool: RwLock::new((max_size, build(&manager, &threads, max_size))),
            manager,
            threads,
            waiting: AtomicU32::new(0),
        }
    }

    /// Makes room for this many sessions. Those that are open stay with the pool they came from.
    pub(crate) fn make_room(&self, max_size: u32) {
        let mut pool = self.pool.write().unwrap_or_else(PoisonError::into_inner);
        if max_size > pool.0 {
            *pool = (max_size, build(&self.manager, &self.threads, max_size));
        }
    }

    /// Opens a session and waits for it until `timeout`, for ever if there is none. One that
    /// comes back in the meantime is as good; `idle` is asked for it once whoever brings one back
    /// knows that somebody waits.
    pub(crate) fn open(
        &self,
        timeout: Option<Duration>,
        idle: impl FnOnce() -> Option<Loan>,
    ) -> Option<Loan> {
        // r2d2 adds the time-out to the clock, which must not overflow.
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let taken = idle().or_else(|| {
            let timeout = timeout.unwrap_or(YEAR).min(YEAR);
            self.pool().get_timeout(timeout).ok().map(lent)
        });
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        taken
    }

    /// Whether somebody waits for a session to be opened.
    pub(crate) fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Hands an idle session to whoever waits for one to be opened.
    pub(crate) fn hand_over(&self, mut loan: Loan) {
        if let Slot::Open(session) = &mut **loan {
            session.keep(true);
        }
        drop(loan);
    }

    /// A session that was opened or handed over for somebody who had given up.
    pub(crate) fn left_behind(&self) -> Option<Loan> {
        let pool = self.pool();
        std::iter::from_fn(|| pool.try_get())
            .map(lent)
            .find(|loan| matches!(***loan, Slot::Open(_)))
    }

    /// Sees to it that nobody waits in vain, after idle sessions were discarded.
    pub(crate) fn nudge(&self) {
        for _ in 0..self.waiting.load(Ordering::SeqCst) {
            // Not waiting at all, r2d2 still begins to open a session and wakes a waiter with it.
            drop(self.pool().get_timeout(Duration::ZERO));
        }
    }

    /// How many sessions are being opened now.
    pub(crate) fn opening(&self) -> u32 {
        self.manager.opening.load(Ordering::SeqCst)
    }

    fn pool(&self) -> r2d2::Pool<Opener> {
        let pool = self.pool.read().unwrap_or_else(PoisonError::into_inner);
        pool.1.clone()
    }
}

/// From here on the pool has it: given back to the engine it ends.
fn lent(mut slot: PooledConnection<Opener>) -> Loan {
    if let Slot::Open(session) = &mut *slot {
        session.keep(false);
    }
    Box::new(slot)
}

fn build(
    manager: &Arc<Manager>,
    threads: &Arc<ScheduledThreadPool>,
    room: u32,
) -> r2d2::Pool<Opener> {
    r2d2::Pool::builder()
        .max_size(room)
        .min_idle(Some(0))
        .max_lifetime(None)
        .idle_timeout(None)
        .test_on_check_out(false)
        .error_handler(Box::new(NopErrorHandler))
        .thread_pool(Arc::clone(threads))
        .build_unchecked(Opener(Arc::clone(manager)))
}

/// The manager, as r2d2 has it: one for every pool that is built.
pub(crate) struct Opener(Arc<Manager>);

impl ManageConnection for Opener {
    type Connection = Slot;
    type Error = Infallible;

    fn connect(&self) -> Result<Slot, Infallible> {
        let manager = &self.0;
        manager.opening.fetch_add(1, Ordering::SeqCst);
        let slot = manager.open().unwrap_or_else(Slot::Failed);
        manager.opening.fetch_sub(1, Ordering::SeqCst);
        Ok(slot)
    }

    /// Never asked: sessions are judged outside, where their discarding is known.
    fn is_valid(&self, _: &mut Slot) -> Result<(), Infallible> {
        Ok(())
    }

    /// Asked when a slot comes back: true discards it. Idle sessions lie on the pool's shelf; what
    /// is handed over to a waiter alone passes through here and stays.
    fn has_broken(&self, slot: &mut Slot) -> bool {
        match slot {
            Slot::Failed(_) => true,
            Slot::Open(session) => !session.is_kept() || self.0.closing.load(Ordering::Acquire),
        }
    }
}

impl Manager {
    fn open(&self) -> Result<Slot, Error> {
        self.check_open()?;
        self.check_first()?;
        let _span = events::connect(self.ledger.name()).entered();
        let began = Instant::now();
        let terms = Terms {
            provider: self.provider.as_ref(),
            hooks: self.hooks.as_ref(),
            ..Terms::default()
        };
        let opened = dial(&self.dialing, terms)
            .inspect_err(|error| self.ledger.open_failed(error, Instant::now()))?;
        self.ledger.connected(began);
        // Nobody may be left to take it, and nobody would close it then.
        self.check_open()?;
        let ends = expiry::end_of_life(Instant::now(), self.max_lifetime, expiry::draw());
        let restore = opened.restore(&self.dialing);
        let (ledger, prepared) = (Arc::clone(&self.ledger), self.statements.begin());
        let mut session = Session::new(opened, ends, restore, ledger, prepared);
        if self.for_tests {
            session.begin_outer()?;
        }
        Ok(Slot::Open(Box::new(session)))
    }

    /// A second session would not see what the first one holds.
    fn check_first(&self) -> Result<(), Error> {
        match self.for_tests && self.ledger.ever_opened() {
            true => Err(Error::TestTransactionOver),
            false => Ok(()),
        }
    }

    fn check_open(&self) -> Result<(), Error> {
        match self.closing.load(Ordering::Acquire) {
            true => Err(Error::Closed { what: self.what }),
            false => Ok(()),
        }
    }
}
