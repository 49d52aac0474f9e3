//! Loads a configuration from its sources.

pub(crate) mod rules;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Value};

use crate::error::{self, Error, Warning};
use crate::load::assembly::Assembly;
use crate::load::loaded::Loaded;
use crate::load::loader::rules::UnknownKeys;
use crate::model::config::Config;
use crate::redact::told;
use crate::source::document::Syntax;
use crate::source::environment::Variables;

/// Loads a [`Config`] from one or several sources.
///
/// The sources, weakest first: built-in defaults, libpq's `PG*` variables and service file, files
/// and texts in the order in which they are added, `PGMONKEY_*` variables, values set in code. An
/// empty text or null in a source counts as not set there.
///
/// ```
/// use pgmonkey_config::Loader;
///
/// let config = Loader::new()
///     .yaml("connection_settings: { host: db, port: 5433, password: '${DB_PASSWORD}' }")
///     .variables([("DB_PASSWORD", "S3cret")])
///     .set("connection_settings.dbname", "shop_test")
///     .load()?;
/// assert_eq!(config.connection_settings.password, Some("S3cret".into()));
/// assert_eq!(config.connection_settings.dbname.as_deref(), Some("shop_test"));
/// # Ok::<(), pgmonkey_config::Error>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Loader {
    pub(crate) inputs: Vec<Input>,
    pub(crate) set: Vec<(String, Value)>,
    pub(crate) libpq_sources: bool,
    pub(crate) env: bool,
    pub(crate) resolve_env: bool,
    pub(crate) allow_sensitive_defaults: bool,
    pub(crate) allow_commands: bool,
    pub(crate) unknown_keys: UnknownKeys,
    pub(crate) profile: Option<String>,
    pub(crate) variables: Option<BTreeMap<String, String>>,
}

/// A source, as the caller added it.
#[derive(Clone)]
pub(crate) enum Input {
    File(PathBuf),
    Text(Syntax, String),
    Url(String),
    Values(Dict),
}

// The texts and values may hold secrets, so only their number is shown.
impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let set = self.set.iter().map(|(path, _)| error::shown(path.clone()));
        let set: Vec<String> = set.collect();
        f.debug_struct("Loader")
            .field("inputs", &self.inputs.len())
            .field("set", &set)
            .field("libpq_sources", &self.libpq_sources)
            .field("env", &self.env)
            .field("resolve_env", &self.resolve_env)
            .field("allow_sensitive_defaults", &self.allow_sensitive_defaults)
            .field("allow_commands", &self.allow_commands)
            .field("unknown_keys", &self.unknown_keys)
            .field(
                "profile",
                &self.profile.as_deref().map(|name| told("service", name)),
            )
            .finish_non_exhaustive()
    }
}

impl Default for Loader {
    fn default() -> Self {
        Self::new()
    }
}

impl Loader {
    /// Creates a loader whose only sources are those of libpq.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let config = Loader::new().yaml("pool_settings: { max_size: 20 }").load()?;
    /// assert_eq!(config.pool_settings.max_size, 20);
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn new() -> Self {
        Self {
            inputs: Vec::new(),
            set: Vec::new(),
            libpq_sources: true,
            env: false,
            resolve_env: true,
            allow_sensitive_defaults: false,
            allow_commands: false,
            unknown_keys: UnknownKeys::Deny,
            profile: None,
            variables: None,
        }
    }

    /// Adds a file: TOML or JSON according to its extension, else YAML. `~/` is the home directory.
    ///
    /// ```no_run
    /// use pgmonkey_config::Loader;
    ///
    /// let config = Loader::new().file("pgmonkey.yaml").file("local.toml").load()?;
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn file(self, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_owned();
        self.input(Input::File(path))
    }

    /// Adds YAML text.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let config = Loader::new()
    ///     .yaml("pool_settings: { min_size: 2, max_size: 20 }")
    ///     .yaml("pool_settings: { max_size: 5 }") // the later one wins
    ///     .load()?;
    /// assert_eq!((config.pool_settings.min_size, config.pool_settings.max_size), (2, 5));
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn yaml(self, text: impl Into<String>) -> Self {
        self.text(Syntax::Yaml, text)
    }

    /// Adds TOML text. Loading it needs the feature `toml`.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let config = Loader::new().toml("[pool_settings]\nmax_size = 20").load()?;
    /// assert_eq!(config.pool_settings.max_size, 20);
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn toml(self, text: impl Into<String>) -> Self {
        self.text(Syntax::Toml, text)
    }

    /// Adds JSON text.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let config = Loader::new().json(r#"{ "pool_settings": { "max_size": 20 } }"#).load()?;
    /// assert_eq!(config.pool_settings.max_size, 20);
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn json(self, text: impl Into<String>) -> Self {
        self.text(Syntax::Json, text)
    }

    /// Adds a `postgres://` URL or key=value text.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let config = Loader::new().url("postgres://app@db.internal/shop?sslmode=require").load()?;
    /// assert_eq!(config.connection_settings.dbname.as_deref(), Some("shop"));
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn url(self, text: impl Into<String>) -> Self {
        let text = text.into();
        self.input(Input::Url(text))
    }

    /// Sets a key, overriding every other source: `set("connection_settings.port", 5433)`.
    ///
    /// The first dot separates section and key. The value may be text, a number, a boolean or a
    /// `Vec` of them.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let config = Loader::new()
    ///     .yaml("pool_settings: { max_size: 20 }")
    ///     .set("pool_settings.max_size", 5)
    ///     .load()?;
    /// assert_eq!(config.pool_settings.max_size, 5);
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn set(mut self, path: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set.push((path.into(), value.into()));
        self
    }

    /// Uses these environment variables instead of the process's.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let config = Loader::new().variables([("PGDATABASE", "shop")]).load()?;
    /// assert_eq!(config.connection_settings.dbname.as_deref(), Some("shop"));
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn variables<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        let variables = variables.into_iter();
        self.variables = Some(variables.map(|(n, v)| (n.into(), v.into())).collect());
        self
    }

    /// Loads the configuration and logs the warnings.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let error = Loader::new().yaml("connection_settings:\n  prot: 5432").load().unwrap_err();
    /// assert!(error.to_string().contains("line 2") && error.to_string().contains("`port`"));
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error`] with every problem, each with its file, line and key.
    pub fn load(self) -> Result<Config, Error> {
        let (config, warnings) = self.load_with_warnings()?;
        for warning in warnings {
            tracing::warn!(
                name: "pgmonkey.config", target: "pgmonkey", event = "pgmonkey.config",
                "{warning}"
            );
        }
        Ok(config)
    }

    /// Loads the configuration and returns the warnings instead of logging them.
    ///
    /// ```
    /// use pgmonkey_config::{Loader, WarningKind};
    ///
    /// let file = "postgresql: { connection_settings: { host: db } }";
    /// let (config, warnings) = Loader::new().yaml(file).load_with_warnings()?;
    /// assert_eq!(warnings[0].kind, WarningKind::LegacyWrapper);
    /// assert_eq!(config.connection_settings.host.len(), 1);
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with_warnings(self) -> Result<(Config, Vec<Warning>), Error> {
        let variables = Variables::new(self.variables.clone());
        let loaded = Assembly::new(&self, &variables).load()?;
        Ok((loaded.config, loaded.warnings))
    }

    /// Loads the configuration with the source of each of its values.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let file = "connection_settings: { host: db }";
    /// let loaded = Loader::new().yaml(file).load_with_sources()?;
    /// let place = loaded.source("connection_settings.host").expect("it is set");
    /// assert_eq!(place.to_string(), "line 1, column 24");
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with_sources(self) -> Result<Loaded, Error> {
        let variables = Variables::new(self.variables.clone());
        Assembly::new(&self, &variables).with_sources().load()
    }

    pub(crate) fn text(self, syntax: Syntax, text: impl Into<String>) -> Self {
        let text = text.into();
        self.input(Input::Text(syntax, text))
    }

    pub(crate) fn values(self, values: Dict) -> Self {
        self.input(Input::Values(values))
    }

    fn input(mut self, input: Input) -> Self {
        self.inputs.push(input);
        self
    }
}
