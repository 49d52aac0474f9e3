//! A value passed to an async closure.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use pgmonkey_connect::Error;

use crate::client::guard::ClientGuard;

/// A [`Transaction`](crate::Transaction) or a [`ClientGuard`](crate::ClientGuard) for the duration
/// of an async closure; use it like a `&mut`.
///
/// Not a plain reference: the current compiler cannot prove that a future taking a reference of any
/// lifetime is `Send`, so such a future could not be spawned.
#[must_use = "dropping it ends the scope's use of the session"]
pub struct Scoped<T> {
    /// `Some` until `drop` moves it back.
    value: Option<T>,
    back: Back<T>,
}

/// Holds the value after the closure has dropped it.
pub(crate) struct Back<T>(Arc<Mutex<Option<T>>>);

impl<T> Scoped<T> {
    pub(crate) fn new(value: T) -> (Self, Back<T>) {
        let back = Back(Arc::new(Mutex::new(None)));
        let slot = Back(Arc::clone(&back.0));
        let scoped = Self {
            value: Some(value),
            back: slot,
        };
        (scoped, back)
    }
}

impl<T> Back<T> {
    /// Returns the value, or `None` if the closure kept it: its work is then not committed, and is
    /// undone when the closure drops it.
    pub(crate) fn take(self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Scoped<ClientGuard> {
    /// As [`ClientGuard::begin`]. Takes precedence over the `begin` of [`Execute`](crate::Execute),
    /// which returns a value, where that trait is in scope.
    ///
    /// # Errors
    ///
    /// As [`ClientGuard::begin`].
    pub async fn begin(&mut self) -> Result<(), Error> {
        ClientGuard::begin(self).await
    }
}

impl<T> Deref for Scoped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("only the drop takes the value")
    }
}

impl<T> DerefMut for Scoped<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("only the drop takes the value")
    }
}

impl<T> Drop for Scoped<T> {
    fn drop(&mut self) {
        let mut slot = self.back.0.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = self.value.take();
    }
}

impl<T: fmt::Debug> fmt::Debug for Scoped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
