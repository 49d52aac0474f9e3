//! Why no session could be opened, attempt by attempt.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::{DbError, SqlState};

use super::driver::{self, DriverText};
use super::pooler::{self, Report};
use super::{ErrorKind, HookFailure};
use crate::attempt::{Attempt, Encryption};
use crate::printable::Line;
use crate::role::RoleMismatch;
use crate::wire::Stage;

pub use super::tls_failure::TlsFailure;
pub use crate::wire::LoginRefused;

/// Why no session could be opened: one entry for each attempt, in order.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConnectFailure {
    /// The user to log in as.
    pub user: String,
    /// The database to open.
    pub dbname: String,
    /// The failed attempts.
    pub attempts: Vec<FailedAttempt>,
}

impl ConnectFailure {
    /// Creates a failure from its attempts.
    pub fn new(user: String, dbname: String, attempts: Vec<FailedAttempt>) -> Self {
        Self {
            user,
            dbname,
            attempts,
        }
    }

    /// The kind of failure as a whole: that of the last attempt if it ended the search; otherwise
    /// transient if any attempt's cause is; otherwise that of the last attempt.
    pub fn kind(&self) -> ErrorKind {
        let last = self.attempts.last().map(|attempt| &attempt.cause);
        let ended = last.is_some_and(|cause| !cause.tries_next_host());
        let may_pass = |attempt: &FailedAttempt| attempt.cause.kind() == ErrorKind::Transient;
        match last {
            Some(_) if !ended && self.attempts.iter().any(may_pass) => ErrorKind::Transient,
            Some(cause) => cause.kind(),
            None => ErrorKind::Configuration,
        }
    }

    /// Whether a server answered that does not have the role that is asked for.
    pub(crate) fn found_other_role(&self) -> bool {
        self.attempts.iter().any(|attempt| match &attempt.cause {
            ConnectCause::Role(mismatch) => mismatch.is_of_role(),
            _ => false,
        })
    }

    /// The SQLSTATE of the last attempt, if the server gave one.
    pub fn code(&self) -> Option<&SqlState> {
        self.attempts.last()?.cause.code()
    }

    /// The server's error in the last attempt, if there is one.
    pub(crate) fn as_db_error(&self) -> Option<&DbError> {
        match &self.attempts.last()?.cause {
            ConnectCause::Driver(error)
            | ConnectCause::Pooler { error, .. }
            | ConnectCause::Refused { error, .. } => error.as_db_error(),
            ConnectCause::Hook(failure) => failure.as_db_error(),
            _ => None,
        }
    }

    fn hosts(&self) -> usize {
        let hosts: HashSet<&str> = self.attempts.iter().map(|a| a.host.as_str()).collect();
        hosts.len()
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.attempts.len(), self.hosts()) {
            (0, _) => f.write_str("could not connect: no host to try")?,
            (1, _) => f.write_str("could not connect to ")?,
            (many, 1) => write!(f, "could not connect in {many} attempts: ")?,
            (_, hosts) => write!(f, "could not connect to {hosts} hosts: ")?,
        }
        for (index, attempt) in self.attempts.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            let ways = self.attempts.iter().filter(|other| other.is_at(attempt));
            attempt.write(f, ways.count() > 1)?;
        }
        write!(f, " (user {:?}, database {:?})", self.user, self.dbname)
    }
}

impl StdError for ConnectFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.attempts.last()?.cause {
            // The text already includes a driver's error, whose own text is not made printable.
            ConnectCause::Resolve(error) | ConnectCause::Io(error) => Some(error),
            ConnectCause::Tls(failure) => Some(failure),
            ConnectCause::Login(refused) => Some(refused),
            ConnectCause::Role(mismatch) => Some(mismatch),
            ConnectCause::Provider(error) | ConnectCause::Secret(error) => Some(error.as_ref()),
            ConnectCause::Hook(failure) => Some(failure.as_ref()),
            _ => None,
        }
    }
}

/// One attempt that failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct FailedAttempt {
    /// The host as configured, with its port.
    pub host: String,
    /// The address tried, if the name was resolved.
    pub address: Option<String>,
    /// The encryption of the attempt; `None` if it failed before.
    pub encryption: Option<Encryption>,
    /// The cause.
    pub cause: ConnectCause,
    /// The file that the password came from, if the server refused the password.
    pub passfile: Option<PathBuf>,
}

impl FailedAttempt {
    /// A failure before the first attempt at a host.
    pub fn before(host: String, cause: ConnectCause) -> Self {
        Self {
            host,
            address: None,
            encryption: None,
            cause,
            passfile: None,
        }
    }

    /// A failure of `attempt`.
    pub fn of(attempt: &Attempt, cause: ConnectCause) -> Self {
        Self {
            address: attempt.resolved().map(|ip| ip.to_string()),
            encryption: Some(attempt.encryption),
            ..Self::before(attempt.target.to_string(), cause)
        }
    }
}

impl FailedAttempt {
    fn write(&self, f: &mut fmt::Formatter<'_>, shows_encryption: bool) -> fmt::Result {
        f.write_str(&self.host)?;
        if let Some(address) = &self.address {
            write!(f, " ({address})")?;
        }
        match self.encryption.filter(|_| shows_encryption) {
            Some(Encryption::Plain) => f.write_str(" without TLS")?,
            Some(_) => f.write_str(" with TLS")?,
            None => {}
        }
        f.write_str(": ")?;
        fmt::Display::fmt(&self.cause, f)?;
        match &self.passfile {
            Some(path) => write!(f, "; the password came from {}", path.display()),
            None => Ok(()),
        }
    }

    fn is_at(&self, other: &Self) -> bool {
        self.host == other.host && self.address == other.address
    }
}

impl fmt::Display for FailedAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, true)
    }
}

/// The cause of one failed attempt.
///
/// `Debug` prints the same text as `Display`: a derived one could be as long as the server chooses.
#[non_exhaustive]
pub enum ConnectCause {
    /// The name could not be resolved.
    Resolve(io::Error),
    /// The socket could not be opened.
    Io(io::Error),
    /// The driver failed, with the server's error if there is one.
    Driver(Arc<tokio_postgres::Error>),
    /// A connection pooler refused the session with an error of its own, whose SQLSTATE does not
    /// say what it means.
    Pooler {
        /// The pooler's error.
        error: Arc<tokio_postgres::Error>,
        /// What kind of failure it is.
        kind: ErrorKind,
    },
    /// `connect_timeout` passed.
    Timeout(Duration),
    /// `connect_timeout` passed before the server was contacted, or after it had answered.
    Slow {
        /// What took the time: a password provider, a hook, the name lookup.
        what: &'static str,
        /// The limit.
        limit: Duration,
    },
    /// The session could not be encrypted as configured.
    Tls(TlsFailure),
    /// The server asked for a login method that `require_auth` does not allow, or an invalid one.
    Login(LoginRefused),
    /// The server asks for a password, and none is configured.
    NoPassword,
    /// The password provider failed.
    Provider(Arc<dyn StdError + Send + Sync>),
    /// The password could not be read from its file or its command.
    Secret(Arc<dyn StdError + Send + Sync>),
    /// The server refused a password that is read for each session.
    Refused {
        /// The server's error.
        error: Arc<tokio_postgres::Error>,
        /// The file, or the program of the command.
        source: Arc<str>,
        /// Whether a login with this source succeeded before: then the password is probably being
        /// changed, and another attempt may succeed.
        rotates: bool,
    },
    /// The server does not have the role that `target_session_attrs` asks for.
    Role(RoleMismatch),
    /// The `after_connect` hook failed.
    Hook(Arc<HookFailure>),
}

impl ConnectCause {
    /// Extracts the cause from a driver's error.
    pub(crate) fn of_driver(
        error: tokio_postgres::Error,
        limit: Option<Duration>,
        stage: Stage,
    ) -> Self {
        let of_pooler = |error| pooler::kind(Report::of(error), stage);
        if let Some(kind) = error.as_db_error().and_then(of_pooler) {
            let error = Arc::new(error);
            return Self::Pooler { error, kind };
        }
        match driver::cause(&error) {
            driver::Cause::Tls(failure) => Self::Tls(failure),
            driver::Cause::Login(refused) => Self::Login(refused),
            driver::Cause::NoPassword => Self::NoPassword,
            driver::Cause::Deadline => Self::Timeout(limit.unwrap_or_default()),
            driver::Cause::Other => Self::Driver(Arc::new(error)),
        }
    }

    /// Whether the host did not answer, or only to say that it is starting or stopping.
    pub(crate) fn is_silence(&self) -> bool {
        match self {
            Self::Io(_) | Self::Resolve(_) | Self::Timeout(_) | Self::Slow { .. } => true,
            Self::Driver(error) => error
                .code()
                .is_none_or(|code| *code == SqlState::CANNOT_CONNECT_NOW),
            _ => false,
        }
    }

    /// The SQLSTATE, if the server gave one.
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Driver(error) | Self::Pooler { error, .. } | Self::Refused { error, .. } => {
                error.code()
            }
            Self::Hook(failure) => failure.code(),
            _ => None,
        }
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Resolve(_) | Self::Io(_) => ErrorKind::Transient,
            Self::Timeout(_) | Self::Slow { .. } => ErrorKind::Transient,
            Self::Provider(_) | Self::Secret(_) | Self::Role(_) => ErrorKind::Transient,
            Self::Refused { rotates: true, .. } => ErrorKind::Transient,
            Self::Refused { rotates: false, .. } => ErrorKind::Authentication,
            Self::Driver(error) => driver::kind(error),
            Self::Pooler { kind, .. } => *kind,
            Self::Tls(failure) => failure.kind(),
            Self::Login(LoginRefused::Unframed { .. }) => ErrorKind::Transient,
            Self::Login(_) | Self::NoPassword => ErrorKind::Authentication,
            Self::Hook(failure) => failure.kind(),
        }
    }

    /// Whether to try the next host: not if this one answered and refused, because the next would
    /// be asked the same. A certificate differs from host to host.
    pub fn tries_next_host(&self) -> bool {
        matches!(self.kind(), ErrorKind::Transient | ErrorKind::Tls)
    }

    /// Whether the server rejected the credentials.
    pub(crate) fn blames_the_password(&self) -> bool {
        let code = self.code();
        let of_pooler =
            matches!(self, Self::Pooler { kind, .. } if *kind == ErrorKind::Authentication);
        of_pooler
            || code == Some(&SqlState::INVALID_PASSWORD)
            || code == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
    }

    /// The server's error if it checked the password and refused it. A server that checks passwords
    /// elsewhere, by PAM, LDAP or RADIUS, uses the SQLSTATE of a missing line in pg_hba.conf: the
    /// function that reports it tells them apart.
    pub(crate) fn as_refusal(&self) -> Option<&Arc<tokio_postgres::Error>> {
        let error = match self {
            Self::Driver(error) => error,
            Self::Pooler { error, kind } if *kind == ErrorKind::Authentication => {
                return Some(error);
            }
            _ => return None,
        };
        let database = error.as_db_error()?;
        let checked = *database.code() == SqlState::INVALID_PASSWORD
            || *database.code() == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
                && database.routine() == Some("auth_failed");
        checked.then_some(error)
    }
}

impl fmt::Debug for ConnectCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ConnectCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => write!(f, "cannot resolve the name: {}", Line(error)),
            Self::Io(error) => Line(error).fmt(f),
            Self::Driver(error) => DriverText(error).fmt(f),
            Self::Pooler { error, .. } => {
                write!(f, "{} (from a connection pooler)", DriverText(error))
            }
            Self::Timeout(limit) => write!(
                f,
                "no session within connect_timeout ({limit:?}): the server accepted the connection but did not finish the login, or did not answer at all"
            ),
            Self::Slow { what, limit } => write!(
                f,
                "no session within connect_timeout ({limit:?}): {what} took longer"
            ),
            Self::Tls(failure) => failure.fmt(f),
            Self::Login(refused) => refused.fmt(f),
            Self::NoPassword => f.write_str(
                "the server asks for a password and there is none: set password, PGPASSWORD or a line in the passfile",
            ),
            Self::Provider(error) => {
                write!(f, "the password provider failed: {}", Line(error))
            }
            Self::Secret(error) => write!(f, "the password cannot be read: {}", Line(error)),
            Self::Refused {
                error,
                source,
                rotates,
            } => {
                write!(f, "{}; the password came from {source}", DriverText(error))?;
                match rotates {
                    true => f.write_str(
                        "; a login with it succeeded before, so it is read and tried again",
                    ),
                    false => Ok(()),
                }
            }
            Self::Role(mismatch) => mismatch.fmt(f),
            Self::Hook(failure) => failure.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(causes: Vec<ConnectCause>) -> ConnectFailure {
        let attempts = causes
            .into_iter()
            .enumerate()
            .map(|(index, cause)| FailedAttempt::before(format!("db{index}:5432"), cause))
            .collect();
        ConnectFailure::new("app".into(), "shop".into(), attempts)
    }

    fn away() -> ConnectCause {
        ConnectCause::Io(io::ErrorKind::ConnectionRefused.into())
    }

    fn misnamed() -> ConnectCause {
        let text = "is for \"db3.internal\", not for \"db1\"".to_owned();
        ConnectCause::Tls(TlsFailure::Certificate(text))
    }

    #[test]
    fn what_ended_the_search_says_of_which_kind_it_is() {
        assert_eq!(failure(vec![misnamed()]).kind(), ErrorKind::Tls);
        let ended = failure(vec![away(), ConnectCause::NoPassword]);
        assert_eq!(ended.kind(), ErrorKind::Authentication);
    }

    #[test]
    fn a_search_that_found_nothing_may_find_something_later() {
        for causes in [vec![away(), misnamed()], vec![misnamed(), away()]] {
            assert_eq!(failure(causes).kind(), ErrorKind::Transient);
        }
    }

    #[test]
    fn every_attempt_is_told() {
        assert_eq!(
            failure(vec![away(), misnamed()]).to_string(),
            "could not connect to 2 hosts: db0:5432: connection refused; db1:5432: TLS certificate \
             is for \"db3.internal\", not for \"db1\" (user \"app\", database \"shop\")"
        );
    }
}
