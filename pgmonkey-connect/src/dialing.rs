//! Everything that opening sessions for one handle needs, checked once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use pgmonkey_config::{Config, ConnectionSettings, ConnectionType, Pooler, SessionSettings};

use crate::Error;
use crate::connector::Setup;
use crate::dial::Dial;
use crate::failure::{ConnectCause, ConnectFailure, FailedAttempt, TlsFailure};
use crate::plan::{self, Attempt, Encryption};
use crate::startup::{self, SettingStatement};
#[cfg(feature = "tls")]
use crate::tls::TlsSetup;

/// Everything that opening sessions for one handle needs, checked once.
pub struct Dialing {
    config: Config,
    section: &'static str,
    session: SessionSettings,
    options: Option<String>,
    target: Arc<str>,
    name: Arc<str>,
    asks_provider: bool,
    behind_pooler: Arc<AtomicBool>,
    #[cfg(feature = "tls")]
    tls: TlsSetup,
}

/// Without `options`, which hold the session settings with their secrets.
impl fmt::Debug for Dialing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialing")
            .field("config", &self.config)
            .field("section", &self.section)
            .field("name", &self.name)
            .field("asks_provider", &self.asks_provider)
            .finish_non_exhaustive()
    }
}

impl Dialing {
    /// Prepares to open sessions of `config` for a handle of the given type.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] and [`Error::SessionSetting`], naming the key; [`Error::Connect`]
    /// if a file that the settings name cannot be used.
    pub fn new(config: &Config, connection_type: ConnectionType) -> Result<Self, Error> {
        plan::check(&config.connection_settings, connection_type.is_async())?;
        let section = if connection_type.is_async() {
            "async_settings"
        } else {
            "sync_settings"
        };
        let session = config.session_settings(connection_type).clone();
        let own = config.connection_settings.options.as_deref();
        let target: Arc<str> = config.connection_settings.describe().into();
        let dialing = Self {
            options: startup::options(own, &session, section)?,
            name: Arc::clone(&target),
            target,
            config: config.clone(),
            section,
            session,
            asks_provider: false,
            behind_pooler: Arc::default(),
            #[cfg(feature = "tls")]
            tls: TlsSetup::new(&config.connection_settings),
        };
        dialing.check_files()?;
        Ok(dialing)
    }

    /// Has the program asked for each password, rather than the settings and the passfile.
    #[must_use]
    pub fn asking_provider(mut self, asks: bool) -> Self {
        self.asks_provider = asks;
        self
    }

    /// Has events call the handle by this name rather than by its target.
    #[must_use]
    pub fn named(mut self, name: Option<Arc<str>>) -> Self {
        if let Some(name) = name {
            self.name = name;
        }
        self
    }

    /// What events and metrics call the handle.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Begins a search for a server.
    pub fn dial(&self) -> Dial<'_> {
        Dial::new(self)
    }

    /// What the file says of what stands between.
    pub(crate) fn pooler(&self) -> Option<Pooler> {
        self.settings().pooler
    }

    /// Whether a session has found out that a pooler stands between.
    pub(crate) fn behind_pooler(&self) -> &Arc<AtomicBool> {
        &self.behind_pooler
    }

    /// `user@host:port/database`.
    pub fn target(&self) -> &Arc<str> {
        &self.target
    }

    pub(crate) fn settings(&self) -> &ConnectionSettings {
        &self.config.connection_settings
    }

    pub(crate) fn asks_provider(&self) -> bool {
        self.asks_provider
    }

    /// The longest that one host's attempt may take.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.settings().connect_timeout
    }

    /// When an attempt that begins at `now` must be over.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        now.checked_add(self.limit()?)
    }

    pub(crate) fn timed_out(&self) -> ConnectCause {
        ConnectCause::Timeout(self.limit().unwrap_or_default())
    }

    /// What a connector needs for this kind of encryption, with the files as they are now.
    #[cfg(feature = "tls")]
    pub(crate) fn setup(&self, encryption: Encryption) -> Result<Setup, TlsFailure> {
        Setup::with_tls(self.settings().require_auth.clone(), &self.tls, encryption)
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) fn setup(&self, _: Encryption) -> Result<Setup, TlsFailure> {
        Ok(Setup::plain(self.settings().require_auth.clone()))
    }

    /// Whether a file that cannot be used ends everything, rather than only TLS.
    pub(crate) fn insists_on_files(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_asked_for();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// The driver's settings for one attempt.
    pub(crate) fn driver_config(
        &self,
        attempt: &Attempt,
        way: Way,
        password: Option<&str>,
        limit: Option<Duration>,
    ) -> tokio_postgres::Config {
        let settings = self.settings();
        let options = match way {
            Way::Startup => self.options.as_deref(),
            Way::Statements => settings.options.as_deref(),
        };
        let (target, address) = (&attempt.target, Some(&attempt.address));
        let mut config = plan::driver_config(settings, target, address, options, password);
        if let Some(limit) = limit {
            config.connect_timeout(limit);
        }
        config
    }

    /// What to run on a session that was opened by [`Way::Statements`], if anything is to be set.
    pub fn settings_statement(&self) -> Option<SettingStatement> {
        SettingStatement::new(&self.session)
    }

    /// Whether to open again, this time by statements: the server refused the startup packet
    /// for the options in it.
    pub fn needs_statements(&self, error: &tokio_postgres::Error) -> bool {
        !self.session.is_empty() && startup::options_refused(error)
    }

    /// The error that names the session setting the server did not take, if it was one.
    pub(crate) fn blamed_setting(&self, error: &tokio_postgres::Error) -> Option<Error> {
        let name = startup::blamed_setting(error, &self.session)?;
        Some(Error::SessionSetting {
            key: format!("{}.{name}", self.section),
            code: error.code().cloned(),
            reason: crate::driver::DriverText(error).to_string(),
        })
    }

    /// A file that the settings name and that cannot be used is told at once, not when the first
    /// session is opened.
    fn check_files(&self) -> Result<(), Error> {
        let settings = self.settings();
        let tried = |target: &pgmonkey_config::Target| {
            let address = match plan::lookup(target) {
                plan::Lookup::Known(address) => Some(address),
                plan::Lookup::Name(_) => None,
            };
            let kinds = plan::encryptions(settings, address.as_ref());
            kinds.iter().find(|kind| **kind != Encryption::Plain)
        };
        let targets = settings.targets();
        let Some((target, kind)) = targets.iter().find_map(|t| Some((t, tried(t)?))) else {
            return Ok(());
        };
        match self.setup(*kind) {
            Err(failure) if self.insists_on_files() => {
                let cause = ConnectCause::Tls(failure);
                let attempt = FailedAttempt::before(target.to_string(), cause);
                let (user, dbname) = (settings.effective_user(), settings.effective_dbname());
                Err(Error::Connect(Arc::new(ConnectFailure::new(
                    user,
                    dbname,
                    vec![attempt],
                ))))
            }
            _ => Ok(()),
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
