//! Acquires a session of a pool, or of its successor.

use std::panic::Location;

use pgmonkey_connect::Error;
use pgmonkey_connect::pool::{Caller, Home};

use crate::client::guard::ClientGuard;
use crate::context;
use crate::handle::pool::Pool;

impl Pool {
    /// As [`acquire`](Self::acquire), on behalf of the code at `location`.
    #[inline]
    pub(crate) fn hold(&self, location: &'static Location<'static>) -> Result<ClientGuard, Error> {
        self.hold_for(Caller::new(location, Home::ANYWHERE))
    }

    /// As [`hold`](Self::hold), for a caller with its own limits.
    #[inline]
    pub(crate) fn hold_for(&self, caller: Caller) -> Result<ClientGuard, Error> {
        let location = caller.location;
        let acquired = self.acquire_for(caller);
        if let (Some(holder), Ok(_)) = (&self.shared().holder, &acquired) {
            holder.take(location);
        }
        acquired
    }

    /// As [`hold`](Self::hold), for one statement: the session is certain to be released.
    #[inline]
    pub(crate) fn acquire_at(
        &self,
        location: &'static Location<'static>,
    ) -> Result<ClientGuard, Error> {
        self.acquire_for(Caller::new(location, Home::ANYWHERE))
    }

    /// As [`acquire_at`](Self::acquire_at), for a caller with its own limits.
    #[inline]
    pub(crate) fn acquire_for(&self, mut caller: Caller) -> Result<ClientGuard, Error> {
        context::check("Pool::acquire", "pgmonkey_async::Pool")?;
        let in_use = match self.shared().acquire(&mut caller) {
            Err(closed @ Error::Closed { .. }) => self.acquire_from_successor(caller, closed)?,
            acquired => acquired?,
        };
        Ok(ClientGuard::new(in_use))
    }
}
