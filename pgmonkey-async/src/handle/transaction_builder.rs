//! Builds a transaction with a session of its own.

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgmonkey_connect::deadline::{Limits, TimeLimit, TimedCall};
use pgmonkey_connect::transaction::{Attempts, Next, Options, Reason, random};
use pgmonkey_connect::{Deadline, Error, events};

use crate::client::guard::ClientGuard;
use crate::client::scoped::Scoped;
use crate::client::transaction::Transaction;
use crate::handle::connection::Connection;
use crate::handle::database::Database;
use crate::handle::pool::Pool;
use crate::handle::timed::{TimedHandle, within};

/// Builds a transaction with options and a session of its own. Ends in [`run`](Self::run) or
/// [`begin`](Self::begin).
///
/// `BEGIN` and the options are one text: they cost no round trip.
///
/// ```no_run
/// use pgmonkey_async::IsolationLevel;
///
/// # async fn example(pool: pgmonkey_async::Pool, tenant: &str) -> Result<(), pgmonkey_async::Error> {
/// let open: i64 = pool
///     .build_transaction()
///     .isolation_level(IsolationLevel::RepeatableRead)
///     .read_only(true)
///     .set_local("app.tenant", tenant)
///     .run(async |tx| Ok(tx.query_one("SELECT count(*) FROM orders", &[]).await?.get(0)))
///     .await?;
/// println!("{open} orders");
/// # Ok(()) }
/// ```
#[must_use = "a builder sends nothing until `run` or `begin` is called"]
#[derive(Debug, Clone)]
pub struct TransactionBuilder<'a> {
    pool: &'a Pool,
    options: Options,
    /// The limit of the view that it was built on.
    limit: Option<TimeLimit>,
}

::pgmonkey_connect::transaction_options!(TransactionBuilder<'_>);

impl<'a> TransactionBuilder<'a> {
    pub(crate) fn new(pool: &'a Pool, limit: Option<TimeLimit>) -> Self {
        Self {
            pool,
            options: Options::default(),
            limit,
        }
    }

    /// Begins the transaction, which holds its session until it is committed, rolled back or
    /// dropped. Dropping it rolls back.
    ///
    /// # Errors
    ///
    /// [`Error::TransactionOption`] if an option is invalid; the errors of
    /// [`Pool::acquire`](Pool::acquire) and of `BEGIN`.
    #[track_caller]
    pub fn begin(self) -> impl Future<Output = Result<Transaction, Error>> + Send + 'a {
        let location = Location::caller();
        async move { self.begin_at(location).await }
    }

    async fn begin_at(&self, location: &'static Location<'static>) -> Result<Transaction, Error> {
        let limits = Limits::new(self.limit, self.options.timeout, None);
        let guard = self
            .acquire(location, limits.begin.map(|call| call.deadline))
            .await?;
        let mut transaction = Transaction::begin_with(guard, &self.options).await?;
        let session = transaction.guard_mut().session_mut();
        session.limit_to(limits.later.map(TimedCall::with_session));
        Ok(transaction)
    }

    /// Acquires a session whose calls keep to the deadline.
    async fn acquire(
        &self,
        location: &'static Location<'static>,
        deadline: Option<Deadline>,
    ) -> Result<ClientGuard, Error> {
        // Before a session is taken for it.
        self.options.begin_text()?;
        let guard = match deadline {
            Some(deadline) => {
                let timed = TimedHandle::new(self.pool, TimeLimit::Until(deadline));
                timed.hold(location).await?
            }
            None => self.pool.hold(location).await?,
        };
        if let Some(label) = &self.options.label {
            guard.set_label(label);
        }
        Ok(guard)
    }

    /// Runs `f` in the transaction: commits if `f` returns `Ok`, rolls back if it returns `Err` or
    /// panics. Dropping the future rolls back too.
    ///
    /// With [`retry`](Self::retry), `f` may run several times, each time in a new transaction. What
    /// it does in the database is undone before. What it does elsewhere is not: send messages, and
    /// change what it captures, after `run` has returned.
    ///
    /// `f` must be `Clone`: each run gets a clone. An async closure is one if what it captures is,
    /// and what it captures by reference is.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use pgmonkey_async::{IsolationLevel, Retry};
    ///
    /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
    /// let left: i32 = pool
    ///     .build_transaction()
    ///     .isolation_level(IsolationLevel::Serializable)
    ///     .retry(Retry::attempts(5))
    ///     .timeout(Duration::from_secs(10))
    ///     .run(async |tx| {
    ///         let take = "UPDATE stock SET n = n - 1 WHERE item = 'tea' RETURNING n";
    ///         Ok(tx.query_one(take, &[]).await?.get(0)) // nothing is sent from here
    ///     })
    ///     .await?;
    /// println!("{left} left"); // once, whatever the number of attempts
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The error that `f` returned; the errors of [`begin`](Self::begin); [`Error::RolledBack`] if
    /// `f` returned `Ok` although one of its statements failed; [`Error::RetriesExhausted`] with the
    /// number of attempts if each failed.
    #[track_caller]
    pub fn run<T, F>(self, f: F) -> impl Future<Output = Result<T, Error>>
    where
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, Error> + Clone,
    {
        let location = Location::caller();
        async move { self.run_at(location, f, Some).await }
    }

    /// As [`run`](Self::run), for a closure with its own error type. Whether it runs again depends
    /// on the server's last error, not on the closure's.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    #[track_caller]
    pub fn try_run<T, E, F>(self, f: F) -> impl Future<Output = Result<T, E>>
    where
        E: From<Error>,
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, E> + Clone,
    {
        let location = Location::caller();
        async move { self.run_at(location, f, |_| None).await }
    }

    /// Makes attempts; `ours` is the error of the last one, if it is not the closure's own.
    async fn run_at<T, E, F>(
        &self,
        location: &'static Location<'static>,
        f: F,
        ours: fn(E) -> Option<Error>,
    ) -> Result<T, E>
    where
        E: From<Error>,
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, E> + Clone,
    {
        let now = Instant::now();
        let mut options = self.options.clone();
        if let Some(limit) = self.limit {
            options.limit_to(limit.deadline().remaining(now));
        }
        let mut attempts = Attempts::new(&options, now);
        loop {
            let deadline = attempts.deadline();
            let (error, reason) = match self.attempt(location, deadline, f.clone()).await {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            match attempts.failed(&reason, Instant::now(), random()) {
                Next::Return => return Err(error),
                Next::GiveUp(gave_up) => return Err(gave_up.error(ours(error), &reason).into()),
                Next::Again(pause) => {
                    drop(error);
                    self.tell(&attempts, &reason, pause);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Makes one attempt, on a session of its own.
    async fn attempt<T, E, F>(
        &self,
        location: &'static Location<'static>,
        deadline: Option<Deadline>,
        f: F,
    ) -> Result<T, (E, Reason)>
    where
        E: From<Error>,
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, E>,
    {
        let unrelated = |error: Error| (error.into(), Reason::Other);
        let guard = self.acquire(location, deadline).await.map_err(unrelated)?;
        let observer = Arc::clone(guard.session().connected_to().observer());
        let mark = observer.mark_attempt();
        let failed = |error: Error| {
            let reason = Reason::of_error(&observer, mark, &error);
            (error.into(), reason)
        };
        let limit = guard.session().limit();
        let begun = Transaction::begin_with(guard, &self.options)
            .await
            .map_err(failed)?;
        let (transaction, back) = Scoped::new(begun);
        let work = f(transaction);
        let done = match limit {
            Some(call) => within(call, &observer, work).await,
            None => work.await,
        };
        match (done, back.take()) {
            (Ok(value), Some(transaction)) => {
                transaction.commit().await.map_err(failed)?;
                Ok(value)
            }
            // Before the transaction is dropped, which sends a rollback.
            (Err(error), Some(transaction)) => {
                let reason = Reason::of(&observer, mark, transaction.is_closed());
                Err((error, reason))
            }
            (Ok(_), None) => Err(unrelated(Error::SessionEscaped)),
            // The transaction may still be in use.
            (Err(error), None) => Err((error, Reason::Other)),
        }
    }

    fn tell(&self, attempts: &Attempts, reason: &Reason, pause: Duration) {
        let shared = self.pool.shared();
        let (pool, label) = (shared.core.label().name(), self.options.label.as_deref());
        events::retried(pool, label, attempts.failures(), reason.code(), pause);
    }
}

impl Pool {
    /// Builds a transaction with options, on a session of its own.
    pub fn build_transaction(&self) -> TransactionBuilder<'_> {
        TransactionBuilder::new(self, None)
    }
}

impl Connection {
    /// As [`Pool::build_transaction`].
    pub fn build_transaction(&self) -> TransactionBuilder<'_> {
        TransactionBuilder::new(self.pool(), None)
    }
}

impl Database {
    /// As [`Pool::build_transaction`].
    pub fn build_transaction(&self) -> TransactionBuilder<'_> {
        TransactionBuilder::new(self.pool(), None)
    }
}
