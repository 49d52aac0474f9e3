//! Caches handles: the same configuration always gets the same handle.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use pgmonkey_config::{Config, ConnectionType};
use pgmonkey_connect::credentials::PasswordProvider;
use pgmonkey_connect::process::PerProcess;
use pgmonkey_connect::sources::Asked;
use pgmonkey_connect::tenants::HandleLimits;
use pgmonkey_connect::{CacheEntry, Error};

use crate::handle::connection::Connection;
use crate::handle::database::{Database, connection_type};
use crate::handle::pool::Pool;
use crate::options::HandleOptions;
use crate::session::connect::Provider;
use crate::session::hooks::Hooks;

use self::handles::Handles;

pub use self::builder::ManagerBuilder;
pub use self::watch::Watch;

mod builder;
mod clusters;
mod handles;
mod limits;
mod reload;
mod watch;

/// Caches connections and pools: one handle for each configuration and type, no matter how often or
/// from where it is requested.
///
/// Clones are cheap and share one cache. Dropping the last clone closes the cached handles that the
/// program does not hold; those that it holds go on. The end of the process closes all, which
/// delays it by at most a second.
///
/// ```no_run
/// use pgmonkey_sync::{Config, ConnectionManager, Error};
///
/// fn main() -> Result<(), Error> {
///     let config = Config::from_file("pgmonkey.yaml")?;
///     let pool = ConnectionManager::global().pool(&config)?;
///     assert!(pool.is_same(&ConnectionManager::global().pool(&config)?));
///     Ok(())
/// }
/// ```
#[derive(Clone, Default)]
pub struct ConnectionManager {
    handles: Arc<PerProcess<Handles>>,
    options: HandleOptions,
    limits: HandleLimits,
}

impl ConnectionManager {
    /// Creates a manager with a cache of its own.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let manager = pgmonkey_sync::ConnectionManager::new();
    /// let pool = manager.pool(&config)?;
    /// assert_eq!(manager.cache_info().len(), 1);
    /// # Ok(()) }
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the manager of the process.
    pub fn global() -> &'static Self {
        static GLOBAL: OnceLock<ConnectionManager> = OnceLock::new();
        GLOBAL.get_or_init(Self::new)
    }

    /// Returns this manager, with the same cache, that asks `provider` for the password of each new
    /// session. Its handles are cached by the [`identity`](PasswordProvider::identity) of the
    /// provider, separately from those without one.
    #[must_use]
    pub fn with_password_provider(&self, provider: impl PasswordProvider) -> Self {
        let mut manager = self.clone();
        manager.options.provider = Some(Provider::new(provider.identity(), Arc::new(provider)));
        manager
    }

    /// Returns this manager, with the same cache, whose handles run `hooks`. Its handles are cached
    /// by the [`identity`](Hooks::identity) of the hooks, separately from those without any.
    ///
    /// ```no_run
    /// # fn example(hooks: pgmonkey_sync::Hooks, config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let manager = pgmonkey_sync::ConnectionManager::global().with_hooks(hooks);
    /// let pool = manager.pool(&config)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_hooks(&self, hooks: Hooks) -> Self {
        let mut manager = self.clone();
        manager.options.hooks = Some(hooks);
        manager
    }

    /// Returns the connection for `config`, opening it at the first request; `connection_type` is
    /// ignored.
    ///
    /// # Errors
    ///
    /// As [`Connection::new`]. All callers that waited for the same connection get the same error;
    /// the next call tries again.
    pub fn connection(&self, config: &Config) -> Result<Connection, Error> {
        let pool = self.handle(config, ConnectionType::Normal)?;
        Ok(Connection::of(pool))
    }

    /// Returns the pool for `config`, opening it at the first request; `connection_type` is
    /// ignored.
    ///
    /// # Errors
    ///
    /// As [`Pool::new`]. All callers that waited for the same pool get the same error; the next
    /// call tries again.
    pub fn pool(&self, config: &Config) -> Result<Pool, Error> {
        self.handle(config, ConnectionType::Pool)
    }

    /// Returns the connection or the pool for `config`, as its `connection_type` says.
    ///
    /// # Errors
    ///
    /// As [`Database::new`].
    pub fn database(&self, config: &Config) -> Result<Database, Error> {
        let connection_type = connection_type(config)?;
        let pool = self.handle(config, connection_type)?;
        Ok(Database::of(pool, connection_type))
    }

    /// As [`connection`](Self::connection), for a caller that keeps no [`Config`]. Costs one `stat`
    /// if the file has not changed.
    ///
    /// If it has, the new connection is opened first. The one that this path gave before is then
    /// retired in favour of it: its clones go on with the new one. It is not retired while another
    /// path gives it, or if a [`Config`] of the program was ever given it.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey_sync::Error> {
    /// let connection = pgmonkey_sync::ConnectionManager::global().connection_from_file("pgmonkey.yaml")?;
    /// println!("{}", connection.ping()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`connection`](Self::connection), and [`Error::Config`].
    pub fn connection_from_file(&self, path: impl AsRef<Path>) -> Result<Connection, Error> {
        let (pool, _) =
            self.handle_from_file(path.as_ref(), Asked::ByType(ConnectionType::Normal))?;
        Ok(Connection::of(pool))
    }

    /// As [`pool`](Self::pool), for a caller that keeps no [`Config`].
    ///
    /// # Errors
    ///
    /// As [`pool`](Self::pool), and [`Error::Config`].
    pub fn pool_from_file(&self, path: impl AsRef<Path>) -> Result<Pool, Error> {
        let (pool, _) =
            self.handle_from_file(path.as_ref(), Asked::ByType(ConnectionType::Pool))?;
        Ok(pool)
    }

    /// As [`database`](Self::database), for a caller that keeps no [`Config`].
    ///
    /// # Errors
    ///
    /// As [`database`](Self::database), and [`Error::Config`].
    pub fn database_from_file(&self, path: impl AsRef<Path>) -> Result<Database, Error> {
        let (pool, connection_type) = self.handle_from_file(path.as_ref(), Asked::Database)?;
        Ok(Database::of(pool, connection_type))
    }

    /// Describes the handles that are cached now.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey_sync::Error> {
    /// for entry in pgmonkey_sync::ConnectionManager::global().cache_info() {
    ///     println!("{entry}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn cache_info(&self) -> Vec<CacheEntry> {
        let listed = self.handles.get().listed();
        listed.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Removes the handles of `config`, a connection, a pool and the pool of its `readers`, from the
    /// cache, and returns how many there were. A handle that the program holds goes on, without a
    /// successor; any other is closed.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) {
    /// let removed = pgmonkey_sync::ConnectionManager::global().remove(&config);
    /// println!("{removed} removed");
    /// # }
    /// ```
    pub fn remove(&self, config: &Config) -> usize {
        let types = [ConnectionType::Normal, ConnectionType::Pool];
        let own = types.map(|connection_type| self.key(config, connection_type));
        let keys: Vec<_> = own.into_iter().chain(self.readers_key(config)).collect();
        self.handles
            .get()
            .remove(|key| keys.contains(key), |_| true)
    }

    /// As [`remove`](Self::remove), for every cached handle that `is_meant` accepts.
    ///
    /// ```no_run
    /// # fn example() {
    /// let hour = std::time::Duration::from_secs(3600);
    /// pgmonkey_sync::ConnectionManager::global().remove_if(|entry| entry.unused_for > hour);
    /// # }
    /// ```
    pub fn remove_if(&self, is_meant: impl Fn(&CacheEntry) -> bool) -> usize {
        self.handles.get().remove(|_| true, is_meant)
    }

    /// Closes all cached handles, removes them from the cache and returns how many there were.
    /// Sessions in use are closed when they are released.
    pub fn clear_cache(&self) -> usize {
        self.handles.get().clear()
    }
}

impl std::fmt::Debug for ConnectionManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.cache_info()).finish()
    }
}
