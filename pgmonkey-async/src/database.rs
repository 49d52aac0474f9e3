//! Whichever of the two the file asks for.

use pgmonkey_config::{Config, ConnectionType};
use pgmonkey_connect::{Error, Report, Status};

use crate::builder::Extras;
use crate::connection::Connection;
use crate::guard::ClientGuard;
use crate::pool::Pool;
use crate::scoped::Scoped;
use crate::statements::statements_of_handle;
use crate::transaction::Transaction;

/// A [`Connection`] or a [`Pool`], as the file's `connection_type` says: the code stays the
/// same when the file changes.
///
/// ```no_run
/// use pgmonkey_async::{Config, Database, Error};
///
/// #[tokio::main]
/// async fn main() -> Result<(), Error> {
///     let database = Database::new(&Config::from_file("pgmonkey.yaml")?).await?;
///     database.scope(async |client| {
///         client.execute("INSERT INTO visits DEFAULT VALUES", &[]).await?;
///         Ok(())
///     }).await
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Database {
    handle: Handle,
    autocommit: bool,
}

/// What a [`Database`] is.
#[derive(Debug, Clone)]
enum Handle {
    Connection(Connection),
    Pool(Pool),
}

/// The type of handle `config` asks for, if it is one for tasks.
pub(crate) fn connection_type(config: &Config) -> Result<ConnectionType, Error> {
    match config.connection_type {
        found if !found.is_async() => Err(Error::ConnectionType {
            found,
            expected: "async or async_pool; for normal and pool use the sync twin",
        }),
        found => Ok(found),
    }
}

impl Database {
    /// Opens what `config` asks for. It belongs to the caller: no cache knows it.
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey_async::Config) -> Result<(), pgmonkey_async::Error> {
    /// let database = pgmonkey_async::Database::new(&config).await?;
    /// println!("{}", database.ping().await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionType`] if the file asks for a sync type, else as [`Pool::new`].
    pub async fn new(config: &Config) -> Result<Self, Error> {
        Self::with(config, Extras::default()).await
    }

    pub(crate) async fn with(config: &Config, extras: Extras) -> Result<Self, Error> {
        let connection_type = connection_type(config)?;
        let pool = open(config, connection_type, extras).await?;
        Ok(Self::of(pool, connection_type, config))
    }

    /// The handle of this type that the pool is.
    pub(crate) fn of(pool: Pool, connection_type: ConnectionType, config: &Config) -> Self {
        Self {
            handle: Handle::of(pool, connection_type),
            autocommit: config.connection_settings.autocommit,
        }
    }

    /// The pool, if it is one.
    ///
    /// ```no_run
    /// # async fn example(database: pgmonkey_async::Database) -> Result<(), pgmonkey_async::Error> {
    /// if let Some(pool) = database.as_pool() {
    ///     pool.resize(2, 20)?;
    /// }
    /// # Ok(()) }
    /// ```
    pub fn as_pool(&self) -> Option<&Pool> {
        match &self.handle {
            Handle::Pool(pool) => Some(pool),
            Handle::Connection(_) => None,
        }
    }

    /// The connection, if it is one.
    ///
    /// ```no_run
    /// # async fn example(database: pgmonkey_async::Database) -> Result<(), pgmonkey_async::Error> {
    /// let waits = database.as_connection().is_some(); // one session, shared
    /// # Ok(()) }
    /// ```
    pub fn as_connection(&self) -> Option<&Connection> {
        match &self.handle {
            Handle::Connection(connection) => Some(connection),
            Handle::Pool(_) => None,
        }
    }

    /// Runs `f` as Python's `with conn:` block would: in a transaction, or, if the file says
    /// `autocommit: true`, without one.
    ///
    /// ```no_run
    /// # async fn example(database: pgmonkey_async::Database) -> Result<(), pgmonkey_async::Error> {
    /// let removed = database
    ///     .scope(async |client| client.execute("DELETE FROM jobs WHERE done", &[]).await)
    ///     .await?;
    /// println!("{removed} jobs removed");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::transaction`].
    #[track_caller]
    pub fn scope<T, F>(&self, f: F) -> impl Future<Output = Result<T, Error>>
    where
        F: AsyncFnOnce(Scoped<ClientGuard>) -> Result<T, Error>,
    {
        let acquire = self.acquire();
        async move {
            let mut guard = acquire.await?;
            if !self.autocommit {
                guard.begin().await?;
            }
            let (guard, back) = Scoped::lend(guard);
            let value = f(guard).await?;
            let mut guard = back.take().ok_or(Error::Kept)?;
            if !self.autocommit {
                guard.commit().await?;
            }
            Ok(value)
        }
    }

    /// As [`Pool::acquire`].
    ///
    /// ```no_run
    /// # async fn example(database: pgmonkey_async::Database) -> Result<(), pgmonkey_async::Error> {
    /// let client = database.acquire().await?;
    /// client.batch_execute("REFRESH MATERIALIZED VIEW sales").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::acquire`].
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<ClientGuard, Error>> + Send + '_ {
        self.handle.pool().acquire()
    }

    /// As [`Pool::transaction`].
    ///
    /// ```no_run
    /// # async fn example(database: pgmonkey_async::Database) -> Result<(), pgmonkey_async::Error> {
    /// let statement = "INSERT INTO orders DEFAULT VALUES RETURNING id";
    /// let id: i64 = database
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
        self.handle.pool().transaction(f)
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
    /// # async fn example(database: pgmonkey_async::Database) -> Result<(), Refused> {
    /// let take = "UPDATE accounts SET money = money - 5 WHERE name = $1 AND money >= 5";
    /// database
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
        self.handle.pool().try_transaction(f)
    }

    /// As [`Pool::begin`].
    ///
    /// ```no_run
    /// # async fn example(database: pgmonkey_async::Database) -> Result<(), pgmonkey_async::Error> {
    /// let transaction = database.begin().await?;
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
        self.handle.pool().begin()
    }

    /// As [`Pool::ping`].
    ///
    /// ```no_run
    /// # async fn example(database: pgmonkey_async::Database) -> Result<(), pgmonkey_async::Error> {
    /// let report = database.ping().await?;
    /// println!("{} answered after {:?}", report.address, report.latency);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::ping`].
    #[track_caller]
    pub fn ping(&self) -> impl Future<Output = Result<Report, Error>> + Send + '_ {
        self.handle.pool().ping()
    }

    /// As [`Pool::status`].
    ///
    /// ```no_run
    /// # async fn example(database: pgmonkey_async::Database) -> Result<(), pgmonkey_async::Error> {
    /// let status = database.status();
    /// println!("{} of {} in use", status.in_use, status.max_size);
    /// # Ok(()) }
    /// ```
    pub fn status(&self) -> Status {
        self.handle.pool().status()
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
    /// # async fn example(database: pgmonkey_async::Database) -> Result<(), pgmonkey_async::Error> {
    /// database.batch_execute("ALTER TYPE mood ADD VALUE 'great'").await?;
    /// database.forget_types();
    /// # Ok(()) }
    /// ```
    pub fn forget_types(&self) {
        self.handle.pool().forget_types();
    }

    /// `user@host:port/database`, as the file says it.
    ///
    /// ```no_run
    /// # async fn example(database: pgmonkey_async::Database) -> Result<(), pgmonkey_async::Error> {
    /// println!("connected to {}", database.target()); // app@db.internal:5432/shop
    /// # Ok(()) }
    /// ```
    pub fn target(&self) -> &str {
        self.handle.pool().target()
    }

    /// As [`Pool::close`].
    ///
    /// ```no_run
    /// # async fn example(database: pgmonkey_async::Database) -> Result<(), pgmonkey_async::Error> {
    /// database.close();
    /// assert!(database.acquire().await.is_err_and(|error| error.is_closed()));
    /// # Ok(()) }
    /// ```
    pub fn close(&self) {
        self.handle.pool().close();
    }
}

impl Database {
    fn pool(&self) -> &Pool {
        self.handle.pool()
    }
}

statements_of_handle!(Database);

/// Opens a handle of this type, as the pool that it is.
pub(crate) async fn open(
    config: &Config,
    connection_type: ConnectionType,
    extras: Extras,
) -> Result<Pool, Error> {
    match connection_type {
        ConnectionType::AsyncPool => Pool::with(config, extras).await,
        _ => Ok(Connection::with(config, extras).await?.pool().clone()),
    }
}

impl Handle {
    fn of(pool: Pool, connection_type: ConnectionType) -> Self {
        match connection_type {
            ConnectionType::AsyncPool => Self::Pool(pool),
            _ => Self::Connection(Connection::of(pool)),
        }
    }

    /// The pool behind it: a connection is a pool of one.
    fn pool(&self) -> &Pool {
        match self {
            Self::Connection(connection) => connection.pool(),
            Self::Pool(pool) => pool,
        }
    }
}
