//! One search for a server, decided step by step: what to do next, and what an end means.
//!
//! The drivers' crates carry the steps out, blocking and async, and decide nothing.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use pgmonkey_config::{Secret, Target};
use tokio_postgres::SimpleQueryMessage;

use crate::Error;
use crate::connector::Connector;
use crate::credentials::{self, Password, PasswordRequest, ProviderError};
use crate::dialing::{Dialing, Way};
use crate::events;
use crate::expiry::draw;
use crate::failure::{ConnectCause, ConnectFailure, FailedAttempt};
use crate::hook::HookFailure;
use crate::plan::{self, Address, Attempt, Lookup, Turn};
use crate::role::{self, Requirement, RoleMismatch};
use crate::route::Route;

/// A search over the hosts of one configuration.
#[derive(Debug)]
pub struct Dial<'a> {
    dialing: &'a Dialing,
    rounds: std::slice::Iter<'static, Requirement>,
    requirement: Requirement,
    targets: VecDeque<Target>,
    host: Option<HostTry>,
    failures: Vec<FailedAttempt>,
    /// How many attempts there were, and when the one under way began: for those who listen.
    attempts: usize,
    began: Instant,
}

/// The host that is being tried.
#[derive(Debug)]
struct HostTry {
    target: Target,
    deadline: Option<Instant>,
    /// Unknown until the name is resolved.
    attempts: Option<VecDeque<Attempt>>,
    /// Unknown until it was looked for.
    password: Option<Option<Password>>,
    /// The end of the time for the address that is being tried.
    share: Option<Instant>,
}

/// What to do next. Whoever dials has to carry out each of them, so that there are no others.
#[derive(Debug)]
pub enum Step {
    /// Resolve this name, then call [`Dial::resolved`].
    Resolve {
        /// The name.
        name: String,
        /// The port, for resolvers that want one.
        port: u16,
        /// When to give up.
        deadline: Option<Instant>,
    },
    /// Ask the password provider, then call [`Dial::password`].
    Password {
        /// Whose password.
        request: PasswordRequest,
        /// When to give up, where that is possible.
        deadline: Option<Instant>,
    },
    /// Open a session, then call [`Dial::failed`] if that failed.
    Open(Box<Opening>),
}

/// One attempt to open a session.
pub struct Opening {
    name: Arc<str>,
    attempt: Attempt,
    connector: Connector,
    requirement: Requirement,
    deadline: Option<Instant>,
    driver: [tokio_postgres::Config; 2],
}

/// Without the driver's settings: their `options` hold the session settings with their secrets.
impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("name", &self.name)
            .field("attempt", &self.attempt)
            .field("requirement", &self.requirement)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

/// Why a session was not opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenFailure {
    /// The socket could not be opened.
    Socket(io::Error),
    /// The driver gave up.
    Driver(tokio_postgres::Error),
    /// The server is not what `target_session_attrs` asks for.
    Role(RoleMismatch),
    /// The `after_connect` hook failed.
    Hook(HookFailure),
    /// The time was over.
    Deadline,
}

impl From<tokio_postgres::Error> for OpenFailure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
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

impl<'a> Dial<'a> {
    pub(crate) fn new(dialing: &'a Dialing) -> Self {
        let attrs = dialing.settings().target_session_attrs;
        Self {
            dialing,
            rounds: role::rounds(attrs).iter(),
            requirement: Requirement::Any,
            targets: VecDeque::new(),
            host: None,
            failures: Vec::new(),
            attempts: 0,
            began: Instant::now(),
        }
    }

    /// What to do next.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] when everything was tried.
    pub fn next(&mut self, now: Instant) -> Result<Step, Error> {
        loop {
            let Some(host) = &mut self.host else {
                self.begin_host(now)?;
                continue;
            };
            self.began = now;
            match host.next(self.dialing) {
                Some(Next::Step(step)) => return Ok(step),
                Some(Next::Attempt(attempt)) => {
                    if let Some(opening) = self.open(attempt, now) {
                        return Ok(Step::Open(Box::new(opening)));
                    }
                }
                None => self.host = None,
            }
        }
    }

    /// Takes the addresses of the name asked for.
    pub fn resolved(&mut self, addresses: io::Result<Vec<IpAddr>>) {
        let Some(host) = &mut self.host else { return };
        let settings = self.dialing.settings();
        match addresses {
            Ok(found) if !found.is_empty() => {
                let attempts = plan::attempts(settings, &host.target, &found, draw);
                host.attempts = Some(attempts.into());
            }
            Ok(_) => self.skip_host(ConnectCause::Resolve(io::Error::other(
                "the name has no address",
            ))),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.skip_host(self.dialing.timed_out());
            }
            Err(error) => self.skip_host(ConnectCause::Resolve(error)),
        }
    }

    /// Takes the provider's password, or `None` if it did not answer in time. The time for the
    /// host begins anew.
    pub fn password(&mut self, answer: Option<Result<Secret, ProviderError>>, now: Instant) {
        let Some(host) = &mut self.host else { return };
        host.deadline = self.dialing.deadline(now);
        match answer {
            Some(Ok(secret)) => host.password = Some(Some(secret.into())),
            Some(Err(error)) => self.skip_host(ConnectCause::Provider(Arc::from(error))),
            None => self.skip_host(self.dialing.timed_out()),
        }
    }

    /// Takes note that the attempt gave a session, which ends the search.
    pub fn opened(&mut self, opening: &Opening) {
        self.attempts += 1;
        let host = &opening.attempt.target;
        events::attempt_succeeded(self.dialing.name(), host, self.attempts, self.began);
    }

    /// Takes the end of an attempt; the search goes on unless there is an error.
    ///
    /// # Errors
    ///
    /// The server answered and said no: [`Error::Connect`], or [`Error::SessionSetting`] if it
    /// names one.
    pub fn failed(&mut self, opening: &Opening, failure: OpenFailure) -> Result<(), Error> {
        let cause = match failure {
            OpenFailure::Socket(error) => ConnectCause::Io(error),
            OpenFailure::Role(mismatch) => ConnectCause::Role(mismatch),
            OpenFailure::Hook(failure) => ConnectCause::Hook(Arc::new(failure)),
            OpenFailure::Deadline => self.dialing.timed_out(),
            OpenFailure::Driver(error) => match self.dialing.blamed_setting(&error) {
                Some(blame) => return Err(blame),
                None => ConnectCause::of_driver(error, self.dialing.limit()),
            },
        };
        let goes_on = self.goes_on(opening, &cause);
        if goes_on && matches!(cause, ConnectCause::Tls(_)) {
            let host = &opening.attempt.target;
            tracing::warn!(%host, "no TLS, trying without as sslmode allows: {cause}");
        }
        let next = goes_on || cause.tries_next_host();
        self.note(&opening.attempt, cause);
        match next {
            true => Ok(()),
            false => Err(self.give_up()),
        }
    }

    /// Whether the other kind of encryption at the same address is next; takes it off the list
    /// if not.
    fn goes_on(&mut self, opening: &Opening, cause: &ConnectCause) -> bool {
        let (attempt, connector) = (&opening.attempt, &opening.connector);
        let outcome = cause.outcome(connector.observer().is_authenticated());
        // A server that said no to TLS has given, and refused, a plain session already.
        let was_plain = attempt.encryption != plan::Encryption::Plain && connector.tls().is_none();
        let repeats = outcome == plan::Outcome::Refused && was_plain;
        let may = plan::goes_on(attempt.encryption, outcome) && !repeats;
        self.host
            .as_mut()
            .is_some_and(|host| host.drop_second_of(attempt, !may))
    }

    /// Moves to the next host, in the next round if this one is over.
    fn begin_host(&mut self, now: Instant) -> Result<(), Error> {
        while self.targets.is_empty() {
            let Some(round) = self.rounds.next() else {
                return Err(self.give_up());
            };
            self.requirement = *round;
            // The round before asked for more of the same servers.
            self.failures.clear();
            self.targets = plan::targets(self.dialing.settings(), draw).into();
        }
        let settings = self.dialing.settings();
        self.host = self.targets.pop_front().map(|target| HostTry {
            attempts: match plan::lookup(&target) {
                Lookup::Known(_) => Some(plan::attempts(settings, &target, &[], draw).into()),
                Lookup::Name(_) => None,
            },
            deadline: self.dialing.deadline(now),
            password: (!self.dialing.asks_provider())
                .then(|| credentials::password(settings, &target)),
            share: None,
            target,
        });
        Ok(())
    }

    fn skip_host(&mut self, cause: ConnectCause) {
        if let Some(host) = self.host.take() {
            let failed = FailedAttempt::before(host.target.to_string(), cause);
            self.note_failed(failed);
        }
    }

    /// Puts an attempt together; `None` if it failed before it began.
    fn open(&mut self, attempt: Attempt, now: Instant) -> Option<Opening> {
        let host = self.host.as_mut()?;
        let deadline = host.share_of(&attempt, now);
        let setup = match self.dialing.setup(attempt.encryption) {
            Ok(setup) => setup,
            Err(failure) => {
                let second = host.drop_second_of(&attempt, self.dialing.insists_on_files());
                if second {
                    tracing::warn!(host = %attempt.target, "no TLS, trying without as sslmode allows: {failure}");
                }
                self.note(&attempt, ConnectCause::Tls(failure));
                return None;
            }
        };
        let password = host.password.as_ref().and_then(Option::as_ref);
        let secret = password.map(|password| password.secret.expose());
        let limit = deadline.map(|deadline| deadline.saturating_duration_since(now));
        let driver = [Way::Startup, Way::Statements]
            .map(|way| self.dialing.driver_config(&attempt, way, secret, limit));
        Some(Opening {
            name: Arc::clone(self.dialing.name()),
            connector: Connector::for_attempt(&attempt, setup, deadline),
            requirement: self.requirement,
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
        events::attempt_failed(self.dialing.name(), &failed, self.attempts, self.began);
        self.failures.push(failed);
    }

    fn give_up(&mut self) -> Error {
        let settings = self.dialing.settings();
        Error::Connect(Arc::new(ConnectFailure::new(
            settings.effective_user(),
            settings.effective_dbname(),
            std::mem::take(&mut self.failures),
        )))
    }
}

/// What the host under way has next.
enum Next {
    Step(Step),
    Attempt(Attempt),
}

impl HostTry {
    /// `None` when everything was tried.
    fn next(&mut self, dialing: &Dialing) -> Option<Next> {
        if self.password.is_none() {
            return Some(Next::Step(Step::Password {
                request: PasswordRequest::new(dialing.settings(), &self.target),
                deadline: self.deadline,
            }));
        }
        let Some(attempts) = &mut self.attempts else {
            return Some(Next::Step(Step::Resolve {
                name: self.target.host.to_string(),
                port: self.target.port,
                deadline: self.deadline,
            }));
        };
        attempts.pop_front().map(Next::Attempt)
    }

    /// The end of an attempt's time. A second kind of encryption has what the first one left.
    fn share_of(&mut self, attempt: &Attempt, now: Instant) -> Option<Instant> {
        let attempts = self.attempts.as_ref()?;
        let is_second = self.share.is_some() && attempt.turn == Turn::Second;
        if !is_second {
            let later = attempts.iter().filter(|later| later.turn != Turn::Second);
            self.share = plan::share(now, self.deadline, 1 + later.count());
        }
        self.share
    }

    /// Takes the second kind of encryption at the address of `attempt` off the list, if `drops`;
    /// whether it stays.
    fn drop_second_of(&mut self, attempt: &Attempt, drops: bool) -> bool {
        let Some(attempts) = &mut self.attempts else {
            return false;
        };
        let there = attempt.turn == Turn::First
            && attempts
                .front()
                .is_some_and(|next| next.turn == Turn::Second);
        if there && drops {
            attempts.pop_front();
        }
        there && !drops
    }
}

impl Opening {
    /// The driver's settings, with session settings sent this way.
    pub fn driver_config(&self, way: Way) -> &tokio_postgres::Config {
        match way {
            Way::Startup => &self.driver[0],
            Way::Statements => &self.driver[1],
        }
    }

    /// The connector to open it with, anew for each try.
    ///
    /// It holds the deadline until [`Route::accept`].
    pub fn connector(&mut self) -> Connector {
        self.connector = self.connector.anew();
        self.connector.observer().hold_deadline();
        self.connector.clone()
    }

    /// What events call the handle that the session is for.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The address to connect to.
    pub fn address(&self) -> &Address {
        &self.attempt.address
    }

    /// When it must be over.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether to ask the server for its role, and how: `None` if it is the right one.
    /// `observed` says whether the connector was used.
    ///
    /// # Errors
    ///
    /// It is the wrong one, by its own word.
    pub fn question(&self, observed: bool) -> Result<Option<&'static str>, RoleMismatch> {
        let observer = observed.then(|| &**self.connector.observer());
        match self.requirement.met(observer) {
            None => Ok(Some(self.requirement.question())),
            Some(fits) => self.requirement.or_mismatch(fits).map(|()| None),
        }
    }

    /// Whether the answer to [`question`](Self::question) is the right one.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn judge(&self, answer: &[SimpleQueryMessage]) -> Result<(), RoleMismatch> {
        self.requirement.judge(answer)
    }

    /// The way the session was opened.
    pub fn route(&self) -> Route {
        let (attempt, connector) = (self.attempt.clone(), self.connector.clone());
        Route::new(attempt, connector, self.requirement)
    }
}
