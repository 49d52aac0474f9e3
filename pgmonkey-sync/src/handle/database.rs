//! The handle that the config file asks for: a connection or a pool.

use std::sync::Arc;

use pgmonkey_config::{Config, ConnectionType};
use pgmonkey_connect::{Error, Report, Status, TopStatement};

use crate::client::guard::ClientGuard;
use crate::client::transaction::Transaction;
use crate::handle::connection::Connection;
use crate::handle::pool::Pool;
use crate::handle::queries::statements_of_handle;
use crate::handle::timed::timed;
use crate::options::HandleOptions;

/// A [`Connection`] or a [`Pool`], as the config's `connection_type` says. The code stays the same
/// when the config changes.
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
}

/// The handle inside a [`Database`].
#[derive(Debug, Clone)]
enum Handle {
    Connection(Connection),
    Pool(Pool),
}

/// Returns the type of handle that `config` asks for, if it is one for threads.
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
    /// Opens the handle that `config` asks for. It belongs to the caller and is not cached.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionType`] if the config asks for an async type; otherwise as [`Pool::new`].
    pub fn new(config: &Config) -> Result<Self, Error> {
        Self::with(config, HandleOptions::default())
    }

    pub(crate) fn with(config: &Config, options: HandleOptions) -> Result<Self, Error> {
        let connection_type = connection_type(config)?;
        let pool = open(config, connection_type, options)?;
        Ok(Self::of(pool, connection_type))
    }

    /// Wraps the pool in a handle of this type.
    pub(crate) fn of(pool: Pool, connection_type: ConnectionType) -> Self {
        Self {
            handle: Handle::of(pool, connection_type),
        }
    }

    /// Returns the pool, if it is one.
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

    /// Returns the connection, if it is one.
    pub fn as_connection(&self) -> Option<&Connection> {
        match &self.handle {
            Handle::Connection(connection) => Some(connection),
            Handle::Pool(_) => None,
        }
    }

    /// Runs `f` as Python's `with conn:` block does: in a transaction, or without one if the config
    /// says `autocommit: true`.
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
        in_scope(self.acquire()?, f)
    }

    /// As [`Pool::acquire`].
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

    /// As [`transaction`](Self::transaction), for a closure with its own error type.
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
    /// # Errors
    ///
    /// As [`Pool::begin`].
    #[track_caller]
    pub fn begin(&self) -> Result<Transaction, Error> {
        self.handle.pool().begin()
    }

    /// As [`Pool::ping`].
    ///
    /// # Errors
    ///
    /// As [`Pool::ping`].
    #[track_caller]
    pub fn ping(&self) -> Result<Report, Error> {
        self.handle.pool().ping()
    }

    /// As [`Pool::status`].
    pub fn status(&self) -> Status {
        self.handle.pool().status()
    }

    /// As [`Pool::top_statements`].
    pub fn top_statements(&self, most: usize) -> Vec<TopStatement> {
        self.handle.pool().top_statements(most)
    }

    /// Has every session look up user-defined types (enums, domains, composites) again, and prepare
    /// again the statements that use them. Sends nothing by itself.
    ///
    /// A change that makes a statement fail is detected automatically. Call this after a change
    /// that does not, such as `ALTER TYPE … ADD VALUE`, before `Row::get` reads the new value.
    /// Without this call, such statements are prepared again after five minutes.
    pub fn forget_types(&self) {
        self.handle.pool().forget_types();
    }

    /// Returns `user@host:port/database`, as configured.
    pub fn target(&self) -> Arc<str> {
        self.handle.pool().target()
    }

    /// As [`Pool::close`].
    pub fn close(&self) {
        self.handle.pool().close();
    }
}

impl Database {
    pub(crate) fn pool(&self) -> &Pool {
        self.handle.pool()
    }
}

statements_of_handle!(Database);
timed!(Database);

/// Runs `f` in a transaction on this session, or without one if the config says `autocommit`.
pub(crate) fn in_scope<T>(
    mut guard: ClientGuard,
    f: impl FnOnce(&mut ClientGuard) -> Result<T, Error>,
) -> Result<T, Error> {
    let autocommit = guard.autocommit();
    if !autocommit {
        guard.begin()?;
    }
    let value = f(&mut guard)?;
    if !autocommit {
        guard.commit()?;
    }
    Ok(value)
}

/// Opens a handle of this type, as the pool inside it.
pub(crate) fn open(
    config: &Config,
    connection_type: ConnectionType,
    options: HandleOptions,
) -> Result<Pool, Error> {
    match connection_type {
        ConnectionType::Pool => Pool::with(config, options),
        _ => Ok(Connection::with(config, options)?.pool().clone()),
    }
}

impl Handle {
    fn of(pool: Pool, connection_type: ConnectionType) -> Self {
        match connection_type {
            ConnectionType::Pool => Self::Pool(pool),
            _ => Self::Connection(Connection::of(pool)),
        }
    }

    /// The pool inside the handle: a connection is a pool of one session.
    fn pool(&self) -> &Pool {
        match self {
            Self::Connection(connection) => connection.pool(),
            Self::Pool(pool) => pool,
        }
    }
}
