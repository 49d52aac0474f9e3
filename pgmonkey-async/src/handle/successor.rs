//! A pool that was retired, and the one that serves its callers.

use std::sync::Arc;

use pgmonkey_connect::pool::Caller;
use pgmonkey_connect::succession::{Succeed, Succession};
use pgmonkey_connect::{AsStatement, Error};

use crate::handle::pool::Pool;
use crate::pool::acquire::InUse;
use crate::session::answer::{Answer, Params};

impl Pool {
    /// The pool that serves the callers of this one, if it was retired.
    pub(crate) fn successor(&self) -> Option<Self> {
        self.succession().successor()
    }

    /// The pool that serves the callers of this one: its successor, or itself.
    pub(crate) fn current(&self) -> Self {
        self.successor().unwrap_or_else(|| self.clone())
    }

    /// Whether both are clones of one pool, successors aside.
    pub(crate) fn is_itself(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.shared(), other.shared())
    }

    /// Whether this pool itself hands out no more sessions: it was closed or retired.
    pub(crate) fn is_over(&self) -> bool {
        self.shared().core.is_closed()
    }

    /// Acquires a session from the successor, within the time that `caller` has left; `closed` is
    /// the error if there is no successor.
    pub(crate) async fn acquire_from_successor(
        &self,
        mut caller: Caller,
        mut closed: Error,
    ) -> Result<InUse, Error> {
        let mut successor = self.successor();
        while let Some(pool) = successor {
            match pool.shared().acquire(&mut caller).await {
                Err(error @ Error::Closed { .. }) => closed = error,
                acquired => return acquired,
            }
            // It may have been retired meanwhile.
            successor = pool.successor();
        }
        Err(closed)
    }

    /// Runs one statement at the successor, which may share a session for it even if this pool
    /// does not.
    pub(crate) async fn run_at_successor<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        mut caller: Caller,
        mut closed: Error,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let mut successor = self.successor();
        while let Some(pool) = successor {
            match pool.run_here::<A, S>(&mut caller, statement, params).await {
                Err(error @ Error::Closed { .. }) => closed = error,
                answer => return answer,
            }
            successor = pool.successor();
        }
        Err(closed)
    }
}

impl Succeed for Pool {
    fn succession(&self) -> &Arc<Succession<Self>> {
        self.own_succession()
    }
}
