//! A value lent to an async closure.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use pgmonkey_connect::Error;

use crate::guard::ClientGuard;

/// A [`Transaction`](crate::Transaction) or a [`ClientGuard`](crate::ClientGuard) for the time
/// of an async closure; use it like a `&mut`.
///
/// It is no plain reference because a future that takes one for any lifetime cannot be shown to
/// be `Send` by today's compiler, and so could not be spawned.
#[must_use = "dropping it ends the scope's use of the session"]
pub struct Scoped<T> {
    /// `Some` until the drop puts it back.
    value: Option<T>,
    back: Back<T>,
}

/// Where the value is when the closure is through with it.
pub(crate) struct Back<T>(Arc<Mutex<Option<T>>>);

impl<T> Scoped<T> {
    pub(crate) fn lend(value: T) -> (Self, Back<T>) {
        let back = Back(Arc::new(Mutex::new(None)));
        let place = Back(Arc::clone(&back.0));
        let scoped = Self {
            value: Some(value),
            back: place,
        };
        (scoped, back)
    }
}

impl<T> Back<T> {
    /// The value, unless the closure kept it: then its work is not done, and is undone when it
    /// lets go.
    pub(crate) fn take(self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Scoped<ClientGuard> {
    /// As [`ClientGuard::begin`], also where [`Execute`](crate::Execute), whose `begin` gives a value, is in scope.
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
        let mut place = self.back.0.lock().unwrap_or_else(PoisonError::into_inner);
        *place = self.value.take();
    }
}

impl<T: fmt::Debug> fmt::Debug for Scoped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}
