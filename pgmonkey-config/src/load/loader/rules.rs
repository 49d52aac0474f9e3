//! The rules of a loader: which of its sources count, and how their texts are read.

use super::Loader;

/// How unknown keys are treated.
///
/// ```
/// use pgmonkey_config::{Loader, UnknownKeys};
///
/// let file = "connection_settings: { host: db }\nmigrations: { folder: sql }";
/// assert!(Loader::new().yaml(file).load().is_err());
/// let config = Loader::new().yaml(file).unknown_keys(UnknownKeys::Warn).load()?;
/// assert_eq!(config.connection_settings.host.len(), 1);
/// # Ok::<(), pgmonkey_config::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownKeys {
    /// Unknown keys are errors.
    #[default]
    Deny,
    /// Unknown keys are warnings, for files shared with other tools.
    Warn,
}

impl Loader {
    /// Sets whether libpq's `PG*` variables and service file supply keys that are not set
    /// elsewhere. Default: true.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let config = Loader::new()
    ///     .variables([("PGUSER", "app")])
    ///     .libpq_sources(false)
    ///     .load()?;
    /// assert_eq!(config.connection_settings.user, None);
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn libpq_sources(mut self, on: bool) -> Self {
        self.libpq_sources = on;
        self
    }

    /// Sets whether `PGMONKEY_*` variables override the files, as in
    /// `PGMONKEY_CONNECTION_SETTINGS__HOST`; two underscores separate section and key. Default:
    /// false.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let config = Loader::new()
    ///     .yaml("pool_settings: { max_size: 20 }")
    ///     .variables([("PGMONKEY_POOL_SETTINGS__MAX_SIZE", "5")])
    ///     .env(true)
    ///     .load()?;
    /// assert_eq!(config.pool_settings.max_size, 5);
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn env(mut self, on: bool) -> Self {
        self.env = on;
        self
    }

    /// Sets whether `${VAR}`, `{ from_env: VAR }` and `{ from_file: path }` are resolved in files
    /// and texts. Default: true. A file can turn it off with `resolve_env: false` at the top level.
    ///
    /// `password: { from_file: path }` and `{ from_command: [...] }` are not resolved at load but
    /// kept, and work in any case. Do not load a text that is not trusted: it can name any variable
    /// and any file, and the server that gets the password.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let loader = Loader::new()
    ///     .yaml("connection_settings: { dbname: '${NAME:-shop}_test' }")
    ///     .variables([("NAME", "orders")]);
    /// let config = loader.clone().load()?;
    /// assert_eq!(config.connection_settings.dbname.as_deref(), Some("orders_test"));
    /// let config = loader.resolve_env(false).load()?;
    /// assert_eq!(config.connection_settings.dbname.as_deref(), Some("${NAME:-shop}_test"));
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn resolve_env(mut self, on: bool) -> Self {
        self.resolve_env = on;
        self
    }

    /// Sets whether `${VAR:-default}` is allowed for passwords and other sensitive keys. Default:
    /// false.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let file = "connection_settings: { password: '${DB_PASSWORD:-postgres}' }";
    /// let loader = Loader::new().yaml(file).variables([("HOME", "/")]);
    /// assert!(loader.clone().load().is_err());
    /// assert!(loader.allow_sensitive_defaults(true).load().is_ok());
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn allow_sensitive_defaults(mut self, on: bool) -> Self {
        self.allow_sensitive_defaults = on;
        self
    }

    /// Sets whether `password: { from_command: [...] }` may run its program when a session is
    /// opened. Default: false, because whatever can change the configuration could then run any
    /// program with the rights of this process.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let file = "connection_settings: { password: { from_command: [vault-password, app] } }";
    /// let loader = Loader::new().yaml(file);
    /// let error = loader.clone().load().unwrap_err().to_string();
    /// assert!(error.contains("`vault-password`") && error.contains("allow_commands"));
    /// assert!(loader.allow_commands(true).load().is_ok());
    /// ```
    pub fn allow_commands(mut self, on: bool) -> Self {
        self.allow_commands = on;
        self
    }

    /// Sets how unknown keys are treated. Default: [`UnknownKeys::Deny`].
    ///
    /// ```
    /// use pgmonkey_config::{Loader, UnknownKeys};
    ///
    /// let loader = Loader::new().yaml("migrations: { folder: sql }");
    /// assert!(loader.unknown_keys(UnknownKeys::Warn).load().is_ok());
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn unknown_keys(mut self, unknown_keys: UnknownKeys) -> Self {
        self.unknown_keys = unknown_keys;
        self
    }

    /// Selects one of the file's `profiles`, instead of the one that `PGMONKEY_PROFILE` names.
    ///
    /// ```
    /// use pgmonkey_config::Loader;
    ///
    /// let file = "connection_settings: { dbname: shop }
    /// profiles: { test: { connection_settings: { dbname: shop_test } } }";
    /// let config = Loader::new().yaml(file).profile("test").load()?;
    /// assert_eq!(config.connection_settings.dbname.as_deref(), Some("shop_test"));
    /// # Ok::<(), pgmonkey_config::Error>(())
    /// ```
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }
}
