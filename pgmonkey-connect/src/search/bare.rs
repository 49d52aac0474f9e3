//! One attempt without a search, for a program or a pool that uses the driver itself.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Instant;

use pgmonkey_config::{
    Config, ConnectionSettings, LoadBalanceHosts, Secret, Settings, SslMode, Target,
    TargetSessionAttrs,
};
use tokio_postgres::Socket;
use tokio_postgres::tls::MakeTlsConnect;

use super::target::{ConnectTarget, SettingsMode};
use super::{credentials, plan, rotation};
use crate::Error;
use crate::attempt::Encryption;
use crate::error::failure::{ConnectCause, ConnectFailure, FailedAttempt};
use crate::stream::connector::{Connector, Setup};
use crate::stream::encryption::MaybeTls;
use crate::wire::ObservedStream;

impl Connector {
    /// Returns a bare driver's configuration and the matching connector, for programs that want
    /// libpq's TLS without pgmonkey's handles. Only the first host is tried, with its first kind of
    /// encryption. `connect_timeout` counts from now, and `options` are the only session settings
    /// sent. If the password comes from a command, this blocks until it has run.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if settings are out of range or contradict each other, [`Error::Connect`]
    /// if a certificate file cannot be used, [`Error::Unsupported`].
    pub fn bare(settings: &ConnectionSettings) -> Result<(tokio_postgres::Config, Self), Error> {
        // No loader has validated these settings, and later errors repeat names in them.
        let mut whole = Settings::default();
        whole.connection_settings = settings.clone();
        let config = Config::new(whole)?;
        let settings = &config.connection_settings;
        plan::check(settings, false)?;
        let target = settings.targets().swap_remove(0);
        // The driver resolves the name by itself.
        let address = match plan::lookup(&target) {
            plan::Lookup::Known(address) => Some(address),
            plan::Lookup::Name(_) => None,
        };
        let encryption = plan::encryptions(settings, address.as_ref())[0];
        let deadline = settings
            .connect_timeout
            .and_then(|limit| Instant::now().checked_add(limit));
        let setup = Setup::of(settings, encryption)
            .map_err(|failure| failed(settings, &target, ConnectCause::Tls(failure)))?;
        let host = plan::server_name(&target);
        let connector = Self::for_attempt(host, encryption, setup, deadline);
        let password = match &settings.password {
            Some(source) => Some(rotation::read_once(source).map_err(|error| {
                let cause = ConnectCause::Secret(Arc::from(error));
                failed(settings, &target, cause)
            })?),
            None => credentials::password(settings, &target).map(|found| found.secret),
        };
        let driver = plan::driver_config(
            settings,
            &target,
            address.as_ref(),
            settings.options.as_deref(),
            password.as_ref().map(Secret::expose),
        );
        Ok((driver, connector))
    }
}

fn failed(settings: &ConnectionSettings, target: &Target, cause: ConnectCause) -> Error {
    let attempt = FailedAttempt::before(target.to_string(), cause);
    let (user, dbname) = (settings.effective_user(), settings.effective_dbname());
    Error::Connect(Arc::new(ConnectFailure::new(user, dbname, vec![attempt])))
}

/// Makes a new [`Connector`] for each session, for managers that clone one connector for all of
/// their sessions. `connect_timeout` limits each handshake and login; files of TLS are read again
/// when they change.
#[derive(Debug, Clone)]
pub struct ConnectorFactory {
    connect_target: Arc<ConnectTarget>,
    target: Target,
    encryption: Encryption,
}

impl ConnectTarget {
    /// Returns a bare driver's configuration, with the session settings in its startup packet, and
    /// what makes the connectors of its sessions. For a manager that cannot search for a server, nor
    /// read a password for each session.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] naming the first key that needs more than that.
    pub fn bare(self) -> Result<(tokio_postgres::Config, ConnectorFactory), Error> {
        if let Some(what) = self.beyond_bare() {
            return Err(Error::Unsupported {
                what: format!("{what} in a bare manager"),
                advice: "it opens each session at one host, with one password: use a SessionManager, which searches for a server and reads the password for each session",
            });
        }
        let settings = self.settings();
        let target = settings.targets().swap_remove(0);
        // The driver resolves a name by itself.
        let address = match plan::lookup(&target) {
            plan::Lookup::Known(address) => Some(address),
            plan::Lookup::Name(_) => None,
        };
        let password = credentials::password(settings, &target).map(|found| found.secret);
        let driver = plan::driver_config(
            settings,
            &target,
            address.as_ref(),
            self.startup_options(),
            password.as_ref().map(Secret::expose),
        );
        let factory = ConnectorFactory {
            encryption: plan::encryptions(settings, address.as_ref())[0],
            target,
            connect_target: Arc::new(self),
        };
        Ok((driver, factory))
    }

    /// The first key that asks for more than one attempt with one password, and its value.
    fn beyond_bare(&self) -> Option<String> {
        let settings = self.settings();
        let key = |key: &str, value: &str| Some(format!("connection_settings.{key}: {value}"));
        if settings.targets().len() > 1 {
            return Some("connection_settings.host with several hosts".to_owned());
        }
        if settings.target_session_attrs != TargetSessionAttrs::Any {
            let attrs = settings.target_session_attrs.to_string();
            return key("target_session_attrs", &attrs);
        }
        if settings.load_balance_hosts != LoadBalanceHosts::Disable {
            return key("load_balance_hosts", "random");
        }
        if settings.follow_dns {
            return key("follow_dns", "true");
        }
        if settings.sslmode == SslMode::Allow && cfg!(feature = "tls") {
            return key("sslmode", "allow");
        }
        if self.rotating().is_some() {
            return Some("connection_settings.password that is read for each session".to_owned());
        }
        if !self.session.is_empty() && self.settings_mode() != SettingsMode::Startup {
            return key("session_settings", &settings.session_settings.to_string());
        }
        None
    }
}

impl MakeTlsConnect<Socket> for ConnectorFactory {
    type Stream = ObservedStream<MaybeTls<Socket>>;
    type TlsConnect = Connector;
    type Error = Box<dyn StdError + Send + Sync>;

    fn make_tls_connect(&mut self, _: &str) -> Result<Connector, Self::Error> {
        let connect_target = &self.connect_target;
        let setup = connect_target.setup(self.encryption)?;
        let host = plan::server_name(&self.target);
        let deadline = connect_target.deadline(Instant::now());
        let connector = Connector::for_attempt(host, self.encryption, setup, deadline);
        Ok(connector.reporting_to(connect_target.statements(), &self.target))
    }
}
