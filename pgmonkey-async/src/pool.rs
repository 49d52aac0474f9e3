//! Many sessions, lent one at a time.

use std::fmt;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU32};
use std::sync::{Arc, Weak};
use std::time::Duration;

use pgmonkey_cache::Apart;
use pgmonkey_config::{Config, ConnectionType, PoolSettings};
use pgmonkey_connect::exit::{self, CloseAtExit};
use pgmonkey_connect::ledger::Ledger;
use pgmonkey_connect::process::Origin;
use pgmonkey_connect::shelf::Shelf;
use pgmonkey_connect::test_transaction::Holder;
use pgmonkey_connect::{Dialing, Error, Report, Status, upkeep};
use tokio::sync::{Notify, Semaphore};

use crate::builder::Extras;
use crate::engine::{self, Engine, Loan, Manager};
use crate::gate::Gate;
use crate::guard::ClientGuard;
use crate::hooks::Hooks;
use crate::line::Waiter;
use crate::maintenance::{Maintenance, Signal};
use crate::multiplex::Multiplex;
use crate::prepared::Statements;
use crate::scoped::Scoped;
use crate::statements::statements_of_handle;
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
pub struct Pool(Apart<Handle>);

/// What leads to the pool and keeps it open.
#[derive(Clone)]
struct Handle {
    shared: Arc<Shared>,
    _owner: Arc<Owner>,
}

/// What all clones of a pool have in common; the last one closes it. Guards, and whatever works
/// in the background, have only what is shared.
struct Owner {
    shared: Arc<Shared>,
    maintenance: Option<Maintenance>,
}

pub(crate) struct Shared {
    pub(crate) what: &'static str,
    pub(crate) origin: Origin,
    pub(crate) engine: Engine,
    pub(crate) shelf: Shelf<Loan, Waiter>,
    pub(crate) gate: Gate,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) closing: Arc<AtomicBool>,
    /// As many as may open sessions side by side.
    pub(crate) openers: Semaphore,
    pub(crate) opening: Arc<AtomicU32>,
    /// Sessions that came back and are being made clean.
    pub(crate) recycling: AtomicU32,
    pub(crate) recycled: Notify,
    pub(crate) settings: PoolSettings,
    pub(crate) hooks: Option<Hooks>,
    pub(crate) statements: Statements,
    /// Who has the session of a pool for tests.
    pub(crate) holder: Option<Holder>,
    /// Wakes the maintenance.
    pub(crate) signal: Arc<Signal>,
    /// Sessions that several callers use at the same time, if the pool may have such.
    pub(crate) multiplex: Option<Multiplex>,
}

impl Pool {
    /// Opens a pool by the `async_pool_settings` and `async_settings` of `config`, and its
    /// `min_size` sessions with it. The pool belongs to the caller: no cache knows it.
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey_async::Config) -> Result<(), pgmonkey_async::Error> {
    /// let pool = pgmonkey_async::Pool::new(&config).await?;
    /// println!("{}", pool.ping().await?);
    /// # Ok(()) }
    /// ```
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
        let statements = Statements::new(settings.statement_cache, &ledger);
        let multiplex = settings
            .multiplex
            .then(|| Multiplex::new(statements.clone(), settings.leak_warning));
        let manager = Manager {
            what,
            dialing,
            provider: extras.provider,
            hooks: extras.hooks.clone(),
            ledger: Arc::clone(&ledger),
            closing: Arc::clone(&closing),
            max_lifetime: settings.max_lifetime,
            statements: statements.clone(),
            for_tests: extras.for_tests,
            opening: Arc::default(),
        };
        let opening = Arc::clone(&manager.opening);
        let shared = Arc::new(Shared {
            what,
            origin: Origin::here(),
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
            statements,
            holder: extras.for_tests.then(Holder::default),
            signal: Arc::default(),
            multiplex,
        });
        let mut owner = Owner {
            shared,
            maintenance: None,
        };
        owner.shared.fill().await?;
        exit::register(Arc::downgrade(&owner.shared) as Weak<dyn CloseAtExit>);
        // A single connection has no ages and no sizes to keep.
        if connection_type == ConnectionType::AsyncPool && owner.shared.holder.is_none() {
            owner.maintenance = Some(Maintenance::start(&owner.shared));
        }
        Ok(Self(Apart::new(Handle {
            shared: Arc::clone(&owner.shared),
            _owner: Arc::new(owner),
        })))
    }

    /// A clone that counts its references apart from those of this one.
    pub(crate) fn apart(&self) -> Self {
        Self(self.0.apart())
    }

    /// Borrows a session, waiting for at most `timeout` if all are in use; dropping the guard
    /// gives it back. Dropping the future leaves no trace.
    ///
    /// Sends the server nothing when an idle session is at hand, unless `check_on_checkout` is
    /// on. A session that died or reached its `max_lifetime` is replaced first. While a server
    /// that was reached before is away, the call tries again until `timeout`.
    ///
    /// ```no_run
    /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
    /// let client = pool.acquire().await?;
    /// client.batch_execute("REFRESH MATERIALIZED VIEW sales").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] saying who has the sessions, [`Error::QueueFull`], [`Error::Closed`],
    /// [`Error::OpenedBeforeFork`], [`Error::Connect`] at once when no retry can help.
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<ClientGuard, Error>> + Send + '_ {
        self.hold(Location::caller())
    }

    /// As [`acquire`](Self::acquire), for code at `place`.
    pub(crate) async fn hold(
        &self,
        place: &'static Location<'static>,
    ) -> Result<ClientGuard, Error> {
        let guard = self.acquire_at(place).await?;
        if let Some(holder) = &self.0.shared.holder {
            holder.take(place);
        }
        Ok(guard)
    }

    /// The same for one statement: it is given back without fail.
    pub(crate) async fn acquire_at(
        &self,
        place: &'static Location<'static>,
    ) -> Result<ClientGuard, Error> {
        if let Some(holder) = &self.0.shared.holder {
            holder.check()?;
        }
        self.0.shared.acquire(place).await
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(crate) fn pool(&self) -> &Self {
        self
    }

    /// Runs `f` in a transaction on a session of its own: committed if `f` returns `Ok`, rolled
    /// back if it returns `Err`, panics, or the future is dropped.
    ///
    /// ```no_run
    /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
    /// let statement = "INSERT INTO orders DEFAULT VALUES RETURNING id";
    /// let id: i64 = pool
    ///     .transaction(async |tx| Ok(tx.query_one(statement, &[]).await?.get(0)))
    ///     .await?;
    /// println!("order {id}");
    /// # Ok(()) }
    /// ```
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
        self.try_transaction(f)
    }

    /// As [`transaction`](Self::transaction), for a closure with an error type of its own.
    ///
    /// ```no_run
    /// enum Refused {
    ///     Poor,
    ///     Database(pgmonkey_async::Error),
    /// }
    ///
    /// impl From<pgmonkey_async::Error> for Refused {
    ///     fn from(error: pgmonkey_async::Error) -> Self {
    ///         Self::Database(error)
    ///     }
    /// }
    ///
    /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), Refused> {
    /// let take = "UPDATE accounts SET money = money - 5 WHERE name = $1 AND money >= 5";
    /// pool
    ///     .try_transaction(async |tx| match tx.execute(take, &[&"ann"]).await? {
    ///         0 => Err(Refused::Poor), // rolled back
    ///         _ => Ok(()),
    ///     })
    ///     .await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction).
    #[track_caller]
    pub fn try_transaction<T, E, F>(&self, f: F) -> impl Future<Output = Result<T, E>>
    where
        E: From<Error>,
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, E>,
    {
        let begin = self.begin();
        async move {
            let (transaction, back) = Scoped::lend(begin.await?);
            let value = f(transaction).await?;
            match back.take() {
                Some(transaction) => Ok(transaction.commit().await.map(|()| value)?),
                None => Err(Error::Kept.into()),
            }
        }
    }

    /// Begins a transaction that keeps a session of its own until it is committed, rolled back
    /// or dropped, which rolls back.
    ///
    /// ```no_run
    /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
    /// let transaction = pool.begin().await?;
    /// transaction.execute("DELETE FROM visits", &[]).await?;
    /// transaction.commit().await?;
    /// # Ok(()) }
    /// ```
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
    /// ```no_run
    /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
    /// let report = pool.ping().await?;
    /// println!("{} answered after {:?}", report.address, report.latency);
    /// # Ok(()) }
    /// ```
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
    ///
    /// ```no_run
    /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
    /// let status = pool.status();
    /// println!("{} of {} in use", status.in_use, status.max_size);
    /// # Ok(()) }
    /// ```
    pub fn status(&self) -> Status {
        self.0.shared.ledger.status()
    }

    /// Has every session learn anew what it knows of types of the database's own (enums, domains,
    /// composites): statements that use them are prepared again, and the types looked up. Sends
    /// nothing by itself.
    ///
    /// A change that makes a statement fail is noticed by itself. Call this after one that does
    /// not, as `ALTER TYPE … ADD VALUE` before the new value is read by `Row::get`. Without it such
    /// statements are learnt again after five minutes.
    ///
    /// ```no_run
    /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
    /// pool.batch_execute("ALTER TYPE mood ADD VALUE 'great'").await?;
    /// pool.forget_types();
    /// # Ok(()) }
    /// ```
    pub fn forget_types(&self) {
        self.0.shared.statements.forget_types();
    }

    /// `user@host:port/database`, as the file says it.
    ///
    /// ```no_run
    /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
    /// println!("connected to {}", pool.target()); // app@db.internal:5432/shop
    /// # Ok(()) }
    /// ```
    pub fn target(&self) -> &str {
        self.0.shared.ledger.target()
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
    /// [`Error::Sizes`] if `min_size` is more than `max_size`, or that is 0 or more than 262,143.
    pub fn resize(&self, min_size: u32, max_size: u32) -> Result<(), Error> {
        upkeep::check_sizes(min_size, max_size)?;
        self.0.shared.check_origin()?;
        self.0.shared.resize(min_size, max_size);
        Ok(())
    }

    /// Closes the pool: no new acquires, those who wait get [`Error::Closed`], idle sessions end
    /// now, borrowed ones when they come back. Does not wait for them. Closing twice is
    /// harmless.
    ///
    /// ```no_run
    /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
    /// pool.close();
    /// assert!(pool.acquire().await.is_err_and(|error| error.is_closed()));
    /// # Ok(()) }
    /// ```
    pub fn close(&self) {
        self.0.shared.close();
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
        let shared = &self.0.shared;
        let is_over = || !shared.origin.is_here() || shared.ledger.status().size == 0;
        self.0.shared.gate.wait_back(timeout, is_over).await
    }

    /// Whether [`close`](Self::close) was called.
    ///
    /// ```no_run
    /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
    /// pool.close();
    /// assert!(pool.is_closed());
    /// # Ok(()) }
    /// ```
    pub fn is_closed(&self) -> bool {
        self.0.shared.is_closed()
    }

    /// Whether both are handles of one pool.
    ///
    /// ```no_run
    /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
    /// assert!(pool.is_same(&pool.clone()));
    /// # Ok(()) }
    /// ```
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.shared, &other.0.shared)
    }
}

statements_of_handle!(Pool);

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("target", &self.target())
            .field("status", &self.status())
            .finish()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if !self.shared.origin.is_here() {
            return std::mem::forget((Arc::clone(&self.shared), self.maintenance.take()));
        }
        self.shared.close();
    }
}
