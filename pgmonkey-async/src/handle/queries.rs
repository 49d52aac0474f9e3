//! The statements of a handle: each runs on a session of its own.

use std::panic::Location;

use bytes::Buf;
use pgmonkey_connect::parameter_types::check_number;
use pgmonkey_connect::pool::Caller;
use pgmonkey_connect::{AsStatement, Error};

use crate::client::copy::{CopyInSink, CopyOutStream};
use crate::client::guard::ClientGuard;
use crate::client::statements::streams;
use crate::client::stream::{Origin, RowStream};
use crate::handle::pool::Pool;
use crate::runtimes;
use crate::session::answer::{Answer, CopyIn, CopyOut, Params, Stream};

impl Pool {
    /// Runs one statement on a session of its own, or on a shared one if allowed: a text through
    /// the session's cache, a prepared statement as it is.
    pub(crate) async fn run_statement<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        location: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let caller = Caller::new(location, runtimes::here());
        self.run_for::<A, S>(caller, statement, params).await
    }

    /// As [`run_statement`](Self::run_statement), for a caller with its own limits.
    pub(crate) async fn run_for<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        mut caller: Caller,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        check_number(params.len())?;
        match self.run_here::<A, S>(&mut caller, statement, params).await {
            Err(closed @ Error::Closed { .. }) => {
                Box::pin(self.run_at_successor::<A, S>(caller, closed, statement, params)).await
            }
            answer => answer,
        }
    }

    /// Whether this pool may run the statement on a shared session.
    pub(crate) fn may_share<S: ?Sized + AsStatement>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> bool {
        match (&self.shared().multiplex, statement.text()) {
            (Some(multiplex), Some(text)) => multiplex.takes(text, params),
            _ => false,
        }
    }

    /// As [`run_statement`](Self::run_statement), on a session of this pool itself.
    pub(crate) async fn run_here<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        caller: &mut Caller,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let shared = self.shared();
        if let (Some(multiplex), Some(text)) = (&shared.multiplex, statement.text())
            && multiplex.takes(text, params)
        {
            shared.core.check_origin()?;
            return shared
                .run_shared::<A>(multiplex, caller, text, params)
                .await;
        }
        let guard = ClientGuard::new(shared.acquire(caller).await?);
        let session = guard.session();
        session
            .run_statement::<A, S>(caller.location, statement, params)
            .await
    }

    /// Runs one statement on a session of its own, which its stream keeps.
    async fn run_apart<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        location: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<(A::Output, Origin), Error> {
        let guard = self.hold(location).await?;
        let session = guard.session();
        let sending = session.sending();
        let output = session.run_plain::<A, S>(statement, params).await?;
        Ok((output, Origin::owning(guard, (sending, statement.text()))))
    }

    /// Runs statements separated by semicolons on a session of its own.
    pub(crate) async fn run_batch(
        &self,
        location: &'static Location<'static>,
        statements: &str,
    ) -> Result<(), Error> {
        let guard = self.acquire_at(location).await?;
        guard.session().run_batch(location, statements).await
    }
}

streams!(Pool);

/// [`statements`](crate::client::statements::statements) for a handle with `pool()`: each runs on a
/// session of its own.
macro_rules! statements_of_handle {
    ($kind:ty) => {
        $crate::client::statements::statements! {
            $kind, self => self.pool(),
            /// Runs one statement on a session of its own; see [`tokio_postgres::Client::query`].
            ///
            /// A text is prepared once per session and kept in the session's cache of
            /// `statement_cache` statements. A statement made stale by a schema change is prepared
            /// again automatically. With `statement_cache: 0` nothing is prepared, as a pooler in
            /// transaction mode requires: the types of a text's parameters are asked for when it
            /// first runs; after that it takes one round trip.
            ///
            /// A pool with `multiplex: true` may run a text on a session that other callers use at
            /// the same time, by pipelining, when no session is idle. The text must begin with
            /// SELECT, INSERT, UPDATE, DELETE, MERGE, WITH, VALUES or TABLE and must not name a
            /// function that changes the session (`set_config`, advisory locks, …). The pool cannot
            /// see what user-defined functions do: call those that change the session through
            /// [`acquire`](crate::Pool::acquire). A long statement delays the statements behind it.
        }
    };
}

pub(crate) use statements_of_handle;
