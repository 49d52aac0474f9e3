use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use crate::choice::ConnectionType;
use crate::connection::ConnectionSettings;
use crate::error::{Error, Place, Problem};
use crate::export::Exposed;
use crate::fingerprint::Fingerprint;
use crate::loader::{Loader, Syntax};
use crate::pool::PoolSettings;
use crate::session::SessionSettings;
use crate::validate;

/// Everything a configuration file says, as plain typed data that can be edited.
///
/// [`Config::new`] checks it and makes a [`Config`] of it. `Debug` shows no secret.
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
    /// Which handle the file is for. `normal`.
    pub connection_type: ConnectionType,
    /// Which server, who, and how.
    pub connection_settings: ConnectionSettings,
    /// Server parameters for blocking sessions.
    pub sync_settings: SessionSettings,
    /// Server parameters for async sessions.
    pub async_settings: SessionSettings,
    /// The blocking pool.
    pub pool_settings: PoolSettings,
    /// The async pool.
    pub async_pool_settings: PoolSettings,
}

impl Settings {
    /// The server parameters for sessions of the given type.
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

    /// The pool section that the given type reads, or would read if it were a pool.
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

/// A checked configuration that does not change any more.
///
/// Cloning it counts one reference. It derefs to [`Settings`]. `Debug`, `Display` and `Serialize`
/// show no secret; [`exposed`](Self::exposed) writes a file back.
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
    /// Checks the settings and makes a configuration of them.
    ///
    /// Empty texts and zero limits become `None`, as in a file.
    ///
    /// ```
    /// use pgmonkey_config::{Config, Settings};
    ///
    /// let mut settings = Settings::default();
    /// settings.pool_settings.max_size = 0;
    /// assert!(Config::new(settings).is_err()); // the same rules as for a file
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error`] with everything that is out of range or does not go together.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let settings = validate::normalise(settings);
        let problems = validate::problems(&settings)
            .into_iter()
            .map(|(key, kind)| Problem::new(Place::Code, key, kind))
            .collect();
        Error::check(problems)?;
        Ok(Self::checked(settings))
    }

    /// Loads a file, with what libpq's own sources add; the same as
    /// `Config::loader().file(path).load()`.
    ///
    /// ```no_run
    /// use pgmonkey_config::Config;
    ///
    /// let config = Config::from_file("pgmonkey.yaml")?;
    /// println!("{config}");
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error`] with file, line and key of everything that is wrong.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        Loader::new().file(path).load()
    }

    /// Loads YAML text, with what libpq's own sources add.
    ///
    /// ```
    /// use pgmonkey_config::Config;
    ///
    /// let config = Config::from_yaml("pool_settings: { max_size: 20 }")?;
    /// assert_eq!(config.pool_settings.max_size, 20);
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_yaml(text: &str) -> Result<Self, Error> {
        Loader::new().text(Syntax::Yaml, text).load()
    }

    /// Loads TOML text, with what libpq's own sources add.
    ///
    /// ```
    /// use pgmonkey_config::Config;
    ///
    /// let config = Config::from_toml("[pool_settings]\nmax_size = 20")?;
    /// assert_eq!(config.pool_settings.max_size, 20);
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        Loader::new().text(Syntax::Toml, text).load()
    }

    /// Loads JSON text, with what libpq's own sources add.
    ///
    /// ```
    /// use pgmonkey_config::Config;
    ///
    /// let config = Config::from_json(r#"{ "pool_settings": { "max_size": 20 } }"#)?;
    /// assert_eq!(config.pool_settings.max_size, 20);
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file).
    pub fn from_json(text: &str) -> Result<Self, Error> {
        Loader::new().text(Syntax::Json, text).load()
    }

    /// Loads a `postgres://` URL or key=value text, with what libpq's own sources add.
    ///
    /// ```
    /// use pgmonkey_config::Config;
    ///
    /// let config = Config::from_url("postgres://app@db.internal:5433/shop")?;
    /// assert_eq!(config.connection_settings.port, [5433]);
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file); the error never repeats the URL.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        Loader::new().url(url).load()
    }

    /// A loader, for more than one source or other rules.
    ///
    /// ```
    /// use pgmonkey_config::Config;
    ///
    /// let config = Config::loader().yaml("{}").set("pool_settings.max_size", 5).load()?;
    /// assert_eq!(config.pool_settings.max_size, 5);
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn loader() -> Loader {
        Loader::new()
    }

    /// The server parameters for sessions of the given type.
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

    /// The pool section that the given type reads, or would read if it were a pool.
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

    /// What this configuration means for the given type, computed once.
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

    /// The same configuration for another type.
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
        Self(Arc::new(Inner {
            settings,
            // The type is not part of them.
            fingerprints: self.0.fingerprints.clone(),
        }))
    }

    /// A copy to edit and give to [`Config::new`].
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

    /// The configuration as it is written to a file, secrets included.
    ///
    /// ```
    /// use pgmonkey_config::Config;
    ///
    /// let config = Config::from_yaml("connection_settings: { password: S3cret }").unwrap();
    /// let file = serde_json::to_string(&config.exposed()).unwrap();
    /// assert_eq!(Config::from_json(&file).unwrap(), config);
    /// ```
    pub fn exposed(&self) -> Exposed<'_> {
        Exposed::new(self)
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

/// Redacted; see [`Config::exposed`].
impl serde::Serialize for Config {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::export::redacted(self).serialize(serializer)
    }
}

/// Reads what [`Config::exposed`] writes, and everything a file may say. The environment plays no
/// part; a redacted value is refused.
impl<'de> serde::Deserialize<'de> for Config {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = figment::value::Dict::deserialize(deserializer)?;
        Loader::new()
            .libpq_sources(false)
            .variables(std::iter::empty::<(String, String)>())
            .values(value)
            .load()
            .map_err(serde::de::Error::custom)
    }
}
