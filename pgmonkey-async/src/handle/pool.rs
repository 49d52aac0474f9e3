//! A pool of sessions, each used by one caller at a time.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::Duration;

use pgmonkey_cache::Sharded;
use pgmonkey_config::{Config, ConnectionType, PoolSettings};
use pgmonkey_connect::exit::{self, CloseAtExit};
use pgmonkey_connect::pool;
use pgmonkey_connect::succession::Succession;
use pgmonkey_connect::{Error, Report, Status, TopStatement};

use crate::client::guard::ClientGuard;
use crate::client::scoped::Scoped;
use crate::client::transaction::Transaction;
use crate::handle::queries::statements_of_handle;
use crate::handle::timed::timed;
use crate::options::HandleOptions;
use crate::pool::Shared;

/// A pool of sessions for tasks.
///
/// Clones are cheap and share one pool. Its sessions are closed when the last clone and the last
/// guard are dropped, or by [`close`](Self::close). Every acquired session is clean: a transaction
/// that the previous caller left open has been rolled back.
///
/// A pool that its manager replaced, after a reload or a change of its file, has a successor. Its
/// clones stay usable: every method acts on the successor.
///
/// A pool may be used from several runtimes, and outlives the one that created it. While a single
/// runtime uses it, its sessions live there. Once there are more, a thread of the library drives
/// the sessions opened from then on, so that no runtime waits for another.
///
/// Most programs get their pool from a [`ConnectionManager`](crate::ConnectionManager), which
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
pub struct Pool(Sharded<Handle>);

/// One clone of the pool, which keeps it open.
#[derive(Clone)]
struct Handle {
    shared: Arc<Shared>,
    owner: Arc<Owner>,
}

/// Shared by all clones of a pool; dropping the last clone closes it. Guards and background work
/// hold only `shared`.
struct Owner {
    shared: Arc<Shared>,
    /// Here and not in `shared`: a guard of a retired pool does not keep the successor open.
    succession: Arc<Succession<Pool>>,
}

impl Pool {
    /// Opens a pool with the `async_pool_settings` and `async_settings` of `config`, and its first
    /// `min_size` sessions. The pool belongs to the caller and is not cached.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] with the reason if a session cannot be opened; [`Error::SessionSetting`]
    /// or [`Error::Unsupported`] with the name of the key.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with its time and I/O drivers, or if the system cannot start a
    /// thread.
    pub async fn new(config: &Config) -> Result<Self, Error> {
        Self::with(config, HandleOptions::default()).await
    }

    pub(crate) async fn with(config: &Config, options: HandleOptions) -> Result<Self, Error> {
        let settings = config.pool_settings_for(ConnectionType::AsyncPool).clone();
        Self::open("pool", config, ConnectionType::AsyncPool, settings, options).await
    }

    pub(crate) async fn open(
        what: &'static str,
        config: &Config,
        connection_type: ConnectionType,
        settings: PoolSettings,
        options: HandleOptions,
    ) -> Result<Self, Error> {
        let budgets = options.budgets.clone();
        let shared = Shared::new(what, config, connection_type, settings, options)?;
        let owner = Owner {
            shared: Arc::new(shared),
            succession: Arc::default(),
        };
        let shared = &owner.shared;
        shared.share(budgets.as_deref());
        shared.fill().await?;
        exit::register(Arc::downgrade(shared) as Weak<dyn CloseAtExit>);
        shared.start_maintenance();
        Ok(Self(Sharded::new(Handle {
            shared: Arc::clone(shared),
            owner: Arc::new(owner),
        })))
    }

    /// Returns a clone; with a reference count of its own, unless memory matters more.
    pub(crate) fn shard(&self) -> Self {
        match self.0.shared.is_one_of_many {
            true => self.clone(),
            false => Self(self.0.shard()),
        }
    }

    /// Acquires a session, waiting for at most `timeout` if all are in use; dropping the guard
    /// releases it. Dropping the future leaves no trace.
    ///
    /// Sends nothing to the server if an idle session is available, unless `check_on_checkout` is
    /// on. A session that died or reached its `max_lifetime` is replaced first. If the server goes
    /// away after the first successful connection, the call retries until `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] that says which callers hold the sessions, [`Error::QueueFull`],
    /// [`Error::Closed`], [`Error::OpenedBeforeFork`] in a child process that inherited the pool,
    /// [`Error::Connect`] without further attempts if no retry can help.
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<ClientGuard, Error>> + Send + '_ {
        self.hold(Location::caller())
    }

    pub(crate) fn pool(&self) -> &Self {
        self
    }

    /// The state of this pool itself, even if it has a successor.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(crate) fn own_succession(&self) -> &Arc<Succession<Self>> {
        &self.0.owner.succession
    }

    /// Runs `f` in a transaction on a session of its own: commits if `f` returns `Ok`, rolls back
    /// if it returns `Err` or panics. Dropping the future rolls back too.
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
    /// The error that `f` returned; the errors of [`acquire`](Self::acquire); [`Error::RolledBack`]
    /// if `f` returned `Ok` although one of its statements failed.
    #[track_caller]
    pub fn transaction<T, F>(&self, f: F) -> impl Future<Output = Result<T, Error>>
    where
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, Error>,
    {
        self.try_transaction(f)
    }

    /// As [`transaction`](Self::transaction), for a closure with its own error type.
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
            let (transaction, back) = Scoped::new(begin.await?);
            let value = f(transaction).await?;
            match back.take() {
                Some(transaction) => Ok(transaction.commit().await.map(|()| value)?),
                None => Err(Error::SessionEscaped.into()),
            }
        }
    }

    /// Begins a transaction that holds a session of its own until it is committed, rolled back or
    /// dropped. Dropping it rolls back.
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
    /// Those of [`acquire`](Self::acquire) and of `BEGIN`; a task gets these by the first statement.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction, Error>> + Send + '_ {
        let acquire = self.acquire();
        async move { Transaction::begin(acquire.await?).await }
    }

    /// Pings the server and reports which server answered. One round trip.
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

    /// Returns the pool's current numbers. Sends nothing.
    pub fn status(&self) -> Status {
        self.current().0.shared.core.status()
    }

    /// Returns the texts whose statements have taken the most time since the pool was opened, at
    /// most `most` of them, with their numbers. Counts every statement of its sessions, whatever
    /// sent it; none with `statement_stats: false`. Sends nothing.
    ///
    /// ```no_run
    /// # fn example(pool: pgmonkey_async::Pool) {
    /// for top in pool.top_statements(10) {
    ///     println!("{:>8} x {:?}, p99 {:?}: {}", top.count, top.mean(), top.p99, top.summary);
    /// }
    /// # }
    /// ```
    pub fn top_statements(&self, most: usize) -> Vec<TopStatement> {
        let pool = self.current();
        let log = pool.0.shared.core.label().statement_log();
        log.map_or_else(Vec::new, |log| log.top(most))
    }

    /// Has every session look up user-defined types (enums, domains, composites) again, and prepare
    /// again the statements that use them. Sends nothing by itself.
    ///
    /// A change that makes a statement fail is detected automatically. Call this after a change
    /// that does not, such as `ALTER TYPE … ADD VALUE`, before `Row::get` reads the new value.
    /// Without this call, such statements are prepared again after five minutes.
    ///
    /// ```no_run
    /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
    /// pool.batch_execute("ALTER TYPE mood ADD VALUE 'great'").await?;
    /// pool.forget_types();
    /// # Ok(()) }
    /// ```
    pub fn forget_types(&self) {
        self.current().0.shared.statements.forget_types();
    }

    /// Returns `user@host:port/database`, as configured.
    pub fn target(&self) -> Arc<str> {
        Arc::clone(self.current().0.shared.core.label().target())
    }

    /// Sets the bounds of the pool's size: at least `min_size` and at most `max_size` sessions.
    ///
    /// Growing takes effect at once: waiting callers are admitted, and missing sessions are opened
    /// in the background. Shrinking takes no session from a caller: surplus sessions are closed
    /// once they are idle.
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
    /// [`Error::Sizes`] if `min_size` exceeds `max_size`, or if `max_size` is 0 or exceeds 262,143;
    /// [`Error::OpenedBeforeFork`].
    pub fn resize(&self, min_size: u32, max_size: u32) -> Result<(), Error> {
        pool::check_sizes(min_size, max_size)?;
        let shared = &self.current().0.shared;
        shared.core.check_origin()?;
        pool::resize(shared, min_size, max_size);
        Ok(())
    }

    /// Closes the pool: waiting and new callers get [`Error::Closed`], idle sessions are closed
    /// now, sessions in use when they are released. Does not wait for them. Closing twice is
    /// harmless.
    pub fn close(&self) {
        self.current().0.shared.close();
    }

    /// [`close`](Self::close)s the pool and waits until every session in use has been released and
    /// closed, for at most `timeout`. Returns whether all have.
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
        let drained = async {
            // A retired pool may have sessions in use too.
            for pool in [self.clone(), self.current()] {
                if let Some(drained) = pool::drained(&*pool.0.shared) {
                    std::future::poll_fn(|cx| drained.poll(cx)).await;
                }
            }
        };
        tokio::time::timeout(timeout, drained).await.is_ok()
    }

    /// Returns whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.is_over() && self.successor().is_none_or(|next| next.is_closed())
    }

    /// Returns whether both are handles of the same pool; a replaced one counts as its successor.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.current().0.shared, &other.current().0.shared)
    }
}

statements_of_handle!(Pool);
timed!(Pool);

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
        if !self.shared.core.origin().is_here() {
            return std::mem::forget(Arc::clone(&self.shared));
        }
        self.shared.close();
    }
}
