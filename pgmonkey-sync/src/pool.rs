//! Many sessions, lent one at a time.

use std::fmt;
use std::panic::{Location, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use pgmonkey_config::{Config, ConnectionType, PoolSettings};
use pgmonkey_connect::exit::{self, CloseAtExit};
use pgmonkey_connect::hook::Approval;
use pgmonkey_connect::ledger::Ledger;
use pgmonkey_connect::{Dialing, Error, Report, Status, events, retry};

use crate::builder::Extras;
use crate::context;
use crate::engine::{Engine, Judge, Loan, Manager, Slot};
use crate::gate::{Gate, Place};
use crate::guard::ClientGuard;
use crate::hooks::Hooks;
use crate::prepared::Statements;
use crate::session::Session;
use crate::statements::statements;
use crate::transaction::Transaction;

/// A pool of sessions for threads.
///
/// A cheap clone of one pool; sessions end when the last clone and the last guard are gone, or
/// at [`close`](Self::close). What comes out of it is clean: whatever a borrower left open is
/// rolled back before the next one gets the session.
///
/// Most programs get theirs from a [`ConnectionManager`](crate::ConnectionManager), which
/// returns the same pool for the same configuration.
///
/// ```no_run
/// use pgmonkey_sync::{Config, Error, Pool};
///
/// fn main() -> Result<(), Error> {
///     let pool = Pool::new(&Config::from_file("pgmonkey.yaml")?)?;
///     let mut client = pool.acquire()?; // a `postgres::Client` until it is dropped
///     client.batch_execute("REFRESH MATERIALIZED VIEW sales")?;
///     println!("{}", pool.status());
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

pub(crate) struct Shared {
    what: &'static str,
    engine: Engine,
    judge: Judge,
    gate: Gate,
    ledger: Arc<Ledger>,
    closing: Arc<AtomicBool>,
    pub(crate) settings: PoolSettings,
    hooks: Option<Hooks>,
}

impl Pool {
    /// Opens a pool by the `pool_settings` and `sync_settings` of `config`, and its `min_size`
    /// sessions with it. The pool belongs to the caller: no cache knows it.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] with the reason if a session cannot be opened;
    /// [`Error::SessionSetting`] or [`Error::Unsupported`] naming the key;
    /// [`Error::InsideAsync`] inside an async task.
    pub fn new(config: &Config) -> Result<Self, Error> {
        Self::with(config, Extras::default())
    }

    pub(crate) fn with(config: &Config, extras: Extras) -> Result<Self, Error> {
        let settings = config.pool_settings_for(ConnectionType::Pool).clone();
        Self::open("pool", config, ConnectionType::Pool, settings, extras)
    }

    pub(crate) fn open(
        what: &'static str,
        config: &Config,
        connection_type: ConnectionType,
        settings: PoolSettings,
        extras: Extras,
    ) -> Result<Self, Error> {
        context::check("opening a blocking pool", "pgmonkey_async::Pool")?;
        let dialing = Dialing::new(config, connection_type)?
            .asking_provider(extras.provider.is_some())
            .named(extras.name);
        let ledger = Arc::new(Ledger::named(
            Arc::clone(dialing.name()),
            Arc::clone(dialing.target()),
            settings.min_size,
            settings.max_size,
        ));
        let closing = Arc::new(AtomicBool::new(false));
        let manager = Manager {
            what,
            dialing,
            provider: extras.provider,
            hooks: extras.hooks.clone(),
            ledger: Arc::clone(&ledger),
            closing: Arc::clone(&closing),
            max_lifetime: settings.max_lifetime,
            statements: Statements::new(settings.statement_cache, &ledger),
        };
        let shared = Arc::new(Shared {
            what,
            engine: Engine::new(manager, settings.max_size, settings.num_workers),
            judge: Judge {
                closing: Arc::clone(&closing),
                check_on_checkout: settings.check_on_checkout,
            },
            gate: Gate::new(what, settings.max_size, settings.max_waiting),
            ledger,
            closing,
            settings,
            hooks: extras.hooks,
        });
        shared.fill()?;
        exit::register(Arc::downgrade(&shared) as Weak<dyn CloseAtExit>);
        Ok(Self(shared))
    }

    /// Borrows a session, waiting for at most `timeout` if all are in use; dropping the guard
    /// gives it back.
    ///
    /// Sends the server nothing when an idle session is at hand, unless `check_on_checkout` is
    /// on. A session that died or reached its `max_lifetime` is replaced first. While a server
    /// that was reached before is away, the call tries again until `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] saying who has the sessions, [`Error::QueueFull`], [`Error::Closed`],
    /// [`Error::Connect`] at once when no retry can help, [`Error::InsideAsync`] inside an async
    /// task.
    #[track_caller]
    pub fn acquire(&self) -> Result<ClientGuard, Error> {
        context::check("Pool::acquire", "pgmonkey_async::Pool")?;
        self.0.acquire(Location::caller())
    }

    pub(crate) fn pool(&self) -> &Self {
        self
    }

    /// Runs `f` in a transaction on a session of its own: committed if `f` returns `Ok`, rolled
    /// back if it returns `Err` or panics.
    ///
    /// # Errors
    ///
    /// What `f` returned; those of [`acquire`](Self::acquire); [`Error::RolledBack`] if `f`
    /// returned `Ok` although one of its statements had failed.
    #[track_caller]
    pub fn transaction<T>(
        &self,
        f: impl FnOnce(&mut Transaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut transaction = self.begin()?;
        let value = f(&mut transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    /// Begins a transaction that keeps a session of its own until it is committed, rolled back
    /// or dropped, which rolls back.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire) and of `BEGIN`.
    #[track_caller]
    pub fn begin(&self) -> Result<Transaction, Error> {
        Transaction::begin(self.acquire()?)
    }

    /// Asks the server for a sign of life and says what answered. One round trip.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    #[track_caller]
    pub fn ping(&self) -> Result<Report, Error> {
        self.acquire()?.ping()
    }

    /// The pool's numbers now. Sends nothing.
    pub fn status(&self) -> Status {
        self.0.ledger.status()
    }

    /// `user@host:port/database`, as the file says it.
    pub fn target(&self) -> &str {
        self.0.ledger.target()
    }

    /// Closes the pool: no new acquires, those who wait get [`Error::Closed`], idle sessions end
    /// now, borrowed ones when they come back. Does not wait for them. Closing twice is
    /// harmless.
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.0.closing.load(Ordering::Acquire)
    }

    /// Whether both are handles of one pool.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

statements!(Pool);

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("target", &self.target())
            .field("status", &self.status())
            .finish()
    }
}

impl Shared {
    fn acquire(self: &Arc<Self>, place: &'static Location<'static>) -> Result<ClientGuard, Error> {
        let _span = events::acquire(self.ledger.name()).entered();
        let began = Instant::now();
        let right = self.gate.enter(&self.ledger, self.settings.timeout)?;
        match self.take(began) {
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

    /// Takes an idle session or opens one; retries while the server is away.
    fn take(&self, began: Instant) -> Result<Loan, Error> {
        let mut failures = 0;
        loop {
            let Some(mut loan) = self.try_take(began) else {
                return Err(self.ledger.timed_out(began.elapsed(), Instant::now()));
            };
            let error = match &mut *loan {
                // Closed meanwhile: what comes back now is discarded.
                Slot::Open(_) if self.gate.is_closed() => {
                    return Err(Error::Closed { what: self.what });
                }
                Slot::Open(session) => match self.approve(session) {
                    Ok(true) => return Ok(loan),
                    Ok(false) => continue,
                    Err(error) => error,
                },
                Slot::Failed(error) => error.clone(),
            };
            drop(loan);
            failures += 1;
            let left = self.settings.timeout.saturating_sub(began.elapsed());
            // A server that was never reached is more likely misnamed than away.
            if !self.ledger.ever_opened() || self.gate.is_closed() {
                return Err(error);
            }
            match retry::pause(&error, failures, left) {
                Some(pause) => std::thread::sleep(pause),
                None => return Err(self.give_up(error, began)),
            }
        }
    }

    /// An idle session at once, or a new one as soon as it is open. The time to open it is
    /// bounded by `connect_timeout`; `timeout` is for waiting, and 0 means not to wait for
    /// others, not that nothing may ever be opened.
    fn try_take(&self, began: Instant) -> Option<Loan> {
        let timeout = self.settings.timeout;
        let left = timeout.saturating_sub(began.elapsed());
        self.engine
            .take(&self.judge, (!timeout.is_zero()).then_some(left))
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
                self.ledger.open_failed(&error);
                Err(error)
            }
        }
    }

    fn give_up(&self, error: Error, began: Instant) -> Error {
        if error.is_transient() {
            self.ledger.timed_out(began.elapsed(), Instant::now())
        } else {
            error
        }
    }

    /// Opens `min_size` sessions, `num_workers` of them side by side, and gives them back.
    fn fill(self: &Arc<Self>) -> Result<(), Error> {
        let place = Location::caller();
        let missing = AtomicU32::new(self.settings.min_size);
        let take_one = |left: u32| left.checked_sub(1);
        let open = || -> Result<Vec<ClientGuard>, Error> {
            let mut opened = Vec::new();
            while missing
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take_one)
                .is_ok()
            {
                opened.push(self.acquire(place)?);
            }
            Ok(opened)
        };
        let workers = self.settings.num_workers.min(self.settings.min_size);
        std::thread::scope(|scope| {
            // All are held until all are open, so that none is lent twice.
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(open)).collect();
            let opened: Vec<_> = threads.into_iter().map(ScopedJoinHandle::join).collect();
            opened.into_iter().try_for_each(|opened| match opened {
                Ok(opened) => opened.map(drop),
                Err(panic) => resume_unwind(panic),
            })
        })
    }

    /// Takes a session back: clean, or not at all.
    pub(crate) fn release(
        &self,
        mut loan: Loan,
        number: pgmonkey_connect::ledger::LoanId,
        right: Place,
    ) {
        if let Slot::Open(session) = &mut *loan {
            session.recycle(self.settings.reset);
            if let Some(hooks) = self.hooks.as_ref().filter(|h| h.asks_after_release()) {
                session.ask_after_release(hooks);
            }
        }
        self.ledger.returned(number);
        drop(loan);
        self.gate.leave(right);
    }

    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.gate.close();
        self.engine.drain();
        events::closed(self.ledger.name(), self.what);
    }
}

impl CloseAtExit for Shared {
    fn close_at_exit(&self) {
        self.close();
    }
}
