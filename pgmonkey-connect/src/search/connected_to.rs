//! How a session reached its server.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use pgmonkey_config::AuthMethod;
use tokio_postgres::SimpleQueryMessage;

use super::local_settings::LocalSettings;
use super::plan::{Address, Attempt};
use super::standbys::{Answer, QUESTION, Reach, Replayed};
use crate::Error;
use crate::role::Requirement;
use crate::status::CloseReason;
use crate::stream::connector::Connector;
use crate::stream::encryption::Tls;
use crate::token::Token;
use crate::wire::Observer;

/// The successful attempt: host, address, encryption and observer.
#[derive(Debug)]
pub struct ConnectedTo {
    attempt: Attempt,
    connector: Connector,
    requirement: Requirement,
    local_settings: Option<Arc<LocalSettings>>,
    replayed: Arc<Replayed>,
}

impl ConnectedTo {
    pub(crate) fn new(
        attempt: Attempt,
        connector: Connector,
        requirement: Requirement,
        local_settings: Option<Arc<LocalSettings>>,
    ) -> Self {
        Self {
            attempt,
            connector,
            requirement,
            local_settings,
            replayed: Arc::default(),
        }
    }

    pub(crate) fn replaying(mut self, replayed: Arc<Replayed>) -> Self {
        self.replayed = replayed;
        self
    }

    /// What to ask the session's server for [`answered_position`](Self::answered_position).
    pub fn position_question(&self) -> &'static str {
        QUESTION
    }

    /// Receives the server's answer.
    pub fn answered_position(&self, answer: &[SimpleQueryMessage]) {
        if let Some(answer) = Answer::of(answer) {
            self.replayed.set(&answer);
        }
    }

    /// Whether the session's server is known to have what `token` stands for.
    pub fn reaches(&self, token: Token) -> Reach {
        self.replayed.reaches(token)
    }

    /// Accepts the session: ends the deadline of the attempt.
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

    /// The authentication method; `None` if the login was not observed.
    pub fn auth_method(&self) -> Option<AuthMethod> {
        self.connector.observer().auth_method()
    }

    /// The observer of the session's stream. It knows nothing if the driver bypassed the connector.
    #[inline]
    pub fn observer(&self) -> &Arc<Observer> {
        self.connector.observer()
    }

    /// The text that begins a transaction or savepoint at this depth, with the session's settings if
    /// they are sent with each transaction.
    pub fn begin_text<'a>(&self, depth: u32, text: &'a str) -> Cow<'a, str> {
        match self.local_settings.as_ref().filter(|_| depth == 0) {
            Some(settings) => settings.begin(text).into(),
            None => text.into(),
        }
    }

    /// Checks that a statement runs with the session's settings. `inside` says whether a transaction
    /// is open, if the wire is not observed.
    ///
    /// # Errors
    ///
    /// [`Error::SessionSetting`] if they are sent with each transaction, and none is open.
    #[inline]
    pub fn check_settings(&self, observer: Option<&Observer>, inside: bool) -> Result<(), Error> {
        let Some(settings) = &self.local_settings else {
            return Ok(());
        };
        match inside || observer.is_some_and(Observer::was_in_transaction) {
            true => Ok(()),
            false => Err(settings.outside()),
        }
    }

    /// Why the session is not where it should be, if so: its server no longer has the role that
    /// `target_session_attrs` asks for, its name no longer has this address, or its standby is not
    /// used.
    #[inline]
    pub fn misplaced(&self) -> Option<CloseReason> {
        let observer = self.connector.observer();
        match self.requirement.is_broken(observer) {
            true => Some(CloseReason::Role),
            false => observer.outdated(),
        }
    }

    /// Returns a connector for a cancel request, encrypted like the session.
    pub fn canceller(&self, deadline: Option<Instant>) -> Connector {
        self.connector.again(deadline)
    }
}
