//! Whichever of the two the file asks for.

use pgmonkey_config::{Config, ConnectionType};
use pgmonkey_connect::{Error, Report, Status};

use crate::builder::Extras;
use crate::connection::Connection;
use crate::guard::ClientGuard;
use crate::pool::Pool;
use crate::statements::statements_of_handle;
use crate::transaction::Transaction;

/// A [`Connection`] or a [`Pool`], as the file's `connection_type` says: the code stays the
/// same when the file changes.
///
/// ```no_run
/// use pgmonkey_sync::{Config, Database, Error};
///
/// fn main() -> Result<(), Error> {
///     let database = Database::new(&Config::from_file("pgmonkey.yaml")?)?;
///     database.scope(|client| {
///         client.execute("INSERT INTO visits DEFAULT VALUES", &[])?;
///         Ok(())
///     })
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

/// The type of handle `config` asks for, if it is one for threads.
pub(crate) fn connection_type(config: &Config) -> Result<ConnectionType, Error> {
    match config.connection_type {
        found if found.is_async() => Err(Error::ConnectionType {
            found,
            expected: "normal or pool; for async and async_pool use the async twin",
        }),
        found => Ok(found),
    }
}

impl Database {
    /// Opens what `config` asks for. It belongs to the caller: no cache knows it.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let database = pgmonkey_sync::Database::new(&config)?;
    /// println!("{}", database.ping()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionType`] if the file asks for an async type, else as [`Pool::new`].
    pub fn new(config: &Config) -> Result<Self, Error> {
        Self::with(config, Extras::default())
    }

    pub(crate) fn with(config: &Config, extras: Extras) -> Result<Self, Error> {
        let connection_type = connection_type(config)?;
        let pool = open(config, connection_type, extras)?;
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
    /// # fn example(database: pgmonkey_sync::Database) -> Result<(), pgmonkey_sync::Error> {
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
    /// # fn example(database: pgmonkey_sync::Database) -> Result<(), pgmonkey_sync::Error> {
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
    /// # fn example(database: pgmonkey_sync::Database) -> Result<(), pgmonkey_sync::Error> {
    /// let removed = database.scope(|client| {
    ///     client.execute("DELETE FROM jobs WHERE done", &[])
    /// })?;
    /// println!("{removed} jobs removed");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::transaction`].
    #[track_caller]
    pub fn scope<T>(
        &self,
        f: impl FnOnce(&mut ClientGuard) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut guard = self.acquire()?;
        if !self.autocommit {
            guard.begin()?;
        }
        let value = f(&mut guard)?;
        if !self.autocommit {
            guard.commit()?;
        }
        Ok(value)
    }

    /// As [`Pool::acquire`].
    ///
    /// ```no_run
    /// # fn example(database: pgmonkey_sync::Database) -> Result<(), pgmonkey_sync::Error> {
    /// let mut client = database.acquire()?;
    /// client.batch_execute("REFRESH MATERIALIZED VIEW sales")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::acquire`].
    #[track_caller]
    pub fn acquire(&self) -> Result<ClientGuard, Error> {
        self.handle.pool().acquire()
    }

    /// As [`Pool::transaction`].
    ///
    /// ```no_run
    /// # fn example(database: pgmonkey_sync::Database) -> Result<(), pgmonkey_sync::Error> {
    /// let id: i64 = database.transaction(|tx| {
    ///     let row = tx.query_one("INSERT INTO orders DEFAULT VALUES RETURNING id", &[])?;
    ///     Ok(row.get(0))
    /// })?;
    /// println!("order {id}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::transaction`].
    #[track_caller]
    pub fn transaction<T>(
        &self,
        f: impl FnOnce(&mut Transaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.handle.pool().transaction(f)
    }

    /// As [`transaction`](Self::transaction), for a closure with an error type of its own.
    ///
    /// ```no_run
    /// enum Refused {
    ///     Poor,
    ///     Database(pgmonkey_sync::Error),
    /// }
    ///
    /// impl From<pgmonkey_sync::Error> for Refused {
    ///     fn from(error: pgmonkey_sync::Error) -> Self {
    ///         Self::Database(error)
    ///     }
    /// }
    ///
    /// # fn example(database: pgmonkey_sync::Database) -> Result<(), Refused> {
    /// let take = "UPDATE accounts SET money = money - 5 WHERE name = $1 AND money >= 5";
    /// database.try_transaction(|tx| match tx.execute(take, &[&"ann"])? {
    ///     0 => Err(Refused::Poor), // rolled back
    ///     _ => Ok(()),
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction).
    #[track_caller]
    pub fn try_transaction<T, E: From<Error>>(
        &self,
        f: impl FnOnce(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        self.handle.pool().try_transaction(f)
    }

    /// As [`Pool::begin`].
    ///
    /// ```no_run
    /// # fn example(database: pgmonkey_sync::Database) -> Result<(), pgmonkey_sync::Error> {
    /// let mut transaction = database.begin()?;
    /// transaction.execute("DELETE FROM visits", &[])?;
    /// transaction.commit()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::begin`].
    #[track_caller]
    pub fn begin(&self) -> Result<Transaction, Error> {
        self.handle.pool().begin()
    }

    /// As [`Pool::ping`].
    ///
    /// ```no_run
    /// # fn example(database: pgmonkey_sync::Database) -> Result<(), pgmonkey_sync::Error> {
    /// let report = database.ping()?;
    /// println!("{} answered after {:?}", report.address, report.latency);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::ping`].
    #[track_caller]
    pub fn ping(&self) -> Result<Report, Error> {
        self.handle.pool().ping()
    }

    /// As [`Pool::status`].
    ///
    /// ```no_run
    /// # fn example(database: pgmonkey_sync::Database) -> Result<(), pgmonkey_sync::Error> {
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
    /// # fn example(database: pgmonkey_sync::Database) -> Result<(), pgmonkey_sync::Error> {
    /// database.batch_execute("ALTER TYPE mood ADD VALUE 'great'")?;
    /// database.forget_types();
    /// # Ok(()) }
    /// ```
    pub fn forget_types(&self) {
        self.handle.pool().forget_types();
    }

    /// `user@host:port/database`, as the file says it.
    ///
    /// ```no_run
    /// # fn example(database: pgmonkey_sync::Database) -> Result<(), pgmonkey_sync::Error> {
    /// println!("connected to {}", database.target()); // app@db.internal:5432/shop
    /// # Ok(()) }
    /// ```
    pub fn target(&self) -> &str {
        self.handle.pool().target()
    }

    /// As [`Pool::close`].
    ///
    /// ```no_run
    /// # fn example(database: pgmonkey_sync::Database) -> Result<(), pgmonkey_sync::Error> {
    /// database.close();
    /// assert!(database.acquire().is_err_and(|error| error.is_closed()));
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
pub(crate) fn open(
    config: &Config,
    connection_type: ConnectionType,
    extras: Extras,
) -> Result<Pool, Error> {
    match connection_type {
        ConnectionType::Pool => Pool::with(config, extras),
        _ => Ok(Connection::with(config, extras)?.pool().clone()),
    }
}

impl Handle {
    fn of(pool: Pool, connection_type: ConnectionType) -> Self {
        match connection_type {
            ConnectionType::Pool => Self::Pool(pool),
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
