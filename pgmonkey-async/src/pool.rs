//! Many sessions, lent one at a time.

use std::fmt;
use std::panic::{Location, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Instant;

use pgmonkey_config::{Config, ConnectionType, PoolSettings};
use pgmonkey_connect::exit::{self, CloseAtExit};
use pgmonkey_connect::hook::Approval;
use pgmonkey_connect::ledger::{Ledger, LoanId};
use pgmonkey_connect::recycle::Verdict;
use pgmonkey_connect::{Dialing, Error, Report, Status, events, retry};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::builder::Extras;
use crate::engine::{self, Engine, Loan, Manager};
use crate::gate::{Gate, Place};
use crate::guard::ClientGuard;
use crate::hooks::Hooks;
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
pub struct Pool(Arc<Shared>);

pub(crate) struct Shared {
    what: &'static str,
    engine: Engine,
    gate: Gate,
    ledger: Arc<Ledger>,
    closing: Arc<AtomicBool>,
    /// Sessions that came back and are being made clean.
    recycling: AtomicU32,
    pub(crate) settings: PoolSettings,
    hooks: Option<Hooks>,
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
            check_on_checkout: settings.check_on_checkout,
            statements: Statements::new(settings.statement_cache, &ledger),
        };
        let shared = Arc::new(Shared {
            what,
            engine: engine::build(manager, settings.max_size),
            gate: Gate::new(what, settings.max_size, settings.max_waiting),
            ledger,
            closing,
            recycling: AtomicU32::new(0),
            settings,
            hooks: extras.hooks,
        });
        shared.fill().await?;
        exit::register(Arc::downgrade(&shared) as Weak<dyn CloseAtExit>);
        Ok(Self(shared))
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
        self.0.acquire(place)
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
        let right = self.gate.enter(&self.ledger, self.settings.timeout).await?;
        let loan = self.take(began).await?;
        let number = self.ledger.lent(place, began);
        Ok(ClientGuard::new(Lease {
            pool: Arc::clone(self),
            loan: Some(loan),
            number: Some(number),
            _right: right,
        }))
    }

    /// Takes an idle session or opens one; retries while the server is away.
    async fn take(&self, began: Instant) -> Result<Loan, Error> {
        let mut failures = 0;
        // A session that needs no more than a turn of its driver is back before another is open.
        for _ in 0..3 {
            if self.recycling.load(Ordering::Relaxed) == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        loop {
            let error = match self.try_take(began).await {
                None => return Err(self.ledger.timed_out(began.elapsed(), Instant::now())),
                // Closed meanwhile: what comes back now is discarded.
                Some(Ok(_)) if self.gate.is_closed() => {
                    return Err(Error::Closed { what: self.what });
                }
                Some(Ok(loan)) => match self.approve(loan).await {
                    Ok(Some(loan)) => return Ok(loan),
                    Ok(None) => continue,
                    Err(error) => error,
                },
                Some(Err(error)) => error,
            };
            failures += 1;
            let left = self.settings.timeout.saturating_sub(began.elapsed());
            // A server that was never reached is more likely misnamed than away.
            if !self.ledger.ever_opened() || self.gate.is_closed() {
                return Err(error);
            }
            match retry::pause(&error, failures, left) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(self.give_up(error, began)),
            }
        }
    }

    /// An idle session at once, or a new one as soon as it is open. The time to open it is
    /// bounded by `connect_timeout`; `timeout` is for waiting, and 0 means not to wait for
    /// others, not that nothing may ever be opened.
    async fn try_take(&self, began: Instant) -> Option<Result<Loan, Error>> {
        let mut get = pin!(self.engine.get());
        // A timer is set only when there is something to wait for.
        let first = std::future::poll_fn(|cx| Poll::Ready(get.as_mut().poll(cx))).await;
        let taken = match first {
            Poll::Ready(taken) => taken,
            Poll::Pending if self.settings.timeout.is_zero() => get.await,
            Poll::Pending => {
                let left = self.settings.timeout.saturating_sub(began.elapsed());
                tokio::time::timeout(left, get).await.ok()?
            }
        };
        Some(taken.map_err(|error| engine::reason(error, self.what)))
    }

    /// Lets the hook see a session before it is lent; `None` for one that it refused, where
    /// another is tried at once.
    async fn approve(&self, mut loan: Loan) -> Result<Option<Loan>, Error> {
        let Some(hooks) = self.hooks.as_ref().filter(|h| h.asks_before_acquire()) else {
            return Ok(Some(loan));
        };
        // Boxed, so that nobody pays for its size who has no hook.
        let asked = Box::pin(loan.ask_before_acquire(hooks, self.settings.reset)).await;
        match asked {
            Approval::Lend => Ok(Some(loan)),
            Approval::TryAnother => Ok(None),
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

    fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.gate.close();
        self.engine_close();
        events::closed(self.ledger.name(), self.what);
    }

    /// Takes the idle sessions out; what comes back from now on is discarded, so that this ends.
    /// Taking an idle session out never waits, so that it is polled once and needs no runtime.
    fn engine_close(&self) {
        use std::task::{Context, Waker};
        while self.status_idle() {
            let mut get = pin!(self.engine.get());
            match get.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(loan)) => drop(loan),
                _ => return,
            }
        }
    }

    fn status_idle(&self) -> bool {
        self.ledger.status().idle > 0
    }
}

impl CloseAtExit for Shared {
    fn close_at_exit(&self) {
        self.close();
    }
}

/// A session on loan with all that ends when it comes back, in the order of the fields: dropped
/// half-way, it leaves the books right and the place free.
pub(crate) struct Lease {
    pub(crate) pool: Arc<Shared>,
    loan: Option<Loan>,
    number: Option<LoanId>,
    _right: Place,
}

impl Lease {
    pub(crate) fn loan(&self) -> &Loan {
        self.loan.as_ref().expect("only the drop takes the loan")
    }

    pub(crate) fn loan_mut(&mut self) -> &mut Loan {
        self.loan.as_mut().expect("only the drop takes the loan")
    }

    /// Takes the session back: at once if it is clean, else as soon as it was made clean.
    pub(crate) fn release(mut self) {
        let reset = self.pool.settings.reset;
        let hooks = self.pool.hooks.clone().filter(Hooks::asks_after_release);
        if self.loan_mut().is_clean(reset) && hooks.is_none() {
            events::recycled(self.pool.ledger.name(), Verdict::Keep);
            return;
        }
        // Marked as discarded until it is clean: a runtime that shuts down drops the task.
        let runtime = self.loan().runtime().clone();
        let recycling = Recycling::begin(&self.pool);
        runtime.spawn(async move {
            self.loan_mut().recycle(reset).await;
            if let Some(hooks) = hooks {
                self.loan_mut().ask_after_release(&hooks).await;
            }
            drop(self);
            drop(recycling);
        });
    }
}

/// One session that is being made clean.
struct Recycling(Arc<Shared>);

impl Recycling {
    fn begin(pool: &Arc<Shared>) -> Self {
        pool.recycling.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(pool))
    }
}

impl Drop for Recycling {
    fn drop(&mut self) {
        self.0.recycling.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(number) = self.number.take() {
            self.pool.ledger.returned(number);
        }
        drop(self.loan.take());
    }
}
