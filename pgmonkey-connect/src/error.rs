//! The one error of both drivers.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::status::Status;

/// Everything that can go wrong between asking for a session and giving it back.
///
/// Cheap to clone: everyone who waited for the same thing gets the same error. No text of it
/// holds a secret. `Debug` is the text too, for a `main` that returns it prints it so.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration is wrong; says where and what.
    #[error(transparent)]
    Config(Arc<pgmonkey_config::Error>),

    /// No host could be reached, or one refused the session.
    #[error(transparent)]
    Connect(Arc<ConnectFailure>),

    /// A session setting of the file was refused, by name or by the server.
    #[error("{key}: {reason}")]
    SessionSetting {
        /// Section and key, as `async_settings.work_mem`.
        key: String,
        /// Why it was refused.
        reason: String,
        /// The server's SQLSTATE, if the server refused it.
        code: Option<SqlState>,
    },

    /// No session came free within the acquire time-out.
    #[error(transparent)]
    Timeout(Arc<AcquireTimeout>),

    /// As many callers wait as `max_waiting` allows.
    #[error("{} callers wait for a session of {target} already, as many as max_waiting allows ({status})", status.waiting)]
    QueueFull {
        /// `user@host:port/database`.
        target: Arc<str>,
        /// The pool's numbers at that moment.
        status: Box<Status>,
    },

    /// The handle was closed.
    #[error("the {what} is closed: ask the connection manager for a new one")]
    Closed {
        /// `pool` or `connection`.
        what: &'static str,
    },

    /// `commit` or `rollback` outside a transaction.
    #[error("{action} without a transaction: call begin first")]
    NoTransaction {
        /// What was asked for.
        action: &'static str,
    },

    /// `commit` of a transaction that an earlier error had ended; it was rolled back.
    #[error(
        "the transaction was rolled back, not committed: one of its statements had failed before"
    )]
    RolledBack,

    /// The closure of a `transaction` or `scope` kept the session beyond its end, so that
    /// nothing could be committed.
    #[error(
        "the closure kept its session beyond its end, so nothing was committed: let go of it before returning"
    )]
    Kept,

    /// A blocking handle was used inside an async task.
    #[error(
        "{what} blocks and was called inside an async task: use {twin} there, or tokio::task::spawn_blocking"
    )]
    InsideAsync {
        /// The call.
        what: &'static str,
        /// Its async twin.
        twin: &'static str,
    },

    /// The file's `connection_type` is of the other family.
    #[error("connection_type {found} is not for this call: it takes {expected}")]
    ConnectionType {
        /// What the configuration says.
        found: pgmonkey_config::ConnectionType,
        /// What the call takes, with the call to use instead.
        expected: &'static str,
    },

    /// Something that this build cannot do and will not pretend to do.
    #[error("{what} is not supported: {advice}")]
    Unsupported {
        /// The key and value.
        what: String,
        /// What to do.
        advice: &'static str,
    },

    /// The server or the driver failed a statement.
    #[error("{}", DatabaseText(.0))]
    Database(Arc<tokio_postgres::Error>),

    /// An error of the caller's own, passed through a `transaction` closure.
    #[error(transparent)]
    Other(Arc<dyn StdError + Send + Sync>),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// Wraps an error of the caller's own, so that a `transaction` closure can fail with it.
    pub fn other(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Other(Arc::from(error.into()))
    }

    /// The SQLSTATE, if the server gave one.
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Database(error) => error.code(),
            Self::Connect(failure) => failure.attempts.last()?.cause.code(),
            Self::SessionSetting { code, .. } => code.as_ref(),
            Self::Timeout(timeout) => timeout.last_error.as_ref()?.code(),
            _ => None,
        }
    }

    /// Whether waiting for a session took too long.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// Whether the handle was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// Whether trying the same again, unchanged, may work: the server is away, starting, or
    /// full, or every session was in use.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect(failure) => failure.is_transient(),
            Self::Timeout(_) | Self::QueueFull { .. } => true,
            Self::Database(error) => driver_error_is_transient(error),
            _ => false,
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

impl From<pgmonkey_config::Error> for Error {
    fn from(error: pgmonkey_config::Error) -> Self {
        Self::Config(Arc::new(error))
    }
}

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

    fn is_transient(&self) -> bool {
        self.attempts
            .last()
            .is_some_and(|attempt| attempt.cause.is_transient())
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.attempts.as_slice() {
            [] => write!(f, "could not connect: no host to try"),
            [only] => write!(
                f,
                "could not connect to {only} (user {:?}, database {:?})",
                self.user, self.dbname
            ),
            many => {
                write!(f, "could not connect, {} attempts: ", many.len())?;
                for attempt in many {
                    write!(f, "{attempt}; ")?;
                }
                write!(f, "(user {:?}, database {:?})", self.user, self.dbname)
            }
        }
    }
}

impl StdError for ConnectFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.attempts.last()?.cause {
            ConnectCause::Driver(error) => Some(error.as_ref()),
            ConnectCause::Io(error) => Some(error),
            ConnectCause::Timeout(_) => None,
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
    /// What went wrong.
    pub cause: ConnectCause,
}

impl FailedAttempt {
    /// Puts down one failure.
    pub fn new(host: String, address: Option<String>, cause: ConnectCause) -> Self {
        Self {
            host,
            address,
            cause,
        }
    }
}

impl fmt::Display for FailedAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match &self.address {
            Some(address) if *address != self.host => write!(f, " ({address})")?,
            _ => {}
        }
        write!(f, ": {}", self.cause)
    }
}

/// What went wrong in one attempt.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectCause {
    /// The name could not be resolved, or the socket not be opened.
    Io(io::Error),
    /// The driver gave up, with the server's words if it had any.
    Driver(Arc<tokio_postgres::Error>),
    /// `connect_timeout` passed.
    Timeout(Duration),
}

impl ConnectCause {
    /// The server's SQLSTATE, if it got as far.
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Driver(error) => error.code(),
            _ => None,
        }
    }

    /// Whether another try may work.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Io(_) | Self::Timeout(_) => true,
            Self::Driver(error) => driver_error_is_transient(error),
        }
    }

    /// Whether the next host should be tried: not when this one answered and said no.
    pub fn tries_next_host(&self) -> bool {
        self.is_transient()
    }
}

impl fmt::Display for ConnectCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Driver(error) => DatabaseText(error).fmt(f),
            Self::Timeout(limit) => write!(
                f,
                "no session within connect_timeout ({limit:?}): the server accepted the connection but did not finish the login, or did not answer at all"
            ),
        }
    }
}

/// No session came free in time: who has them, and what went wrong last.
#[derive(Debug)]
#[non_exhaustive]
pub struct AcquireTimeout {
    /// `user@host:port/database`.
    pub target: Arc<str>,
    /// How long this caller waited.
    pub waited: Duration,
    /// The pool's numbers at the end.
    pub status: Status,
    /// Who has held a session longest, and for how long.
    pub longest_held: Option<(&'static Location<'static>, Duration)>,
    /// Why the last attempt to open a session failed, if that is what the time went into.
    pub last_error: Option<Error>,
}

impl AcquireTimeout {
    /// Puts down the state in which a caller gave up.
    pub fn new(target: Arc<str>, waited: Duration, status: Status) -> Self {
        Self {
            target,
            waited,
            status,
            longest_held: None,
            last_error: None,
        }
    }
}

impl fmt::Display for AcquireTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no session of {} within {:.1?}: {}",
            self.target, self.waited, self.status
        )?;
        if let Some((place, held)) = self.longest_held {
            write!(f, "; held longest: {held:.1?}, acquired at {place}")?;
        }
        if let Some(error) = &self.last_error {
            write!(f, "; {error}")?;
        }
        Ok(())
    }
}

impl StdError for AcquireTimeout {}

/// The driver says only "db error" and hides the rest in its source.
struct DatabaseText<'a>(&'a tokio_postgres::Error);

impl fmt::Display for DatabaseText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = self.0.as_db_error() else {
            return match io_cause(self.0) {
                Some(error) => error.fmt(f),
                None => source_chain(self.0, f),
            };
        };
        write!(
            f,
            "{}: {} (SQLSTATE {})",
            error.severity(),
            error.message(),
            error.code().code()
        )?;
        if let Some(detail) = error.detail() {
            write!(f, "; {detail}")?;
        }
        if let Some(hint) = error.hint() {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

fn source_chain(error: &dyn StdError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{error}")?;
    let mut next = error.source();
    while let Some(cause) = next {
        write!(f, ": {cause}")?;
        next = cause.source();
    }
    Ok(())
}

fn io_cause(error: &tokio_postgres::Error) -> Option<&io::Error> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(error) = cause.downcast_ref() {
            return Some(error);
        }
        next = cause.source();
    }
    None
}

/// Whether the driver gave up because the deadline of the attempt passed.
pub fn is_deadline(error: &tokio_postgres::Error) -> bool {
    io_cause(error).is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// Transient: the socket failed, or the server is starting, stopping or full. Final: it
/// understood and said no.
fn driver_error_is_transient(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => {
            let class = &code.code()[..2.min(code.code().len())];
            matches!(class, "53" | "57") && *code != SqlState::QUERY_CANCELED
                || class == "08" && *code != SqlState::PROTOCOL_VIOLATION
        }
        None => error.is_closed() || io_cause(error).is_some(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn refused() -> Error {
        let cause = ConnectCause::Io(io::Error::from(io::ErrorKind::ConnectionRefused));
        let attempt = FailedAttempt::new("db:5432".into(), Some("10.0.0.1:5432".into()), cause);
        Error::Connect(Arc::new(ConnectFailure::new(
            "app".into(),
            "shop".into(),
            vec![attempt],
        )))
    }

    #[test]
    fn a_refused_connection_says_where_and_is_transient() {
        let error = refused();
        assert_eq!(
            error.to_string(),
            "could not connect to db:5432 (10.0.0.1:5432): connection refused (user \"app\", database \"shop\")"
        );
        assert!(error.is_transient() && !error.is_timeout() && !error.is_closed());
    }

    #[test]
    fn errors_cross_threads_and_clone() {
        fn check<T: Send + Sync + Clone + 'static>() {}
        check::<Error>();
    }

    #[test]
    fn what_the_caller_did_wrong_is_final() {
        assert!(!Error::NoTransaction { action: "commit" }.is_transient());
        assert!(Error::Closed { what: "pool" }.is_closed());
    }
}
