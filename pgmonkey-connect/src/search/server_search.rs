//! One search for a server, decided step by step.
//!
//! The driver crates carry the steps out, blocking or async, and decide nothing.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgmonkey_config::{Secret, Target};

use super::connect_attempt::{ConnectAttempt, OpenFailure};
use super::credentials::{PasswordRequest, ProviderError};
use super::failover::Scope;
use super::plan::{self, Address, Attempt};
use super::rotation::SecretRead;
use super::target::{ConnectTarget, SettingsMode};
use crate::Error;
use crate::error::failure::{ConnectCause, ConnectFailure, FailedAttempt};
use crate::random::draw;
use crate::role::{self, Requirement};
use crate::stream::connector::Connector;
use crate::telemetry::events;
use crate::wire::Stage;
use host_try::{HostTry, Next};

mod host_try;

/// A search over the hosts of one configuration.
#[derive(Debug)]
pub struct ServerSearch<'a> {
    connect_target: &'a ConnectTarget,
    scope: Scope,
    rounds: std::slice::Iter<'static, Requirement>,
    requirement: Requirement,
    targets: VecDeque<Target>,
    host: Option<HostTry>,
    failures: Vec<FailedAttempt>,
    /// The request whose password, from a provider, the server refused.
    invalid: Option<PasswordRequest>,
    /// The number of finished attempts, and the start of the current one: for events.
    attempts: usize,
    began: Instant,
}

/// The next step of a search. Exhaustive, because a driver crate must carry out every one.
#[derive(Debug)]
pub enum Step {
    /// Resolve this name, then call [`ServerSearch::resolved`].
    Resolve {
        /// The host name.
        name: String,
        /// The port, for resolvers that need one.
        port: u16,
        /// When to give up.
        deadline: Option<Instant>,
    },
    /// Ask the password provider, then call [`ServerSearch::password`].
    Password {
        /// The host, user and database of the password.
        request: PasswordRequest,
        /// When to give up, if the provider can be interrupted.
        deadline: Option<Instant>,
    },
    /// Run this, away from the threads that drive sessions, then call [`ServerSearch::read`].
    Read(SecretRead),
    /// Wait this long: another session's login decides which password is the right one.
    Pause(Duration),
    /// Open a session, then call [`ServerSearch::failed`] if that failed.
    Open(Box<ConnectAttempt>),
}

impl<'a> ServerSearch<'a> {
    pub(crate) fn new(connect_target: &'a ConnectTarget) -> Self {
        Self::within(connect_target, Scope::All)
    }

    pub(crate) fn within(connect_target: &'a ConnectTarget, scope: Scope) -> Self {
        let attrs = connect_target.settings().target_session_attrs;
        let rounds = scope.round().unwrap_or_else(|| role::rounds(attrs));
        Self {
            connect_target,
            scope,
            rounds: rounds.iter(),
            requirement: Requirement::Any,
            targets: VecDeque::new(),
            host: None,
            failures: Vec::new(),
            invalid: None,
            attempts: 0,
            began: Instant::now(),
        }
    }

    /// Returns the next step.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] when nothing is left to try.
    pub fn next(&mut self, now: Instant) -> Result<Step, Error> {
        loop {
            let Some(host) = &mut self.host else {
                self.begin_host(now)?;
                continue;
            };
            self.began = now;
            match host.next(self.connect_target, now) {
                Some(Next::Step(step)) => return Ok(step),
                Some(Next::Refused) => self.refused()?,
                Some(Next::Attempt(attempt)) => {
                    if let Some(attempt) = self.open(attempt, now) {
                        return Ok(Step::Open(Box::new(attempt)));
                    }
                }
                None => self.host = None,
            }
        }
    }

    /// Receives the addresses of the name to resolve.
    pub fn resolved(&mut self, addresses: io::Result<Vec<IpAddr>>) {
        let Some(host) = &mut self.host else { return };
        let settings = self.connect_target.settings();
        match addresses {
            Ok(found) if !found.is_empty() => {
                let attempts = plan::attempts(settings, &host.target, &found, draw);
                let attempts = self.connect_target.ordered(&self.scope, attempts);
                host.attempts = Some(attempts.into());
            }
            Ok(_) => self.skip_host(ConnectCause::Resolve(io::Error::other(
                "the name has no address",
            ))),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.skip_host(self.connect_target.slow("the name lookup"));
            }
            Err(error) => self.skip_host(ConnectCause::Resolve(error)),
        }
    }

    /// Receives the provider's password, or `None` if it did not answer in time. The time limit for
    /// the host starts again.
    pub fn password(&mut self, answer: Option<Result<Secret, ProviderError>>, now: Instant) {
        let Some(host) = &mut self.host else { return };
        host.restart(self.connect_target, now);
        match answer {
            Some(Ok(secret)) => host.password = Some(Some(secret.into())),
            Some(Err(error)) => self.skip_host(ConnectCause::Provider(Arc::from(error))),
            None => self.skip_host(self.connect_target.slow("the password provider")),
        }
    }

    /// Receives the outcome of reading a password that rotates.
    pub fn read(&mut self, outcome: Result<(), ProviderError>) {
        let Err(error) = outcome else { return };
        let pending = self.host.as_mut().and_then(|host| host.refused.take());
        if let Some((attempt, cause)) = pending {
            self.note(&attempt, cause);
        }
        self.skip_host(ConnectCause::Secret(Arc::from(error)));
    }

    /// Moves on to the next host because no password is left to try at this one.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] if no login with a password of this source has succeeded yet.
    fn refused(&mut self) -> Result<(), Error> {
        let (Some(rotating), Some(mut host)) = (self.connect_target.rotating(), self.host.take())
        else {
            return Ok(());
        };
        let cause = match rotating.refusal() {
            Some(refusal) => refusal,
            None => ConnectCause::NoPassword,
        };
        let is_final = !cause.tries_next_host();
        let failed = match host.refused.take() {
            Some((attempt, _)) => FailedAttempt::of(&attempt, cause),
            None => FailedAttempt::before(host.target.to_string(), cause),
        };
        self.note_failed(failed);
        match is_final {
            true => Err(self.give_up()),
            false => Ok(()),
        }
    }

    /// Records that the attempt opened a session, which ends the search.
    pub fn opened(&mut self, attempt: &ConnectAttempt) {
        if let Some(login) = self.host.as_mut().and_then(|host| host.login.take()) {
            login.accepted();
        }
        self.attempts += 1;
        let host = &attempt.attempt.target;
        events::attempt_succeeded(self.connect_target.name(), host, self.attempts, self.began);
    }

    /// Receives the failure of an attempt; the search continues unless this returns an error.
    ///
    /// # Errors
    ///
    /// If the server answered and refused the session: [`Error::Connect`], or
    /// [`Error::SessionSetting`] if it names a setting.
    pub fn failed(
        &mut self,
        attempt: &ConnectAttempt,
        failure: OpenFailure,
        now: Instant,
    ) -> Result<(), Error> {
        let cause = match failure {
            OpenFailure::Socket(error) => ConnectCause::Io(error),
            OpenFailure::Role(mismatch) => ConnectCause::Role(mismatch),
            OpenFailure::Hook(failure) => ConnectCause::Hook(Arc::new(failure)),
            OpenFailure::Setting(error) => return Err(*error),
            OpenFailure::Deadline => self.connect_target.timed_out(),
            OpenFailure::SlowHook => self.connect_target.slow("the after_connect hook"),
            // A pooler accepts a login while its server is away, but answers no question.
            OpenFailure::Driver(error)
                if attempt.is_probe && attempt.connector.observer().stage() == Stage::Session =>
            {
                ConnectCause::Io(io::Error::other(error))
            }
            OpenFailure::Driver(error) => match self.connect_target.blamed_setting(&error) {
                Some(blame) => return Err(blame),
                None => {
                    let stage = attempt.connector.observer().stage();
                    ConnectCause::of_driver(error, self.connect_target.limit(), stage)
                }
            },
        };
        if let Some(standbys) = &attempt.standbys
            && cause.is_silence()
        {
            standbys.unreached(&attempt.attempt, &cause);
        }
        if self.tells_login(attempt, &cause, now) {
            return Ok(());
        }
        if self.connect_target.asks_provider() && cause.as_refusal().is_some() {
            let (settings, target) = (self.connect_target.settings(), &attempt.attempt.target);
            self.invalid = Some(PasswordRequest::new(settings, target));
        }
        let goes_on = self.goes_on(attempt, &cause);
        if goes_on && matches!(cause, ConnectCause::Tls(_)) {
            let host = &attempt.attempt.target;
            events::tls_given_up(self.connect_target.name(), host, &cause);
        }
        let next = goes_on || cause.tries_next_host();
        self.note(&attempt.attempt, cause);
        match next {
            true => Ok(()),
            false => Err(self.give_up()),
        }
    }

    /// Returns, once, the request whose password the server refused: its provider is to be told.
    pub fn take_invalid(&mut self) -> Option<PasswordRequest> {
        self.invalid.take()
    }

    /// Reports what the failure of an attempt says of a password that rotates. Returns whether the
    /// server refused the password, so that the next step depends on another one.
    fn tells_login(
        &mut self,
        attempt: &ConnectAttempt,
        cause: &ConnectCause,
        now: Instant,
    ) -> bool {
        let (Some(_), Some(host)) = (self.connect_target.rotating(), &mut self.host) else {
            return false;
        };
        if attempt.connector.observer().is_authenticated()
            && let Some(login) = host.login.take()
        {
            login.accepted();
        }
        host.refuse(&attempt.attempt, cause, now)
    }

    /// Whether the other kind of encryption at the same address is tried next; removes it from the
    /// list otherwise.
    fn goes_on(&mut self, attempt: &ConnectAttempt, cause: &ConnectCause) -> bool {
        let (attempt, connector) = (&attempt.attempt, &attempt.connector);
        let outcome = plan::Outcome::of(cause, connector.observer().is_authenticated());
        // A server without TLS was already tried with a plain session, and refused it.
        let was_plain = attempt.encryption != plan::Encryption::Plain && connector.tls().is_none();
        let repeats = outcome == plan::Outcome::Refused && was_plain;
        let may = plan::goes_on(attempt.encryption, outcome) && !repeats;
        self.host
            .as_mut()
            .is_some_and(|host| host.drop_second_of(attempt, !may))
    }

    /// Moves on to the next host, in the next round if this one has no more.
    fn begin_host(&mut self, now: Instant) -> Result<(), Error> {
        while self.targets.is_empty() {
            let Some(round) = self.rounds.next() else {
                return Err(self.give_up());
            };
            self.requirement = *round;
            // The previous round asked the same servers for a stricter role.
            self.failures.clear();
            self.targets = self.connect_target.targets(&self.scope, now).into();
        }
        self.host = self
            .targets
            .pop_front()
            .map(|target| HostTry::new(self.connect_target, &self.scope, target, now));
        Ok(())
    }

    fn skip_host(&mut self, cause: ConnectCause) {
        if let Some(host) = self.host.take() {
            let failed = FailedAttempt::before(host.target.to_string(), cause);
            self.note_failed(failed);
        }
    }

    /// Prepares an attempt; `None` if it failed before it started.
    fn open(&mut self, attempt: Attempt, now: Instant) -> Option<ConnectAttempt> {
        let host = self.host.as_mut()?;
        let deadline = host.share_of(&attempt, now);
        let setup = match self.connect_target.setup(attempt.encryption) {
            Ok(setup) => setup,
            Err(failure) => {
                let second = host.drop_second_of(&attempt, self.connect_target.insists_on_files());
                if second {
                    let pool = self.connect_target.name();
                    events::tls_given_up(pool, &attempt.target, &failure);
                }
                self.note(&attempt, ConnectCause::Tls(failure));
                return None;
            }
        };
        let password = host.password.as_ref().and_then(Option::as_ref);
        let secret = password.map(|password| password.secret.expose());
        let limit = deadline.map(|deadline| deadline.saturating_duration_since(now));
        let driver = [SettingsMode::Startup, SettingsMode::Statements].map(|mode| {
            self.connect_target
                .driver_config(&attempt, mode, secret, limit)
        });
        let is_watched = !self.scope.is_probe() && matches!(attempt.address, Address::Tcp(_));
        let failover = self.connect_target.failover().filter(|_| is_watched);
        Some(ConnectAttempt {
            failover: failover.cloned(),
            standbys: self
                .connect_target
                .standbys()
                .filter(|_| !self.scope.is_probe())
                .cloned(),
            replayed: Arc::default(),
            notices: Arc::clone(self.connect_target.notices()),
            connector: Connector::for_attempt(
                plan::server_name(&attempt.target),
                attempt.encryption,
                setup,
                deadline,
            )
            .reporting_to(self.connect_target.statements(), &attempt.target),
            requirement: self.requirement,
            is_probe: matches!(self.scope, Scope::Only(_) | Scope::Beside(_)),
            local_settings: self.connect_target.local_settings.clone(),
            attempt,
            deadline,
            driver,
        })
    }

    fn note(&mut self, attempt: &Attempt, cause: ConnectCause) {
        let mut failed = FailedAttempt::of(attempt, cause);
        if failed.cause.blames_the_password() {
            let password = self.host.as_ref().and_then(|host| host.password.as_ref());
            failed.passfile = password
                .and_then(Option::as_ref)
                .and_then(|password| password.passfile.clone());
        }
        self.note_failed(failed);
    }

    fn note_failed(&mut self, failed: FailedAttempt) {
        self.attempts += 1;
        events::attempt_failed(
            self.connect_target.name(),
            &failed,
            self.attempts,
            self.began,
        );
        self.failures.push(failed);
    }

    fn give_up(&mut self) -> Error {
        let settings = self.connect_target.settings();
        Error::Connect(Arc::new(ConnectFailure::new(
            settings.effective_user(),
            settings.effective_dbname(),
            std::mem::take(&mut self.failures),
        )))
    }
}
