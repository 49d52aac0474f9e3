//! Everything needed to open sessions for one handle, validated once.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pgmonkey_config::{
    Config, ConnectionSettings, ConnectionType, Pooler, SessionSettings, SettingsDelivery,
};

use super::failover::Failover;
use super::local_settings::LocalSettings;
use super::plan::{self, Address, Attempt, Encryption};
use super::rotation::RotatingSecret;
use super::server_search::ServerSearch;
use super::standbys::{ReaderLimits, Standbys};
use super::startup::{self, SettingStatement};
use crate::Error;
use crate::error::failure::{ConnectCause, ConnectFailure, FailedAttempt, TlsFailure};
use crate::limits;
use crate::stream::connector::Setup;
use crate::telemetry::notices::{NoticeHook, Notices};
use crate::telemetry::statements::StatementLog;
use crate::telemetry::trace_comments;
#[cfg(feature = "tls")]
use crate::tls::TlsSetup;

/// Everything needed to open sessions for one handle, validated once.
pub struct ConnectTarget {
    config: Config,
    pub(super) section: &'static str,
    pub(super) session: SessionSettings,
    options: Option<String>,
    pub(super) local_settings: Option<Arc<LocalSettings>>,
    target: Arc<str>,
    name: Arc<str>,
    notices: Arc<Notices>,
    statements: Arc<StatementLog>,
    asks_provider: bool,
    rotating: Option<RotatingSecret>,
    behind_pooler: Arc<AtomicBool>,
    pub(super) failover: Option<Arc<Failover>>,
    pub(super) standbys: Option<Arc<Standbys>>,
    /// The addresses at which session settings are known to arrive.
    pub(super) checked: Mutex<HashSet<Address>>,
    #[cfg(feature = "tls")]
    tls: TlsSetup,
}

/// Omits `options`, which contain session settings, which may be secret.
impl fmt::Debug for ConnectTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectTarget")
            .field("config", &self.config)
            .field("section", &self.section)
            .field("name", &self.name)
            .field("asks_provider", &self.asks_provider)
            .finish_non_exhaustive()
    }
}

impl ConnectTarget {
    /// Prepares to open sessions of `config` for a handle of the given type.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] and [`Error::SessionSetting`], naming the key; [`Error::Connect`]
    /// if a file named in the settings cannot be used.
    pub fn new(config: &Config, connection_type: ConnectionType) -> Result<Self, Error> {
        plan::check(&config.connection_settings, connection_type.is_async())?;
        trace_comments::check(&config.statements)?;
        let section = if connection_type.is_async() {
            "async_settings"
        } else {
            "sync_settings"
        };
        let session = config.session_settings(connection_type).clone();
        let own = config.connection_settings.options.as_deref();
        let delivery = config.connection_settings.session_settings;
        let target: Arc<str> = config.connection_settings.describe().into();
        let connect_target = Self {
            options: startup::options(own, &session, section)?,
            local_settings: Self::local(delivery, &session, section)?,
            name: Arc::clone(&target),
            notices: Arc::new(Notices::new(Arc::clone(&target), None)),
            statements: StatementLog::of(&target, config),
            target,
            config: config.clone(),
            section,
            session,
            asks_provider: false,
            rotating: RotatingSecret::of(&config.connection_settings),
            behind_pooler: Arc::default(),
            failover: Failover::new(&config.connection_settings),
            standbys: None,
            checked: Mutex::default(),
            #[cfg(feature = "tls")]
            tls: TlsSetup::new(&config.connection_settings),
        };
        connect_target.check_files()?;
        Ok(connect_target)
    }

    /// Sets whether passwords come from a provider instead of the settings and the passfile.
    #[must_use]
    pub fn asking_provider(mut self, asks: bool) -> Self {
        self.asks_provider = asks;
        self
    }

    /// Sets the handle's name in events, which is its target by default, and the hook for notices.
    #[must_use]
    pub fn named(mut self, name: Option<Arc<str>>, on_notice: Option<NoticeHook>) -> Self {
        self.name = name.unwrap_or(self.name);
        self.notices = Arc::new(Notices::new(Arc::clone(&self.name), on_notice));
        self.statements = StatementLog::of(&self.name, &self.config);
        self
    }

    /// Has sessions spread over the servers, as the readers of a cluster do. Those whose data is older
    /// than `max_lag` are not used. Call it last.
    #[must_use]
    pub fn reading(mut self, readers: Option<ReaderLimits>) -> Self {
        self.standbys = readers.map(|limits| Standbys::new(&self.config, limits, &self.name));
        self
    }

    /// The servers that a cluster reads from; `None` for other handles.
    #[inline]
    pub fn standbys(&self) -> Option<&Arc<Standbys>> {
        self.standbys.as_ref()
    }

    /// Reports the statements of the handle's sessions.
    pub fn statements(&self) -> &Arc<StatementLog> {
        &self.statements
    }

    /// Reports the notices of the handle's sessions.
    pub(crate) fn notices(&self) -> &Arc<Notices> {
        &self.notices
    }

    /// The handle's name in events and metrics.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Starts a search for a server.
    pub fn search(&self) -> ServerSearch<'_> {
        ServerSearch::new(self)
    }

    /// The configured pooler.
    pub(crate) fn pooler(&self) -> Option<Pooler> {
        self.settings().pooler
    }

    /// Whether a client may open a transaction: a pooler in statement mode ends the session instead.
    pub fn has_transactions(&self) -> bool {
        self.pooler() != Some(Pooler::Statement)
    }

    /// Whether a session stays at one server, as with no pooler, or one in session mode.
    pub fn keeps_server(&self) -> bool {
        let found = self.behind_pooler.load(Ordering::Relaxed);
        let configured = self.pooler();
        configured.map_or(!found, |pooler| !pooler.switches_sessions())
    }

    /// Whether a session has detected a pooler.
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

    /// The password that is read for each session, if no provider takes its place.
    pub(crate) fn rotating(&self) -> Option<&RotatingSecret> {
        self.rotating.as_ref().filter(|_| !self.asks_provider)
    }

    /// The time limit for one host: `connect_timeout`.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.settings().connect_timeout
    }

    /// The deadline of an attempt that starts at `now`.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        now.checked_add(self.limit()?)
    }

    pub(crate) fn timed_out(&self) -> ConnectCause {
        ConnectCause::Timeout(self.limit().unwrap_or_default())
    }

    pub(crate) fn slow(&self, what: &'static str) -> ConnectCause {
        let limit = self.limit().unwrap_or(limits::PROVIDER);
        ConnectCause::Slow { what, limit }
    }

    /// The connector's setup for this kind of encryption, with the current contents of the files.
    #[cfg(feature = "tls")]
    pub(crate) fn setup(&self, encryption: Encryption) -> Result<Setup, TlsFailure> {
        Setup::with_tls(self.settings().require_auth.clone(), &self.tls, encryption)
    }

    #[cfg(not(feature = "tls"))]
    pub(crate) fn setup(&self, _: Encryption) -> Result<Setup, TlsFailure> {
        Ok(Setup::plain(self.settings().require_auth.clone()))
    }

    /// Whether an unusable file is an error, rather than a reason to go without TLS.
    pub(crate) fn insists_on_files(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_asked_for();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// The driver's configuration for one attempt.
    pub(crate) fn driver_config(
        &self,
        attempt: &Attempt,
        mode: SettingsMode,
        password: Option<&str>,
        limit: Option<Duration>,
    ) -> tokio_postgres::Config {
        let settings = self.settings();
        let options = match mode {
            SettingsMode::Startup => self.startup_options(),
            SettingsMode::Statements | SettingsMode::Transactions => settings.options.as_deref(),
        };
        let (target, address) = (&attempt.target, Some(&attempt.address));
        let mut config = plan::driver_config(settings, target, address, options, password);
        if let Some(limit) = limit {
            config.connect_timeout(limit);
        }
        config
    }

    /// The startup packet's `options`, with the session settings.
    pub(super) fn startup_options(&self) -> Option<&str> {
        self.options.as_deref()
    }

    /// The statement to run on a session opened with [`SettingsMode::Statements`]; `None` if
    /// nothing is to be set.
    pub fn settings_statement(&self) -> Option<SettingStatement> {
        SettingStatement::new(&self.session)
    }

    /// How the settings are sent first.
    pub fn settings_mode(&self) -> SettingsMode {
        match self.settings().session_settings {
            SettingsDelivery::Statements if !self.session.is_empty() => SettingsMode::Statements,
            SettingsDelivery::Transaction => SettingsMode::Transactions,
            _ => SettingsMode::Startup,
        }
    }

    /// Whether to retry with [`SettingsMode::Statements`]: a pooler refused the startup packet
    /// because of its options, and a statement changes no other client's session.
    pub fn needs_statements(&self, error: &tokio_postgres::Error) -> bool {
        let keeps_session = matches!(self.pooler(), Some(Pooler::Session | Pooler::None));
        keeps_session
            && self.settings().session_settings == SettingsDelivery::Verify
            && !self.session.is_empty()
            && startup::options_refused(error)
    }

    /// Whether the settings came by statement although nothing but a pooler asked for that.
    pub(crate) fn fell_back(&self, mode: SettingsMode) -> bool {
        mode == SettingsMode::Statements && self.settings_mode() == SettingsMode::Startup
    }

    /// Checks that a listener keeps its server session.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`].
    pub fn check_listening(&self) -> Result<(), Error> {
        match self.pooler() {
            Some(pooler) if pooler.switches_sessions() => Err(Error::Unsupported {
                what: format!("a listener with pooler: {pooler}"),
                advice: "LISTEN needs a server session of its own: give the listener a file or a profile that names the server itself",
            }),
            _ => Ok(()),
        }
    }

    /// The error for a pooler that refuses session settings in the startup packet, if they are not
    /// to be sent by statement.
    fn refused_settings(&self, error: &tokio_postgres::Error) -> Option<Error> {
        let sent = self.settings_mode() == SettingsMode::Startup && !self.session.is_empty();
        if !sent || !startup::options_refused(error) {
            return None;
        }
        let cure = match self.pooler() {
            Some(pooler) if pooler.switches_sessions() => {
                "a statement would change other clients' sessions, so set session_settings: transaction, which sends them with each transaction, or set them on the role (ALTER ROLE … SET …)"
            }
            _ => {
                "if it assigns a server session to each client, set pooler: session, and they are sent by statement; otherwise set session_settings: transaction, or set them on the role (ALTER ROLE … SET …)"
            }
        };
        Some(Error::SessionSetting {
            key: self.section.to_owned(),
            code: error.code().cloned(),
            reason: format!(
                "the pooler in front of the server refuses settings in the startup packet ({}): {cure}",
                crate::error::driver::DriverText(error)
            ),
        })
    }

    /// The error that names the session setting that the server rejected, if it was one.
    pub(crate) fn blamed_setting(&self, error: &tokio_postgres::Error) -> Option<Error> {
        if let Some(refused) = self.refused_settings(error) {
            return Some(refused);
        }
        let name = startup::blamed_setting(error, &self.session)?;
        Some(Error::SessionSetting {
            key: format!("{}.{name}", self.section),
            code: error.code().cloned(),
            reason: crate::error::driver::DriverText(error).to_string(),
        })
    }

    /// Reports an unusable file now, rather than when the first session is opened.
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
                Err(self.failed_before(target.to_string(), cause))
            }
            _ => Ok(()),
        }
    }

    /// The error for a session that could not be opened because no thread could be started.
    pub fn no_thread(&self) -> Error {
        let reason = "could not start a thread to open a session";
        let cause = ConnectCause::Io(io::Error::other(reason));
        self.failed_before(self.servers(), cause)
    }

    fn failed_before(&self, host: String, cause: ConnectCause) -> Error {
        let settings = self.settings();
        let (user, dbname) = (settings.effective_user(), settings.effective_dbname());
        let attempts = vec![FailedAttempt::before(host, cause)];
        Error::Connect(Arc::new(ConnectFailure::new(user, dbname, attempts)))
    }

    /// The hosts as configured, with their ports.
    pub fn servers(&self) -> String {
        let targets = self.settings().targets();
        let names: Vec<_> = targets.iter().map(ToString::to_string).collect();
        names.join(",")
    }
}

/// How session settings reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsMode {
    /// In the startup packet.
    Startup,
    /// In statements after the login.
    Statements,
    /// With each transaction.
    Transactions,
}
