//! One attempt without a search, for a program that uses the driver itself.

use std::sync::Arc;
use std::time::Instant;

use pgmonkey_config::{Config, ConnectionSettings, Secret, Settings, Target};

use super::{credentials, plan, rotation};
use crate::Error;
use crate::error::failure::{ConnectCause, ConnectFailure, FailedAttempt};
use crate::stream::connector::{Connector, Setup};

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
