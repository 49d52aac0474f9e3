//! The one error of both drivers.

use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use tokio_postgres::error::{DbError, SqlState};

use pgmonkey_config::MOST_SESSIONS;

use crate::driver::{self, DriverText};
use crate::failure::ConnectFailure;
use crate::hook::HookFailure;
use crate::session_end::SessionEnd;
use crate::status::Status;
use crate::wire::Observer;

mod acquire_timeout;
mod kind;

pub use acquire_timeout::AcquireTimeout;
pub use kind::ErrorKind;

/// Everything that can go wrong between asking for a session and giving it back.
///
/// Cheap to clone: everyone who waited for the same thing gets the same error. No text of it
/// holds a secret. `Debug` is the text too, for a `main` that returns it prints it so.
///
/// The text does not hold the server's DETAIL, which repeats values of rows (`Key (email)=(…)
/// already exists.`): it can go to a log or a client. The alternate form, `{error:#}`, holds it;
/// [`detail`](Self::detail) returns it.
///
/// ```
/// use pgmonkey_connect::Error;
///
/// /// The status code of a web service's answer.
/// fn status(error: &Error) -> u16 {
///     match error.constraint() {
///         Some("users_email_key") => 409, // this address is taken
///         _ if error.is_unique_violation() || error.is_foreign_key_violation() => 409,
///         _ if error.is_check_violation() || error.is_not_null_violation() => 422,
///         _ if error.is_no_row() => 404,
///         _ if error.is_conflict() => 409,  // run the transaction again, then give up
///         _ if error.is_transient() => 503, // with Retry-After
///         _ => 500,
///     }
/// }
/// # assert_eq!(status(&Error::NoRow), 404);
/// # assert_eq!(status(&Error::Closed { what: "pool" }), 500);
/// ```
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

    /// A handle, session or listener of the parent was used in a child of `fork`. It is left alone:
    /// the two processes share its socket.
    #[error(
        "the {what} was opened before fork, in the parent process: open handles in the child, after the fork"
    )]
    OpenedBeforeFork {
        /// `pool`, `connection`, `session` or `listener`.
        what: &'static str,
    },

    /// Sizes that no pool can have.
    #[error(
        "a pool cannot have min_size {min_size} and max_size {max_size}: the first must not be more than the second, and the second is 1 to {MOST_SESSIONS}"
    )]
    Sizes {
        /// As asked for.
        min_size: u32,
        /// As asked for.
        max_size: u32,
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

    /// `commit` or `rollback` of a transaction that an SQL text had ended already: a `COMMIT`, a
    /// `ROLLBACK`, `PREPARE TRANSACTION`, or a script that holds one. What was sent before it is as
    /// that statement left it; what was sent after it was in another transaction, or in none.
    #[error(
        "{action} found the transaction ended by {} in an SQL text: leave BEGIN, COMMIT and ROLLBACK to the transaction's own methods",
        .by.unwrap_or("a statement")
    )]
    TransactionEnded {
        /// What was asked for.
        action: &'static str,
        /// The server's word for the statement, where it is known.
        by: Option<&'static str>,
    },

    /// A transaction or savepoint of a blocking session was dropped inside an async task, where it
    /// could not be rolled back. The session is given up: nothing more runs on it, and the server
    /// rolls back what was open.
    #[error("{DROPPED_IN_TASK}")]
    DroppedInTask,

    /// The closure of a `transaction` or `scope` kept the session beyond its end, so that
    /// nothing could be committed.
    #[error(
        "the closure kept its session beyond its end, so nothing was committed: let go of it before returning"
    )]
    Kept,

    /// A task or thread that holds the one session of a `test_transaction` asked for another.
    #[error(
        "the one session of this test transaction is held by the same task or thread, acquired at {}:{}: a second one would wait for ever, so use the guard or the transaction that is there, or drop it first",
        .place.file(),
        .place.line()
    )]
    TestSessionHeld {
        /// Where the session was acquired.
        place: &'static Location<'static>,
    },

    /// The session of a `test_transaction` is gone, and with it what its transaction held.
    #[error(
        "the test transaction is over, because its session was lost or an SQL text ended it: make another one"
    )]
    TestTransactionOver,

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

    /// A statement could not be prepared because the driver's own statements, which look types up, are
    /// gone: `DISCARD ALL` or `DEALLOCATE ALL` was sent on the session, which is replaced when it
    /// comes back.
    #[error("{TYPE_LOOKUPS_LOST}: {}", DriverText(.0))]
    TypeLookupsLost(Arc<tokio_postgres::Error>),

    /// The server or the driver failed a statement.
    #[error(fmt = write_database)]
    Database(Arc<tokio_postgres::Error>),

    /// The session ended between two statements or in the middle of one, for a reason that the
    /// driver's error does not tell: the server was told to end it (SQLSTATE 57P01), crashed
    /// (57P02), or ran out of patience (`idle_in_transaction_session_timeout`: 25P03,
    /// `idle_session_timeout`: 57P05, `transaction_timeout`: 25P04); or the server exceeded a limit
    /// of this side. A statement that was under way may have been run, also a COMMIT.
    ///
    /// Where the server's message was the answer to a statement it is [`Error::Database`], with the
    /// same [`code`](Error::code).
    #[error(transparent)]
    SessionEnded(Arc<SessionEnd>),

    /// A `COPY` was sent by a call that does not take it, or another statement by `copy_in` or
    /// `copy_out`. Where the server waits for data the session is given up.
    #[error("{advice}")]
    WrongCopy {
        /// What the call takes, and what to use instead.
        advice: &'static str,
    },

    /// A statement was given another number of parameters than it has. Nothing was sent.
    #[error("the statement takes {} and was given {given}", parameters(*.expected))]
    ParameterCount {
        /// How many it has.
        expected: usize,
        /// How many there were.
        given: usize,
    },

    /// A statement has more parameters than the protocol can count. It was not run.
    #[error(
        "a statement takes at most {MOST_PARAMETERS} parameters{}: send many values as arrays (INSERT … SELECT * FROM unnest($1::int[], $2::text[])), by copy_in, or in several statements",
        .given.map(|given| format!(" and was given {given}")).unwrap_or_default()
    )]
    TooManyParameters {
        /// How many there were, where that is known.
        given: Option<usize>,
    },

    /// The server did not answer a ping in time. The session is given up.
    #[error("{address} did not answer within {limit:.1?}: it stands still, or the network does")]
    Unanswered {
        /// Where the session is.
        address: String,
        /// How long it was waited for.
        limit: std::time::Duration,
    },

    /// `query_one` found no row.
    #[error("the query returned no row: use query_opt where there may be none")]
    NoRow,

    /// A hook did not let a session be lent.
    #[error(transparent)]
    Hook(Arc<HookFailure>),

    /// An error of the caller's own, passed through a `transaction` closure.
    #[error(transparent)]
    Other(Arc<dyn StdError + Send + Sync>),
}

/// The most parameters that a statement can have: the protocol counts them with 16 bits.
pub const MOST_PARAMETERS: usize = 65_535;

fn parameters(count: usize) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} parameter{s}")
}

const TYPE_LOOKUPS_LOST: &str = "the session can look up no more types: DISCARD ALL or DEALLOCATE ALL has removed the driver's own statements; acquire another session";

/// The text of [`Error::DroppedInTask`], which the driver's own calls fail with as well.
pub const DROPPED_IN_TASK: &str = "a transaction of this session was dropped inside an async task, where it cannot be rolled back: the session was given up, acquire another one (and drop blocking transactions in tokio::task::spawn_blocking or block_in_place)";

fn write_database(error: &Arc<tokio_postgres::Error>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    fmt::Display::fmt(&DriverText(error), f)
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `{:#?}`, as `dbg!` uses it, asks for lines, not for the server's DETAIL.
        write!(f, "{self}")
    }
}

impl Error {
    /// An error of the driver's, with the reason that the session's observer knows if the session has
    /// ended and the driver does not say why.
    pub fn of_session<'a>(
        error: tokio_postgres::Error,
        observer: impl Into<Option<&'a Observer>>,
    ) -> Self {
        match SessionEnd::of(error, observer.into()) {
            Ok(end) => Self::SessionEnded(Arc::new(end)),
            Err(error) => error.into(),
        }
    }

    /// Wraps an error of the caller's own, so that a `transaction` closure can fail with it.
    pub fn other(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Other(Arc::from(error.into()))
    }

    /// The SQLSTATE, if the server gave one.
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Database(error) | Self::TypeLookupsLost(error) => error.code(),
            Self::Connect(failure) => failure.code(),
            Self::SessionEnded(end) => end.code(),
            Self::SessionSetting { code, .. } => code.as_ref(),
            Self::Timeout(timeout) => timeout.last_error.as_ref()?.code(),
            Self::Hook(failure) => failure.code(),
            _ => None,
        }
    }

    /// What the server said, if the error came from it: its message, hint, position and context.
    pub fn as_db_error(&self) -> Option<&DbError> {
        match self {
            Self::Database(error) => error.as_db_error(),
            Self::Connect(failure) => failure.as_db_error(),
            Self::Timeout(timeout) => timeout.last_error.as_ref()?.as_db_error(),
            Self::Hook(failure) => failure.as_db_error(),
            _ => None,
        }
    }

    /// The constraint that a statement violated.
    pub fn constraint(&self) -> Option<&str> {
        self.as_db_error()?.constraint()
    }

    /// The table that the server's error is about, without its schema.
    pub fn table(&self) -> Option<&str> {
        self.as_db_error()?.table()
    }

    /// The column that the server's error is about.
    pub fn column(&self) -> Option<&str> {
        self.as_db_error()?.column()
    }

    /// The server's DETAIL. It repeats values of rows.
    pub fn detail(&self) -> Option<&str> {
        self.as_db_error()?.detail()
    }

    /// Whether a row with the same key is there already (SQLSTATE 23505).
    pub fn is_unique_violation(&self) -> bool {
        self.code() == Some(&SqlState::UNIQUE_VIOLATION)
    }

    /// Whether a row refers to one that is not there, or the other way round (23503).
    pub fn is_foreign_key_violation(&self) -> bool {
        self.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION)
    }

    /// Whether a row does not pass a CHECK constraint (23514).
    pub fn is_check_violation(&self) -> bool {
        self.code() == Some(&SqlState::CHECK_VIOLATION)
    }

    /// Whether a column that must have a value got none (23502).
    pub fn is_not_null_violation(&self) -> bool {
        self.code() == Some(&SqlState::NOT_NULL_VIOLATION)
    }

    /// Whether another transaction was in the way: a serialisation failure (40001) or a deadlock
    /// (40P01). Nothing of the transaction is kept; run the whole of it again.
    pub fn is_conflict(&self) -> bool {
        self.code().is_some_and(driver::is_conflict)
    }

    /// Whether `query_one` found no row. The driver's own `query_one` has one error for none and
    /// for more than one, and is not meant.
    pub fn is_no_row(&self) -> bool {
        matches!(self, Self::NoRow)
    }

    /// Whether waiting for a session took too long.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout(_))
    }

    /// Whether the handle was closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect(failure) => failure.kind(),
            Self::Timeout(_) | Self::QueueFull { .. } | Self::Unanswered { .. } => {
                ErrorKind::Transient
            }
            Self::Database(error) => driver::kind(error),
            Self::SessionEnded(end) => end.kind(),
            Self::Hook(failure) => failure.kind(),
            Self::Config(_)
            | Self::SessionSetting { .. }
            | Self::ConnectionType { .. }
            | Self::Sizes { .. }
            | Self::Unsupported { .. } => ErrorKind::Configuration,
            _ => ErrorKind::Other,
        }
    }

    /// Whether trying the same again, unchanged, may work: the server is away, starting, or
    /// full, every session was in use, or another transaction was in the way
    /// ([`is_conflict`](Self::is_conflict)). Inside a transaction "the same" is all of it.
    ///
    /// A session that the server ended is judged by its SQLSTATE: 57P01, 57P02, 57P03 and 57P05
    /// pass; 25P03 and 25P04 do not, for what took too long inside the transaction takes as long
    /// the next time.
    pub fn is_transient(&self) -> bool {
        self.kind() == ErrorKind::Transient
    }

    /// Whether the server did not believe who this is, or was not believed.
    pub fn is_authentication(&self) -> bool {
        self.kind() == ErrorKind::Authentication
    }

    /// Whether the session could not be encrypted as asked.
    pub fn is_tls(&self) -> bool {
        self.kind() == ErrorKind::Tls
    }

    /// Whether the file, or what it names, has to be changed.
    pub fn is_configuration(&self) -> bool {
        self.kind() == ErrorKind::Configuration
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

#[cfg(test)]
pub(crate) mod tests {
    use std::io;

    use super::*;
    use crate::failure::{ConnectCause, FailedAttempt};

    pub(crate) fn refused() -> Error {
        let cause = ConnectCause::Io(io::Error::from(io::ErrorKind::ConnectionRefused));
        let mut attempt = FailedAttempt::before("db:5432".into(), cause);
        attempt.address = Some("10.0.0.1".into());
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
            "could not connect to db:5432 (10.0.0.1): connection refused (user \"app\", database \"shop\")"
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
