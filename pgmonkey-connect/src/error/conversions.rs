//! Errors made from other errors.

use std::error::Error as StdError;
use std::sync::Arc;

use super::Error;

impl Error {
    /// Wraps the caller's own error, so that a `transaction` closure can return it.
    pub fn other(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Other(Arc::from(error.into()))
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
