//! The parameter types of statements that are sent without a name.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_postgres::Statement;
use tokio_postgres::types::{ToSql, Type};

use crate::error::MOST_PARAMETERS;
use crate::statement_cache::StatementCache;
use crate::{Error, driver};

/// Whether a statement can have as many parameters.
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

/// Whether a statement with parameters of `types` was given as many.
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

/// An error of preparing a statement, if it has too many parameters.
pub fn too_many(error: &tokio_postgres::Error) -> Option<Error> {
    driver::has_too_many_parameters(error).then_some(Error::TooManyParameters { given: None })
}

/// A value with the type it is sent as.
pub type TypedParameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// As many texts as are remembered, those that were not used for the longest time forgotten
/// first.
const REMEMBERED: usize = 256;

/// What types the parameters of a text have, learnt once from the server.
///
/// A value is written for a type, so the types must be known before a statement can be sent.
/// One that is prepared says them; one that is sent without a name, as a pooler in transaction
/// mode asks for, does not.
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
    /// The types of this text, if they were learnt.
    pub fn get(&self, text: &str) -> Option<Arc<[Type]>> {
        self.known().get(text, &[])
    }

    /// Forgets the types of all texts.
    pub fn clear(&self) {
        let forgotten = self.known().clear();
        drop(forgotten);
    }

    /// Whether the types of this text were learnt.
    pub fn knows(&self, text: &str) -> bool {
        self.known().peek(text, &[]).is_some()
    }

    /// Takes the types from a statement that was prepared of this text. Types of the database's
    /// own are not remembered: they have other numbers in the next one.
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

    /// Forgets what may not be right any more; says whether there was anything.
    pub fn forget(&self, text: &str) -> bool {
        self.known().remove(text, &[]).is_some()
    }

    fn known(&self) -> MutexGuard<'_, StatementCache<Arc<[Type]>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts values and types together. A value too many gets no type, for the server to refuse.
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
