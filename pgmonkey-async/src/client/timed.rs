//! A session in use whose calls end by a deadline.

use std::panic::Location;

use bytes::Buf;
use pgmonkey_connect::deadline::{TimeLimit, TimedCall};
use pgmonkey_connect::{AsStatement, Error};

use crate::client::copy::{CopyInSink, CopyOutStream};
use crate::client::statements::{statements, streams};
use crate::client::stream::{Origin, RowStream};
use crate::session::Session;
use crate::session::answer::{Answer, CopyIn, CopyOut, Params, Stream};

/// A guard, transaction or savepoint whose statements end by a deadline: see
/// [`ClientGuard::timeout`](crate::ClientGuard::timeout).
///
/// At the deadline a running statement is cancelled on the server, which makes an open transaction
/// fail. If the server does not react within a second, the session is closed. The methods of the
/// driver's client have no deadline.
///
/// Statements that are pipelined on the same session may be cancelled with it.
///
/// ```no_run
/// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
/// use std::time::Duration;
///
/// let tx = pool.begin().await?;
/// tx.timeout(Duration::from_secs(2)).execute("LOCK TABLE accounts", &[]).await?;
/// tx.execute("UPDATE accounts SET open = false", &[]).await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
pub struct TimedSession<'s> {
    session: &'s Session,
    limit: TimeLimit,
}

impl<'s> TimedSession<'s> {
    pub(crate) fn new(session: &'s Session, limit: TimeLimit) -> Self {
        Self { session, limit }
    }

    fn call(&self) -> TimedCall {
        TimedCall::begin(self.limit).earlier(self.session.limit())
    }

    pub(crate) async fn run_statement<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let _place = self.session.calling_from(place);
        let run = self.session.run_by::<A, S>(self.call(), statement, params);
        Box::pin(run).await
    }

    /// Runs one statement whose stream has the session to itself.
    async fn run_apart<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<(A::Output, Origin), Error> {
        let _place = self.session.calling_from(place);
        let (session, call) = (self.session, self.call());
        let sending = session.sending();
        let output = session.bounded_by(call, session.run_plain::<A, S>(statement, params));
        let output = Box::pin(output).await?;
        let sent = (sending, statement.text());
        Ok((output, Origin::of(session, Some(call), sent)))
    }

    pub(crate) async fn run_batch(
        &self,
        place: &'static Location<'static>,
        statements: &str,
    ) -> Result<(), Error> {
        let _place = self.session.calling_from(place);
        let run = self.session.run_batch_unbounded(statements);
        Box::pin(self.session.bounded_by(self.call(), run)).await
    }
}

streams!(TimedSession<'_>);

statements! {
    TimedSession<'_>, self => self,
    /// As [`ClientGuard::query`](crate::ClientGuard::query), by the deadline. The deadline of a
    /// stream or copy is that of the call that opens it.
}

impl std::fmt::Debug for TimedSession<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimedSession")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Generates the methods that give a type with `session()` a deadline.
macro_rules! timed {
    ($kind:ty) => {
        impl $kind {
            /// Returns a view whose statements each end after `limit`.
            pub fn timeout(&self, limit: ::std::time::Duration) -> $crate::TimedSession<'_> {
                let limit = ::pgmonkey_connect::deadline::TimeLimit::Each(limit);
                $crate::TimedSession::new(self.session(), limit)
            }

            /// As [`timeout`](Self::timeout), with one [`Deadline`](crate::Deadline) for all calls.
            pub fn deadline(&self, deadline: $crate::Deadline) -> $crate::TimedSession<'_> {
                let limit = ::pgmonkey_connect::deadline::TimeLimit::Until(deadline);
                $crate::TimedSession::new(self.session(), limit)
            }
        }
    };
}

pub(crate) use timed;
