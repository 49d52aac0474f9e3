//! A session in use whose calls end by a deadline.

use std::panic::Location;

use pgmonkey_connect::deadline::{TimeLimit, TimedCall};
use pgmonkey_connect::{AsStatement, Error};

use crate::client::copy::{CopyInWriter, CopyOutReader};
use crate::client::statements::{statements, streams};
use crate::client::stream::{Holder, RowIter};
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
    session: &'s mut Session,
    limit: TimeLimit,
}

impl<'s> TimedSession<'s> {
    pub(crate) fn new(session: &'s mut Session, limit: TimeLimit) -> Self {
        Self { session, limit }
    }

    fn run<T>(&mut self, work: impl FnOnce(&mut Session) -> Result<T, Error>) -> Result<T, Error> {
        let call = TimedCall::begin(self.limit);
        let outer = self.session.limit_to(None);
        self.session.limit_to(Some(call.earlier(outer)));
        let done = work(self.session);
        self.session.limit_to(outer);
        done
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
    let call = TimedCall::begin(view.limit);
    Holder::borrowed(view.session, Some(call))
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

/// Generates the methods that give a type with `session_mut()` a deadline.
macro_rules! timed {
    ($kind:ty) => {
        impl $kind {
            /// Returns a view whose statements each end after `limit`.
            pub fn timeout(&mut self, limit: ::std::time::Duration) -> $crate::TimedSession<'_> {
                let limit = ::pgmonkey_connect::deadline::TimeLimit::Each(limit);
                $crate::TimedSession::new(self.session_mut(), limit)
            }

            /// As [`timeout`](Self::timeout), with one [`Deadline`](crate::Deadline) for all calls.
            pub fn deadline(&mut self, deadline: $crate::Deadline) -> $crate::TimedSession<'_> {
                let limit = ::pgmonkey_connect::deadline::TimeLimit::Until(deadline);
                $crate::TimedSession::new(self.session_mut(), limit)
            }
        }
    };
}

pub(crate) use timed;
