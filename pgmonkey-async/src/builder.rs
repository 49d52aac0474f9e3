//! Handles with more than a file can say.

use std::sync::Arc;

use pgmonkey_config::Config;
use pgmonkey_connect::Error;
use pgmonkey_connect::credentials::{AsyncPasswordProvider, Named};

use crate::connection::Connection;
use crate::database::Database;
use crate::hooks::Hooks;
use crate::listener::Listener;
use crate::pool::Pool;

/// The password provider of a handle.
pub(crate) type Provider = Named<dyn AsyncPasswordProvider>;

/// Opens a handle that belongs to the caller, with what only the program can give: no cache
/// knows it. A [`ConnectionManager`](crate::ConnectionManager) takes a password provider and
/// hooks too.
///
/// ```no_run
/// use pgmonkey_async::{Builder, Config, Error};
/// # use pgmonkey_async::{PasswordProvider, PasswordRequest, ProviderError, Secret};
/// # struct Vault;
/// # #[async_trait::async_trait]
/// # impl PasswordProvider for Vault {
/// #     fn identity(&self) -> String { "vault".into() }
/// #     async fn password(&self, _: &PasswordRequest) -> Result<Secret, ProviderError> { Ok("".into()) }
/// # }
///
/// #[tokio::main]
/// async fn main() -> Result<(), Error> {
///     let config = Config::from_file("pgmonkey.yaml")?;
///     let pool = Builder::new(&config).password_provider(Vault).pool().await?;
///     println!("{}", pool.ping().await?);
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
    /// # async fn example(config: pgmonkey_async::Config) -> Result<(), pgmonkey_async::Error> {
    /// let pool = pgmonkey_async::Builder::new(&config).name("orders").pool().await?;
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
    /// # use pgmonkey_async::{PasswordProvider, PasswordRequest, ProviderError, Secret};
    /// # struct Vault;
    /// # #[async_trait::async_trait]
    /// # impl PasswordProvider for Vault {
    /// #     fn identity(&self) -> String { "vault".into() }
    /// #     async fn password(&self, _: &PasswordRequest) -> Result<Secret, ProviderError> { Ok("".into()) }
    /// # }
    /// # async fn example(config: pgmonkey_async::Config) -> Result<(), pgmonkey_async::Error> {
    /// let pool = pgmonkey_async::Builder::new(&config).password_provider(Vault).pool().await?;
    /// # Ok(()) }
    /// ```
    pub fn password_provider(mut self, provider: impl AsyncPasswordProvider) -> Self {
        self.extras.provider = Some(Provider::new(provider.identity(), Arc::new(provider)));
        self
    }

    /// Has `hooks` run at the turns of each session's life.
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey_async::Config, hooks: pgmonkey_async::Hooks) -> Result<(), pgmonkey_async::Error> {
    /// let pool = pgmonkey_async::Builder::new(&config).hooks(hooks).pool().await?;
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
    /// # use pgmonkey_async::{Builder, Config, Error};
    /// #[tokio::main]
    /// async fn main() -> Result<(), Error> {
    ///     let config = Config::from_file("pgmonkey.yaml")?;
    ///     let orders = Builder::new(&config).name("orders").pool().await?;
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
    /// # async fn example(config: pgmonkey_async::Config) -> Result<(), pgmonkey_async::Error> {
    /// let pool = pgmonkey_async::Builder::new(&config).name("orders").pool().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::new`].
    pub async fn pool(self) -> Result<Pool, Error> {
        Pool::with(&self.config, self.extras).await
    }

    /// Opens a connection; see [`Connection::new`].
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey_async::Config) -> Result<(), pgmonkey_async::Error> {
    /// let connection = pgmonkey_async::Builder::new(&config).name("reports").connection().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Connection::new`].
    pub async fn connection(self) -> Result<Connection, Error> {
        Connection::with(&self.config, self.extras).await
    }

    /// Opens what the file asks for; see [`Database::new`].
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey_async::Config) -> Result<(), pgmonkey_async::Error> {
    /// let database = pgmonkey_async::Builder::new(&config).name("orders").database().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Database::new`].
    pub async fn database(self) -> Result<Database, Error> {
        Database::with(&self.config, self.extras).await
    }

    /// Opens a listener; see [`Listener::connect`]. Of the hooks only `after_connect` concerns
    /// it.
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey_async::Config) -> Result<(), pgmonkey_async::Error> {
    /// let mut listener = pgmonkey_async::Builder::new(&config).name("jobs").listener().await?;
    /// listener.listen("jobs").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Listener::connect`].
    pub async fn listener(self) -> Result<Listener, Error> {
        Listener::with(&self.config, self.extras).await
    }
}
