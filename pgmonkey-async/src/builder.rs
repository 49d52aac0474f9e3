//! Handles with more than a file can say.

use std::sync::Arc;

use pgmonkey_config::Config;
use pgmonkey_connect::Error;
use pgmonkey_connect::credentials::{AsyncPasswordProvider, Named};

use crate::connection::Connection;
use crate::database::Database;
use crate::pool::Pool;

/// The password provider of a handle.
pub(crate) type Provider = Named<dyn AsyncPasswordProvider>;

/// Opens a handle that belongs to the caller, with what only the program can give: no cache
/// knows it. A [`ConnectionManager`](crate::ConnectionManager) takes a password provider too.
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
    provider: Option<Provider>,
}

impl Builder {
    /// Begins with `config` alone.
    pub fn new(config: &Config) -> Self {
        Self {
            config: config.clone(),
            provider: None,
        }
    }

    /// Has `provider` asked for the password of each new session.
    pub fn password_provider(mut self, provider: impl AsyncPasswordProvider) -> Self {
        self.provider = Some(Provider::new(provider.identity(), Arc::new(provider)));
        self
    }

    /// Opens a pool; see [`Pool::new`].
    ///
    /// # Errors
    ///
    /// As [`Pool::new`].
    pub async fn pool(self) -> Result<Pool, Error> {
        Pool::with(&self.config, self.provider).await
    }

    /// Opens a connection; see [`Connection::new`].
    ///
    /// # Errors
    ///
    /// As [`Connection::new`].
    pub async fn connection(self) -> Result<Connection, Error> {
        Connection::with(&self.config, self.provider).await
    }

    /// Opens what the file asks for; see [`Database::new`].
    ///
    /// # Errors
    ///
    /// As [`Database::new`].
    pub async fn database(self) -> Result<Database, Error> {
        Database::with(&self.config, self.provider).await
    }
}
