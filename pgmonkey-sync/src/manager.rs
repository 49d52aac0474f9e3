//! The same handle for the same configuration, always.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use pgmonkey_cache::Cache;
use pgmonkey_config::{Config, ConnectionType, Fingerprint};
use pgmonkey_connect::credentials::PasswordProvider;
use pgmonkey_connect::process::{Origin, PerProcess};
use pgmonkey_connect::{CacheEntry, ConfigFiles, Error};

use crate::builder::{Extras, Identity, Provider};
use crate::connection::Connection;
use crate::context;
use crate::database::{Database, connection_type, open};
use crate::hooks::Hooks;
use crate::pool::Pool;

/// Gives out connections and pools, one for each configuration and type, however often and from
/// wherever they are asked for.
///
/// A cheap clone of one manager. Dropping the last clone closes what it cached, and so does the
/// end of the process, for as long as a second at most.
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
    extras: Extras,
}

struct Shared {
    origin: Origin,
    /// A connection is a pool of one.
    cache: Cache<Key, Pool, Error>,
    files: ConfigFiles,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            origin: Origin::here(),
            cache: Cache::spreading(Pool::apart),
            files: ConfigFiles::default(),
        }
    }
}

/// The identities of the password provider and the hooks are part of it, and never a password.
type Key = (Fingerprint, ConnectionType, Identity);

impl ConnectionManager {
    /// A manager that shares nothing with any other.
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

    /// The manager of the process.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let pool = pgmonkey_sync::ConnectionManager::global().pool(&config)?;
    /// # Ok(()) }
    /// ```
    pub fn global() -> &'static Self {
        static GLOBAL: OnceLock<ConnectionManager> = OnceLock::new();
        GLOBAL.get_or_init(Self::new)
    }

    /// The same manager, with the same cache, which asks `provider` for the password of each new
    /// session. Handles opened with one are cached by its
    /// [`identity`](PasswordProvider::identity), beside those without.
    ///
    /// ```no_run
    /// # use pgmonkey_sync::{PasswordProvider, PasswordRequest, ProviderError, Secret};
    /// # struct Vault;
    /// # impl PasswordProvider for Vault {
    /// #     fn identity(&self) -> String { "vault".into() }
    /// #     fn password(&self, _: &PasswordRequest) -> Result<Secret, ProviderError> { Ok("".into()) }
    /// # }
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let manager = pgmonkey_sync::ConnectionManager::global().with_password_provider(Vault);
    /// let pool = manager.pool(&config)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_password_provider(&self, provider: impl PasswordProvider) -> Self {
        let mut manager = self.clone();
        manager.extras.provider = Some(Provider::new(provider.identity(), Arc::new(provider)));
        manager
    }

    /// The same manager, with the same cache, whose handles have `hooks`. They are cached by the
    /// [`identity`](Hooks::identity) of the hooks, beside those without.
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
        manager.extras.hooks = Some(hooks);
        manager
    }

    /// The connection for `config`, opened if it is asked for the first time; its
    /// `connection_type` is not looked at.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let connection = pgmonkey_sync::ConnectionManager::global().connection(&config)?;
    /// println!("{}", connection.ping()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Connection::new`]; everyone who waited for the same connection gets the same error,
    /// and the next call tries again.
    pub fn connection(&self, config: &Config) -> Result<Connection, Error> {
        let pool = self.handle(config, ConnectionType::Normal)?;
        Ok(Connection::of(pool))
    }

    /// The pool for `config`, opened if it is asked for the first time; its `connection_type` is
    /// not looked at.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let pool = pgmonkey_sync::ConnectionManager::global().pool(&config)?;
    /// println!("{}", pool.ping()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::new`]; everyone who waited for the same pool gets the same error, and the next
    /// call tries again.
    pub fn pool(&self, config: &Config) -> Result<Pool, Error> {
        self.handle(config, ConnectionType::Pool)
    }

    /// The connection or the pool, as `config` says.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let database = pgmonkey_sync::ConnectionManager::global().database(&config)?;
    /// println!("{}", database.ping()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Database::new`].
    pub fn database(&self, config: &Config) -> Result<Database, Error> {
        let connection_type = connection_type(config)?;
        let pool = self.handle(config, connection_type)?;
        Ok(Database::of(pool, connection_type, config))
    }

    /// As [`connection`](Self::connection), for a caller that keeps no [`Config`]. Costs one
    /// `stat` when the file has not changed.
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
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey_sync::Error> {
    /// let pool = pgmonkey_sync::ConnectionManager::global().pool_from_file("pgmonkey.yaml")?;
    /// println!("{}", pool.ping()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`pool`](Self::pool), and [`Error::Config`].
    pub fn pool_from_file(&self, path: impl AsRef<Path>) -> Result<Pool, Error> {
        self.pool(&self.shared.get().files.load(path.as_ref())?)
    }

    /// As [`database`](Self::database), for a caller that keeps no [`Config`].
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey_sync::Error> {
    /// let database = pgmonkey_sync::ConnectionManager::global().database_from_file("pgmonkey.yaml")?;
    /// println!("{}", database.ping()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`database`](Self::database), and [`Error::Config`].
    pub fn database_from_file(&self, path: impl AsRef<Path>) -> Result<Database, Error> {
        self.database(&self.shared.get().files.load(path.as_ref())?)
    }

    /// Opens a new connection for `config`, caches it in place of the old one, and only then
    /// closes that: who has it borrowed keeps it to the end.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let connection = pgmonkey_sync::ConnectionManager::global().reload_connection(&config)?; // the old one is closed now
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`connection`](Self::connection); the old one stays cached then.
    pub fn reload_connection(&self, config: &Config) -> Result<Connection, Error> {
        let pool = self.reload(config, ConnectionType::Normal)?;
        Ok(Connection::of(pool))
    }

    /// As [`reload_connection`](Self::reload_connection), for the pool.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let pool = pgmonkey_sync::ConnectionManager::global().reload_pool(&config)?; // the old one is closed now
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`pool`](Self::pool); the old one stays cached then.
    pub fn reload_pool(&self, config: &Config) -> Result<Pool, Error> {
        self.reload(config, ConnectionType::Pool)
    }

    /// As [`reload_connection`](Self::reload_connection), for what `config` says.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let database = pgmonkey_sync::ConnectionManager::global().reload_database(&config)?; // the old one is closed now
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`database`](Self::database); the old one stays cached then.
    pub fn reload_database(&self, config: &Config) -> Result<Database, Error> {
        let connection_type = connection_type(config)?;
        let pool = self.reload(config, connection_type)?;
        Ok(Database::of(pool, connection_type, config))
    }

    /// What is cached now.
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

    /// Closes what is cached and forgets it; says how many handles that were. Sessions on loan
    /// end when they come back.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey_sync::Error> {
    /// println!("{} closed", pgmonkey_sync::ConnectionManager::global().clear_cache());
    /// # Ok(()) }
    /// ```
    pub fn clear_cache(&self) -> usize {
        self.shared.get().clear()
    }

    fn key(&self, config: &Config, connection_type: ConnectionType) -> Key {
        let fingerprint = *config.fingerprint(connection_type);
        (fingerprint, connection_type, self.extras.identity())
    }

    fn handle(&self, config: &Config, connection_type: ConnectionType) -> Result<Pool, Error> {
        let key = self.key(config, connection_type);
        // A handle that somebody closed by hand is never given out.
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
        let open = || open(config, connection_type, self.extras.clone());
        let cache = &self.shared.get().cache;
        let renewed = cache.get_or_try_renew(&key, is_closed, open)?;
        Ok(renewed.new)
    }

    fn reload(&self, config: &Config, connection_type: ConnectionType) -> Result<Pool, Error> {
        context::check("opening a blocking handle", "the async ConnectionManager")?;
        let key = self.key(config, connection_type);
        let open = || open(config, connection_type, self.extras.clone());
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
