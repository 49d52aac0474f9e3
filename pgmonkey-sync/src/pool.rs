//! Many sessions, lent one at a time.

use std::fmt;
use std::ops::Deref;
use std::panic::{Location, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use pgmonkey_config::{Config, ConnectionType, PoolSettings};
use pgmonkey_connect::exit::{self, CloseAtExit};
use pgmonkey_connect::hook::Approval;
use pgmonkey_connect::ledger::{Ledger, LoanId};
use pgmonkey_connect::shelf::{Put, Shelf};
use pgmonkey_connect::{CloseReason, Dialing, Error, Report, Status, events, retry};

use crate::builder::Extras;
use crate::context;
use crate::engine::{Engine, Loan, Manager, Slot};
use crate::gate::{Gate, Place};
use crate::guard::ClientGuard;
use crate::hooks::Hooks;
use crate::maintenance::{Maintenance, Signal};
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
pub struct Pool(Arc<Owner>);

/// What the clones of a pool have in common; the last one closes it. Guards, and whatever works
/// in the background, have only what is shared.
struct Owner {
    shared: Arc<Shared>,
    _maintenance: Option<Maintenance>,
}

pub(crate) struct Shared {
    what: &'static str,
    pub(crate) engine: Engine,
    pub(crate) shelf: Shelf<Loan>,
    pub(crate) gate: Gate,
    pub(crate) ledger: Arc<Ledger>,
    closing: Arc<AtomicBool>,
    pub(crate) settings: PoolSettings,
    hooks: Option<Hooks>,
    /// Wakes the maintenance.
    pub(crate) signal: Arc<Signal>,
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
            opening: AtomicU32::new(0),
        };
        let shared = Arc::new(Shared {
            what,
            engine: Engine::new(manager, settings.max_size, settings.num_workers),
            shelf: Shelf::new(),
            gate: Gate::new(what, settings.max_size, settings.max_waiting),
            ledger,
            closing,
            settings,
            hooks: extras.hooks,
            signal: Arc::default(),
        });
        let mut owner = Owner {
            shared,
            _maintenance: None,
        };
        owner.fill()?;
        exit::register(Arc::downgrade(&owner.shared) as Weak<dyn CloseAtExit>);
        // A single connection has no ages and no sizes to keep.
        if connection_type == ConnectionType::Pool {
            owner._maintenance = Some(Maintenance::start(&owner.shared));
        }
        Ok(Self(Arc::new(owner)))
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
        self.0.shared.acquire(Location::caller())
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

    /// Has at least `min_size` and at most `max_size` sessions from now on.
    ///
    /// Growing takes effect at once: those who wait are let in, and the background opens what is
    /// missing. Shrinking takes no session away from a borrower: what is too much ends when it
    /// is idle.
    ///
    /// ```no_run
    /// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
    /// pool.resize(2, 50)?;
    /// assert_eq!(pool.status().max_size, 50);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Sizes`] if `min_size` is more than `max_size`, or that is 0.
    pub fn resize(&self, min_size: u32, max_size: u32) -> Result<(), Error> {
        if max_size == 0 || min_size > max_size {
            return Err(Error::Sizes { min_size, max_size });
        }
        self.0.resize(min_size, max_size);
        Ok(())
    }

    /// Closes the pool: no new acquires, those who wait get [`Error::Closed`], idle sessions end
    /// now, borrowed ones when they come back. Does not wait for them. Closing twice is
    /// harmless.
    pub fn close(&self) {
        self.0.close();
    }

    /// [`close`](Self::close)s the pool and waits until every borrowed session has come back and
    /// ended, for at most `timeout`. Whether they all have.
    ///
    /// ```no_run
    /// # fn example(pool: pgmonkey_sync::Pool) {
    /// if !pool.close_timeout(std::time::Duration::from_secs(10)) {
    ///     eprintln!("still in use: {}", pool.status());
    /// }
    /// # }
    /// ```
    pub fn close_timeout(&self, timeout: Duration) -> bool {
        self.close();
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + YEAR);
        let is_over = || self.0.ledger.status().size == 0;
        self.0.gate.wait_back(deadline, is_over)
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.0.shared.is_closed()
    }

    /// Whether both are handles of one pool.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.shared, &other.0.shared)
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

impl Deref for Owner {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Longer than anybody waits, and short enough to be added to the clock.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

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
            let now = Instant::now();
            let Some(mut loan) = self.take_idle(now).or_else(|| self.open(began)) else {
                return Err(self.ledger.timed_out(began.elapsed(), Instant::now()));
            };
            if self.is_closed() {
                return Err(Error::Closed { what: self.what });
            }
            let error = match &mut *loan {
                Slot::Open(session) => match self.approve(session) {
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
            match self.pause(&error, failures, began) {
                Some(pause) => std::thread::sleep(pause),
                None => return Err(self.give_up(error, began)),
            }
        }
    }

    /// An idle session that is still good; those that are not are discarded.
    fn take_idle(&self, now: Instant) -> Option<Loan> {
        while let Some(mut loan) = self.shelf.take() {
            if self.is_good(&mut loan, now) {
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
            if self.is_good(&mut loan, Instant::now()) {
                return Some(loan);
            }
            self.discard(loan);
        }
    }

    /// Whether a session may be handed out. A failure is, for its reason.
    fn is_good(&self, loan: &mut Loan, now: Instant) -> bool {
        let Slot::Open(session) = &mut **loan else {
            return true;
        };
        // What is closed meanwhile is discarded by whoever gets it.
        self.is_closed()
            || !session.is_over(now) && (!self.settings.check_on_checkout || session.answers())
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

    /// The pause before the next try after an error; `None` if there is none.
    fn pause(&self, error: &Error, failures: u32, began: Instant) -> Option<Duration> {
        // A server that was never reached is more likely misnamed than away.
        if !self.ledger.ever_opened() || self.is_given_up() {
            return None;
        }
        let left = self.settings.timeout.saturating_sub(began.elapsed());
        retry::pause(error, failures, left)
    }

    /// Whether the server has been away for longer than `reconnect_timeout`.
    fn is_given_up(&self) -> bool {
        let limit = self.settings.reconnect_timeout;
        let away = limit.and_then(|_| self.ledger.away_for(Instant::now()));
        away.zip(limit).is_some_and(|(away, limit)| away >= limit)
    }

    fn give_up(&self, error: Error, began: Instant) -> Error {
        if error.is_transient() && self.ledger.ever_opened() && !self.is_given_up() {
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
    pub(crate) fn release(&self, mut loan: Loan, number: LoanId, right: Place) {
        let now = Instant::now();
        let clean = match &mut *loan {
            Slot::Open(session) => {
                session.recycle(self.settings.reset)
                    && self.is_wanted(session)
                    && !session.is_known_over(now)
            }
            Slot::Failed(_) => false,
        };
        self.ledger.returned(number);
        match clean {
            true => self.put(loan, now),
            false => self.discard(loan),
        }
        self.gate.leave(right);
    }

    /// Lets the hook say whether a session that was made clean is kept.
    fn is_wanted(&self, session: &mut Session) -> bool {
        let hooks = self.hooks.as_ref().filter(|h| h.asks_after_release());
        hooks.is_none_or(|hooks| session.ask_after_release(hooks))
    }

    /// Puts an idle session down, or hands it to whoever waits for one to be opened.
    pub(crate) fn put(&self, loan: Loan, now: Instant) {
        let Put::Shelved = self.shelf.put(loan, now) else {
            unreachable!("threads wait at the engine, not at the shelf");
        };
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
            if let (Slot::Open(session), Some(reason)) = (&mut *loan, reason) {
                session.ends_for(reason);
            }
            self.discard(loan);
        }
        self.engine.nudge();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn resize(&self, min_size: u32, max_size: u32) {
        let before = self.ledger.resized(min_size, max_size);
        self.engine.make_room(max_size);
        self.gate.resize(i64::from(max_size) - i64::from(before));
        events::resized(self.ledger.name(), min_size, max_size);
        self.signal.wake();
    }

    fn close(&self) {
        if self.closing.swap(true, Ordering::SeqCst) {
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
