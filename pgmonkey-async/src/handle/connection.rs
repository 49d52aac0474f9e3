//! A single shared session.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pgmonkey_config::{Config, ConnectionType, PoolSettings, Reset};
use pgmonkey_connect::{Error, Report, Status, TopStatement};

use crate::client::guard::ClientGuard;
use crate::client::scoped::Scoped;
use crate::client::transaction::Transaction;
use crate::handle::pool::Pool;
use crate::handle::queries::statements_of_handle;
use crate::handle::timed::timed;
use crate::options::HandleOptions;

/// How long a caller waits for the session. A single connection has no setting for it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A single session for tasks: used by one caller at a time, in order of arrival, and reopened when
/// it is found dead.
///
/// Clones are cheap and share the session. A connection is a pool of exactly one session without a
/// maximum lifetime, and gives all guarantees of a [`Pool`].
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
    /// Opens a connection with the `async_settings` of `config`. It belongs to the caller and is
    /// not cached.
    ///
    /// # Errors
    ///
    /// As [`Pool::new`].
    pub async fn new(config: &Config) -> Result<Self, Error> {
        Self::with(config, HandleOptions::default()).await
    }

    pub(crate) async fn with(config: &Config, options: HandleOptions) -> Result<Self, Error> {
        let mut settings = PoolSettings::default();
        settings.min_size = 1;
        settings.max_size = 1;
        settings.num_workers = 1;
        // What a caller sets on the session stays, as on any single connection.
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
            options,
        )
        .await
        .map(Self)
    }

    /// Acquires the session, waiting for at most 30 s while it is in use; dropping the guard
    /// releases it.
    ///
    /// # Errors
    ///
    /// As [`Pool::acquire`].
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<ClientGuard, Error>> + Send + '_ {
        self.0.acquire()
    }

    /// Runs `f` in a transaction: commits if `f` returns `Ok`, rolls back if it returns `Err` or
    /// panics. Dropping the future rolls back too.
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
        self.0.try_transaction(f)
    }

    /// Begins a transaction that holds the session until it is committed, rolled back or dropped.
    /// Dropping it rolls back.
    ///
    /// # Errors
    ///
    /// As [`Pool::begin`].
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction, Error>> + Send + '_ {
        self.0.begin()
    }

    /// Pings the server and reports which server answered. One round trip.
    ///
    /// # Errors
    ///
    /// As [`Pool::ping`].
    #[track_caller]
    pub fn ping(&self) -> impl Future<Output = Result<Report, Error>> + Send + '_ {
        self.0.ping()
    }

    /// Returns the connection's current numbers. Sends nothing.
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// Returns the texts whose statements have taken the most time; see [`Pool::top_statements`].
    pub fn top_statements(&self, most: usize) -> Vec<TopStatement> {
        self.0.top_statements(most)
    }

    /// Has every session look up user-defined types (enums, domains, composites) again, and prepare
    /// again the statements that use them. Sends nothing by itself.
    ///
    /// A change that makes a statement fail is detected automatically. Call this after a change
    /// that does not, such as `ALTER TYPE … ADD VALUE`, before `Row::get` reads the new value.
    /// Without this call, such statements are prepared again after five minutes.
    pub fn forget_types(&self) {
        self.0.forget_types();
    }

    /// Returns `user@host:port/database`, as configured.
    pub fn target(&self) -> Arc<str> {
        self.0.target()
    }

    /// Closes the connection: immediately if it is not in use, otherwise when it is released.
    pub fn close(&self) {
        self.0.close();
    }

    /// Returns whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Wraps a pool of one session.
    pub(crate) fn of(pool: Pool) -> Self {
        Self(pool)
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0
    }

    /// Returns whether both are handles of the same connection; a replaced one counts as its successor.
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }
}

statements_of_handle!(Connection);
timed!(Connection);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("target", &self.target())
            .field("status", &self.status())
            .finish()
    }
}
