//! A handle whose calls end by a deadline.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use bytes::Buf;
use pgmonkey_connect::deadline::{TimeLimit, TimedCall, give_up_at};
use pgmonkey_connect::pool::Caller;
use pgmonkey_connect::wire::{Observer, WireState};
use pgmonkey_connect::{AsStatement, DeadlineExceeded, Error, Report, StatementEnd};
use tokio::time::timeout_at;

use crate::client::copy::{CopyInSink, CopyOutStream};
use crate::client::guard::ClientGuard;
use crate::client::scoped::Scoped;
use crate::client::statements::{statements, streams};
use crate::client::stream::{Origin, RowStream};
use crate::client::transaction::Transaction;
use crate::handle::database::in_scope;
use crate::handle::pool::Pool;
use crate::handle::transaction_builder::TransactionBuilder;
use crate::runtimes;
use crate::session::answer::{Answer, CopyIn, CopyOut, Params, Stream};

/// A handle whose calls end by a deadline, waiting included: see [`Pool::timeout`] and
/// [`Pool::deadline`].
///
/// Nothing is sent for it. At the deadline a running statement is cancelled on the server; if the
/// server does not react within a second, the session is closed. Either way the call returns
/// [`Error::DeadlineExceeded`], which says whether it was waiting for a session, or running. A
/// statement that completes while it is being cancelled keeps its result.
///
/// ```no_run
/// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
/// use std::time::Duration;
/// use pgmonkey_async::Deadline;
///
/// let request = Deadline::after(Duration::from_secs(2));
/// let statement = "SELECT name FROM users WHERE id = $1";
/// let user = pool.deadline(request).query_one(statement, &[&42]).await?;
/// let name: &str = user.get(0);
/// pool.deadline(request)
///     .transaction(async |tx| tx.execute("INSERT INTO visits (name) VALUES ($1)", &[&name]).await)
///     .await?;
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
    pub fn acquire(&self) -> impl Future<Output = Result<ClientGuard, Error>> + Send + '_ {
        let (view, location) = (*self, Location::caller());
        async move {
            let mut guard = view.hold(location).await?;
            view.limit_later(&mut guard);
            Ok(guard)
        }
    }

    /// As [`Pool::begin`], by the deadline. With [`Pool::deadline`] the transaction's statements
    /// and its COMMIT keep to it too; with [`Pool::timeout`] they have no limit.
    ///
    /// # Errors
    ///
    /// As [`Pool::begin`], and [`Error::DeadlineExceeded`].
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction, Error>> + Send + '_ {
        let (view, location) = (*self, Location::caller());
        async move {
            let mut transaction = Transaction::begin(view.hold(location).await?).await?;
            view.limit_later(transaction.guard_mut());
            Ok(transaction)
        }
    }

    /// As [`Pool::transaction`], by the deadline. After it, each statement fails, and the
    /// transaction is rolled back.
    ///
    /// # Errors
    ///
    /// As [`Pool::transaction`], and [`Error::DeadlineExceeded`].
    #[track_caller]
    pub fn transaction<T, F>(&self, f: F) -> impl Future<Output = Result<T, Error>>
    where
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, Error>,
    {
        self.try_transaction(f)
    }

    /// As [`transaction`](Self::transaction), for a closure with its own error type.
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction).
    #[track_caller]
    pub fn try_transaction<T, E, F>(&self, f: F) -> impl Future<Output = Result<T, E>>
    where
        E: From<Error>,
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, E>,
    {
        let (view, location) = (*self, Location::caller());
        async move {
            let transaction = Transaction::begin(view.hold(location).await?).await?;
            let session = transaction.guard().session();
            let (call, observer) = (session.limit(), Arc::clone(session.observer()));
            let (transaction, back) = Scoped::new(transaction);
            let work = f(transaction);
            let value = match call {
                Some(call) => within(call, &observer, work).await?,
                None => work.await?,
            };
            match back.take() {
                Some(transaction) => Ok(transaction.commit().await.map(|()| value)?),
                None => Err(Error::SessionEscaped.into()),
            }
        }
    }

    /// As [`Database::scope`](crate::Database::scope), by the deadline.
    ///
    /// # Errors
    ///
    /// As [`Pool::transaction`], and [`Error::DeadlineExceeded`].
    #[track_caller]
    pub fn scope<T, F>(&self, f: F) -> impl Future<Output = Result<T, Error>>
    where
        F: AsyncFnOnce(Scoped<ClientGuard>) -> Result<T, Error>,
    {
        let (view, location) = (*self, Location::caller());
        async move { in_scope(view.hold(location).await?, f).await }
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
    pub fn ping(&self) -> impl Future<Output = Result<Report, Error>> + Send + '_ {
        let (view, location) = (*self, Location::caller());
        async move { view.hold(location).await?.ping().await }
    }

    /// Acquires a session whose calls keep to the deadline.
    pub(crate) async fn hold(
        &self,
        location: &'static Location<'static>,
    ) -> Result<ClientGuard, Error> {
        self.get(location, true).await
    }

    async fn get(
        &self,
        location: &'static Location<'static>,
        holds: bool,
    ) -> Result<ClientGuard, Error> {
        let call = TimedCall::begin(self.limit);
        let caller = caller(location, call)?;
        let acquired = match holds {
            true => self.pool.hold_for(caller).await,
            false => self.pool.acquire_for(caller).await,
        };
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

    pub(crate) async fn run_statement<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        location: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        if self.pool.may_share(statement, params) {
            return self.run_shared::<A, S>(location, statement, params).await;
        }
        let guard = self.get(location, false).await?;
        let session = guard.session();
        session
            .run_statement::<A, S>(location, statement, params)
            .await
    }

    /// Runs a statement that may share a session with other callers: it is dropped at the deadline,
    /// and cancelled once those before it have ended.
    async fn run_shared<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        location: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let call = TimedCall::begin(self.limit);
        let run = self
            .pool
            .run_for::<A, S>(caller(location, call)?, statement, params);
        match timeout_at(call.deadline.instant().into(), Box::pin(run)).await {
            Ok(done) => done.map_err(|error| call.explain_acquire(error)),
            Err(_) => Err(DeadlineExceeded::running(StatementEnd::Abandoned, call)),
        }
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
        let output = session.bounded(session.run_plain::<A, S>(statement, params));
        let output = output.await?;
        Ok((output, Origin::owning(guard, (sending, statement.text()))))
    }

    pub(crate) async fn run_batch(
        &self,
        location: &'static Location<'static>,
        statements: &str,
    ) -> Result<(), Error> {
        let guard = self.get(location, false).await?;
        guard.session().run_batch(location, statements).await
    }
}

fn caller(location: &'static Location<'static>, call: TimedCall) -> Result<Caller, Error> {
    call.check()?;
    let mut caller = Caller::new(location, runtimes::here());
    caller.until = Some(call.deadline.instant());
    Ok(caller)
}

/// Runs the closure of a transaction. At the deadline it is dropped; a statement that is running
/// then has until it is given up to end, which tells the closure what became of it.
pub(crate) async fn within<T, E: From<Error>>(
    call: TimedCall,
    observer: &Observer,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let mut work = Box::pin(work);
    if let Ok(done) = timeout_at(call.deadline.instant().into(), &mut work).await {
        return done;
    }
    if let WireState::Busy(_) = observer.state()
        && let Ok(done) = timeout_at((give_up_at(call.deadline) + GRACE).into(), &mut work).await
    {
        return done;
    }
    Err(DeadlineExceeded::running(StatementEnd::Abandoned, call).into())
}

/// Until the statement, which is given up at the same time, has told the closure.
const GRACE: Duration = Duration::from_millis(50);

streams!(TimedHandle<'_>);

statements! {
    TimedHandle<'_>, self => self,
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
            #[doc = concat!("# async fn example(db: pgmonkey_async::", stringify!($kind), ") -> Result<(), pgmonkey_async::Error> {")]
            /// use std::time::Duration;
            ///
            /// let timed = db.timeout(Duration::from_millis(500));
            /// let rows = timed.query("SELECT name FROM users", &[]).await?;
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
