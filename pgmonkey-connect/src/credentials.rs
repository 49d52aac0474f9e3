//! The password of one host: configured, from the passfile, or asked of the program.
//!
//! Reference: libpq, "The Password File".

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use pgmonkey_config::passfile::{self, PassFile};
use pgmonkey_config::{ConnectionSettings, Host, Secret, Target};

/// What a [`PasswordProvider`] may fail with.
pub type ProviderError = Box<dyn StdError + Send + Sync>;

/// Gives the password of each new session: for tokens that expire, as those of a cloud's IAM or
/// of Vault.
///
/// It is asked right before a host is tried, on the thread that opens the session, and never
/// while a session is idle or in use: a token has to be good only for as long as a login takes.
/// What it returns is kept nowhere. It goes before the `password` of the settings and the
/// passfile. Nothing limits how long it takes; `connect_timeout` begins when it has answered.
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
    /// What tells this provider from others: part of the key of the cache, so that the same file
    /// with the same provider is the same pool, whatever the token is. No secret may be in it.
    fn identity(&self) -> String;

    /// The password for one session. It may block.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from having one. It counts as transient: a pool asks again until its
    /// time-out.
    fn password(&self, request: &PasswordRequest) -> Result<Secret, ProviderError>;
}

/// The async twin of [`PasswordProvider`], with the same promises.
///
/// Implemented with the attribute [`async_trait`](mod@async_trait).
#[async_trait]
pub trait AsyncPasswordProvider: Send + Sync + 'static {
    /// As [`PasswordProvider::identity`].
    fn identity(&self) -> String;

    /// As [`PasswordProvider::password`]. Dropped when it takes longer than `connect_timeout`.
    ///
    /// # Errors
    ///
    /// As [`PasswordProvider::password`].
    async fn password(&self, request: &PasswordRequest) -> Result<Secret, ProviderError>;
}

/// A provider of either kind, and what tells it from others, asked for once.
pub struct Named<P: ?Sized> {
    provider: Arc<P>,
    identity: Arc<str>,
}

impl<P: ?Sized> Named<P> {
    /// `provider`, known as `identity`.
    pub fn new(identity: impl Into<Arc<str>>, provider: Arc<P>) -> Self {
        Self {
            identity: identity.into(),
            provider,
        }
    }

    /// What tells it from others.
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

/// Whose password is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PasswordRequest {
    /// The host as the settings name it: a name, an address, or a socket directory.
    pub host: String,
    /// Its port.
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

/// The password to offer `target`: the one configured, else the passfile's, read anew for each
/// session so that a changed file is noticed.
///
/// A passfile that cannot be read is logged and counts as absent, as in libpq.
pub(crate) fn password(settings: &ConnectionSettings, target: &Target) -> Option<Password> {
    if let Some(password) = &settings.password {
        return Some(password.clone().into());
    }
    let path = match &settings.passfile {
        Some(path) => path.clone(),
        None => passfile::default_path(&|name| std::env::var(name).ok())?,
    };
    let file = PassFile::load(&path)
        .inspect_err(|error| tracing::warn!("passfile ignored: {error}"))
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
