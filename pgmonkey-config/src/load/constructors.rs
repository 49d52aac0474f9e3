//! Constructors of [`Config`]: from settings, from a file or a text, through a [`Loader`].

use std::path::Path;

use crate::error::{Error, Place, Problem};
use crate::load::loader::Loader;
use crate::load::normalise;
use crate::load::validate;
use crate::model::config::Config;
use crate::model::settings::Settings;
use crate::source::document::Syntax;

impl Config {
    /// Validates the settings and returns them as a configuration.
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
    /// [`Error`] with every value that is out of range and every invalid combination of values.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let mut settings = normalise::settings(settings);
        if let Some(readers) = &mut settings.readers {
            readers.config = readers.config.as_readers_of(settings.connection_type);
        }
        let readers = settings.readers.iter();
        let lag = readers.filter_map(|readers| validate::lag_problem(readers.max_lag?));
        let lag = lag.map(|kind| ("readers.max_lag".to_owned(), kind));
        let problems = validate::problems(&settings, &|_| false)
            .into_iter()
            .chain(lag)
            .map(|(key, kind)| Problem::new(Place::Code, key, kind))
            .collect();
        Error::check(problems)?;
        Ok(Self::checked(settings))
    }

    /// Loads a file; libpq's sources supply keys that it does not set. The same as
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
    /// [`Error`] with file, line and key of every problem.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        Loader::new().file(path).load()
    }

    /// Loads YAML text; libpq's sources supply keys that it does not set.
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

    /// Loads TOML text; libpq's sources supply keys that it does not set. This needs the feature
    /// `toml`.
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

    /// Loads JSON text; libpq's sources supply keys that it does not set.
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

    /// Loads a `postgres://` URL or key=value text; libpq's sources supply keys that it does not
    /// set.
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

    /// Returns a loader, for more than one source or for other rules.
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
}

/// Reads the output of [`Config::exposed`], and everything that a file may contain. The environment
/// is ignored; a redacted value is an error.
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
