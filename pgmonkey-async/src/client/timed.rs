//! A session in use whose calls end by a deadline.

use std::panic::Location;

use bytes::Buf;
use pgmonkey_connect::deadline::{TimeLimit, TimedCall};
use pgmonkey_connect::{AsStatement, Error, Report};
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use crate::client::chunks::ChunkedRows;
use crate::client::copy::{CopyInSink, CopyOutStream};
use crate::client::guard::ClientGuard;
use crate::client::savepoint_builder::SavepointBuilder;
use crate::client::statements::{statements, streams};
use crate::client::stream::{Origin, RowStream};
use crate::client::transaction::Savepoint;
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
/// let mut tx = pool.begin().await?;
/// tx.timeout(Duration::from_secs(2)).execute("LOCK TABLE accounts", &[]).await?;
/// tx.execute("UPDATE accounts SET open = false", &[]).await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
pub struct TimedSession<'s> {
    guard: &'s mut ClientGuard,
    /// The depth of a savepoint; `None` if it is unknown whether a transaction is open.
    depth: Option<u32>,
    limit: TimeLimit,
}

impl<'s> TimedSession<'s> {
    pub(crate) fn new(
        (guard, depth): (&'s mut ClientGuard, Option<u32>),
        limit: TimeLimit,
    ) -> Self {
        Self {
            guard,
            depth,
            limit,
        }
    }

    fn session(&self) -> &Session {
        self.guard.session()
    }

    fn call(&self) -> TimedCall {
        TimedCall::begin(self.limit).earlier(self.session().limit())
    }

    /// As [`ClientGuard::transaction`](crate::ClientGuard::transaction), by the deadline. With
    /// [`ClientGuard::deadline`](crate::ClientGuard::deadline) its statements and its end keep to the
    /// deadline too; with [`ClientGuard::timeout`](crate::ClientGuard::timeout) they have no limit.
    ///
    /// # Errors
    ///
    /// As [`ClientGuard::transaction`](crate::ClientGuard::transaction), and
    /// [`Error::DeadlineExceeded`].
    pub async fn transaction(&mut self) -> Result<Savepoint<'_>, Error> {
        self.build_transaction().begin().await
    }

    /// As [`ClientGuard::build_transaction`](crate::ClientGuard::build_transaction), with the limits
    /// of [`transaction`](Self::transaction).
    pub fn build_transaction(&mut self) -> SavepointBuilder<'_> {
        SavepointBuilder::new(self.guard, self.depth, Some(self.limit))
    }

    /// As [`Transaction::stream`](crate::Transaction::stream): a query inside a transaction, whose
    /// rows are fetched in chunks. All of it keeps to the deadline.
    ///
    /// # Errors
    ///
    /// As [`Transaction::stream`](crate::Transaction::stream), and [`Error::DeadlineExceeded`].
    pub async fn stream(
        &self,
        text: &str,
        params: Params<'_>,
        chunk: u32,
    ) -> Result<ChunkedRows<'_>, Error> {
        ChunkedRows::open(self.session(), Some(self.call()), text, params, chunk).await
    }

    /// As [`ClientGuard::prepare_cached`](crate::ClientGuard::prepare_cached), by the deadline.
    ///
    /// # Errors
    ///
    /// As [`ClientGuard::prepare_cached`](crate::ClientGuard::prepare_cached), and
    /// [`Error::DeadlineExceeded`].
    pub async fn prepare_cached(&self, text: &str) -> Result<Statement, Error> {
        self.prepare_typed_cached(text, &[]).await
    }

    /// As [`ClientGuard::prepare_typed_cached`](crate::ClientGuard::prepare_typed_cached), by the
    /// deadline.
    ///
    /// # Errors
    ///
    /// As [`prepare_cached`](Self::prepare_cached).
    pub async fn prepare_typed_cached(
        &self,
        text: &str,
        types: &[Type],
    ) -> Result<Statement, Error> {
        let session = self.session();
        let prepare = session.prepare_cached(text, types);
        Box::pin(session.bounded_by(self.call(), prepare)).await
    }

    /// As [`ClientGuard::ping`](crate::ClientGuard::ping), by the deadline.
    ///
    /// # Errors
    ///
    /// As [`ClientGuard::ping`](crate::ClientGuard::ping), and [`Error::DeadlineExceeded`].
    pub async fn ping(&mut self) -> Result<Report, Error> {
        let session = self.session();
        let ping = session.ping(self.guard.ping_limit());
        Box::pin(session.bounded_by(self.call(), ping)).await
    }

    pub(crate) async fn run_statement<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let _place = self.session().calling_from(place);
        let run = self
            .session()
            .run_by::<A, S>(self.call(), statement, params);
        Box::pin(run).await
    }

    /// Runs one statement whose stream has the session to itself.
    async fn run_apart<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<(A::Output, Origin), Error> {
        let _place = self.session().calling_from(place);
        let (session, call) = (self.session(), self.call());
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
        let _place = self.session().calling_from(place);
        let run = self.session().run_batch_unbounded(statements);
        Box::pin(self.session().bounded_by(self.call(), run)).await
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

/// Generates the methods that give a type a deadline; `$parts` gives its guard and the depth of a
/// savepoint in it.
macro_rules! timed {
    ($kind:ty, |$holder:ident| $parts:expr) => {
        impl $kind {
            /// Returns a view whose statements each end after `limit`.
            pub fn timeout(&mut self, limit: ::std::time::Duration) -> $crate::TimedSession<'_> {
                let limit = ::pgmonkey_connect::deadline::TimeLimit::Each(limit);
                let $holder = self;
                $crate::TimedSession::new($parts, limit)
            }

            /// As [`timeout`](Self::timeout), with one [`Deadline`](crate::Deadline) for all calls.
            pub fn deadline(&mut self, deadline: $crate::Deadline) -> $crate::TimedSession<'_> {
                let limit = ::pgmonkey_connect::deadline::TimeLimit::Until(deadline);
                let $holder = self;
                $crate::TimedSession::new($parts, limit)
            }
        }
    };
}

pub(crate) use timed;
