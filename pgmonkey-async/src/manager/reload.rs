//! Replacing a cached handle: the old one is retired in favour of the new one.

use std::path::Path;

use pgmonkey_config::{Config, ConnectionType};
use pgmonkey_connect::Error;
use pgmonkey_connect::sources::Asked;

use crate::handle::connection::Connection;
use crate::handle::database::{Database, connection_type};
use crate::handle::pool::Pool;

use super::ConnectionManager;

impl ConnectionManager {
    /// Opens a new connection for `config`, caches it, and retires the old one: its clones go on with
    /// the new one, its waiters too, and its session in use stays usable until it is released. The
    /// old one is the cached one of the same configuration, whatever its `password` and
    /// `sslpassword` are: after a rotation, reload with the new password.
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey_async::Config) -> Result<(), pgmonkey_async::Error> {
    /// let manager = pgmonkey_async::ConnectionManager::global();
    /// let connection = manager.reload_connection(&config).await?; // clones of the old one use it too
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`connection`](Self::connection); the old one then stays cached, and goes on.
    pub async fn reload_connection(&self, config: &Config) -> Result<Connection, Error> {
        let pool = self.reload(config, ConnectionType::Async).await?;
        Ok(Connection::of(pool))
    }

    /// As [`reload_connection`](Self::reload_connection), for the pool.
    ///
    /// # Errors
    ///
    /// As [`pool`](Self::pool); the old one then stays cached, and goes on.
    pub async fn reload_pool(&self, config: &Config) -> Result<Pool, Error> {
        self.reload(config, ConnectionType::AsyncPool).await
    }

    /// As [`reload_connection`](Self::reload_connection), for the handle that `config` asks for.
    ///
    /// # Errors
    ///
    /// As [`database`](Self::database); the old one then stays cached, and goes on.
    pub async fn reload_database(&self, config: &Config) -> Result<Database, Error> {
        let connection_type = connection_type(config)?;
        let pool = self.reload(config, connection_type).await?;
        Ok(Database::of(pool, connection_type))
    }

    /// Opens a new connection for the configuration in a file, also if the file has not changed, and
    /// retires what this path gave before; see
    /// [`connection_from_file`](Self::connection_from_file) for when it does not.
    ///
    /// # Errors
    ///
    /// As [`connection_from_file`](Self::connection_from_file);
    /// the old one then stays cached, and goes on.
    pub async fn reload_connection_from_file(
        &self,
        path: impl AsRef<Path>,
    ) -> Result<Connection, Error> {
        let asked = Asked::ByType(ConnectionType::Async);
        let (pool, _) = self.reload_from_file(path.as_ref(), asked).await?;
        Ok(Connection::of(pool))
    }

    /// As [`reload_connection_from_file`](Self::reload_connection_from_file), for the pool.
    ///
    /// # Errors
    ///
    /// As [`pool_from_file`](Self::pool_from_file); the old one then stays cached, and goes on.
    pub async fn reload_pool_from_file(&self, path: impl AsRef<Path>) -> Result<Pool, Error> {
        let asked = Asked::ByType(ConnectionType::AsyncPool);
        let (pool, _) = self.reload_from_file(path.as_ref(), asked).await?;
        Ok(pool)
    }

    /// As [`reload_connection_from_file`](Self::reload_connection_from_file), for the handle that
    /// the file asks for.
    ///
    /// # Errors
    ///
    /// As [`database_from_file`](Self::database_from_file);
    /// the old one then stays cached, and goes on.
    pub async fn reload_database_from_file(
        &self,
        path: impl AsRef<Path>,
    ) -> Result<Database, Error> {
        let (pool, connection_type) = self
            .reload_from_file(path.as_ref(), Asked::Database)
            .await?;
        Ok(Database::of(pool, connection_type))
    }

    /// Returns the connection for `new`, opened if it is not cached, and retires the one for `old` in
    /// favour of it: for a change of anything but the credentials, such as the host or the sizes.
    ///
    /// ```no_run
    /// # async fn example(old: pgmonkey_async::Config, new: pgmonkey_async::Config) -> Result<(), pgmonkey_async::Error> {
    /// let connection = pgmonkey_async::ConnectionManager::global().replace_connection(&old, &new).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`connection`](Self::connection); the old one then stays cached, and goes on.
    pub async fn replace_connection(
        &self,
        old: &Config,
        new: &Config,
    ) -> Result<Connection, Error> {
        let connection_type = ConnectionType::Async;
        let pool = self
            .replace((old, connection_type), (new, connection_type))
            .await?;
        Ok(Connection::of(pool))
    }

    /// As [`replace_connection`](Self::replace_connection), for the pool.
    ///
    /// # Errors
    ///
    /// As [`pool`](Self::pool); the old one then stays cached, and goes on.
    pub async fn replace_pool(&self, old: &Config, new: &Config) -> Result<Pool, Error> {
        let connection_type = ConnectionType::AsyncPool;
        self.replace((old, connection_type), (new, connection_type))
            .await
    }

    /// As [`replace_connection`](Self::replace_connection), for the handles that `old` and `new` ask
    /// for.
    ///
    /// # Errors
    ///
    /// As [`database`](Self::database); the old one then stays cached, and goes on.
    pub async fn replace_database(&self, old: &Config, new: &Config) -> Result<Database, Error> {
        let (from, to) = (connection_type(old)?, connection_type(new)?);
        let pool = self.replace((old, from), (new, to)).await?;
        Ok(Database::of(pool, to))
    }
}
