//! One session, shared.

use std::fmt;
use std::time::Duration;

use pgmonkey_config::{Config, ConnectionType, PoolSettings, Reset};
use pgmonkey_connect::{Error, Report, Status};

use crate::builder::Extras;
use crate::guard::ClientGuard;
use crate::pool::Pool;
use crate::scoped::Scoped;
use crate::statements::statements_of_handle;
use crate::transaction::Transaction;

/// How long a borrower waits for the one before it. A single connection has no setting for it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A single session for tasks: lent to one borrower at a time, in the order they came, and
/// opened anew when it is found dead.
///
/// A cheap clone of one connection. It is a pool of exactly one session that never gets too
/// old, and keeps every promise of a [`Pool`].
///
/// ```no_run
/// use pgmonkey_async::{Config, Connection, Error};
///
/// #[tokio::main]
/// async fn main() -> Result<(), Error> {
///     let connection = Connection::new(&Config::from_file("pgmonkey.yaml")?).await?;
///     let changed = connection.execute("DELETE FROM jobs WHERE done", &[]).await?;
///     println!("{changed} jobs removed");
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Connection(Pool);

impl Connection {
    /// Opens a connection by the `async_settings` of `config`. It belongs to the caller: no
    /// cache knows it.
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey_async::Config) -> Result<(), pgmonkey_async::Error> {
    /// let connection = pgmonkey_async::Connection::new(&config).await?;
    /// println!("{}", connection.ping().await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::new`].
    pub async fn new(config: &Config) -> Result<Self, Error> {
        Self::with(config, Extras::default()).await
    }

    pub(crate) async fn with(config: &Config, extras: Extras) -> Result<Self, Error> {
        let mut settings = PoolSettings::default();
        settings.min_size = 1;
        settings.max_size = 1;
        settings.num_workers = 1;
        // What a borrower sets stays, as on any single connection.
        settings.reset = Reset::Transaction;
        settings.timeout = TIMEOUT;
        settings.max_lifetime = None;
        settings.statement_cache = config
            .pool_settings_for(ConnectionType::Async)
            .statement_cache;
        Pool::open(
            "connection",
            config,
            ConnectionType::Async,
            settings,
            extras,
        )
        .await
        .map(Self)
    }

    /// Borrows the session, waiting for at most 30 s while another has it; dropping the guard
    /// gives it back.
    ///
    /// ```no_run
    /// # async fn example(connection: pgmonkey_async::Connection) -> Result<(), pgmonkey_async::Error> {
    /// let client = connection.acquire().await?;
    /// client.batch_execute("REFRESH MATERIALIZED VIEW sales").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::acquire`].
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<ClientGuard, Error>> + Send + '_ {
        self.0.acquire()
    }

    /// Runs `f` in a transaction: committed if it returns `Ok`, rolled back if it returns `Err`,
    /// panics, or the future is dropped.
    ///
    /// ```no_run
    /// # async fn example(connection: pgmonkey_async::Connection) -> Result<(), pgmonkey_async::Error> {
    /// let statement = "INSERT INTO orders DEFAULT VALUES RETURNING id";
    /// let id: i64 = connection
    ///     .transaction(async |tx| Ok(tx.query_one(statement, &[]).await?.get(0)))
    ///     .await?;
    /// println!("order {id}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::transaction`].
    #[track_caller]
    pub fn transaction<T, F>(&self, f: F) -> impl Future<Output = Result<T, Error>>
    where
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, Error>,
    {
        self.0.transaction(f)
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
    /// # async fn example(connection: pgmonkey_async::Connection) -> Result<(), Refused> {
    /// let take = "UPDATE accounts SET money = money - 5 WHERE name = $1 AND money >= 5";
    /// connection
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
        self.0.try_transaction(f)
    }

    /// Begins a transaction that keeps the session until it is committed, rolled back or
    /// dropped, which rolls back.
    ///
    /// ```no_run
    /// # async fn example(connection: pgmonkey_async::Connection) -> Result<(), pgmonkey_async::Error> {
    /// let transaction = connection.begin().await?;
    /// transaction.execute("DELETE FROM visits", &[]).await?;
    /// transaction.commit().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::begin`].
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction, Error>> + Send + '_ {
        self.0.begin()
    }

    /// Asks the server for a sign of life and says what answered. One round trip.
    ///
    /// ```no_run
    /// # async fn example(connection: pgmonkey_async::Connection) -> Result<(), pgmonkey_async::Error> {
    /// let report = connection.ping().await?;
    /// println!("{} answered after {:?}", report.address, report.latency);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::ping`].
    #[track_caller]
    pub fn ping(&self) -> impl Future<Output = Result<Report, Error>> + Send + '_ {
        self.0.ping()
    }

    /// The connection's numbers now. Sends nothing.
    ///
    /// ```no_run
    /// # async fn example(connection: pgmonkey_async::Connection) -> Result<(), pgmonkey_async::Error> {
    /// let status = connection.status();
    /// println!("{} of {} in use", status.in_use, status.max_size);
    /// # Ok(()) }
    /// ```
    pub fn status(&self) -> Status {
        self.0.status()
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
    /// # async fn example(connection: pgmonkey_async::Connection) -> Result<(), pgmonkey_async::Error> {
    /// connection.batch_execute("ALTER TYPE mood ADD VALUE 'great'").await?;
    /// connection.forget_types();
    /// # Ok(()) }
    /// ```
    pub fn forget_types(&self) {
        self.0.forget_types();
    }

    /// `user@host:port/database`, as the file says it.
    ///
    /// ```no_run
    /// # async fn example(connection: pgmonkey_async::Connection) -> Result<(), pgmonkey_async::Error> {
    /// println!("connected to {}", connection.target()); // app@db.internal:5432/shop
    /// # Ok(()) }
    /// ```
    pub fn target(&self) -> &str {
        self.0.target()
    }

    /// Closes the connection: now if nobody has it, else when it comes back.
    ///
    /// ```no_run
    /// # async fn example(connection: pgmonkey_async::Connection) -> Result<(), pgmonkey_async::Error> {
    /// connection.close();
    /// assert!(connection.acquire().await.is_err_and(|error| error.is_closed()));
    /// # Ok(()) }
    /// ```
    pub fn close(&self) {
        self.0.close();
    }

    /// Whether [`close`](Self::close) was called.
    ///
    /// ```no_run
    /// # async fn example(connection: pgmonkey_async::Connection) -> Result<(), pgmonkey_async::Error> {
    /// connection.close();
    /// assert!(connection.is_closed());
    /// # Ok(()) }
    /// ```
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// The connection that this pool of one is.
    pub(crate) fn of(pool: Pool) -> Self {
        Self(pool)
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0
    }

    /// Whether both are handles of one connection.
    ///
    /// ```no_run
    /// # async fn example(connection: pgmonkey_async::Connection) -> Result<(), pgmonkey_async::Error> {
    /// assert!(connection.is_same(&connection.clone()));
    /// # Ok(()) }
    /// ```
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }
}

statements_of_handle!(Connection);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("target", &self.target())
            .field("status", &self.status())
            .finish()
    }
}
