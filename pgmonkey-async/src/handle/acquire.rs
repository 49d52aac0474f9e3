//! Acquires a session of a pool, or of its successor.

use std::panic::Location;

use pgmonkey_connect::Error;
use pgmonkey_connect::pool::Caller;

use crate::client::guard::ClientGuard;
use crate::handle::pool::Pool;
use crate::runtimes;

impl Pool {
    /// As [`acquire`](Self::acquire), on behalf of the code at `location`.
    pub(crate) async fn hold(
        &self,
        location: &'static Location<'static>,
    ) -> Result<ClientGuard, Error> {
        self.hold_for(Caller::new(location, runtimes::here())).await
    }

    /// As [`hold`](Self::hold), for a caller with its own limits.
    pub(crate) async fn hold_for(&self, caller: Caller) -> Result<ClientGuard, Error> {
        let location = caller.location;
        let acquired = self.acquire_for(caller).await;
        if let (Some(holder), Ok(_)) = (&self.shared().holder, &acquired) {
            holder.take(location);
        }
        acquired
    }

    /// As [`hold`](Self::hold), for one statement: the session is certain to be released.
    pub(crate) async fn acquire_at(
        &self,
        location: &'static Location<'static>,
    ) -> Result<ClientGuard, Error> {
        self.acquire_for(Caller::new(location, runtimes::here()))
            .await
    }

    /// As [`acquire_at`](Self::acquire_at), for a caller with its own limits.
    pub(crate) async fn acquire_for(&self, mut caller: Caller) -> Result<ClientGuard, Error> {
        let in_use = match self.shared().acquire(&mut caller).await {
            Err(closed @ Error::Closed { .. }) => {
                Box::pin(self.acquire_from_successor(caller, closed)).await?
            }
            acquired => acquired?,
        };
        Ok(ClientGuard::new(in_use))
    }
}
