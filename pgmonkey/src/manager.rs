//! The manager of both driver crates: it only delegates to them.

use std::sync::OnceLock;

use pgmonkey_connect::CacheEntry;
#[cfg(feature = "async")]
use pgmonkey_connect::credentials::AsyncPasswordProvider;
#[cfg(feature = "sync")]
use pgmonkey_connect::credentials::PasswordProvider;
#[cfg(any(feature = "sync", feature = "async"))]
use {pgmonkey_config::Config, pgmonkey_connect::Error, std::path::Path};

/// Opens and caches connections and pools of all four types: one handle for each configuration and
/// type, however often and from wherever it is requested.
///
/// A manager is cheap to clone, and clones share one cache. The cached handles are closed when the
/// last clone is dropped, and at exit, which this delays by a second at most.
///
/// ```no_run
/// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
/// let pool = pgmonkey::ConnectionManager::global().pool(&config)?;
/// assert!(pool.is_same(&pgmonkey::ConnectionManager::global().pool(&config)?));
/// # Ok(()) }
/// ```
#[derive(Clone, Default, Debug)]
pub struct ConnectionManager {
    #[cfg(feature = "sync")]
    sync: pgmonkey_sync::ConnectionManager,
    #[cfg(feature = "async")]
    aio: pgmonkey_async::ConnectionManager,
}

impl ConnectionManager {
    /// Creates a manager with a cache of its own.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let manager = pgmonkey::ConnectionManager::new();
    /// let pool = manager.pool(&config)?;
    /// assert_eq!(manager.cache_info().len(), 1);
    /// # Ok(()) }
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the global manager of the process. It shares its cache with the global managers of
    /// `pgmonkey-sync` and `pgmonkey-async`.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let pool = pgmonkey::ConnectionManager::global().pool(&config)?;
    /// # Ok(()) }
    /// ```
    pub fn global() -> &'static Self {
        static GLOBAL: OnceLock<ConnectionManager> = OnceLock::new();
        GLOBAL.get_or_init(|| Self {
            #[cfg(feature = "sync")]
            sync: pgmonkey_sync::ConnectionManager::global().clone(),
            #[cfg(feature = "async")]
            aio: pgmonkey_async::ConnectionManager::global().clone(),
        })
    }

    /// Lists the cached handles, sync and async.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey::Error> {
    /// for entry in pgmonkey::ConnectionManager::global().cache_info() {
    ///     println!("{entry}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn cache_info(&self) -> Vec<CacheEntry> {
        #[allow(unused_mut, reason = "with neither feature nothing is pushed")]
        let mut entries = Vec::new();
        #[cfg(feature = "sync")]
        entries.extend(self.sync.cache_info());
        #[cfg(feature = "async")]
        entries.extend(self.aio.cache_info());
        entries
    }
}

/// Defines methods that forward to the manager of one driver crate.
macro_rules! forward {
    ($($(#[$doc:meta])* fn $name:ident($arg:ident: $type:ty) -> $ok:ty = $to:ident;)*) => {
        #[cfg(feature = "sync")]
        #[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
        impl ConnectionManager {
            $($(#[$doc])*
            ///
            /// # Errors
            ///
            /// Returns an error if the handle cannot be opened.
            pub fn $name(&self, $arg: $type) -> Result<$ok, Error> {
                self.sync.$to($arg)
            })*
        }
    };
    (async $($(#[$doc:meta])* fn $name:ident($arg:ident: $type:ty) -> $ok:ty = $to:ident;)*) => {
        #[cfg(feature = "async")]
        #[cfg_attr(docsrs, doc(cfg(feature = "async")))]
        impl ConnectionManager {
            $($(#[$doc])*
            ///
            /// # Errors
            ///
            /// Returns an error if the handle cannot be opened.
            pub async fn $name(&self, $arg: $type) -> Result<$ok, Error> {
                self.aio.$to($arg).await
            })*
        }
    };
}

forward! {
    /// Returns the connection for `config`; see [`pgmonkey_sync::ConnectionManager::connection`].
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let connection = pgmonkey::ConnectionManager::global().connection(&config)?;
    /// println!("{}", connection.ping()?);
    /// # Ok(()) }
    /// ```
    fn connection(config: &Config) -> pgmonkey_sync::Connection = connection;
    /// Returns the pool for `config`; see [`pgmonkey_sync::ConnectionManager::pool`].
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let pool = pgmonkey::ConnectionManager::global().pool(&config)?;
    /// println!("{}", pool.ping()?);
    /// # Ok(()) }
    /// ```
    fn pool(config: &Config) -> pgmonkey_sync::Pool = pool;
    /// Returns a connection or a pool, depending on the `connection_type` of `config`; see
    /// [`pgmonkey_sync::ConnectionManager::database`].
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let database = pgmonkey::ConnectionManager::global().database(&config)?;
    /// println!("{}", database.ping()?);
    /// # Ok(()) }
    /// ```
    fn database(config: &Config) -> pgmonkey_sync::Database = database;
    /// Returns the connection for the configuration in a file.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey::Error> {
    /// let connection = pgmonkey::ConnectionManager::global().connection_from_file("pgmonkey.yaml")?;
    /// println!("{}", connection.ping()?);
    /// # Ok(()) }
    /// ```
    fn connection_from_file(path: impl AsRef<Path>) -> pgmonkey_sync::Connection = connection_from_file;
    /// Returns the pool for the configuration in a file.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey::Error> {
    /// let pool = pgmonkey::ConnectionManager::global().pool_from_file("pgmonkey.yaml")?;
    /// println!("{}", pool.ping()?);
    /// # Ok(()) }
    /// ```
    fn pool_from_file(path: impl AsRef<Path>) -> pgmonkey_sync::Pool = pool_from_file;
    /// Returns a connection or a pool, depending on the `connection_type` in the file.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey::Error> {
    /// let database = pgmonkey::ConnectionManager::global().database_from_file("pgmonkey.yaml")?;
    /// println!("{}", database.ping()?);
    /// # Ok(()) }
    /// ```
    fn database_from_file(path: impl AsRef<Path>) -> pgmonkey_sync::Database = database_from_file;
    /// Opens a new connection, replaces the cached one with it, and then closes the old one.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let connection = pgmonkey::ConnectionManager::global().reload_connection(&config)?; // the old one is closed now
    /// # Ok(()) }
    /// ```
    fn reload_connection(config: &Config) -> pgmonkey_sync::Connection = reload_connection;
    /// Opens a new pool, replaces the cached one with it, and then closes the old one.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let pool = pgmonkey::ConnectionManager::global().reload_pool(&config)?; // the old one is closed now
    /// # Ok(()) }
    /// ```
    fn reload_pool(config: &Config) -> pgmonkey_sync::Pool = reload_pool;
    /// Opens a new handle, replaces the cached one with it, and then closes the old one.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let database = pgmonkey::ConnectionManager::global().reload_database(&config)?; // the old one is closed now
    /// # Ok(()) }
    /// ```
    fn reload_database(config: &Config) -> pgmonkey_sync::Database = reload_database;
}

forward! {
    async
    /// Returns the async connection for `config`; see
    /// [`pgmonkey_async::ConnectionManager::connection`].
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let connection = pgmonkey::ConnectionManager::global().async_connection(&config).await?;
    /// println!("{}", connection.ping().await?);
    /// # Ok(()) }
    /// ```
    fn async_connection(config: &Config) -> pgmonkey_async::Connection = connection;
    /// Returns the async pool for `config`; see [`pgmonkey_async::ConnectionManager::pool`].
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let pool = pgmonkey::ConnectionManager::global().async_pool(&config).await?;
    /// println!("{}", pool.ping().await?);
    /// # Ok(()) }
    /// ```
    fn async_pool(config: &Config) -> pgmonkey_async::Pool = pool;
    /// Returns a connection or a pool, depending on the `connection_type` of `config`; see
    /// [`pgmonkey_async::ConnectionManager::database`].
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let database = pgmonkey::ConnectionManager::global().async_database(&config).await?;
    /// println!("{}", database.ping().await?);
    /// # Ok(()) }
    /// ```
    fn async_database(config: &Config) -> pgmonkey_async::Database = database;
    /// Returns the async connection for the configuration in a file.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), pgmonkey::Error> {
    /// let connection = pgmonkey::ConnectionManager::global().async_connection_from_file("pgmonkey.yaml").await?;
    /// println!("{}", connection.ping().await?);
    /// # Ok(()) }
    /// ```
    fn async_connection_from_file(path: impl AsRef<Path>) -> pgmonkey_async::Connection = connection_from_file;
    /// Returns the async pool for the configuration in a file.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), pgmonkey::Error> {
    /// let pool = pgmonkey::ConnectionManager::global().async_pool_from_file("pgmonkey.yaml").await?;
    /// println!("{}", pool.ping().await?);
    /// # Ok(()) }
    /// ```
    fn async_pool_from_file(path: impl AsRef<Path>) -> pgmonkey_async::Pool = pool_from_file;
    /// Returns a connection or a pool, depending on the `connection_type` in the file.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), pgmonkey::Error> {
    /// let database = pgmonkey::ConnectionManager::global().async_database_from_file("pgmonkey.yaml").await?;
    /// println!("{}", database.ping().await?);
    /// # Ok(()) }
    /// ```
    fn async_database_from_file(path: impl AsRef<Path>) -> pgmonkey_async::Database = database_from_file;
    /// Opens a new async connection, replaces the cached one with it, and then closes the old one.
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let connection = pgmonkey::ConnectionManager::global().reload_async_connection(&config).await?; // the old one is closed now
    /// # Ok(()) }
    /// ```
    fn reload_async_connection(config: &Config) -> pgmonkey_async::Connection = reload_connection;
    /// Opens a new async pool, replaces the cached one with it, and then closes the old one.
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let pool = pgmonkey::ConnectionManager::global().reload_async_pool(&config).await?; // the old one is closed now
    /// # Ok(()) }
    /// ```
    fn reload_async_pool(config: &Config) -> pgmonkey_async::Pool = reload_pool;
    /// Opens a new async handle, replaces the cached one with it, and then closes the old one.
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let database = pgmonkey::ConnectionManager::global().reload_async_database(&config).await?; // the old one is closed now
    /// # Ok(()) }
    /// ```
    fn reload_async_database(config: &Config) -> pgmonkey_async::Database = reload_database;
}

#[cfg(feature = "sync")]
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
impl ConnectionManager {
    /// Returns a clone of this manager whose sync handles get each password from `provider`; see
    /// [`pgmonkey_sync::ConnectionManager::with_password_provider`].
    ///
    /// ```no_run
    /// # use pgmonkey::{PasswordProvider, PasswordRequest, ProviderError, Secret};
    /// # struct Vault;
    /// # impl PasswordProvider for Vault {
    /// #     fn identity(&self) -> String { "vault".into() }
    /// #     fn password(&self, _: &PasswordRequest) -> Result<Secret, ProviderError> { Ok("".into()) }
    /// # }
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let manager = pgmonkey::ConnectionManager::global().with_password_provider(Vault);
    /// let pool = manager.pool(&config)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_password_provider(&self, provider: impl PasswordProvider) -> Self {
        let mut manager = self.clone();
        manager.sync = self.sync.with_password_provider(provider);
        manager
    }

    /// Returns a clone of this manager whose sync handles use `hooks`; see
    /// [`pgmonkey_sync::ConnectionManager::with_hooks`].
    ///
    /// ```no_run
    /// # fn example(hooks: pgmonkey::Hooks, config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let manager = pgmonkey::ConnectionManager::global().with_hooks(hooks);
    /// let pool = manager.pool(&config)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_hooks(&self, hooks: pgmonkey_sync::Hooks) -> Self {
        let mut manager = self.clone();
        manager.sync = self.sync.with_hooks(hooks);
        manager
    }

    /// Closes the cached sync handles, removes them from the cache and returns how many there were.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey::Error> {
    /// println!("{} closed", pgmonkey::ConnectionManager::global().clear_cache());
    /// # Ok(()) }
    /// ```
    pub fn clear_cache(&self) -> usize {
        self.sync.clear_cache()
    }
}

#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
impl ConnectionManager {
    /// Returns a clone of this manager whose async handles get each password from `provider`; see
    /// [`pgmonkey_async::ConnectionManager::with_password_provider`].
    ///
    /// ```no_run
    /// # use pgmonkey::{AsyncPasswordProvider, PasswordRequest, ProviderError, Secret};
    /// # struct Vault;
    /// # #[async_trait::async_trait]
    /// # impl AsyncPasswordProvider for Vault {
    /// #     fn identity(&self) -> String { "vault".into() }
    /// #     async fn password(&self, _: &PasswordRequest) -> Result<Secret, ProviderError> { Ok("".into()) }
    /// # }
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let manager = pgmonkey::ConnectionManager::global().with_async_password_provider(Vault);
    /// let pool = manager.async_pool(&config).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_async_password_provider(&self, provider: impl AsyncPasswordProvider) -> Self {
        let mut manager = self.clone();
        manager.aio = self.aio.with_password_provider(provider);
        manager
    }

    /// Returns a clone of this manager whose async handles use `hooks`; see
    /// [`pgmonkey_async::ConnectionManager::with_hooks`].
    ///
    /// ```no_run
    /// # async fn example(hooks: pgmonkey::AsyncHooks, config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let manager = pgmonkey::ConnectionManager::global().with_async_hooks(hooks);
    /// let pool = manager.async_pool(&config).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_async_hooks(&self, hooks: pgmonkey_async::Hooks) -> Self {
        let mut manager = self.clone();
        manager.aio = self.aio.with_hooks(hooks);
        manager
    }

    /// Closes all cached handles, sync and async, removes them from the cache and returns how many
    /// there were.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), pgmonkey::Error> {
    /// println!("{} closed", pgmonkey::ConnectionManager::global().clear_cache_async().await);
    /// # Ok(()) }
    /// ```
    pub async fn clear_cache_async(&self) -> usize {
        let closed = self.aio.clear_cache_async().await;
        #[cfg(feature = "sync")]
        let closed = closed + self.sync.clear_cache();
        closed
    }
}
