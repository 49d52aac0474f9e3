//! A password that is read for each new session: from a file, or from a command.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgmonkey_config::{ConnectionSettings, Secret, SecretCommand, SecretSource};

use self::state::{Answer, State};
use super::credentials::ProviderError;
use crate::error::failure::ConnectCause;
use crate::files::Stamp;

mod command;
mod state;

/// A handle's password that is read again when it may have changed.
#[derive(Clone)]
pub(crate) struct RotatingSecret(Arc<Shared>);

struct Shared {
    source: Source,
    state: Mutex<State>,
    /// The version of the file that was read last.
    stamp: Mutex<Option<Stamp>>,
    /// The server's error for the last refused login.
    refusal: Mutex<Option<Arc<tokio_postgres::Error>>>,
}

enum Source {
    File(PathBuf),
    Command(SecretCommand),
}

/// What to do for a login.
pub(crate) enum Ask {
    /// Log in with this secret.
    Use(Login),
    /// Run this, possibly for seconds, and ask again.
    Read(SecretRead),
    /// Ask again after this pause.
    Wait(Duration),
    /// Every known secret was refused a short time ago.
    Refused,
}

impl RotatingSecret {
    /// The rotating password of these settings; `None` if the password is in the settings, in the
    /// passfile, or nowhere.
    pub(crate) fn of(settings: &ConnectionSettings) -> Option<Self> {
        let source = match settings.password.as_ref()? {
            SecretSource::File(path) => Source::File(path.clone()),
            SecretSource::Command(command) => Source::Command(command.clone()),
            _ => return None,
        };
        Some(Self(Arc::new(Shared {
            source,
            state: Mutex::default(),
            stamp: Mutex::default(),
            refusal: Mutex::default(),
        })))
    }

    /// Asks for the secret of a login that was wanted at `wanted`.
    pub(crate) fn ask(&self, wanted: Instant, now: Instant) -> Ask {
        let ttl = match &self.0.source {
            Source::File(path) => {
                if *lock(&self.0.stamp) != Stamp::of(path) {
                    self.0.state().changed();
                }
                // As long as the stamp is the same.
                Some(Duration::MAX)
            }
            Source::Command(command) => command.ttl,
        };
        let answer = self.0.state().ask(wanted, ttl, now);
        match answer {
            Answer::Use(secret) => Ask::Use(Login {
                shared: Arc::clone(&self.0),
                secret,
                wanted,
                is_over: false,
            }),
            Answer::Read => Ask::Read(SecretRead {
                shared: Arc::clone(&self.0),
                is_over: false,
            }),
            Answer::Wait(pause) => Ask::Wait(pause),
            Answer::Refused => Ask::Refused,
        }
    }

    /// Why the last login was refused, if one was.
    pub(crate) fn refusal(&self) -> Option<ConnectCause> {
        let error = lock(&self.0.refusal).clone()?;
        Some(ConnectCause::Refused {
            error,
            source: self.to_string().into(),
            rotates: self.0.state().was_accepted(),
        })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No panic can leave a value half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a secret comes from, for error texts: the file, or the program of the command.
impl fmt::Display for RotatingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.source {
            Source::File(path) => path.display().fmt(f),
            Source::Command(command) => write!(f, "the command `{}`", command.program()),
        }
    }
}

impl fmt::Debug for RotatingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RotatingSecret({self})")
    }
}

/// A login with a rotating secret. Dropping it without a report counts as neither accepted nor
/// refused.
pub(crate) struct Login {
    shared: Arc<Shared>,
    secret: Secret,
    wanted: Instant,
    is_over: bool,
}

impl Login {
    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The server accepted the secret.
    pub(crate) fn accepted(mut self) {
        self.is_over = true;
        self.shared.state().accepted(&self.secret);
    }

    /// The server refused the secret with this error.
    pub(crate) fn refused(mut self, error: &Arc<tokio_postgres::Error>, now: Instant) {
        self.is_over = true;
        // First: a login at the same time that finds no other secret to try reports this error.
        *lock(&self.shared.refusal) = Some(Arc::clone(error));
        self.shared.state().refused(&self.secret, self.wanted, now);
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.state().login_over();
        }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

/// A read of a secret's source, which may take as long as its command runs.
#[must_use = "the logins that wait for the secret depend on it"]
pub struct SecretRead {
    shared: Arc<Shared>,
    is_over: bool,
}

impl SecretRead {
    /// Whether it takes no longer than reading a file.
    pub fn is_short(&self) -> bool {
        matches!(self.shared.source, Source::File(_))
    }

    /// Reads the secret. Blocks until there is one, at most for the command's `timeout`.
    ///
    /// # Errors
    ///
    /// Why there is none. Names the file or the program, and never contains the secret.
    pub fn run(mut self) -> Result<(), ProviderError> {
        let began = Instant::now();
        let secret = match &self.shared.source {
            Source::File(path) => self.read(path)?,
            Source::Command(command) => command::run(command)?,
        };
        self.is_over = true;
        self.shared.state().read(secret, began);
        Ok(())
    }

    /// Reads the file. Its stamp is taken first, so that a change during the read is noticed by the
    /// next login.
    fn read(&self, path: &Path) -> Result<Secret, ProviderError> {
        let stamp = Stamp::of(path);
        let secret = SecretSource::read_file(path)?;
        *lock(&self.shared.stamp) = stamp;
        Ok(secret)
    }
}

impl Drop for SecretRead {
    fn drop(&mut self) {
        if !self.is_over {
            self.shared.state().read_failed();
        }
    }
}

impl fmt::Debug for SecretRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretRead").finish_non_exhaustive()
    }
}

/// Reads a rotating password once, outside any handle.
///
/// # Errors
///
/// As [`SecretRead::run`].
pub(crate) fn read_once(source: &SecretSource) -> Result<Secret, ProviderError> {
    match source {
        SecretSource::Value(secret) => Ok(secret.clone()),
        SecretSource::File(path) => Ok(SecretSource::read_file(path)?),
        SecretSource::Command(command) => command::run(command),
        _ => Err("this kind of secret is not supported".into()),
    }
}
