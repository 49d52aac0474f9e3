//! What both drivers put down while they work through the attempts.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgmonkey_config::{Config, ConnectionType, SessionSettings, Target};

use crate::error::{ConnectCause, ConnectFailure, Error, FailedAttempt, is_deadline};
use crate::plan::{self, Attempt};
use crate::{credentials, startup};

/// Everything that opening sessions for one handle needs, checked once.
#[derive(Debug)]
pub struct Dialing {
    config: Config,
    section: &'static str,
    session: SessionSettings,
    options: Option<String>,
    target: Arc<str>,
}

impl Dialing {
    /// Prepares to open sessions of `config` for a handle of the given type.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] and [`Error::SessionSetting`], naming the key.
    pub fn new(config: &Config, connection_type: ConnectionType) -> Result<Self, Error> {
        plan::check(&config.connection_settings)?;
        let section = if connection_type.is_async() {
            "async_settings"
        } else {
            "sync_settings"
        };
        let session = config.session_settings(connection_type).clone();
        let own = config.connection_settings.options.as_deref();
        Ok(Self {
            options: startup::options(own, &session, section)?,
            target: config.connection_settings.describe().into(),
            config: config.clone(),
            section,
            session,
        })
    }

    /// `user@host:port/database`.
    pub fn target(&self) -> &Arc<str> {
        &self.target
    }

    /// The hosts, in the order they are to be tried.
    pub fn targets(&self) -> Vec<Target> {
        self.config.connection_settings.targets()
    }

    /// The longest that one host's attempt may take.
    pub fn limit(&self) -> Option<Duration> {
        self.config.connection_settings.connect_timeout
    }

    /// When an attempt that begins at `now` must be over.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        now.checked_add(self.limit()?)
    }

    /// The driver's settings for one attempt.
    pub fn driver_config(&self, attempt: &Attempt, way: Way) -> tokio_postgres::Config {
        let settings = &self.config.connection_settings;
        let password = credentials::password(settings, &attempt.target);
        let options = match way {
            Way::Startup => self.options.as_deref(),
            Way::Statements => settings.options.as_deref(),
        };
        attempt.driver_config(settings, options, password.as_ref().map(|p| p.expose()))
    }

    /// The statements to run on a session that was opened by [`Way::Statements`].
    pub fn statements(&self) -> String {
        startup::set_statements(&self.session)
    }

    /// Whether to open again, this time by statements: the server refused the startup packet
    /// for the options in it.
    pub fn needs_statements(&self, error: &tokio_postgres::Error) -> bool {
        !self.session.is_empty() && startup::options_refused(error)
    }

    /// An empty list of failures for one try of all hosts.
    pub fn failures(&self) -> Failures<'_> {
        Failures {
            dialing: self,
            attempts: Vec::new(),
        }
    }
}

/// How session settings reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In the startup packet.
    Startup,
    /// By statements afterwards.
    Statements,
}

/// What failed so far.
#[derive(Debug)]
pub struct Failures<'a> {
    dialing: &'a Dialing,
    attempts: Vec<FailedAttempt>,
}

impl Failures<'_> {
    /// The host's name did not resolve.
    pub fn unresolved(&mut self, target: &Target, error: io::Error) {
        let cause = if error.kind() == io::ErrorKind::TimedOut {
            ConnectCause::Timeout(self.dialing.limit().unwrap_or_default())
        } else {
            ConnectCause::Io(error)
        };
        self.attempts
            .push(FailedAttempt::new(target.to_string(), None, cause));
    }

    /// An attempt failed in the socket, before the driver had it.
    pub fn unreachable(&mut self, attempt: &Attempt, error: io::Error) {
        self.note(attempt, ConnectCause::Io(error));
    }

    /// An attempt ran out of time.
    pub fn timed_out(&mut self, attempt: &Attempt) {
        let limit = self.dialing.limit().unwrap_or_default();
        self.note(attempt, ConnectCause::Timeout(limit));
    }

    /// An attempt failed in the driver. An error back means that no other host may be tried:
    /// this one answered and said no.
    ///
    /// # Errors
    ///
    /// The error to return to the caller.
    pub fn refused(
        &mut self,
        attempt: &Attempt,
        error: tokio_postgres::Error,
    ) -> Result<(), Error> {
        if is_deadline(&error) {
            self.timed_out(attempt);
            return Ok(());
        }
        if let Some(name) = startup::blamed_setting(&error, &self.dialing.session) {
            return Err(Error::SessionSetting {
                key: format!("{}.{name}", self.dialing.section),
                code: error.code().cloned(),
                reason: Error::from(error).to_string(),
            });
        }
        let cause = ConnectCause::Driver(Arc::new(error));
        let next = cause.tries_next_host();
        self.note(attempt, cause);
        if next { Ok(()) } else { Err(self.to_error()) }
    }

    /// The error that tells all failures.
    pub fn to_error(&mut self) -> Error {
        let settings = &self.dialing.config.connection_settings;
        Error::Connect(Arc::new(ConnectFailure::new(
            settings.effective_user(),
            settings.effective_dbname(),
            std::mem::take(&mut self.attempts),
        )))
    }

    fn note(&mut self, attempt: &Attempt, cause: ConnectCause) {
        self.attempts.push(FailedAttempt::new(
            attempt.target.to_string(),
            Some(attempt.address.to_string()),
            cause,
        ));
    }
}
