use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use crate::model::fingerprint::Fingerprint;
use crate::model::pool::PoolSettings;
use crate::model::session::SessionSettings;
use crate::model::settings::Settings;
use crate::schema::choice::ConnectionType;

/// A validated, immutable configuration.
///
/// Clones share the same data. It derefs to [`Settings`]. `Debug`, `Display` and `Serialize` show
/// no secret; [`exposed`](Self::exposed) includes secrets, to write a file.
///
/// ```
/// use pgmonkey_config::{Config, ConnectionType};
///
/// let config = Config::from_yaml(
///     "connection_type: pool
/// connection_settings: { host: db.internal, user: app, dbname: shop, password: S3cret }
/// pool_settings: { min_size: 5, max_size: 20 }",
/// )?;
/// assert_eq!(config.connection_type, ConnectionType::Pool);
/// assert_eq!(config.to_string(), "pool app@db.internal:5432/shop");
/// assert!(!format!("{config:?}").contains("S3cret"));
/// # Ok::<(), pgmonkey_config::Error>(())
/// ```
#[derive(Clone)]
pub struct Config(Arc<Inner>);

struct Inner {
    settings: Settings,
    fingerprints: [OnceLock<Fingerprint>; ConnectionType::ALL.len()],
}

impl Config {
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
        self.0.settings.session_settings(kind)
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
        self.0.settings.pool_settings_for(kind)
    }

    /// Returns the fingerprint of this configuration for the given type, computed once.
    ///
    /// ```
    /// use pgmonkey_config::{Config, ConnectionType};
    ///
    /// let one = Config::from_yaml("connection_settings: { host: db, port: '5432' }")?;
    /// let same = Config::from_yaml("connection_settings: { port: 5432, host: db }")?;
    /// let kind = ConnectionType::Pool;
    /// assert_eq!(one.fingerprint(kind), same.fingerprint(kind));
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn fingerprint(&self, kind: ConnectionType) -> &Fingerprint {
        self.0.fingerprints[kind as usize].get_or_init(|| Fingerprint::of(&self.0.settings, kind))
    }

    /// Returns the same configuration with another type.
    ///
    /// ```
    /// use pgmonkey_config::{Config, ConnectionType};
    ///
    /// let config = Config::from_yaml("connection_type: pool")?;
    /// let config = config.with_connection_type(ConnectionType::AsyncPool);
    /// assert_eq!(config.connection_type, ConnectionType::AsyncPool);
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    #[must_use]
    pub fn with_connection_type(&self, kind: ConnectionType) -> Self {
        if kind == self.connection_type {
            return self.clone();
        }
        let mut settings = self.to_settings();
        settings.connection_type = kind;
        if let Some(readers) = &mut settings.readers {
            readers.config = readers.config.with_connection_type(kind);
        }
        Self(Arc::new(Inner {
            settings,
            // `connection_type` is not part of a fingerprint.
            fingerprints: self.0.fingerprints.clone(),
        }))
    }

    /// Returns a copy of the settings, to edit and pass to [`Config::new`].
    ///
    /// ```
    /// use pgmonkey_config::Config;
    ///
    /// let mut settings = Config::from_yaml("connection_settings: { dbname: shop }")?.to_settings();
    /// settings.connection_settings.dbname = Some("shop_test".to_owned());
    /// let config = Config::new(settings)?;
    /// assert_eq!(config.connection_settings.dbname.as_deref(), Some("shop_test"));
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn to_settings(&self) -> Settings {
        self.0.settings.clone()
    }

    /// The same configuration as that of the readers of another: with its type, and no readers.
    pub(crate) fn as_readers_of(&self, kind: ConnectionType) -> Self {
        let config = self.with_connection_type(kind);
        if config.readers.is_none() {
            return config;
        }
        let mut settings = config.to_settings();
        settings.readers = None;
        Self::checked(settings)
    }

    pub(crate) fn checked(settings: Settings) -> Self {
        Self(Arc::new(Inner {
            settings,
            fingerprints: std::array::from_fn(|_| OnceLock::new()),
        }))
    }
}

impl Deref for Config {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.0.settings
    }
}

impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.settings == other.0.settings
    }
}

impl Eq for Config {}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Config").field(&self.0.settings).finish()
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.connection_settings.describe();
        write!(f, "{} {target}", self.connection_type)
    }
}
