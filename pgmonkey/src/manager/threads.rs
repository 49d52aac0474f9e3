//! The blocking handles.

use std::path::Path;

use pgmonkey_config::Config;
use pgmonkey_connect::Error;
use pgmonkey_connect::credentials::PasswordProvider;

use super::ConnectionManager;

forward! {
    /// Returns the connection for `config`. The first call opens it; later ones, from anywhere in the
    /// program, return the same one from the cache. As [`pgmonkey_sync::ConnectionManager::connection`].
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let connection = pgmonkey::ConnectionManager::global().connection(&config)?;
    /// println!("{}", connection.ping()?);
    /// # Ok(()) }
    /// ```
    fn connection(config: &Config) -> pgmonkey_sync::Connection = connection;
    /// Returns the pool for `config`. The first call opens it; later ones, from anywhere in the
    /// program, return the same one from the cache. As [`pgmonkey_sync::ConnectionManager::pool`].
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let pool = pgmonkey::ConnectionManager::global().pool(&config)?;
    /// println!("{}", pool.ping()?);
    /// # Ok(()) }
    /// ```
    fn pool(config: &Config) -> pgmonkey_sync::Pool = pool;
    /// Returns a connection or a pool, depending on the `connection_type` of `config`, from the cache if
    /// it has one. As [`pgmonkey_sync::ConnectionManager::database`].
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let database = pgmonkey::ConnectionManager::global().database(&config)?;
    /// println!("{}", database.ping()?);
    /// # Ok(()) }
    /// ```
    fn database(config: &Config) -> pgmonkey_sync::Database = database;
    /// Returns the cluster for `config`: its writer, which is the pool, and its readers, from the cache
    /// if it has them. As [`pgmonkey_sync::ConnectionManager::cluster`].
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let cluster = pgmonkey::ConnectionManager::global().cluster(&config)?;
    /// println!("{}", cluster.status());
    /// # Ok(()) }
    /// ```
    fn cluster(config: &Config) -> pgmonkey_sync::Cluster = cluster;
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
    /// Returns the cluster for the configuration in a file. A change of the file replaces both pools. As
    /// [`pgmonkey_sync::ConnectionManager::cluster_from_file`].
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey::Error> {
    /// let cluster = pgmonkey::ConnectionManager::global().cluster_from_file("pgmonkey.yaml")?;
    /// println!("{}", cluster.status());
    /// # Ok(()) }
    /// ```
    fn cluster_from_file(path: impl AsRef<Path>) -> pgmonkey_sync::Cluster = cluster_from_file;
    /// Opens a new connection, caches it, and retires the old one: its clones use the new one.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let connection = pgmonkey::ConnectionManager::global().reload_connection(&config)?; // clones of the old one use it too
    /// # Ok(()) }
    /// ```
    fn reload_connection(config: &Config) -> pgmonkey_sync::Connection = reload_connection;
    /// Opens a new pool, caches it, and retires the old one: its clones use the new one.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let pool = pgmonkey::ConnectionManager::global().reload_pool(&config)?; // clones of the old one use it too
    /// # Ok(()) }
    /// ```
    fn reload_pool(config: &Config) -> pgmonkey_sync::Pool = reload_pool;
    /// Opens a new handle, caches it, and retires the old one: its clones use the new one.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let database = pgmonkey::ConnectionManager::global().reload_database(&config)?; // clones of the old one use it too
    /// # Ok(()) }
    /// ```
    fn reload_database(config: &Config) -> pgmonkey_sync::Database = reload_database;
    /// Opens new pools for a cluster, caches them, and retires the old ones: their clones use the new
    /// ones. As [`pgmonkey_sync::ConnectionManager::reload_cluster`].
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let cluster = pgmonkey::ConnectionManager::global().reload_cluster(&config)?;
    /// # Ok(()) }
    /// ```
    fn reload_cluster(config: &Config) -> pgmonkey_sync::Cluster = reload_cluster;
    /// Reads the file again, opens a new connection, caches it, and retires the old one: its clones use
    /// the new one. As [`pgmonkey_sync::ConnectionManager::reload_connection_from_file`].
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey::Error> {
    /// let handle = pgmonkey::ConnectionManager::global().reload_connection_from_file("pgmonkey.yaml")?;
    /// # Ok(()) }
    /// ```
    fn reload_connection_from_file(path: impl AsRef<Path>) -> pgmonkey_sync::Connection = reload_connection_from_file;
    /// Reads the file again, opens a new pool, caches it, and retires the old one: its clones use
    /// the new one. As [`pgmonkey_sync::ConnectionManager::reload_pool_from_file`].
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey::Error> {
    /// let handle = pgmonkey::ConnectionManager::global().reload_pool_from_file("pgmonkey.yaml")?;
    /// # Ok(()) }
    /// ```
    fn reload_pool_from_file(path: impl AsRef<Path>) -> pgmonkey_sync::Pool = reload_pool_from_file;
    /// Reads the file again, opens a new database, caches it, and retires the old one: its clones use
    /// the new one. As [`pgmonkey_sync::ConnectionManager::reload_database_from_file`].
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey::Error> {
    /// let handle = pgmonkey::ConnectionManager::global().reload_database_from_file("pgmonkey.yaml")?;
    /// # Ok(()) }
    /// ```
    fn reload_database_from_file(path: impl AsRef<Path>) -> pgmonkey_sync::Database = reload_database_from_file;
    /// Reads the file again, opens new pools for its cluster, caches them, and retires the old ones:
    /// their clones use the new ones. As [`pgmonkey_sync::ConnectionManager::reload_cluster_from_file`].
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey::Error> {
    /// let cluster = pgmonkey::ConnectionManager::global().reload_cluster_from_file("pgmonkey.yaml")?;
    /// # Ok(()) }
    /// ```
    fn reload_cluster_from_file(path: impl AsRef<Path>) -> pgmonkey_sync::Cluster = reload_cluster_from_file;
    /// Returns the connection for `new`, and retires the one for `old`: its sessions end when they
    /// are released, and clones of it use the new one. As [`pgmonkey_sync::ConnectionManager::replace_connection`].
    ///
    /// ```no_run
    /// # fn example(old: pgmonkey::Config, new: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let handle = pgmonkey::ConnectionManager::global().replace_connection(&old, &new)?;
    /// # Ok(()) }
    /// ```
    fn replace_connection(old: &Config, new: &Config) -> pgmonkey_sync::Connection = replace_connection;
    /// Returns the pool for `new`, and retires the one for `old`: its sessions end when they
    /// are released, and clones of it use the new one. As [`pgmonkey_sync::ConnectionManager::replace_pool`].
    ///
    /// ```no_run
    /// # fn example(old: pgmonkey::Config, new: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let handle = pgmonkey::ConnectionManager::global().replace_pool(&old, &new)?;
    /// # Ok(()) }
    /// ```
    fn replace_pool(old: &Config, new: &Config) -> pgmonkey_sync::Pool = replace_pool;
    /// Returns the database for `new`, and retires the one for `old`: its sessions end when they
    /// are released, and clones of it use the new one. As [`pgmonkey_sync::ConnectionManager::replace_database`].
    ///
    /// ```no_run
    /// # fn example(old: pgmonkey::Config, new: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let handle = pgmonkey::ConnectionManager::global().replace_database(&old, &new)?;
    /// # Ok(()) }
    /// ```
    fn replace_database(old: &Config, new: &Config) -> pgmonkey_sync::Database = replace_database;
    /// Returns the cluster for `new`, and retires the pools of the one for `old`: their sessions end
    /// when they are released, and their clones use the new ones. As [`pgmonkey_sync::ConnectionManager::replace_cluster`].
    ///
    /// ```no_run
    /// # fn example(old: pgmonkey::Config, new: pgmonkey::Config) -> Result<(), pgmonkey::Error> {
    /// let cluster = pgmonkey::ConnectionManager::global().replace_cluster(&old, &new)?;
    /// # Ok(()) }
    /// ```
    fn replace_cluster(old: &Config, new: &Config) -> pgmonkey_sync::Cluster = replace_cluster;
}

#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
impl ConnectionManager {
    /// Returns a clone of this manager whose sync handles ask `provider` for the password of each new
    /// session. As [`pgmonkey_sync::ConnectionManager::with_password_provider`].
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

    /// Returns a clone of this manager whose sync handles run `hooks` when a session is opened, handed out
    /// and released. As [`pgmonkey_sync::ConnectionManager::with_hooks`].
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

    /// Watches a configuration file, and reloads the blocking handles that it gave when it changes, until
    /// the returned value is dropped. As [`pgmonkey_sync::ConnectionManager::watch`].
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey::Error> {
    /// let manager = pgmonkey::ConnectionManager::global();
    /// let _watch = manager.watch("pgmonkey.yaml"); // until the end of this scope
    /// let pool = manager.pool_from_file("pgmonkey.yaml")?;
    /// # Ok(()) }
    /// ```
    pub fn watch(&self, path: impl AsRef<Path>) -> pgmonkey_sync::Watch {
        self.sync.watch(path)
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
