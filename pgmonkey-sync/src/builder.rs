//! Opens handles with options that a config file cannot hold.

use std::sync::Arc;

use pgmonkey_config::Config;
use pgmonkey_connect::Error;
use pgmonkey_connect::credentials::PasswordProvider;

use crate::handle::connection::Connection;
use crate::handle::database::Database;
use crate::handle::pool::Pool;
use crate::listener::Listener;
use crate::options::HandleOptions;
use crate::session::connect::Provider;
use crate::session::hooks::Hooks;

/// Opens a handle with options that a config file cannot hold: a password provider, hooks, a name.
///
/// The handle belongs to the caller and is not cached. A
/// [`ConnectionManager`](crate::ConnectionManager) takes a password provider and hooks too.
///
/// ```no_run
/// use pgmonkey_sync::{Builder, Config, Error};
/// # use pgmonkey_sync::{PasswordProvider, PasswordRequest, ProviderError, Secret};
/// # struct Vault;
/// # impl PasswordProvider for Vault {
/// #     fn identity(&self) -> String { "vault".into() }
/// #     fn password(&self, _: &PasswordRequest) -> Result<Secret, ProviderError> { Ok("".into()) }
/// # }
///
/// fn main() -> Result<(), Error> {
///     let config = Config::from_file("pgmonkey.yaml")?;
///     let pool = Builder::new(&config).password_provider(Vault).pool()?;
///     println!("{}", pool.ping()?);
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a builder opens nothing until one of its opening methods is called"]
pub struct Builder {
    config: Config,
    options: HandleOptions,
}

impl Builder {
    /// Creates a builder for `config` without further options.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let pool = pgmonkey_sync::Builder::new(&config).name("orders").pool()?;
    /// # Ok(()) }
    /// ```
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            options: HandleOptions::default(),
        }
    }

    /// Sets the provider that is asked for the password of each new session.
    pub fn password_provider(mut self, provider: impl PasswordProvider) -> Self {
        self.options.provider = Some(Provider::new(provider.identity(), Arc::new(provider)));
        self
    }

    /// Sets the hooks that run at points in each session's lifecycle.
    pub fn hooks(mut self, hooks: Hooks) -> Self {
        self.options.hooks = Some(hooks);
        self
    }

    /// Sets the name of the handle in events and metrics. Defaults to its target, written
    /// `user@host:port/database`. Metrics of handles with the same name are added up.
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.options.name = Some(name.into());
        self
    }

    /// Opens a pool; see [`Pool::new`].
    ///
    /// # Errors
    ///
    /// As [`Pool::new`].
    pub fn pool(self) -> Result<Pool, Error> {
        Pool::with(&self.config, self.options)
    }

    /// Opens a connection; see [`Connection::new`].
    ///
    /// # Errors
    ///
    /// As [`Connection::new`].
    pub fn connection(self) -> Result<Connection, Error> {
        Connection::with(&self.config, self.options)
    }

    /// Opens a connection or a pool, as `connection_type` says; see [`Database::new`].
    ///
    /// # Errors
    ///
    /// As [`Database::new`].
    pub fn database(self) -> Result<Database, Error> {
        Database::with(&self.config, self.options)
    }

    /// Opens a listener; see [`Listener::connect`]. Of the hooks, only `after_connect` runs for it.
    ///
    /// # Errors
    ///
    /// As [`Listener::connect`].
    pub fn listener(self) -> Result<Listener, Error> {
        Listener::with(&self.config, self.options)
    }
    /// Creates a manager for another pool; see [`SessionManager::new`](crate::managers::SessionManager::new).
    ///
    /// # Errors
    ///
    /// As [`SessionManager::new`](crate::managers::SessionManager::new).
    #[cfg(feature = "r2d2")]
    #[cfg_attr(docsrs, doc(cfg(feature = "r2d2")))]
    pub fn session_manager(self) -> Result<crate::managers::SessionManager, Error> {
        crate::managers::SessionManager::with(&self.config, self.options)
    }
}
