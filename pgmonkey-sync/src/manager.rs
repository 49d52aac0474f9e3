//! Caches handles: the same configuration always gets the same handle.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use pgmonkey_cache::Cache;
use pgmonkey_config::{Config, ConnectionType, Fingerprint};
use pgmonkey_connect::credentials::PasswordProvider;
use pgmonkey_connect::process::{Origin, PerProcess};
use pgmonkey_connect::{CacheEntry, ConfigFiles, Error};

use crate::context;
use crate::handle::connection::Connection;
use crate::handle::database::{Database, connection_type, open};
use crate::handle::pool::Pool;
use crate::options::{HandleOptions, Identity};
use crate::session::connect::Provider;
use crate::session::hooks::Hooks;

/// Caches connections and pools: one handle for each configuration and type, no matter how often or
/// from where it is requested.
///
/// Clones are cheap and share one cache. Dropping the last clone closes the cached handles. So does
/// the end of the process, which this delays by at most a second.
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
    shared: Arc<PerProcess<Shared>>,
    options: HandleOptions,
}

struct Shared {
    origin: Origin,
    /// A connection is cached as its pool of one session.
    cache: Cache<Key, Pool, Error>,
    files: ConfigFiles,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            origin: Origin::here(),
            cache: Cache::sharded(Pool::shard),
            files: ConfigFiles::default(),
        }
    }
}

/// Contains the identities of the password provider and the hooks, but never a password.
type Key = (Fingerprint, ConnectionType, Identity);

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
        Ok(Database::of(pool, connection_type, config))
    }

    /// As [`connection`](Self::connection), for a caller that keeps no [`Config`]. Costs one `stat`
    /// if the file has not changed.
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
        self.connection(&self.shared.get().files.load(path.as_ref())?)
    }

    /// As [`pool`](Self::pool), for a caller that keeps no [`Config`].
    ///
    /// # Errors
    ///
    /// As [`pool`](Self::pool), and [`Error::Config`].
    pub fn pool_from_file(&self, path: impl AsRef<Path>) -> Result<Pool, Error> {
        self.pool(&self.shared.get().files.load(path.as_ref())?)
    }

    /// As [`database`](Self::database), for a caller that keeps no [`Config`].
    ///
    /// # Errors
    ///
    /// As [`database`](Self::database), and [`Error::Config`].
    pub fn database_from_file(&self, path: impl AsRef<Path>) -> Result<Database, Error> {
        self.database(&self.shared.get().files.load(path.as_ref())?)
    }

    /// Opens a new connection for `config`, caches it in place of the old one, and only then closes
    /// the old one: a session of it that is in use stays usable until it is released.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let connection = pgmonkey_sync::ConnectionManager::global().reload_connection(&config)?; // the old one is closed now
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`connection`](Self::connection); the old one then stays cached.
    pub fn reload_connection(&self, config: &Config) -> Result<Connection, Error> {
        let pool = self.reload(config, ConnectionType::Normal)?;
        Ok(Connection::of(pool))
    }

    /// As [`reload_connection`](Self::reload_connection), for the pool.
    ///
    /// # Errors
    ///
    /// As [`pool`](Self::pool); the old one then stays cached.
    pub fn reload_pool(&self, config: &Config) -> Result<Pool, Error> {
        self.reload(config, ConnectionType::Pool)
    }

    /// As [`reload_connection`](Self::reload_connection), for the handle that `config` asks for.
    ///
    /// # Errors
    ///
    /// As [`database`](Self::database); the old one then stays cached.
    pub fn reload_database(&self, config: &Config) -> Result<Database, Error> {
        let connection_type = connection_type(config)?;
        let pool = self.reload(config, connection_type)?;
        Ok(Database::of(pool, connection_type, config))
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
        let entries = self.shared.get().cache.entries().into_iter();
        entries
            .map(|entry| {
                let (fingerprint, connection_type, _) = entry.key;
                let (target, status) = (entry.value.target(), entry.value.status());
                CacheEntry::new(
                    connection_type,
                    fingerprint,
                    target,
                    entry.created.elapsed(),
                    entry.hits,
                    status,
                )
            })
            .collect()
    }

    /// Closes all cached handles, removes them from the cache and returns how many there were.
    /// Sessions in use are closed when they are released.
    pub fn clear_cache(&self) -> usize {
        self.shared.get().clear()
    }

    fn key(&self, config: &Config, connection_type: ConnectionType) -> Key {
        let fingerprint = *config.fingerprint(connection_type);
        (fingerprint, connection_type, self.options.identity())
    }

    fn handle(&self, config: &Config, connection_type: ConnectionType) -> Result<Pool, Error> {
        let key = self.key(config, connection_type);
        // A handle that the program closed is never returned again.
        let is_closed = Pool::is_closed;
        if let Some(pool) = self
            .shared
            .get()
            .cache
            .get(&key)
            .filter(|pool| !is_closed(pool))
        {
            return Ok(pool);
        }
        context::check("opening a blocking handle", "the async ConnectionManager")?;
        let open = || open(config, connection_type, self.options.clone());
        let cache = &self.shared.get().cache;
        let renewed = cache.get_or_try_renew(&key, is_closed, open)?;
        Ok(renewed.new)
    }

    fn reload(&self, config: &Config, connection_type: ConnectionType) -> Result<Pool, Error> {
        context::check("opening a blocking handle", "the async ConnectionManager")?;
        let key = self.key(config, connection_type);
        let open = || open(config, connection_type, self.options.clone());
        let replaced = self.shared.get().cache.replace(&key, open)?;
        if let Some(old) = replaced.old {
            old.close();
        }
        Ok(replaced.new)
    }
}

impl Shared {
    fn clear(&self) -> usize {
        let held = self.cache.clear();
        held.iter().for_each(|(_, pool)| pool.close());
        held.len()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.origin.is_here() {
            self.clear();
        }
    }
}

impl std::fmt::Debug for ConnectionManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.cache_info()).finish()
    }
}
