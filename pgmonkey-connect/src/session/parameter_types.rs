//! The parameter types of unnamed statements.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_postgres::Statement;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::stale_statements::is_foreign;
use super::statement_cache::StatementCache;
use crate::Error;
use crate::error::MOST_PARAMETERS;
use crate::error::driver;

/// Checks that a statement can have this many parameters.
///
/// # Errors
///
/// [`Error::TooManyParameters`].
#[inline]
pub fn check_number(given: usize) -> Result<(), Error> {
    match given > MOST_PARAMETERS {
        true => Err(Error::TooManyParameters { given: Some(given) }),
        false => Ok(()),
    }
}

/// Checks the number of parameters given to a statement with parameters of `types`.
///
/// # Errors
///
/// [`Error::ParameterCount`].
#[inline]
pub fn check_count(given: usize, types: &[Type]) -> Result<(), Error> {
    let expected = types.len();
    match given == expected {
        true => Ok(()),
        false => Err(Error::ParameterCount { expected, given }),
    }
}

/// Converts an error of preparing a statement that has too many parameters; `None` for other
/// errors.
pub fn too_many(error: &tokio_postgres::Error) -> Option<Error> {
    driver::has_too_many_parameters(error).then_some(Error::TooManyParameters { given: None })
}

/// What surrounds the preparation of a statement whose parameter types are to be learned.
///
/// The driver gives the statement a name that another client may have left behind in the server
/// session that a pooler assigned: then the next name is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bracket {
    /// Nothing: the session is shared, or the pooler allows no transaction.
    Nothing,
    /// A transaction, which keeps a pooler on one server session until the statement is closed.
    Transaction,
    /// A savepoint of the caller's transaction, which a name that is taken would fail.
    Savepoint,
}

impl Bracket {
    /// What to run before.
    pub fn opening(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Transaction => Some("BEGIN"),
            Self::Savepoint => Some("SAVEPOINT pgmonkey_types"),
        }
    }

    /// What to run after the preparation failed with this error, or succeeded.
    pub fn closing(self, error: Option<&tokio_postgres::Error>) -> Option<&'static str> {
        match (self, error) {
            (Self::Nothing, _) => None,
            (Self::Transaction, _) => Some("ROLLBACK"),
            (Self::Savepoint, None) => Some("RELEASE SAVEPOINT pgmonkey_types"),
            (Self::Savepoint, Some(error)) if is_name_taken(error) => {
                Some("ROLLBACK TO SAVEPOINT pgmonkey_types; RELEASE SAVEPOINT pgmonkey_types")
            }
            // The caller's transaction fails, as it would without a pooler.
            (Self::Savepoint, Some(_)) => None,
        }
    }
}

/// How many names of statements are tried.
pub const NAMES_TRIED: usize = 100;

/// Whether a statement could not be prepared because its name is in use.
pub fn is_name_taken(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::DUPLICATE_PSTATEMENT)
}

/// A value, with the type as which it is sent.
pub type TypedParameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// How many statement texts are remembered; the least recently used is forgotten first.
const REMEMBERED: usize = 256;

/// The parameter types of statement texts, learned once from the server.
///
/// A value is encoded for a type, so the types must be known before a statement can be sent.
/// Preparing a statement reveals them; an unnamed statement, as a pooler in transaction mode
/// requires, does not.
///
/// ```
/// use pgmonkey_connect::parameter_types::ParameterTypes;
///
/// let types = ParameterTypes::default();
/// assert!(types.get("SELECT $1::int").is_none());
/// ```
#[derive(Debug)]
pub struct ParameterTypes(Mutex<StatementCache<Arc<[Type]>>>);

impl Default for ParameterTypes {
    fn default() -> Self {
        Self(Mutex::new(StatementCache::new(REMEMBERED, Arc::default())))
    }
}

impl ParameterTypes {
    /// The types of this text, if known.
    pub fn get(&self, text: &str) -> Option<Arc<[Type]>> {
        self.known().get(text, &[])
    }

    /// Forgets the types of all texts.
    pub fn clear(&self) {
        let forgotten = self.known().clear();
        drop(forgotten);
    }

    /// Whether the types of this text are known.
    pub fn knows(&self, text: &str) -> bool {
        self.known().peek(text, &[]).is_some()
    }

    /// Learns the types from a statement prepared from this text. User-defined types are not
    /// remembered: their object ids differ between databases.
    pub fn learn(&self, text: &str, statement: &Statement) -> Arc<[Type]> {
        let types: Arc<[Type]> = statement.params().into();
        if types
            .iter()
            .all(|known| Type::from_oid(known.oid()).is_some())
        {
            let _ = self.known().insert(text, &[], Arc::clone(&types));
        }
        types
    }

    /// As [`learn`](Self::learn), but remembers only a text whose result has no user-defined type
    /// either: another session can run it without asking the server for anything first.
    pub fn learn_plain(&self, text: &str, statement: &Statement) {
        if !is_foreign(statement) {
            let _ = self.known().insert(text, &[], statement.params().into());
        }
    }

    /// Forgets the types of this text, which may be outdated; true if they were known.
    pub fn forget(&self, text: &str) -> bool {
        self.known().remove(text, &[]).is_some()
    }

    fn known(&self) -> MutexGuard<'_, StatementCache<Arc<[Type]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Combines values and types. Surplus values get no type, so that the server rejects them.
pub fn typed<'a>(params: &'a [&'a (dyn ToSql + Sync)], types: &[Type]) -> Vec<TypedParameter<'a>> {
    let types = types.iter().cloned();
    let untyped = std::iter::repeat(Type::UNKNOWN);
    params.iter().copied().zip(types.chain(untyped)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_is_left_out() {
        let params: [&(dyn ToSql + Sync); 3] = [&1, &2, &"three"];
        let sent: Vec<Type> = typed(&params, &[Type::INT4])
            .into_iter()
            .map(|p| p.1)
            .collect();
        assert_eq!(sent, [Type::INT4, Type::UNKNOWN, Type::UNKNOWN]);
        assert!(typed(&[], &[Type::INT4]).is_empty());
    }
}
