//! The async handles.

use std::path::Path;

use pgmonkey_config::Config;
use pgmonkey_connect::Error;
use pgmonkey_connect::credentials::AsyncPasswordProvider;

use super::ConnectionManager;

forward! {
    async
    /// Returns the async connection for `config`. The first call opens it; later ones, from anywhere in the
    /// program, return the same one from the cache. As [`pgmonkey_async::ConnectionManager::connection`].
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let connection = pgmonkey::ConnectionManager::global().async_connection(&config).await?;
    /// println!("{}", connection.ping().await?);
    /// # Ok(()) }
    /// ```
    fn async_connection(config: &Config) -> pgmonkey_async::Connection = connection;
    /// Returns the async pool for `config`. The first call opens it; later ones, from anywhere in the
    /// program, return the same one from the cache. As [`pgmonkey_async::ConnectionManager::pool`].
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let pool = pgmonkey::ConnectionManager::global().async_pool(&config).await?;
    /// println!("{}", pool.ping().await?);
    /// # Ok(()) }
    /// ```
    fn async_pool(config: &Config) -> pgmonkey_async::Pool = pool;
    /// Returns a connection or a pool, depending on the `connection_type` of `config`, from the cache if
    /// it has one. As [`pgmonkey_async::ConnectionManager::database`].
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let database = pgmonkey::ConnectionManager::global().async_database(&config).await?;
    /// println!("{}", database.ping().await?);
    /// # Ok(()) }
    /// ```
    fn async_database(config: &Config) -> pgmonkey_async::Database = database;
    /// Returns the cluster for `config`: its writer, which is the async pool, and its readers, from the
    /// cache if it has them. As [`pgmonkey_async::ConnectionManager::cluster`].
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let cluster = pgmonkey::ConnectionManager::global().async_cluster(&config).await?;
    /// println!("{}", cluster.status());
    /// # Ok(()) }
    /// ```
    fn async_cluster(config: &Config) -> pgmonkey_async::Cluster = cluster;
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
    /// Returns the cluster for the configuration in a file. A change of the file replaces both pools. As
    /// [`pgmonkey_async::ConnectionManager::cluster_from_file`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), pgmonkey::Error> {
    /// let cluster = pgmonkey::ConnectionManager::global().async_cluster_from_file("pgmonkey.yaml").await?;
    /// println!("{}", cluster.status());
    /// # Ok(()) }
    /// ```
    fn async_cluster_from_file(path: impl AsRef<Path>) -> pgmonkey_async::Cluster = cluster_from_file;
    /// Opens a new async connection, caches it, and retires the old one: its clones use the new one.
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let connection = pgmonkey::ConnectionManager::global().reload_async_connection(&config).await?; // clones of the old one use it too
    /// # Ok(()) }
    /// ```
    fn reload_async_connection(config: &Config) -> pgmonkey_async::Connection = reload_connection;
    /// Opens a new async pool, caches it, and retires the old one: its clones use the new one.
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let pool = pgmonkey::ConnectionManager::global().reload_async_pool(&config).await?; // clones of the old one use it too
    /// # Ok(()) }
    /// ```
    fn reload_async_pool(config: &Config) -> pgmonkey_async::Pool = reload_pool;
    /// Opens a new async handle, caches it, and retires the old one: its clones use the new one.
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let database = pgmonkey::ConnectionManager::global().reload_async_database(&config).await?; // clones of the old one use it too
    /// # Ok(()) }
    /// ```
    fn reload_async_database(config: &Config) -> pgmonkey_async::Database = reload_database;
    /// Opens new pools for a cluster, caches them, and retires the old ones: their clones use the new
    /// ones. As [`pgmonkey_async::ConnectionManager::reload_cluster`].
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let cluster = pgmonkey::ConnectionManager::global().reload_async_cluster(&config).await?;
    /// # Ok(()) }
    /// ```
    fn reload_async_cluster(config: &Config) -> pgmonkey_async::Cluster = reload_cluster;
    /// Reads the file again, opens a new connection, caches it, and retires the old one: its clones use
    /// the new one. As [`pgmonkey_async::ConnectionManager::reload_connection_from_file`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), pgmonkey::Error> {
    /// let handle = pgmonkey::ConnectionManager::global().reload_async_connection_from_file("pgmonkey.yaml").await?;
    /// # Ok(()) }
    /// ```
    fn reload_async_connection_from_file(path: impl AsRef<Path>) -> pgmonkey_async::Connection = reload_connection_from_file;
    /// Reads the file again, opens a new pool, caches it, and retires the old one: its clones use
    /// the new one. As [`pgmonkey_async::ConnectionManager::reload_pool_from_file`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), pgmonkey::Error> {
    /// let handle = pgmonkey::ConnectionManager::global().reload_async_pool_from_file("pgmonkey.yaml").await?;
    /// # Ok(()) }
    /// ```
    fn reload_async_pool_from_file(path: impl AsRef<Path>) -> pgmonkey_async::Pool = reload_pool_from_file;
    /// Reads the file again, opens a new database, caches it, and retires the old one: its clones use
    /// the new one. As [`pgmonkey_async::ConnectionManager::reload_database_from_file`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), pgmonkey::Error> {
    /// let handle = pgmonkey::ConnectionManager::global().reload_async_database_from_file("pgmonkey.yaml").await?;
    /// # Ok(()) }
    /// ```
    fn reload_async_database_from_file(path: impl AsRef<Path>) -> pgmonkey_async::Database = reload_database_from_file;
    /// Reads the file again, opens new pools for its cluster, caches them, and retires the old ones:
    /// their clones use the new ones. As [`pgmonkey_async::ConnectionManager::reload_cluster_from_file`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), pgmonkey::Error> {
    /// let cluster = pgmonkey::ConnectionManager::global().reload_async_cluster_from_file("pgmonkey.yaml").await?;
    /// # Ok(()) }
    /// ```
    fn reload_async_cluster_from_file(path: impl AsRef<Path>) -> pgmonkey_async::Cluster = reload_cluster_from_file;
    /// Returns the async connection for `new`, and retires the one for `old`: its sessions end when they
    /// are released, and clones of it use the new one. As [`pgmonkey_async::ConnectionManager::replace_connection`].
    ///
    /// ```no_run
    /// # async fn example(old: pgmonkey::Config, new: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let handle = pgmonkey::ConnectionManager::global().replace_async_connection(&old, &new).await?;
    /// # Ok(()) }
    /// ```
    fn replace_async_connection(old: &Config, new: &Config) -> pgmonkey_async::Connection = replace_connection;
    /// Returns the async pool for `new`, and retires the one for `old`: its sessions end when they
    /// are released, and clones of it use the new one. As [`pgmonkey_async::ConnectionManager::replace_pool`].
    ///
    /// ```no_run
    /// # async fn example(old: pgmonkey::Config, new: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let handle = pgmonkey::ConnectionManager::global().replace_async_pool(&old, &new).await?;
    /// # Ok(()) }
    /// ```
    fn replace_async_pool(old: &Config, new: &Config) -> pgmonkey_async::Pool = replace_pool;
    /// Returns the async database for `new`, and retires the one for `old`: its sessions end when they
    /// are released, and clones of it use the new one. As [`pgmonkey_async::ConnectionManager::replace_database`].
    ///
    /// ```no_run
    /// # async fn example(old: pgmonkey::Config, new: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let handle = pgmonkey::ConnectionManager::global().replace_async_database(&old, &new).await?;
    /// # Ok(()) }
    /// ```
    fn replace_async_database(old: &Config, new: &Config) -> pgmonkey_async::Database = replace_database;
    /// Returns the cluster for `new`, and retires the pools of the one for `old`: their sessions end
    /// when they are released, and their clones use the new ones. As [`pgmonkey_async::ConnectionManager::replace_cluster`].
    ///
    /// ```no_run
    /// # async fn example(old: pgmonkey::Config, new: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let cluster = pgmonkey::ConnectionManager::global().replace_async_cluster(&old, &new).await?;
    /// # Ok(()) }
    /// ```
    fn replace_async_cluster(old: &Config, new: &Config) -> pgmonkey_async::Cluster = replace_cluster;
}

#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
impl ConnectionManager {
    /// Returns a clone of this manager whose async handles ask `provider` for the password of each new
    /// session. As [`pgmonkey_async::ConnectionManager::with_password_provider`].
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

    /// Returns a clone of this manager whose async handles run `hooks` when a session is opened, handed out
    /// and released. As [`pgmonkey_async::ConnectionManager::with_hooks`].
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

    /// Watches a configuration file, and reloads the async handles that it gave when it changes, until
    /// the returned value is dropped. As [`pgmonkey_async::ConnectionManager::watch`].
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), pgmonkey::Error> {
    /// let manager = pgmonkey::ConnectionManager::global();
    /// let _watch = manager.async_watch("pgmonkey.yaml"); // until the end of this scope
    /// let pool = manager.async_pool_from_file("pgmonkey.yaml").await?;
    /// # Ok(()) }
    /// ```
    pub fn async_watch(&self, path: impl AsRef<Path>) -> pgmonkey_async::Watch {
        self.aio.watch(path)
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
