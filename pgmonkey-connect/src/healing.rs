//! What a failed run says of the prepared statement it used, and whether it may run once more.
//!
//! A statement is prepared for the schema of that moment, and the driver keeps the types it has
//! learnt. A change of the schema shows in many ways: a result that must not change (0A000), a type
//! that is gone (XX000, "cache lookup failed for type"), a name that means something else
//! (class 42), a value that the driver refuses for a type that was. So a statement is not kept after
//! an error, unless the error cannot concern how it was planned.

use std::error::Error as _;
use std::time::{Duration, Instant};

use tokio_postgres::Statement;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::types::{Type, WrongType};

use crate::wire::ServerFailure;

/// The first object id that is not the system's own.
const FIRST_NORMAL: u32 = 16_384;

/// How long a statement with types of the database's own is kept before it is learnt again: what
/// changes in a type shows in the caller's `Row::get`, where nobody sees it.
pub const LEARNT_FOR: Duration = Duration::from_secs(300);

/// SQLSTATE classes that say nothing of how a statement was planned.
///
/// | class | why |
/// |---|---|
/// | 22 | a value was out of range, a division by zero: the plan ran |
/// | 23 | a constraint refused a row: the plan ran |
/// | 25 | the transaction is in the wrong state, whatever the statement |
/// | 40 | another transaction was in the way |
/// | 53 | the server lacks memory, disk or connections |
/// | 55 | a lock was not available, an object is not in the state for it |
/// | 57 | somebody stopped it, or the server goes down |
/// | P0 | a function raised it |
const SOUND: [&str; 8] = ["22", "23", "25", "40", "53", "55", "57", "P0"];

/// What is to be forgotten after a failed run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Blame {
    /// Nothing: the statement is as good as before.
    Nothing,
    /// The statement, and the types that the driver has learnt.
    Statement,
    /// All statements of the session: the server does not know this one any more.
    All,
}

/// What is to be forgotten after a run that failed with this error.
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

/// Whether the driver refused a value for the type it knows; nothing was sent then.
pub fn is_misfit(error: &tokio_postgres::Error) -> bool {
    error
        .source()
        .is_some_and(|source| source.is::<WrongType>())
}

/// Whether nothing of the statement has run. `seen` is the last failure that the wire showed; where
/// nobody watches, only errors that the server raises before it runs anything count.
pub fn has_not_run(error: &tokio_postgres::Error, seen: Option<&ServerFailure>) -> bool {
    let Some(refused) = error.as_db_error() else {
        return is_misfit(error);
    };
    match seen {
        Some(seen) => seen.code == refused.code().code() && !seen.bound,
        None => is_raised_first(refused),
    }
}

fn is_raised_first(refused: &DbError) -> bool {
    // With a context it was raised inside a function that ran.
    let by = |routine: &str| {
        refused.where_().is_none() && refused.routine().is_none_or(|found| found == routine)
    };
    match refused.code() {
        code if *code == SqlState::FEATURE_NOT_SUPPORTED => by("RevalidateCachedQuery"),
        code if *code == SqlState::INVALID_SQL_STATEMENT_NAME => by("FetchPreparedStatement"),
        _ => false,
    }
}

/// Whether to run a statement once more, prepared anew, can end otherwise.
///
/// One that was kept may have outlived the schema. One that was prepared just now fails the same
/// way again, unless the driver has kept a type of the database's own, or the server's answer
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

/// A prepared statement as a session keeps it.
#[derive(Clone)]
pub struct Kept {
    /// The driver's statement.
    pub statement: Statement,
    /// When to learn it again; `None` for one whose types cannot change.
    learn_again: Option<Instant>,
}

impl Kept {
    /// For a statement that was prepared just now.
    pub fn new(statement: Statement) -> Self {
        let learn_again = is_foreign(&statement).then(|| Instant::now() + LEARNT_FOR);
        Self {
            statement,
            learn_again,
        }
    }

    /// Whether it has types of the database's own.
    pub fn is_foreign(&self) -> bool {
        self.learn_again.is_some()
    }

    /// Whether it is to be learnt again. Reads the clock for those with types of the database's
    /// own only.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.learn_again.is_some_and(|due| Instant::now() >= due)
    }

    /// Whether it is this very statement, not one like it.
    pub fn is(&self, other: &Statement) -> bool {
        // Each statement has allocations of its own; empty ones have none.
        let (params, columns) = (self.statement.params(), self.statement.columns());
        (!params.is_empty() && std::ptr::eq(params, other.params()))
            || (!columns.is_empty() && std::ptr::eq(columns, other.columns()))
    }
}

/// Whether a statement takes or gives types of the database's own.
pub fn is_foreign(statement: &Statement) -> bool {
    let own = |of: &Type| of.oid() >= FIRST_NORMAL;
    let mut columns = statement.columns().iter();
    statement.params().iter().any(own) || columns.any(|column| own(column.type_()))
}
