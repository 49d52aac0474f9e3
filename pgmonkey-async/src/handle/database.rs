//! The handle that the config file asks for: a connection or a pool.

use std::sync::Arc;

use pgmonkey_config::{Config, ConnectionType};
use pgmonkey_connect::{Error, Report, Status, TopStatement};

use crate::client::guard::ClientGuard;
use crate::client::scoped::Scoped;
use crate::client::transaction::Transaction;
use crate::handle::connection::Connection;
use crate::handle::pool::Pool;
use crate::handle::queries::statements_of_handle;
use crate::handle::timed::{timed, within};
use crate::options::HandleOptions;

/// A [`Connection`] or a [`Pool`], as the config's `connection_type` says. The code stays the same
/// when the config changes.
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
}

/// The handle inside a [`Database`].
#[derive(Debug, Clone)]
enum Handle {
    Connection(Connection),
    Pool(Pool),
}

/// Returns the type of handle that `config` asks for, if it is one for tasks.
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
    /// Opens the handle that `config` asks for. It belongs to the caller and is not cached.
    ///
    /// # Errors
    ///
    /// [`Error::ConnectionType`] if the config asks for a sync type; otherwise as [`Pool::new`].
    pub async fn new(config: &Config) -> Result<Self, Error> {
        Self::with(config, HandleOptions::default()).await
    }

    pub(crate) async fn with(config: &Config, options: HandleOptions) -> Result<Self, Error> {
        let connection_type = connection_type(config)?;
        let pool = open(config, connection_type, options).await?;
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
        async move { in_scope(acquire.await?, f).await }
    }

    /// As [`Pool::acquire`].
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

    /// As [`transaction`](Self::transaction), for a closure with its own error type.
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
    /// # Errors
    ///
    /// As [`Pool::begin`].
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction, Error>> + Send + '_ {
        self.handle.pool().begin()
    }

    /// As [`Pool::ping`].
    ///
    /// # Errors
    ///
    /// As [`Pool::ping`].
    #[track_caller]
    pub fn ping(&self) -> impl Future<Output = Result<Report, Error>> + Send + '_ {
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
pub(crate) async fn in_scope<T, F>(mut guard: ClientGuard, f: F) -> Result<T, Error>
where
    F: AsyncFnOnce(Scoped<ClientGuard>) -> Result<T, Error>,
{
    let autocommit = guard.autocommit();
    if !autocommit {
        guard.begin().await?;
    }
    let session = guard.session();
    let (limit, observer) = (session.limit(), Arc::clone(session.observer()));
    let (guard, back) = Scoped::new(guard);
    let work = f(guard);
    let value = match limit {
        Some(call) => within(call, &observer, work).await?,
        None => work.await?,
    };
    let mut guard = back.take().ok_or(Error::SessionEscaped)?;
    if !autocommit {
        guard.commit().await?;
    }
    Ok(value)
}

/// Opens a handle of this type, as the pool inside it.
pub(crate) async fn open(
    config: &Config,
    connection_type: ConnectionType,
    options: HandleOptions,
) -> Result<Pool, Error> {
    match connection_type {
        ConnectionType::AsyncPool => Pool::with(config, options).await,
        _ => Ok(Connection::with(config, options).await?.pool().clone()),
    }
}

impl Handle {
    fn of(pool: Pool, connection_type: ConnectionType) -> Self {
        match connection_type {
            ConnectionType::AsyncPool => Self::Pool(pool),
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
