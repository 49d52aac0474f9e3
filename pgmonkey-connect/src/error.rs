//! The error type of both drivers.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::panic::Location;
use std::sync::Arc;

use tokio_postgres::error::SqlState;

use pgmonkey_config::MOST_SESSIONS;

use crate::status::{CloseReason, Status};

mod acquire_timeout;
mod conversions;
mod deadline_exceeded;
mod display;
pub(crate) mod driver;
pub mod failure;
#[cfg(feature = "tls")]
pub(crate) mod handshake;
mod hook_failure;
mod kind;
mod lost_answer;
mod opened_before_fork;
mod panicked;
pub(crate) mod pooler;
mod retries_exhausted;
mod server_report;
mod session_end;
mod tls_failure;

pub use acquire_timeout::AcquireTimeout;
pub use deadline_exceeded::{DeadlineExceeded, DeadlineStage, StatementEnd};
use display::{parameters, write_database};
use driver::DriverText;
use failure::ConnectFailure;
pub use hook_failure::HookFailure;
pub use kind::ErrorKind;
pub use lost_answer::LostAnswer;
pub(crate) use panicked::text_of;
pub use retries_exhausted::RetriesExhausted;
pub use session_end::SessionEnd;
pub(crate) use tls_failure::TlsFailure;

/// Any failure between acquiring a session and releasing it.
///
/// Cheap to clone: all callers that waited for the same result get the same error. Its text never
/// contains a secret. `Debug` prints the same text as `Display`, because a `main` that returns an
/// error prints it that way.
///
/// The text omits the server's DETAIL, which repeats values of rows (`Key (email)=(…) already
/// exists.`), so it can go to a log or a client. The alternate form, `{error:#}`, includes it;
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
    /// The configuration is invalid; the text says where and why.
    #[error(transparent)]
    Config(Arc<pgmonkey_config::Error>),

    /// No host could be reached, or a host refused the session.
    #[error(transparent)]
    Connect(Arc<ConnectFailure>),

    /// A session setting in the config file was rejected, for an invalid name or by the server.
    #[error("{key}: {reason}")]
    SessionSetting {
        /// Section and key, as `async_settings.work_mem`.
        key: String,
        /// Why it was rejected.
        reason: String,
        /// The SQLSTATE, if the server rejected it.
        code: Option<SqlState>,
    },

    /// No session became available within the acquire timeout.
    #[error(transparent)]
    Timeout(Arc<AcquireTimeout>),

    /// The call did not end by its deadline; the error says what took the time.
    #[error(transparent)]
    DeadlineExceeded(Arc<DeadlineExceeded>),

    /// The number of waiting callers has reached `max_waiting`.
    #[error("pool for {target} has reached max_waiting: {} callers are already waiting ({status})", status.waiting)]
    QueueFull {
        /// `user@host:port/database`.
        target: Arc<str>,
        /// The pool's statistics at that moment.
        status: Box<Status>,
    },

    /// A panic while opening a session: in a password provider, a tracing subscriber or a metrics
    /// recorder.
    #[error(
        "opening a session panicked, in a password provider, a tracing subscriber or a metrics recorder: {}",
        crate::printable::line(text)
    )]
    Panicked {
        /// The panic message, if it was text.
        text: String,
    },

    /// The handle was closed: by `close`, `clear_cache` or the end of the process. A handle that a
    /// reload replaced goes on with its successor.
    #[error("the {what} is closed: ask the connection manager for a new one")]
    Closed {
        /// `pool` or `connection`.
        what: &'static str,
    },

    /// A child of `fork` used a handle, session or listener of its parent. The socket is shared
    /// with the parent, so the child does not touch it.
    #[error(
        "the {what} was opened before fork, in the parent process: open handles in the child, after the fork"
    )]
    OpenedBeforeFork {
        /// `pool`, `connection`, `session` or `listener`.
        what: &'static str,
    },

    /// Invalid pool sizes.
    #[error(
        "invalid pool size: min_size ({min_size}) must not exceed max_size ({max_size}), and max_size must be 1 to {MOST_SESSIONS}"
    )]
    Sizes {
        /// The requested minimum.
        min_size: u32,
        /// The requested maximum.
        max_size: u32,
    },

    /// A limit of a connection manager is out of range.
    #[error("invalid {limit}: {reason}")]
    ManagerLimit {
        /// The builder's method.
        limit: &'static str,
        /// Why the value was rejected, and what to do.
        reason: &'static str,
    },

    /// `commit` or `rollback` outside a transaction.
    #[error("{action} without a transaction: call begin first")]
    NoTransaction {
        /// `commit` or `rollback`.
        action: &'static str,
    },

    /// `commit` of a transaction that had already failed; the server rolled it back.
    #[error("the transaction was rolled back, not committed: an earlier statement failed")]
    RolledBack,

    /// `commit` or `rollback` of a transaction that SQL text had already ended: a `COMMIT`, a
    /// `ROLLBACK`, `PREPARE TRANSACTION`, or a script that contains one. That statement decided the
    /// outcome of everything before it; everything after it ran in another transaction, or in none.
    #[error(
        "{action} found the transaction ended by {} in an SQL text: leave BEGIN, COMMIT and ROLLBACK to the transaction's own methods",
        .by.unwrap_or("a statement")
    )]
    TransactionEnded {
        /// `commit` or `rollback`.
        action: &'static str,
        /// The server's name for the statement, if known.
        by: Option<&'static str>,
    },

    /// An option of a transaction that is invalid, or that a savepoint cannot have. Nothing was sent.
    #[error("{option}: {reason}")]
    TransactionOption {
        /// The builder's method.
        option: Cow<'static, str>,
        /// Why the option was rejected.
        reason: &'static str,
    },

    /// A transaction with `retry` failed in each attempt, by a conflict with another one or a lost
    /// session. [`code`](Error::code) and [`kind`](Error::kind) are those of the last attempt.
    #[error(transparent)]
    RetriesExhausted(Arc<RetriesExhausted>),

    /// A transaction or savepoint of a blocking session was dropped inside an async task, where it
    /// cannot be rolled back. The session is discarded: nothing more runs on it, and the server
    /// rolls back what was open.
    #[error("{DROPPED_IN_TASK}")]
    DroppedInTask,

    /// The closure of a `transaction` or `scope` kept the session after returning, so nothing was
    /// committed.
    #[error(
        "the closure kept its session beyond its end, so nothing was committed: drop it before returning"
    )]
    SessionEscaped,

    /// A task or thread that holds the only session of a `test_transaction` tried to acquire
    /// another.
    #[error(
        "the one session of this test transaction is held by the same task or thread, acquired at {}:{}: acquiring a second one would wait forever, so use the existing guard or transaction, or drop it first",
        .location.file(),
        .location.line()
    )]
    TestSessionHeld {
        /// Where the session was acquired.
        location: &'static Location<'static>,
    },

    /// The transaction of a `test_transaction` has ended: its session was lost, or SQL text ended
    /// it.
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
        /// The async equivalent.
        twin: &'static str,
    },

    /// The configured `connection_type` does not fit the call: async for blocking or the reverse.
    #[error("connection_type {found} is not for this call: it takes {expected}")]
    ConnectionType {
        /// The configured type.
        found: pgmonkey_config::ConnectionType,
        /// The accepted types, with the call to use instead.
        expected: &'static str,
    },

    /// A setting that this build does not support.
    #[error("{what} is not supported: {advice}")]
    Unsupported {
        /// The key and value.
        what: String,
        /// What to do.
        advice: &'static str,
    },

    /// A statement could not be prepared because `DISCARD ALL` or `DEALLOCATE ALL` removed the
    /// driver's own type lookup statements. The session is replaced when it is released.
    #[error("{TYPE_LOOKUPS_LOST}: {}", DriverText(.0))]
    TypeLookupsLost(Arc<tokio_postgres::Error>),

    /// A statement failed, in the server or in the driver.
    #[error(fmt = write_database)]
    Database(Arc<tokio_postgres::Error>),

    /// A server that is a standby refused a write (SQLSTATE 25006), and `target_session_attrs` does
    /// not ask for a standby: as after a failover, when the primary has become one. Transient:
    /// nothing was written, and the session is replaced when it is released.
    #[error("the server has become a standby, and refused the write: {}", DriverText(.0))]
    UnexpectedStandby(Arc<tokio_postgres::Error>),

    /// The session ended between or during statements, for a reason that the driver's error does
    /// not give: an administrator ended it (SQLSTATE 57P01), the server crashed (57P02), a server
    /// timeout expired (`idle_in_transaction_session_timeout`: 25P03, `idle_session_timeout`:
    /// 57P05, `transaction_timeout`: 25P04), the server exceeded a limit on the client side, or its
    /// host stood still while another one took over.
    /// Nothing of a statement in progress is kept; where that is not certain, the error is
    /// [`Error::OutcomeUnknown`] or [`Error::CommitUnknown`].
    ///
    /// If the server's message was the answer to a statement, the error is [`Error::Database`]
    /// instead, with the same [`code`](Error::code).
    #[error(transparent)]
    SessionEnded(Arc<SessionEnd>),

    /// The session was lost after `COMMIT` was sent and before it was answered: the transaction is
    /// committed, or rolled back. Never transient, because running it again may do its work twice.
    /// `confirm_commit` asks another session for the outcome.
    ///
    /// [`code`](Self::code) is the SQLSTATE with which the server ended the session, if it gave
    /// one.
    #[error(
        "the session was lost after COMMIT was sent and before it was answered, so the transaction may have been committed: look before running it again: {0}"
    )]
    CommitUnknown(Arc<LostAnswer>),

    /// The session was lost after `COMMIT` was sent, and `confirm_commit` found that nothing was
    /// committed. Transient: the transaction may be run again.
    #[error("the session was lost at COMMIT, and nothing of the transaction was committed: {0}")]
    NotCommitted(Arc<LostAnswer>),

    /// The session was lost after a statement outside a transaction was sent and before it was
    /// answered: the statement was executed, or not. Never transient, for the same reason. A text
    /// that only reads ([`only_reads`](crate::sql::only_reads)) is no such statement, and neither
    /// is one inside a transaction, which was rolled back.
    #[error(
        "the session was lost after the statement was sent and before it was answered, so it may have been executed: look before running it again: {0}"
    )]
    OutcomeUnknown(Arc<LostAnswer>),

    /// A `COPY` was sent by a call that does not support it, or another statement by `copy_in` or
    /// `copy_out`. If the server waits for data, the session is discarded.
    #[error("{advice}")]
    WrongCopy {
        /// What the call supports, and what to use instead.
        advice: &'static str,
    },

    /// A stream of this transaction was dropped before its end, and too much of it is left to be
    /// read before the next statement. Nothing was sent. Stopping it would abort the transaction, so
    /// the transaction can only be rolled back.
    #[error(
        "a stream of this transaction was dropped with more than {} MiB or {:?} left to read: roll the transaction back, and read such rows with transaction.stream, which can be dropped at any time",
        crate::limits::UNREAD >> 20,
        crate::limits::STATEMENT
    )]
    StreamUnread,

    /// A statement was given the wrong number of parameters. Nothing was sent.
    #[error("the statement takes {} and was given {given}", parameters(*.expected))]
    ParameterCount {
        /// The number of parameters in the statement.
        expected: usize,
        /// The number of parameters given.
        given: usize,
    },

    /// A statement has more parameters than the protocol allows. It was not executed.
    #[error(
        "a statement takes at most {MOST_PARAMETERS} parameters{}: send many values as arrays (INSERT … SELECT * FROM unnest($1::int[], $2::text[])), by copy_in, or in several statements",
        .given.map(|given| format!(" and was given {given}")).unwrap_or_default()
    )]
    TooManyParameters {
        /// The number of parameters given, if known.
        given: Option<usize>,
    },

    /// The server did not answer a ping in time. The session is discarded.
    #[error(
        "{address} did not answer within {limit:.1?}: the server or the network is unresponsive"
    )]
    Unanswered {
        /// The server's address.
        address: String,
        /// The time limit.
        limit: std::time::Duration,
    },

    /// `query_one` found no row.
    #[error("the query returned no row: use query_opt where there may be none")]
    NoRow,

    /// Another pool is to replace a session that a `SessionManager` opened for it.
    #[error("the session was not handed out again: {}", .reason.text())]
    NotReused {
        /// Why not.
        reason: CloseReason,
    },

    /// A hook failed or refused a new session.
    #[error(transparent)]
    Hook(Arc<HookFailure>),

    /// The caller's own error, passed through a `transaction` closure.
    #[error(transparent)]
    Other(Arc<dyn StdError + Send + Sync>),
}

/// The maximum number of parameters of a statement: the protocol counts them in 16 bits.
pub const MOST_PARAMETERS: usize = 65_535;

const TYPE_LOOKUPS_LOST: &str = "the session can no longer look up types: DISCARD ALL or DEALLOCATE ALL removed the driver's own statements; acquire another session";

/// The text of [`Error::DroppedInTask`]; the driver's own calls fail with it as well.
pub const DROPPED_IN_TASK: &str = "a transaction of this session was dropped inside an async task, where it cannot be rolled back: the session was discarded, acquire another one (and drop blocking transactions in tokio::task::spawn_blocking or block_in_place)";

#[cfg(test)]
pub(crate) mod tests;
