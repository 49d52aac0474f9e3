//! One attempt to open a session, and why it failed.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::SimpleQueryMessage;

use super::connected_to::ConnectedTo;
use super::failover::Failover;
use super::local_settings::LocalSettings;
use super::plan::{Address, Attempt};
use super::standbys::{self, Replayed, Standbys};
use super::target::SettingsMode;
use crate::Error;
use crate::error::HookFailure;
use crate::role::{Requirement, RoleMismatch};
use crate::stream::connector::Connector;
use crate::telemetry::notices::Notices;

/// One attempt to open a session.
pub struct ConnectAttempt {
    pub(super) notices: Arc<Notices>,
    pub(super) attempt: Attempt,
    pub(super) connector: Connector,
    pub(super) requirement: Requirement,
    /// Whether the attempt only shows whether its host can be used.
    pub(super) is_probe: bool,
    pub(super) deadline: Option<Instant>,
    pub(super) driver: [tokio_postgres::Config; 2],
    pub(super) local_settings: Option<Arc<LocalSettings>>,
    /// What watches the session's host; `None` for a probe.
    pub(super) failover: Option<Arc<Failover>>,
    /// The servers of a cluster's readers; `None` for other handles and for probes.
    pub(super) standbys: Option<Arc<Standbys>>,
    pub(super) replayed: Arc<Replayed>,
}

/// Omits the driver's settings: their `options` contain session settings, which may be secret.
impl fmt::Debug for ConnectAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectAttempt")
            .field("notices", &self.notices)
            .field("attempt", &self.attempt)
            .field("requirement", &self.requirement)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl ConnectAttempt {
    /// The driver's configuration, with session settings sent in `mode`.
    pub fn driver_config(&self, mode: SettingsMode) -> &tokio_postgres::Config {
        match mode {
            SettingsMode::Startup => &self.driver[0],
            SettingsMode::Statements | SettingsMode::Transactions => &self.driver[1],
        }
    }

    /// Returns a new connector for each call.
    ///
    /// It enforces the deadline until [`ConnectedTo::accept`].
    pub fn connector(&mut self) -> Connector {
        self.connector = self.connector.anew();
        let observer = self.connector.observer();
        observer.hold_deadline();
        if self.requirement.expects_writes() {
            observer.expect_writes();
        }
        if let Some(failover) = &self.failover {
            failover.add(&self.attempt, self.requirement, observer);
        }
        if let Some(standbys) = &self.standbys {
            standbys.add(&self.attempt, observer);
        }
        self.connector.clone()
    }

    /// Reports the session's notices.
    pub fn notices(&self) -> &Arc<Notices> {
        &self.notices
    }

    /// The address to connect to.
    pub fn address(&self) -> &Address {
        &self.attempt.address
    }

    /// The attempt's deadline.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns the query for the server's role, or `None` if the role is known to fit. `observed`
    /// says whether the connector was used. A server that a cluster reads from is asked in any case.
    ///
    /// # Errors
    ///
    /// The server announced a role that does not fit.
    pub fn question(&self, observed: bool) -> Result<Option<&'static str>, RoleMismatch> {
        let observer = observed.then(|| &**self.connector.observer());
        match self.requirement.met(observer) {
            None | Some(true) if self.standbys.is_some() => Ok(Some(standbys::QUESTION)),
            None => Ok(Some(self.requirement.question())),
            // A pooler accepts a login while its server is away.
            Some(true) if self.is_probe => Ok(Some(self.requirement.question())),
            Some(fits) => self.requirement.or_mismatch(fits).map(|()| None),
        }
    }

    /// Checks the answer to [`question`](Self::question).
    ///
    /// # Errors
    ///
    /// The role does not fit, or the standby is too far behind.
    pub fn judge(&self, answer: &[SimpleQueryMessage]) -> Result<(), RoleMismatch> {
        let Some(standbys) = &self.standbys else {
            return self.requirement.judge(answer);
        };
        let answer = standbys.judge(&self.attempt, self.requirement, answer)?;
        self.replayed.set(&answer);
        Ok(())
    }

    /// Describes how the session was opened.
    pub fn connected_to(&self) -> ConnectedTo {
        let (attempt, connector) = (self.attempt.clone(), self.connector.clone());
        let local_settings = self.local_settings.clone();
        ConnectedTo::new(attempt, connector, self.requirement, local_settings)
            .replaying(Arc::clone(&self.replayed))
    }
}

/// Why a session was not opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenFailure {
    /// The socket could not be opened.
    Socket(io::Error),
    /// The driver failed.
    Driver(tokio_postgres::Error),
    /// The server does not have the role that `target_session_attrs` asks for.
    Role(RoleMismatch),
    /// The `after_connect` hook failed.
    Hook(HookFailure),
    /// A session setting did not arrive.
    Setting(Box<Error>),
    /// The deadline passed.
    Deadline,
    /// The deadline passed while the `after_connect` hook ran.
    SlowHook,
}

impl From<tokio_postgres::Error> for OpenFailure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

impl From<Error> for OpenFailure {
    fn from(error: Error) -> Self {
        Self::Setting(Box::new(error))
    }
}

impl From<HookFailure> for OpenFailure {
    fn from(failure: HookFailure) -> Self {
        Self::Hook(failure)
    }
}

impl From<RoleMismatch> for OpenFailure {
    fn from(mismatch: RoleMismatch) -> Self {
        Self::Role(mismatch)
    }
}
