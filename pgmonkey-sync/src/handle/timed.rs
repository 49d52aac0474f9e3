//! A handle whose calls end by a deadline.

use std::panic::Location;

use pgmonkey_connect::deadline::{TimeLimit, TimedCall};
use pgmonkey_connect::pool::{Caller, Home};
use pgmonkey_connect::{AsStatement, Error, Report};

use crate::client::copy::{CopyInWriter, CopyOutReader};
use crate::client::guard::ClientGuard;
use crate::client::statements::{statements, streams};
use crate::client::stream::{Holder, RowIter};
use crate::client::transaction::Transaction;
use crate::handle::database::in_scope;
use crate::handle::pool::Pool;
use crate::handle::transaction_builder::TransactionBuilder;
use crate::session::answer::{Answer, Params};

/// A handle whose calls end by a deadline, waiting included: see [`Pool::timeout`] and
/// [`Pool::deadline`].
///
/// Nothing is sent for it. At the deadline a running statement is cancelled on the server; if the
/// server does not react within a second, the session is closed. Either way the call returns
/// [`Error::DeadlineExceeded`], which says whether it was waiting for a session, or running. A
/// statement that completes while it is being cancelled keeps its result.
///
/// ```no_run
/// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
/// use std::time::Duration;
/// use pgmonkey_sync::Deadline;
///
/// let request = Deadline::after(Duration::from_secs(2));
/// let user = pool.deadline(request).query_one("SELECT name FROM users WHERE id = $1", &[&42])?;
/// pool.deadline(request).transaction(|tx| {
///     tx.execute("INSERT INTO visits (name) VALUES ($1)", &[&user.get::<_, &str>(0)])
/// })?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TimedHandle<'h> {
    pool: &'h Pool,
    limit: TimeLimit,
}

impl<'h> TimedHandle<'h> {
    pub(crate) fn new(pool: &'h Pool, limit: TimeLimit) -> Self {
        Self { pool, limit }
    }

    /// As [`Pool::acquire`], by the deadline. With [`Pool::deadline`] the guard's calls keep to it
    /// too; with [`Pool::timeout`] they have no limit.
    ///
    /// # Errors
    ///
    /// As [`Pool::acquire`], and [`Error::DeadlineExceeded`].
    #[track_caller]
    pub fn acquire(&self) -> Result<ClientGuard, Error> {
        let mut guard = self.hold(Location::caller())?;
        self.limit_later(&mut guard);
        Ok(guard)
    }

    /// As [`Pool::begin`], by the deadline. With [`Pool::deadline`] the transaction's statements
    /// and its COMMIT keep to it too; with [`Pool::timeout`] they have no limit.
    ///
    /// # Errors
    ///
    /// As [`Pool::begin`], and [`Error::DeadlineExceeded`].
    #[track_caller]
    pub fn begin(&self) -> Result<Transaction, Error> {
        let mut transaction = Transaction::begin(self.hold(Location::caller())?)?;
        self.limit_later(transaction.guard_mut());
        Ok(transaction)
    }

    /// As [`Pool::transaction`], by the deadline. After it, each statement fails, and the
    /// transaction is rolled back.
    ///
    /// # Errors
    ///
    /// As [`Pool::transaction`], and [`Error::DeadlineExceeded`].
    #[track_caller]
    pub fn transaction<T>(
        &self,
        f: impl FnOnce(&mut Transaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.try_transaction(f)
    }

    /// As [`transaction`](Self::transaction), for a closure with its own error type.
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction).
    #[track_caller]
    pub fn try_transaction<T, E: From<Error>>(
        &self,
        f: impl FnOnce(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut transaction = Transaction::begin(self.hold(Location::caller())?)?;
        let value = f(&mut transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    /// As [`Database::scope`](crate::Database::scope), by the deadline.
    ///
    /// # Errors
    ///
    /// As [`Pool::transaction`], and [`Error::DeadlineExceeded`].
    #[track_caller]
    pub fn scope<T>(
        &self,
        f: impl FnOnce(&mut ClientGuard) -> Result<T, Error>,
    ) -> Result<T, Error> {
        in_scope(self.hold(Location::caller())?, f)
    }

    /// As [`Pool::build_transaction`], by the deadline: that of all attempts of `run`. A transaction
    /// from `begin` keeps to it with [`Pool::deadline`]; with [`Pool::timeout`] it has the time of its
    /// own [`timeout`](TransactionBuilder::timeout) only.
    pub fn build_transaction(&self) -> TransactionBuilder<'h> {
        TransactionBuilder::new(self.pool, Some(self.limit))
    }

    /// As [`Pool::ping`], by the deadline.
    ///
    /// # Errors
    ///
    /// As [`Pool::ping`], and [`Error::DeadlineExceeded`].
    #[track_caller]
    pub fn ping(&self) -> Result<Report, Error> {
        let mut guard = self.hold(Location::caller())?;
        guard.ping()
    }

    /// Acquires a session whose calls keep to the deadline.
    pub(crate) fn hold(&self, location: &'static Location<'static>) -> Result<ClientGuard, Error> {
        self.get(location, Pool::hold_for)
    }

    fn get(
        &self,
        location: &'static Location<'static>,
        acquire: impl FnOnce(&Pool, Caller) -> Result<ClientGuard, Error>,
    ) -> Result<ClientGuard, Error> {
        let call = TimedCall::begin(self.limit);
        call.check()?;
        let mut caller = Caller::new(location, Home::ANYWHERE);
        caller.until = Some(call.deadline.instant());
        let acquired = acquire(self.pool, caller);
        let mut guard = acquired.map_err(|error| call.explain_acquire(error))?;
        guard.session_mut().limit_to(Some(call.with_session()));
        Ok(guard)
    }

    /// Limits the calls that follow, if they have the same deadline.
    fn limit_later(&self, guard: &mut ClientGuard) {
        let session = guard.session_mut();
        if let TimeLimit::Each(_) = self.limit {
            session.limit_to(None);
        }
    }

    pub(crate) fn run_statement<A: Answer, S: ?Sized + AsStatement>(
        &self,
        location: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let mut guard = self.get(location, Pool::acquire_for)?;
        let session = guard.session_mut();
        session.run_statement::<A, S>(location, statement, params)
    }

    pub(crate) fn run_batch(
        &self,
        location: &'static Location<'static>,
        statements: &str,
    ) -> Result<(), Error> {
        let mut guard = self.get(location, Pool::acquire_for)?;
        guard.session_mut().run_batch(location, statements)
    }
}

streams!(TimedHandle<'_>, (&), 'static, |view, location| Holder::owned(view.hold(location)?));

statements! {
    TimedHandle<'_>, 'static, (&) self => self,
    /// As [`Pool::query`], by the deadline. The deadline of a stream or copy is that of the call
    /// that opens it.
}

/// Generates the methods that give a handle with `pool()` a deadline.
macro_rules! timed {
    ($kind:ty) => {
        impl $kind {
            /// Returns a view of this handle whose calls each end after `limit`, waiting included.
            ///
            /// ```no_run
            #[doc = concat!("# fn example(db: pgmonkey_sync::", stringify!($kind), ") -> Result<(), pgmonkey_sync::Error> {")]
            /// use std::time::Duration;
            ///
            /// let timed = db.timeout(Duration::from_millis(500));
            /// let rows = timed.query("SELECT name FROM users", &[])?;
            /// # Ok(()) }
            /// ```
            pub fn timeout(&self, limit: ::std::time::Duration) -> $crate::TimedHandle<'_> {
                let limit = ::pgmonkey_connect::deadline::TimeLimit::Each(limit);
                $crate::TimedHandle::new(self.pool(), limit)
            }

            /// As [`timeout`](Self::timeout), with one [`Deadline`](crate::Deadline) for all calls:
            /// that of the request that the program is serving.
            pub fn deadline(&self, deadline: $crate::Deadline) -> $crate::TimedHandle<'_> {
                let limit = ::pgmonkey_connect::deadline::TimeLimit::Until(deadline);
                $crate::TimedHandle::new(self.pool(), limit)
            }
        }
    };
}

pub(crate) use timed;
