//! What a failed execution says about its prepared statement, and whether to execute it again.
//!
//! A statement is prepared for the schema at that time, and the driver caches the types that it has
//! looked up. A schema change shows in many ways: a changed result type (0A000), a missing type
//! (XX000, "cache lookup failed for type"), a name with a new meaning (class 42), a value that the
//! driver rejects for an outdated type. So a statement is not kept after an error, unless the error
//! cannot concern its plan.

use std::error::Error as _;
use std::time::{Duration, Instant};

use tokio_postgres::Statement;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::types::{Type, WrongType};

use crate::Error;
use crate::wire::ServerFailure;

/// The first object id of user-defined objects.
const FIRST_NORMAL: u32 = 16_384;

/// How long a statement with user-defined types is kept before it is prepared again: a change in
/// such a type shows only in the caller's `Row::get`, where it cannot be detected.
pub const LEARNT_FOR: Duration = Duration::from_secs(300);

/// SQLSTATE classes that do not concern a statement's plan.
///
/// | class | why |
/// |---|---|
/// | 22 | value out of range, division by zero: the plan ran |
/// | 23 | constraint violation: the plan ran |
/// | 25 | the transaction is in the wrong state for any statement |
/// | 40 | conflict with another transaction |
/// | 53 | the server lacks memory, disk space or connections |
/// | 55 | a lock was not available, or an object is in the wrong state |
/// | 57 | canceled by an operator, or the server is shutting down |
/// | P0 | raised by a function |
const SOUND: [&str; 8] = ["22", "23", "25", "40", "53", "55", "57", "P0"];

/// What to forget after a failed execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blame {
    /// Nothing: the statement is still valid.
    Nothing,
    /// The statement, and the types that the driver has cached.
    Statement,
    /// All statements of the session: the server no longer knows this one.
    All,
}

/// Returns what to forget after an execution that failed with this error.
pub fn blame(error: &tokio_postgres::Error) -> Blame {
    let Some(refused) = error.as_db_error() else {
        return match is_misfit(error) {
            true => Blame::Statement,
            false => Blame::Nothing,
        };
    };
    let class = refused.code().code().get(..2).unwrap_or_default();
    if *refused.code() == SqlState::INVALID_SQL_STATEMENT_NAME {
        Blame::All
    } else if SOUND.contains(&class) {
        Blame::Nothing
    } else {
        Blame::Statement
    }
}

/// Whether the driver rejected a value for the type that it knows; nothing was sent in this case.
pub fn is_misfit(error: &tokio_postgres::Error) -> bool {
    error
        .source()
        .is_some_and(|source| source.is::<WrongType>())
}

/// Whether no part of the statement was executed. `seen` is the last failure observed on the wire;
/// if the wire is not observed, only errors that the server raises before execution count.
pub fn has_not_run(error: &tokio_postgres::Error, seen: Option<&ServerFailure>) -> bool {
    let Some(refused) = error.as_db_error() else {
        return is_misfit(error);
    };
    match seen {
        Some(seen) => seen.code == refused.code().code() && !seen.bound,
        None => is_raised_first(refused),
    }
}

/// Whether the server no longer accepts a prepared statement, because the schema has changed or its
/// statements were deallocated. Nothing of it has run.
pub(crate) fn is_outdated(error: &Error) -> bool {
    error.as_db_error().is_some_and(is_raised_first)
}

fn is_raised_first(refused: &DbError) -> bool {
    // An error with a context was raised inside a function, so something was executed.
    let by = |routine: &str| {
        refused.where_().is_none() && refused.routine().is_none_or(|found| found == routine)
    };
    match refused.code() {
        code if *code == SqlState::FEATURE_NOT_SUPPORTED => by("RevalidateCachedQuery"),
        code if *code == SqlState::INVALID_SQL_STATEMENT_NAME => by("FetchPreparedStatement"),
        _ => false,
    }
}

/// Whether preparing and executing a statement again can succeed.
///
/// A cached statement may be outdated after a schema change. One that was prepared just now fails
/// in the same way again, unless the driver has cached a user-defined type, or the server's error
/// concerns a statement prepared for an earlier schema.
pub fn can_do_better(error: &tokio_postgres::Error, kept: bool, foreign: bool) -> bool {
    if kept {
        return true;
    }
    match error.as_db_error() {
        None => foreign,
        Some(refused) => matches!(
            *refused.code(),
            SqlState::FEATURE_NOT_SUPPORTED | SqlState::INVALID_SQL_STATEMENT_NAME
        ),
    }
}

/// A prepared statement in a session's cache.
#[derive(Clone)]
pub struct Kept {
    /// The driver's statement.
    pub statement: Statement,
    /// When to prepare it again; `None` if its types cannot change.
    learn_again: Option<Instant>,
}

impl Kept {
    /// Wraps a statement that was prepared just now.
    pub fn new(statement: Statement) -> Self {
        let learn_again = is_foreign(&statement).then(|| Instant::now() + LEARNT_FOR);
        Self {
            statement,
            learn_again,
        }
    }

    /// Whether it has user-defined types.
    pub fn is_foreign(&self) -> bool {
        self.learn_again.is_some()
    }

    /// Whether it is due to be prepared again. Reads the clock only for statements with
    /// user-defined types.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.learn_again.is_some_and(|due| Instant::now() >= due)
    }

    /// Whether it is the same statement, not an equal one.
    pub fn is(&self, other: &Statement) -> bool {
        // Each statement has its own allocations; empty slices have none.
        let (params, columns) = (self.statement.params(), self.statement.columns());
        (!params.is_empty() && std::ptr::eq(params, other.params()))
            || (!columns.is_empty() && std::ptr::eq(columns, other.columns()))
    }
}

/// Whether a statement has parameters or columns of user-defined types.
pub fn is_foreign(statement: &Statement) -> bool {
    let own = |of: &Type| of.oid() >= FIRST_NORMAL;
    let mut columns = statement.columns().iter();
    statement.params().iter().any(own) || columns.any(|column| own(column.type_()))
}
