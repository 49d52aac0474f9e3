//! What the server reported about a failure: its SQLSTATE and the fields of its error.

use tokio_postgres::error::{DbError, SqlState};

use super::{Error, driver};

impl Error {
    /// The SQLSTATE, if the server gave one.
    pub fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Database(error)
            | Self::UnexpectedStandby(error)
            | Self::TypeLookupsLost(error) => error.code(),
            Self::Connect(failure) => failure.code(),
            Self::SessionEnded(end) => end.code(),
            Self::SessionSetting { code, .. } => code.as_ref(),
            Self::Timeout(timeout) => timeout.last_error.as_ref()?.code(),
            Self::Hook(failure) => failure.code(),
            Self::CommitUnknown(lost) | Self::NotCommitted(lost) | Self::OutcomeUnknown(lost) => {
                lost.cause().code()
            }
            Self::RetriesExhausted(failure) => failure.code(),
            _ => None,
        }
    }

    /// The server's error with message, hint, position and context, if the error came from the
    /// server.
    pub fn as_db_error(&self) -> Option<&DbError> {
        match self {
            Self::Database(error) | Self::UnexpectedStandby(error) => error.as_db_error(),
            Self::Connect(failure) => failure.as_db_error(),
            Self::Timeout(timeout) => timeout.last_error.as_ref()?.as_db_error(),
            Self::Hook(failure) => failure.as_db_error(),
            Self::CommitUnknown(lost) | Self::NotCommitted(lost) | Self::OutcomeUnknown(lost) => {
                lost.cause().as_db_error()
            }
            Self::RetriesExhausted(failure) => failure.last_error()?.as_db_error(),
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

    /// The server's DETAIL, which may repeat values of rows.
    pub fn detail(&self) -> Option<&str> {
        self.as_db_error()?.detail()
    }

    /// Whether a row with the same key already exists (SQLSTATE 23505).
    pub fn is_unique_violation(&self) -> bool {
        self.code() == Some(&SqlState::UNIQUE_VIOLATION)
    }

    /// Whether a row references a missing row, or a referenced row was removed (23503).
    pub fn is_foreign_key_violation(&self) -> bool {
        self.code() == Some(&SqlState::FOREIGN_KEY_VIOLATION)
    }

    /// Whether a row violates a CHECK constraint (23514).
    pub fn is_check_violation(&self) -> bool {
        self.code() == Some(&SqlState::CHECK_VIOLATION)
    }

    /// Whether a NOT NULL column received no value (23502).
    pub fn is_not_null_violation(&self) -> bool {
        self.code() == Some(&SqlState::NOT_NULL_VIOLATION)
    }

    /// Whether the transaction conflicted with another one: a serialization failure (40001) or a
    /// deadlock (40P01). Nothing of it is kept; retry the whole transaction.
    pub fn is_conflict(&self) -> bool {
        self.code().is_some_and(driver::is_conflict)
    }
}
