//! Handles with more than a file can say.

use std::sync::Arc;

use pgmonkey_config::Config;
use pgmonkey_connect::Error;
use pgmonkey_connect::credentials::{Named, PasswordProvider};

use crate::connection::Connection;
use crate::database::Database;
use crate::hooks::Hooks;
use crate::listener::Listener;
use crate::pool::Pool;

/// The password provider of a handle.
pub(crate) type Provider = Named<dyn PasswordProvider>;

/// Opens a handle that belongs to the caller, with what only the program can give: no cache
/// knows it. A [`ConnectionManager`](crate::ConnectionManager) takes a password provider and
/// hooks too.
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
#[must_use = "a builder opens nothing until it is told what"]
pub struct Builder {
    config: Config,
    extras: Extras,
}

/// What a handle has beyond its configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Extras {
    pub(crate) provider: Option<Provider>,
    pub(crate) hooks: Option<Hooks>,
    pub(crate) name: Option<Arc<str>>,
    /// Whether its one session never leaves its transaction.
    pub(crate) for_tests: bool,
}

/// What tells handles of one configuration apart: the identities of provider and hooks.
pub(crate) type Identity = (Option<Arc<str>>, Option<Arc<str>>);

impl Extras {
    pub(crate) fn identity(&self) -> Identity {
        let provider = self.provider.as_ref().map(Provider::identity);
        let hooks = self.hooks.as_ref().map(Hooks::identity);
        (provider.cloned(), hooks.cloned())
    }
}

impl Builder {
    /// Begins with `config` alone.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let pool = pgmonkey_sync::Builder::new(&config).name("orders").pool()?;
    /// # Ok(()) }
    /// ```
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            extras: Extras::default(),
        }
    }

    /// Has `provider` asked for the password of each new session.
    ///
    /// ```no_run
    /// # use pgmonkey_sync::{PasswordProvider, PasswordRequest, ProviderError, Secret};
    /// # struct Vault;
    /// # impl PasswordProvider for Vault {
    /// #     fn identity(&self) -> String { "vault".into() }
    /// #     fn password(&self, _: &PasswordRequest) -> Result<Secret, ProviderError> { Ok("".into()) }
    /// # }
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let pool = pgmonkey_sync::Builder::new(&config).password_provider(Vault).pool()?;
    /// # Ok(()) }
    /// ```
    pub fn password_provider(mut self, provider: impl PasswordProvider) -> Self {
        self.extras.provider = Some(Provider::new(provider.identity(), Arc::new(provider)));
        self
    }

    /// Has `hooks` run at the turns of each session's life.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config, hooks: pgmonkey_sync::Hooks) -> Result<(), pgmonkey_sync::Error> {
    /// let pool = pgmonkey_sync::Builder::new(&config).hooks(hooks).pool()?;
    /// # Ok(()) }
    /// ```
    pub fn hooks(mut self, hooks: Hooks) -> Self {
        self.extras.hooks = Some(hooks);
        self
    }

    /// Has events and metrics call the handle `name`; the default is its target, written
    /// `user@host:port/database`. Handles of one name add up in metrics.
    ///
    /// ```no_run
    /// # use pgmonkey_sync::{Builder, Config, Error};
    /// fn main() -> Result<(), Error> {
    ///     let config = Config::from_file("pgmonkey.yaml")?;
    ///     let orders = Builder::new(&config).name("orders").pool()?;
    ///     println!("{}", orders.status());
    ///     Ok(())
    /// }
    /// ```
    pub fn name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.extras.name = Some(name.into());
        self
    }

    /// Opens a pool; see [`Pool::new`].
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let pool = pgmonkey_sync::Builder::new(&config).name("orders").pool()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::new`].
    pub fn pool(self) -> Result<Pool, Error> {
        Pool::with(&self.config, self.extras)
    }

    /// Opens a connection; see [`Connection::new`].
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let connection = pgmonkey_sync::Builder::new(&config).name("reports").connection()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Connection::new`].
    pub fn connection(self) -> Result<Connection, Error> {
        Connection::with(&self.config, self.extras)
    }

    /// Opens what the file asks for; see [`Database::new`].
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let database = pgmonkey_sync::Builder::new(&config).name("orders").database()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Database::new`].
    pub fn database(self) -> Result<Database, Error> {
        Database::with(&self.config, self.extras)
    }

    /// Opens a listener; see [`Listener::connect`]. Of the hooks only `after_connect` concerns
    /// it.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let mut listener = pgmonkey_sync::Builder::new(&config).name("jobs").listener()?;
    /// listener.listen("jobs")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Listener::connect`].
    pub fn listener(self) -> Result<Listener, Error> {
        Listener::with(&self.config, self.extras)
    }
}
