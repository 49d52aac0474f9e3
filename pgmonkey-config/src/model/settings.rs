use crate::model::connection::ConnectionSettings;
use crate::model::pool::PoolSettings;
use crate::model::readers::Readers;
use crate::model::session::SessionSettings;
use crate::model::statements::StatementSettings;
use crate::schema::choice::ConnectionType;

/// The contents of a configuration file, as plain typed data that can be edited.
///
/// [`Config::new`](crate::Config::new) validates it and returns a [`Config`](crate::Config). `Debug`
/// shows no secret.
///
/// ```
/// use pgmonkey_config::{Config, ConnectionType, Settings};
///
/// let mut settings = Settings::default();
/// settings.connection_type = ConnectionType::AsyncPool;
/// settings.connection_settings.dbname = Some("shop".to_owned());
/// let config = Config::new(settings)?;
/// assert_eq!(config.connection_type, ConnectionType::AsyncPool);
/// # Ok::<(), pgmonkey_config::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The type of handle that the file describes. Default: `normal`.
    pub connection_type: ConnectionType,
    /// What is reported of single statements.
    pub statements: StatementSettings,
    /// The server, the role, and how to connect.
    pub connection_settings: ConnectionSettings,
    /// Server parameters for blocking sessions.
    pub sync_settings: SessionSettings,
    /// Server parameters for async sessions.
    pub async_settings: SessionSettings,
    /// The blocking pool.
    pub pool_settings: PoolSettings,
    /// The async pool.
    pub async_pool_settings: PoolSettings,
    /// The reading side of a cluster; `None`, the default, means that the writer is read from.
    pub readers: Option<Readers>,
}

impl Settings {
    /// Returns the server parameters for sessions of the given type.
    ///
    /// ```
    /// use pgmonkey_config::{Config, ConnectionType};
    ///
    /// let config = Config::from_yaml("async_settings: { statement_timeout: 30s }")?;
    /// let settings = config.session_settings(ConnectionType::AsyncPool);
    /// assert_eq!(settings.value("statement_timeout"), Some("30s"));
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn session_settings(&self, kind: ConnectionType) -> &SessionSettings {
        if kind.is_async() {
            &self.async_settings
        } else {
            &self.sync_settings
        }
    }

    /// Returns the pool section for the given type; for `normal` and `async`, that of the matching
    /// pool.
    ///
    /// ```
    /// use pgmonkey_config::{Config, ConnectionType};
    ///
    /// let config = Config::from_yaml("async_pool_settings: { max_size: 20 }")?;
    /// assert_eq!(config.pool_settings_for(ConnectionType::AsyncPool).max_size, 20);
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn pool_settings_for(&self, kind: ConnectionType) -> &PoolSettings {
        if kind.is_async() {
            &self.async_pool_settings
        } else {
            &self.pool_settings
        }
    }
}
