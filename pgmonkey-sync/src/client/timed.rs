//! A session in use whose calls end by a deadline.

use std::panic::Location;

use pgmonkey_connect::deadline::{TimeLimit, TimedCall};
use pgmonkey_connect::{AsStatement, Error, Report};
use postgres::Statement;
use postgres::types::Type;

use crate::client::chunks::ChunkedRows;
use crate::client::copy::{CopyInWriter, CopyOutReader};
use crate::client::guard::ClientGuard;
use crate::client::savepoint_builder::SavepointBuilder;
use crate::client::statements::{statements, streams};
use crate::client::stream::{Holder, RowIter};
use crate::client::transaction::Savepoint;
use crate::session::Session;
use crate::session::answer::{Answer, Params};

/// A guard, transaction or savepoint whose statements end by a deadline: see
/// [`ClientGuard::timeout`](crate::ClientGuard::timeout).
///
/// At the deadline a running statement is cancelled on the server, which makes an open transaction
/// fail. If the server does not react within a second, the session is closed. The methods of the
/// driver's client have no deadline.
///
/// ```no_run
/// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
/// use std::time::Duration;
///
/// let mut tx = pool.begin()?;
/// tx.timeout(Duration::from_secs(2)).execute("LOCK TABLE accounts", &[])?;
/// tx.execute("UPDATE accounts SET open = false", &[])?;
/// tx.commit()?;
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

    fn call(&self) -> TimedCall {
        TimedCall::begin(self.limit).earlier(self.guard.session().limit())
    }

    fn run<T>(&mut self, work: impl FnOnce(&mut Session) -> Result<T, Error>) -> Result<T, Error> {
        let call = self.call();
        let session = self.guard.session_mut();
        let outer = session.limit_to(Some(call));
        let done = work(session);
        session.limit_to(outer);
        done
    }

    /// As [`ClientGuard::transaction`](crate::ClientGuard::transaction), by the deadline. With
    /// [`ClientGuard::deadline`](crate::ClientGuard::deadline) its statements and its end keep to the
    /// deadline too; with [`ClientGuard::timeout`](crate::ClientGuard::timeout) they have no limit.
    ///
    /// # Errors
    ///
    /// As [`ClientGuard::transaction`](crate::ClientGuard::transaction), and
    /// [`Error::DeadlineExceeded`].
    pub fn transaction(&mut self) -> Result<Savepoint<'_>, Error> {
        self.build_transaction().begin()
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
    pub fn stream(
        &mut self,
        text: &str,
        params: Params<'_>,
        chunk: u32,
    ) -> Result<ChunkedRows<'_>, Error> {
        let call = self.call();
        ChunkedRows::open(self.guard.session_mut(), Some(call), text, params, chunk)
    }

    /// As [`ClientGuard::prepare_cached`](crate::ClientGuard::prepare_cached), by the deadline.
    ///
    /// # Errors
    ///
    /// As [`ClientGuard::prepare_cached`](crate::ClientGuard::prepare_cached), and
    /// [`Error::DeadlineExceeded`].
    pub fn prepare_cached(&mut self, text: &str) -> Result<Statement, Error> {
        self.prepare_typed_cached(text, &[])
    }

    /// As [`ClientGuard::prepare_typed_cached`](crate::ClientGuard::prepare_typed_cached), by the
    /// deadline.
    ///
    /// # Errors
    ///
    /// As [`prepare_cached`](Self::prepare_cached).
    pub fn prepare_typed_cached(&mut self, text: &str, types: &[Type]) -> Result<Statement, Error> {
        let (call, session) = (self.call(), self.guard.session_mut());
        session.bounded_to(Some(call), |session| session.prepare_cached(text, types))
    }

    /// As [`ClientGuard::ping`](crate::ClientGuard::ping), by the deadline.
    ///
    /// # Errors
    ///
    /// As [`ClientGuard::ping`](crate::ClientGuard::ping), and [`Error::DeadlineExceeded`].
    pub fn ping(&mut self) -> Result<Report, Error> {
        let (call, limit) = (self.call(), self.guard.ping_limit());
        let session = self.guard.session_mut();
        session.bounded_to(Some(call), |session| session.ping(limit))
    }

    pub(crate) fn run_statement<A: Answer, S: ?Sized + AsStatement>(
        &mut self,
        location: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        self.run(|session| session.run_statement::<A, S>(location, statement, params))
    }

    pub(crate) fn run_batch(
        &mut self,
        location: &'static Location<'static>,
        statements: &str,
    ) -> Result<(), Error> {
        self.run(|session| session.run_batch(location, statements))
    }
}

streams!(TimedSession<'_>, (&mut), '_, |view, location| {
    let call = view.call();
    Holder::borrowed(view.guard.session_mut(), Some(call))
});

statements! {
    TimedSession<'_>, '_, (&mut) self => self,
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
