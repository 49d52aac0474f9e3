//! Many sessions, lent one at a time.

use std::fmt;
use std::ops::Deref;
use std::panic::{Location, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use pgmonkey_config::{Config, ConnectionType, PoolSettings};
use pgmonkey_connect::exit::{self, CloseAtExit};
use pgmonkey_connect::hook::Approval;
use pgmonkey_connect::ledger::{Ledger, LoanId};
use pgmonkey_connect::recycle::Verdict;
use pgmonkey_connect::shelf::{Put, Shelf};
use pgmonkey_connect::{CloseReason, Dialing, Error, Report, Status, events, retry};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::builder::Extras;
use crate::engine::{self, Engine, Loan, Manager};
use crate::gate::{Gate, Place};
use crate::guard::ClientGuard;
use crate::hooks::Hooks;
use crate::line::{Begun, Handed, Waiter, Waiting};
use crate::maintenance::{Maintenance, Signal};
use crate::prepared::Statements;
use crate::scoped::Scoped;
use crate::statements::statements;
use crate::transaction::Transaction;

/// A pool of sessions for tasks.
///
/// A cheap clone of one pool; sessions end when the last clone and the last guard are gone, or
/// at [`close`](Self::close). What comes out of it is clean: whatever a borrower left open is
/// rolled back before the next one gets the session.
///
/// A pool outlives the runtime that made it: from another runtime it finds its sessions dead
/// and opens new ones there.
///
/// Most programs get theirs from a [`ConnectionManager`](crate::ConnectionManager), which
/// returns the same pool for the same configuration.
///
/// ```no_run
/// use pgmonkey_async::{Config, Error, Pool};
///
/// #[tokio::main]
/// async fn main() -> Result<(), Error> {
///     let pool = Pool::new(&Config::from_file("pgmonkey.yaml")?).await?;
///     let client = pool.acquire().await?; // a `tokio_postgres::Client` until it is dropped
///     client.batch_execute("REFRESH MATERIALIZED VIEW sales").await?;
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
    pub(crate) shelf: Shelf<Loan, Waiter>,
    pub(crate) gate: Gate,
    pub(crate) ledger: Arc<Ledger>,
    closing: Arc<AtomicBool>,
    /// As many as may open sessions side by side.
    pub(crate) openers: Semaphore,
    pub(crate) opening: Arc<AtomicU32>,
    /// Sessions that came back and are being made clean.
    recycling: AtomicU32,
    recycled: Notify,
    pub(crate) settings: PoolSettings,
    hooks: Option<Hooks>,
    /// Wakes the maintenance.
    pub(crate) signal: Arc<Signal>,
}

impl Pool {
    /// Opens a pool by the `async_pool_settings` and `async_settings` of `config`, and its
    /// `min_size` sessions with it. The pool belongs to the caller: no cache knows it.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] with the reason if a session cannot be opened;
    /// [`Error::SessionSetting`] or [`Error::Unsupported`] naming the key.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with its time and I/O drivers.
    pub async fn new(config: &Config) -> Result<Self, Error> {
        Self::with(config, Extras::default()).await
    }

    pub(crate) async fn with(config: &Config, extras: Extras) -> Result<Self, Error> {
        let settings = config.pool_settings_for(ConnectionType::AsyncPool).clone();
        Self::open("pool", config, ConnectionType::AsyncPool, settings, extras).await
    }

    pub(crate) async fn open(
        what: &'static str,
        config: &Config,
        connection_type: ConnectionType,
        settings: PoolSettings,
        extras: Extras,
    ) -> Result<Self, Error> {
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
            opening: Arc::default(),
        };
        let opening = Arc::clone(&manager.opening);
        let shared = Arc::new(Shared {
            what,
            engine: engine::build(manager),
            shelf: Shelf::new(),
            gate: Gate::new(what, settings.max_size, settings.max_waiting),
            ledger,
            closing,
            openers: Semaphore::new(settings.num_workers.max(1) as usize),
            opening,
            recycling: AtomicU32::new(0),
            recycled: Notify::new(),
            settings,
            hooks: extras.hooks,
            signal: Arc::default(),
        });
        let mut owner = Owner {
            shared,
            _maintenance: None,
        };
        owner.fill().await?;
        exit::register(Arc::downgrade(&owner.shared) as Weak<dyn CloseAtExit>);
        // A single connection has no ages and no sizes to keep.
        if connection_type == ConnectionType::AsyncPool {
            owner._maintenance = Some(Maintenance::start(&owner.shared));
        }
        Ok(Self(Arc::new(owner)))
    }

    /// Borrows a session, waiting for at most `timeout` if all are in use; dropping the guard
    /// gives it back. Dropping the future leaves no trace.
    ///
    /// Sends the server nothing when an idle session is at hand, unless `check_on_checkout` is
    /// on. A session that died or reached its `max_lifetime` is replaced first. While a server
    /// that was reached before is away, the call tries again until `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] saying who has the sessions, [`Error::QueueFull`], [`Error::Closed`],
    /// [`Error::Connect`] at once when no retry can help.
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<ClientGuard, Error>> + Send + '_ {
        self.acquire_at(Location::caller())
    }

    /// As [`acquire`](Self::acquire), for code at `place`.
    pub(crate) fn acquire_at(
        &self,
        place: &'static Location<'static>,
    ) -> impl Future<Output = Result<ClientGuard, Error>> + Send + '_ {
        self.0.shared.acquire(place)
    }

    pub(crate) fn pool(&self) -> &Self {
        self
    }

    /// Runs `f` in a transaction on a session of its own: committed if `f` returns `Ok`, rolled
    /// back if it returns `Err`, panics, or the future is dropped.
    ///
    /// # Errors
    ///
    /// What `f` returned; those of [`acquire`](Self::acquire); [`Error::RolledBack`] if `f`
    /// returned `Ok` although one of its statements had failed.
    #[track_caller]
    pub fn transaction<T, F>(&self, f: F) -> impl Future<Output = Result<T, Error>>
    where
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, Error>,
    {
        let begin = self.begin();
        async move {
            let (transaction, back) = Scoped::lend(begin.await?);
            let value = f(transaction).await?;
            match back.take() {
                Some(transaction) => transaction.commit().await.map(|()| value),
                None => Err(Error::Kept),
            }
        }
    }

    /// Begins a transaction that keeps a session of its own until it is committed, rolled back
    /// or dropped, which rolls back.
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire) and of `BEGIN`.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction, Error>> + Send + '_ {
        let acquire = self.acquire();
        async move { Transaction::begin(acquire.await?).await }
    }

    /// Asks the server for a sign of life and says what answered. One round trip.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    #[track_caller]
    pub fn ping(&self) -> impl Future<Output = Result<Report, Error>> + Send + '_ {
        let acquire = self.acquire();
        async move { acquire.await?.ping().await }
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
    /// # fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
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
    /// # async fn example(pool: pgmonkey_async::Pool) {
    /// if !pool.close_timeout(std::time::Duration::from_secs(10)).await {
    ///     eprintln!("still in use: {}", pool.status());
    /// }
    /// # }
    /// ```
    pub async fn close_timeout(&self, timeout: Duration) -> bool {
        self.close();
        let is_over = || self.0.ledger.status().size == 0;
        self.0.gate.wait_back(timeout, is_over).await
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

/// How long a session that is being made clean is waited for before another is opened, which
/// takes longer than most of what has to be undone.
const GRACE: Duration = Duration::from_millis(5);

impl Shared {
    async fn acquire(
        self: &Arc<Self>,
        place: &'static Location<'static>,
    ) -> Result<ClientGuard, Error> {
        let span = events::acquire(self.ledger.name());
        self.lend(place).instrument(span).await
    }

    async fn lend(
        self: &Arc<Self>,
        place: &'static Location<'static>,
    ) -> Result<ClientGuard, Error> {
        let began = Instant::now();
        let mut right = self.gate.enter(&self.ledger, self.settings.timeout).await?;
        let mut failures = 0;
        loop {
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
            match self.pause(&error, failures, began) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(self.give_up(error, began)),
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
        ClientGuard::new(Lease {
            pool: Arc::clone(self),
            loan: Some(loan),
            number: Some(number),
            right: Some(right),
        })
    }

    /// An idle session that is still good; those that are not are discarded.
    async fn take_idle(&self, now: Instant) -> Option<Loan> {
        while let Some(mut loan) = self.shelf.take() {
            if self.is_good(&mut loan, now).await {
                return Some(loan);
            }
            self.discard(loan);
        }
        None
    }

    /// Whether a session may be handed out.
    async fn is_good(&self, loan: &mut Loan, now: Instant) -> bool {
        // What is closed meanwhile is discarded by whoever gets it.
        self.is_closed()
            || !loan.is_over(now) && (!self.settings.check_on_checkout || loan.answers().await)
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
            let mut waiting = match Waiting::begin(self) {
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
            tokio::spawn(waiting.opener(right, began).run());
            let timeout = self.settings.timeout;
            let left = timeout.saturating_sub(began.elapsed());
            let left = (!timeout.is_zero()).then_some(left);
            let Some(handed) = waiting.handed(left).await else {
                return Err(self.ledger.timed_out(began.elapsed(), Instant::now()));
            };
            let Handed { mut loan, place } = handed?;
            if self.is_good(&mut loan, Instant::now()).await {
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

    /// The pause before the next try after an error; `None` if there is none.
    pub(crate) fn pause(&self, error: &Error, failures: u32, began: Instant) -> Option<Duration> {
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

    pub(crate) fn give_up(&self, error: Error, began: Instant) -> Error {
        if error.is_transient() && self.ledger.ever_opened() && !self.is_given_up() {
            self.ledger.timed_out(began.elapsed(), Instant::now())
        } else {
            error
        }
    }

    /// The reason in an engine's error.
    pub(crate) fn reason(&self, error: mobc::Error<Error>) -> Error {
        engine::reason(error, self.what)
    }

    /// Opens `min_size` sessions, `num_workers` of them side by side, and gives them back.
    async fn fill(self: &Arc<Self>) -> Result<(), Error> {
        let place = Location::caller();
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
                    opened.push(shared.acquire(place).await?);
                }
                Ok::<_, Error>(opened)
            });
        }
        // All are held until all are open, so that none is lent twice.
        let mut held = Vec::new();
        while let Some(opened) = workers.join_next().await {
            match opened {
                Ok(opened) => held.push(opened?),
                Err(failed) => resume_unwind(failed.into_panic()),
            }
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

    pub(crate) fn is_closed(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    fn resize(&self, min_size: u32, max_size: u32) {
        let before = self.ledger.resized(min_size, max_size);
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

/// A session on loan with all that ends when it comes back. Dropped half-way, it leaves the books
/// right and the place free, and the session ends.
pub(crate) struct Lease {
    pub(crate) pool: Arc<Shared>,
    loan: Option<Loan>,
    number: Option<LoanId>,
    right: Option<Place>,
}

impl Lease {
    pub(crate) fn loan(&self) -> &Loan {
        self.loan.as_ref().expect("only the drop takes the loan")
    }

    pub(crate) fn loan_mut(&mut self) -> &mut Loan {
        self.loan.as_mut().expect("only the drop takes the loan")
    }

    /// Takes the session back: at once if it is clean, else as soon as it was made clean.
    pub(crate) fn release(self) {
        let reset = self.pool.settings.reset;
        let hooks = self.pool.hooks.clone().filter(Hooks::asks_after_release);
        if hooks.is_none() && self.loan().is_clean(reset) {
            events::recycled(self.pool.ledger.name(), Verdict::Keep);
            return self.put();
        }
        // A runtime that shuts down drops the task, and the session with it.
        let runtime = self.loan().runtime().clone();
        let recycling = Recycling::begin(&self.pool);
        runtime.spawn(async move {
            let mut lease = self;
            if lease.loan_mut().recycle(reset).await && lease.is_wanted(hooks).await {
                lease.put();
            }
            drop(recycling);
        });
    }

    /// Lets the hook say whether a session that was made clean is kept.
    async fn is_wanted(&mut self, hooks: Option<Hooks>) -> bool {
        match hooks {
            Some(hooks) => self.loan_mut().ask_after_release(&hooks).await,
            None => true,
        }
    }

    /// Ends the loan of a session that is clean.
    fn put(mut self) {
        let now = Instant::now();
        if self.pool.is_closed() || self.loan_mut().is_over(now) {
            return;
        }
        if let (Some(loan), Some(place)) = (self.loan.take(), self.right.take()) {
            self.end_loan();
            self.pool.put(loan, now, place);
        }
    }

    fn end_loan(&mut self) {
        if let Some(number) = self.number.take() {
            self.pool.ledger.returned(number);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end_loan();
        if let Some(loan) = self.loan.take() {
            self.pool.discard(loan);
        }
        drop(self.right.take());
    }
}

/// One session that is being made clean.
struct Recycling(Arc<Shared>);

impl Recycling {
    fn begin(pool: &Arc<Shared>) -> Self {
        pool.recycling.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(pool))
    }
}

impl Drop for Recycling {
    fn drop(&mut self) {
        self.0.recycling.fetch_sub(1, Ordering::SeqCst);
        self.0.recycled.notify_waiters();
    }
}
