//! How a session got to its server.

use std::sync::Arc;
use std::time::Instant;

use pgmonkey_config::AuthMethod;

use crate::connector::Connector;
use crate::plan::{Address, Attempt};
use crate::report::Tls;
use crate::role::Requirement;
use crate::wire::Observer;

/// The attempt that succeeded, and what came of it.
#[derive(Debug)]
pub struct Route {
    attempt: Attempt,
    connector: Connector,
    requirement: Requirement,
}

impl Route {
    pub(crate) fn new(attempt: Attempt, connector: Connector, requirement: Requirement) -> Self {
        Self {
            attempt,
            connector,
            requirement,
        }
    }

    /// The session is all that was asked for: ends the deadline of the attempt.
    pub fn accept(&self) {
        self.connector.observer().release_deadline();
    }

    /// The host as configured, with its port.
    pub fn host(&self) -> String {
        self.attempt.target.to_string()
    }

    /// The address that was reached.
    pub fn address(&self) -> &Address {
        &self.attempt.address
    }

    /// How the session is encrypted; `None` for a plain one.
    pub fn tls(&self) -> Option<&Tls> {
        self.connector.tls()
    }

    /// How the server asked who is there; `None` where nobody watched.
    pub fn auth_method(&self) -> Option<AuthMethod> {
        self.connector.observer().auth_method()
    }

    /// The observer of the session's stream. It has nothing to say where the driver gave no
    /// hook.
    #[inline]
    pub fn observer(&self) -> &Arc<Observer> {
        self.connector.observer()
    }

    /// Whether the server has announced since that it is no longer what
    /// `target_session_attrs` asks for. Costs one load.
    #[inline]
    pub fn is_broken(&self) -> bool {
        self.requirement.is_broken(self.connector.observer())
    }

    /// A connector for a cancel request, encrypted as the session is.
    pub fn canceller(&self, deadline: Option<Instant>) -> Connector {
        self.connector.again(deadline)
    }
}
