//! One manager over both families: it delegates and decides nothing.

use std::sync::OnceLock;

use pgmonkey_connect::CacheEntry;
#[cfg(feature = "async")]
use pgmonkey_connect::credentials::AsyncPasswordProvider;
#[cfg(feature = "sync")]
use pgmonkey_connect::credentials::PasswordProvider;
#[cfg(any(feature = "sync", feature = "async"))]
use {pgmonkey_config::Config, pgmonkey_connect::Error, std::path::Path};

/// Gives out connections and pools of all four types, one for each configuration and type,
/// however often and from wherever they are asked for.
///
/// A cheap clone of one manager. Dropping the last clone closes what it cached, and so does the
/// end of the process, for as long as a second at most.
#[derive(Clone, Default, Debug)]
pub struct ConnectionManager {
    #[cfg(feature = "sync")]
    sync: pgmonkey_sync::ConnectionManager,
    #[cfg(feature = "async")]
    aio: pgmonkey_async::ConnectionManager,
}

impl ConnectionManager {
    /// A manager that shares nothing with any other.
    pub fn new() -> Self {
        Self::default()
    }

    /// The manager of the process. It shares its cache with the global managers of
    /// `pgmonkey-sync` and `pgmonkey-async`.
    pub fn global() -> &'static Self {
        static GLOBAL: OnceLock<ConnectionManager> = OnceLock::new();
        GLOBAL.get_or_init(|| Self {
            #[cfg(feature = "sync")]
            sync: pgmonkey_sync::ConnectionManager::global().clone(),
            #[cfg(feature = "async")]
            aio: pgmonkey_async::ConnectionManager::global().clone(),
        })
    }

    /// What is cached now, of both families.
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

/// Forwards to the manager of one family.
macro_rules! forward {
    ($($(#[$doc:meta])* fn $name:ident($arg:ident: $type:ty) -> $ok:ty = $to:ident;)*) => {
        #[cfg(feature = "sync")]
        #[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
        impl ConnectionManager {
            $($(#[$doc])*
            ///
            /// # Errors
            ///
            /// Why it could not be opened.
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
            /// Why it could not be opened.
            pub async fn $name(&self, $arg: $type) -> Result<$ok, Error> {
                self.aio.$to($arg).await
            })*
        }
    };
}

forward! {
    /// The connection for `config`; see [`pgmonkey_sync::ConnectionManager::connection`].
    fn connection(config: &Config) -> pgmonkey_sync::Connection = connection;
    /// The pool for `config`; see [`pgmonkey_sync::ConnectionManager::pool`].
    fn pool(config: &Config) -> pgmonkey_sync::Pool = pool;
    /// Whichever `config` says; see [`pgmonkey_sync::ConnectionManager::database`].
    fn database(config: &Config) -> pgmonkey_sync::Database = database;
    /// The connection for the configuration in a file.
    fn connection_from_file(path: impl AsRef<Path>) -> pgmonkey_sync::Connection = connection_from_file;
    /// The pool for the configuration in a file.
    fn pool_from_file(path: impl AsRef<Path>) -> pgmonkey_sync::Pool = pool_from_file;
    /// Whichever the configuration in a file says.
    fn database_from_file(path: impl AsRef<Path>) -> pgmonkey_sync::Database = database_from_file;
    /// A new connection in place of the cached one, which is closed afterwards.
    fn reload_connection(config: &Config) -> pgmonkey_sync::Connection = reload_connection;
    /// A new pool in place of the cached one, which is closed afterwards.
    fn reload_pool(config: &Config) -> pgmonkey_sync::Pool = reload_pool;
    /// A new handle in place of the cached one, which is closed afterwards.
    fn reload_database(config: &Config) -> pgmonkey_sync::Database = reload_database;
}

forward! {
    async
    /// The async connection for `config`; see [`pgmonkey_async::ConnectionManager::connection`].
    fn async_connection(config: &Config) -> pgmonkey_async::Connection = connection;
    /// The async pool for `config`; see [`pgmonkey_async::ConnectionManager::pool`].
    fn async_pool(config: &Config) -> pgmonkey_async::Pool = pool;
    /// Whichever `config` says; see [`pgmonkey_async::ConnectionManager::database`].
    fn async_database(config: &Config) -> pgmonkey_async::Database = database;
    /// The async connection for the configuration in a file.
    fn async_connection_from_file(path: impl AsRef<Path>) -> pgmonkey_async::Connection = connection_from_file;
    /// The async pool for the configuration in a file.
    fn async_pool_from_file(path: impl AsRef<Path>) -> pgmonkey_async::Pool = pool_from_file;
    /// Whichever the configuration in a file says.
    fn async_database_from_file(path: impl AsRef<Path>) -> pgmonkey_async::Database = database_from_file;
    /// A new async connection in place of the cached one, which is closed afterwards.
    fn reload_async_connection(config: &Config) -> pgmonkey_async::Connection = reload_connection;
    /// A new async pool in place of the cached one, which is closed afterwards.
    fn reload_async_pool(config: &Config) -> pgmonkey_async::Pool = reload_pool;
    /// A new async handle in place of the cached one, which is closed afterwards.
    fn reload_async_database(config: &Config) -> pgmonkey_async::Database = reload_database;
}

#[cfg(feature = "sync")]
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
impl ConnectionManager {
    /// The same manager, whose handles for threads ask `provider` for each password; see
    /// [`pgmonkey_sync::ConnectionManager::with_password_provider`].
    #[must_use]
    pub fn with_password_provider(&self, provider: impl PasswordProvider) -> Self {
        let mut manager = self.clone();
        manager.sync = self.sync.with_password_provider(provider);
        manager
    }

    /// The same manager, whose handles for threads have `hooks`; see
    /// [`pgmonkey_sync::ConnectionManager::with_hooks`].
    #[must_use]
    pub fn with_hooks(&self, hooks: pgmonkey_sync::Hooks) -> Self {
        let mut manager = self.clone();
        manager.sync = self.sync.with_hooks(hooks);
        manager
    }

    /// Closes the cached handles for threads and forgets them; says how many they were.
    pub fn clear_cache(&self) -> usize {
        self.sync.clear_cache()
    }
}

#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
impl ConnectionManager {
    /// The same manager, whose handles for tasks ask `provider` for each password; see
    /// [`pgmonkey_async::ConnectionManager::with_password_provider`].
    #[must_use]
    pub fn with_async_password_provider(&self, provider: impl AsyncPasswordProvider) -> Self {
        let mut manager = self.clone();
        manager.aio = self.aio.with_password_provider(provider);
        manager
    }

    /// The same manager, whose handles for tasks have `hooks`; see
    /// [`pgmonkey_async::ConnectionManager::with_hooks`].
    #[must_use]
    pub fn with_async_hooks(&self, hooks: pgmonkey_async::Hooks) -> Self {
        let mut manager = self.clone();
        manager.aio = self.aio.with_hooks(hooks);
        manager
    }

    /// Closes all cached handles, those for threads too, and forgets them; says how many they
    /// were.
    pub async fn clear_cache_async(&self) -> usize {
        let closed = self.aio.clear_cache_async().await;
        #[cfg(feature = "sync")]
        let closed = closed + self.sync.clear_cache();
        closed
    }
}
