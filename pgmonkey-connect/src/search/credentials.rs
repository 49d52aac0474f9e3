//! The password for one host: configured, from the passfile, or from the program's provider.
//!
//! Reference: libpq, "The Password File".

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use pgmonkey_config::passfile::{self, PassFile};
use pgmonkey_config::{ConnectionSettings, Host, Secret, SecretSource, Target};

use crate::telemetry::events;

/// The error type of a [`PasswordProvider`].
pub type ProviderError = Box<dyn StdError + Send + Sync>;

/// Provides the password for each new session: for tokens that expire, such as those of a cloud's
/// IAM or of Vault.
///
/// It is called right before a host is tried, on the thread that opens the session, and never while
/// a session is idle or in use: a token only needs to be valid during the login. The returned
/// password is not stored. It takes precedence over the `password` setting and the passfile. Its
/// time is not limited; `connect_timeout` starts when it has answered.
///
/// ```
/// use pgmonkey_config::Secret;
/// use pgmonkey_connect::credentials::{PasswordProvider, PasswordRequest, ProviderError};
///
/// struct Vault;
///
/// impl PasswordProvider for Vault {
///     fn identity(&self) -> String {
///         "vault:database/creds/app".to_owned()
///     }
///
///     fn password(&self, request: &PasswordRequest) -> Result<Secret, ProviderError> {
///         Ok(Secret::from(format!("token of {} for {}", request.user, request.host)))
///     }
/// }
/// ```
pub trait PasswordProvider: Send + Sync + 'static {
    /// Identifies this provider: part of the cache key, so that the same config file with the same
    /// provider gives the same pool, whatever the token is. It must not contain a secret.
    fn identity(&self) -> String;

    /// Returns the password for one session. May block.
    ///
    /// # Errors
    ///
    /// Any reason why there is no password. Errors count as transient: a pool retries until its
    /// timeout.
    fn password(&self, request: &PasswordRequest) -> Result<Secret, ProviderError>;

    /// The server refused the password that this provider returned last for such a request. A
    /// provider that keeps passwords forgets it here. Called on the thread that opens the session,
    /// so it must not block. Default: nothing happens.
    fn invalidate(&self, request: &PasswordRequest) {
        let _ = request;
    }
}

/// The async equivalent of [`PasswordProvider`], with the same guarantees.
///
/// Implement it with the attribute [`async_trait`](mod@async_trait).
#[async_trait]
pub trait AsyncPasswordProvider: Send + Sync + 'static {
    /// As [`PasswordProvider::identity`].
    fn identity(&self) -> String;

    /// As [`PasswordProvider::password`]. The future is dropped if it takes longer than
    /// `connect_timeout`.
    ///
    /// # Errors
    ///
    /// As [`PasswordProvider::password`].
    async fn password(&self, request: &PasswordRequest) -> Result<Secret, ProviderError>;

    /// As [`PasswordProvider::invalidate`].
    fn invalidate(&self, request: &PasswordRequest) {
        let _ = request;
    }
}

/// A provider of either kind and its identity, which is read once.
pub struct Named<P: ?Sized> {
    provider: Arc<P>,
    identity: Arc<str>,
}

impl<P: ?Sized> Named<P> {
    /// Combines `provider` with its `identity`.
    pub fn new(identity: impl Into<Arc<str>>, provider: Arc<P>) -> Self {
        Self {
            identity: identity.into(),
            provider,
        }
    }

    /// The provider's identity.
    pub fn identity(&self) -> &Arc<str> {
        &self.identity
    }
}

impl<P: ?Sized> Clone for Named<P> {
    fn clone(&self) -> Self {
        Self {
            provider: Arc::clone(&self.provider),
            identity: Arc::clone(&self.identity),
        }
    }
}

impl<P: ?Sized> Deref for Named<P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.provider
    }
}

impl<P: ?Sized> fmt::Debug for Named<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Provider").field(&self.identity).finish()
    }
}

/// Describes the session that needs a password.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PasswordRequest {
    /// The host as configured: a name, an address, or a socket directory.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The role to log in as.
    pub user: String,
    /// The database to open.
    pub dbname: String,
}

impl PasswordRequest {
    pub(crate) fn new(settings: &ConnectionSettings, target: &Target) -> Self {
        Self {
            host: target.host.to_string(),
            port: target.port,
            user: settings.effective_user(),
            dbname: settings.effective_dbname(),
        }
    }
}

/// A password, and the file it came from.
#[derive(Debug, Clone)]
pub(crate) struct Password {
    pub(crate) secret: Secret,
    pub(crate) passfile: Option<PathBuf>,
}

impl From<Secret> for Password {
    fn from(secret: Secret) -> Self {
        Self {
            secret,
            passfile: None,
        }
    }
}

/// The password for `target`: the configured one, otherwise the passfile's, which is read again for
/// each session so that changes take effect.
///
/// An unreadable passfile is logged and treated as absent, as in libpq.
pub(crate) fn password(settings: &ConnectionSettings, target: &Target) -> Option<Password> {
    match settings.password.as_ref().and_then(SecretSource::value) {
        Some(secret) => Some(secret.clone().into()),
        None => from_passfile(settings, target),
    }
}

fn from_passfile(settings: &ConnectionSettings, target: &Target) -> Option<Password> {
    let path = match &settings.passfile {
        Some(path) => path.clone(),
        None => passfile::default_path(&|name| std::env::var(name).ok())?,
    };
    let file = PassFile::load(&path)
        .inspect_err(|error| events::passfile_ignored(&path, error))
        .ok()??;
    let host = match &target.host {
        Host::Unix(directory) => directory.display().to_string(),
        host => host.to_string(),
    };
    let (dbname, user) = (settings.effective_dbname(), settings.effective_user());
    let secret = file.lookup(&host, target.port, &dbname, &user)?;
    Some(Password {
        secret,
        passfile: Some(path),
    })
}
