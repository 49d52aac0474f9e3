//! Why no session could be opened: attempt by attempt.

use std::collections::HashSet;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::{DbError, SqlState};

use crate::driver::DriverText;
use crate::error::ErrorKind;
use crate::hook::HookFailure;
use crate::plan::{Attempt, Encryption};
use crate::printable::{Line, line};
use crate::role::RoleMismatch;
use crate::wire::LoginRefused;
use crate::{driver, plan};

/// Why no session could be opened: one entry an attempt, in the order they were made.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConnectFailure {
    /// The user asked for.
    pub user: String,
    /// The database asked for.
    pub dbname: String,
    /// What was tried.
    pub attempts: Vec<FailedAttempt>,
}

impl ConnectFailure {
    /// Puts down what was tried.
    pub fn new(user: String, dbname: String, attempts: Vec<FailedAttempt>) -> Self {
        Self {
            user,
            dbname,
            attempts,
        }
    }

    /// What kind of failure it is as a whole: what the last attempt says if it ended the search,
    /// transient if any host may be back later, else again what the last one says.
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

    /// The SQLSTATE of the last attempt, if the server gave one.
    pub fn code(&self) -> Option<&SqlState> {
        self.attempts.last()?.cause.code()
    }

    /// What the server said in the last attempt, if it said anything.
    pub(crate) fn as_db_error(&self) -> Option<&DbError> {
        match &self.attempts.last()?.cause {
            ConnectCause::Driver(error) => error.as_db_error(),
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
            // A driver's error is told already, and the text of its own is as the server wrote it.
            ConnectCause::Resolve(error) | ConnectCause::Io(error) => Some(error),
            ConnectCause::Tls(failure) => Some(failure),
            ConnectCause::Login(refused) => Some(refused),
            ConnectCause::Role(mismatch) => Some(mismatch),
            ConnectCause::Provider(error) => Some(error.as_ref()),
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
    /// The address tried, where the name was resolved.
    pub address: Option<String>,
    /// How the attempt was to be encrypted; `None` if it did not get as far.
    pub encryption: Option<Encryption>,
    /// What went wrong.
    pub cause: ConnectCause,
    /// The file the password came from, if the server refused it.
    pub passfile: Option<PathBuf>,
}

impl FailedAttempt {
    /// A host that could not even be tried.
    pub fn before(host: String, cause: ConnectCause) -> Self {
        Self {
            host,
            address: None,
            encryption: None,
            cause,
            passfile: None,
        }
    }

    /// An attempt that was made.
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

/// What went wrong in one attempt.
///
/// `Debug` is the text too, for it is as long as the server likes otherwise.
#[non_exhaustive]
pub enum ConnectCause {
    /// The name could not be resolved.
    Resolve(io::Error),
    /// The socket could not be opened.
    Io(io::Error),
    /// The driver gave up, with the server's words if it had any.
    Driver(Arc<tokio_postgres::Error>),
    /// `connect_timeout` passed.
    Timeout(Duration),
    /// The session could not be encrypted as asked.
    Tls(TlsFailure),
    /// The server asked for a login that `require_auth` does not allow, or for one that is none.
    Login(LoginRefused),
    /// The server asks for a password, and there is none.
    NoPassword,
    /// The password provider failed.
    Provider(Arc<dyn StdError + Send + Sync>),
    /// The server is not what `target_session_attrs` asks for.
    Role(RoleMismatch),
    /// The `after_connect` hook failed.
    Hook(Arc<HookFailure>),
}

impl ConnectCause {
    /// What the driver's error says, looked through to the cause it wraps.
    pub fn of_driver(error: tokio_postgres::Error, limit: Option<Duration>) -> Self {
        match driver::cause(&error) {
            driver::Cause::Tls(failure) => Self::Tls(failure),
            driver::Cause::Login(refused) => Self::Login(refused),
            driver::Cause::NoPassword => Self::NoPassword,
            driver::Cause::Deadline => Self::Timeout(limit.unwrap_or_default()),
            driver::Cause::Other => Self::Driver(Arc::new(error)),
        }
    }

    /// The server's SQLSTATE, if it got as far.
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Driver(error) => error.code(),
            Self::Hook(failure) => failure.code(),
            _ => None,
        }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Resolve(_) | Self::Io(_) | Self::Timeout(_) => ErrorKind::Transient,
            Self::Provider(_) | Self::Role(_) => ErrorKind::Transient,
            Self::Driver(error) => driver::kind(error),
            Self::Tls(failure) => failure.kind(),
            Self::Login(_) | Self::NoPassword => ErrorKind::Authentication,
            Self::Hook(failure) => failure.kind(),
        }
    }

    /// Whether the next host should be tried: not when this one answered and said no, for the
    /// next one would be asked the same. A certificate is each host's own.
    pub fn tries_next_host(&self) -> bool {
        matches!(self.kind(), ErrorKind::Transient | ErrorKind::Tls)
    }

    /// Whether the server refused what this side said of who it is, or would not take it.
    pub(crate) fn blames_the_password(&self) -> bool {
        let code = self.code();
        code == Some(&SqlState::INVALID_PASSWORD)
            || code == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
    }

    /// As the plan wants to know it, to go from one kind of encryption to the next.
    pub(crate) fn outcome(&self, authenticated: bool) -> plan::Outcome {
        match self {
            Self::Tls(failure) if failure.is_attack() => plan::Outcome::Other,
            Self::Tls(_) => plan::Outcome::NoTls,
            Self::Driver(error) if error.code().is_some() && !authenticated => {
                plan::Outcome::Refused
            }
            _ => plan::Outcome::Other,
        }
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
            Self::Timeout(limit) => write!(
                f,
                "no session within connect_timeout ({limit:?}): the server accepted the connection but did not finish the login, or did not answer at all"
            ),
            Self::Tls(failure) => failure.fmt(f),
            Self::Login(refused) => refused.fmt(f),
            Self::NoPassword => f.write_str(
                "the server asks for a password and there is none: set password, PGPASSWORD or a line in the passfile",
            ),
            Self::Provider(error) => {
                write!(f, "the password provider failed: {}", Line(error))
            }
            Self::Role(mismatch) => mismatch.fmt(f),
            Self::Hook(failure) => failure.fmt(f),
        }
    }
}

/// Why a session could not be encrypted as asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFailure {
    /// A file of this side: missing, unreadable, of the wrong kind, or open to others.
    #[error("{key}: {reason}")]
    File {
        /// The setting that names the file, or would.
        key: &'static str,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The server does not take TLS.
    #[error("the server does not take TLS (ssl = off), and sslmode does not allow a plain session")]
    NotOffered,
    /// The server answered the request for TLS with an error. Its text is not shown, for anybody
    /// on the way could have written it.
    #[error(
        "the server answered the request for TLS with an error message, as one that is overloaded does"
    )]
    ErrorReply,
    /// The answer to the request for TLS was none.
    #[error(
        "the server answered the request for TLS with the byte {0:#04x}: it does not speak the PostgreSQL protocol"
    )]
    Garbage(u8),
    /// Bytes came between the server's word for TLS and the handshake.
    #[error(
        "unencrypted bytes came before the TLS handshake: somebody on the way tries to slip them in, and the session is refused"
    )]
    Injected,
    /// The server's certificate is not good enough.
    #[error("TLS certificate {}", line(.0))]
    Certificate(String),
    /// One side does not take what the other offers.
    #[error("TLS handshake failed: {}", line(.0))]
    Handshake(String),
    /// The connection ended in the handshake.
    #[error("the connection ended during the TLS handshake: {}", line(.0))]
    Interrupted(String),
    /// The server did not name the protocol it speaks, which direct negotiation is for.
    #[error(
        "the server did not confirm the PostgreSQL protocol (ALPN): sslnegotiation: direct takes PostgreSQL 17 or later"
    )]
    NoAlpn,
}

impl TlsFailure {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { .. } => ErrorKind::Configuration,
            Self::ErrorReply | Self::Interrupted(_) => ErrorKind::Transient,
            _ => ErrorKind::Tls,
        }
    }

    /// Whether going on without TLS would do what an attacker wants.
    fn is_attack(&self) -> bool {
        matches!(self, Self::Injected | Self::ErrorReply | Self::Garbage(_))
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
