//! Builds a transaction with a session of its own.

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgmonkey_connect::deadline::{Limits, TimeLimit, TimedCall};
use pgmonkey_connect::transaction::{Attempts, Next, Options, Reason, random};
use pgmonkey_connect::{Deadline, Error, events};

use crate::client::guard::ClientGuard;
use crate::client::transaction::Transaction;
use crate::handle::connection::Connection;
use crate::handle::database::Database;
use crate::handle::pool::Pool;
use crate::handle::timed::TimedHandle;

/// Builds a transaction with options and a session of its own. Ends in [`run`](Self::run) or
/// [`begin`](Self::begin).
///
/// `BEGIN` and the options are one text: they cost no round trip.
///
/// ```no_run
/// use pgmonkey_sync::IsolationLevel;
///
/// # fn example(pool: pgmonkey_sync::Pool, tenant: &str) -> Result<(), pgmonkey_sync::Error> {
/// let open: i64 = pool
///     .build_transaction()
///     .isolation_level(IsolationLevel::RepeatableRead)
///     .read_only(true)
///     .set_local("app.tenant", tenant)
///     .run(|tx| Ok(tx.query_one("SELECT count(*) FROM orders", &[])?.get(0)))?;
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
    pub fn begin(self) -> Result<Transaction, Error> {
        self.begin_at(Location::caller())
    }

    fn begin_at(&self, location: &'static Location<'static>) -> Result<Transaction, Error> {
        let limits = Limits::new(self.limit, self.options.timeout, None);
        let guard = self.acquire(location, limits.begin.map(|call| call.deadline))?;
        let mut transaction = Transaction::begin_with(guard, &self.options)?;
        let session = transaction.guard_mut().session_mut();
        session.limit_to(limits.later.map(TimedCall::with_session));
        Ok(transaction)
    }

    /// Acquires a session whose calls keep to the deadline.
    fn acquire(
        &self,
        location: &'static Location<'static>,
        deadline: Option<Deadline>,
    ) -> Result<ClientGuard, Error> {
        // Before a session is taken for it.
        self.options.begin_text()?;
        let guard = match deadline {
            Some(deadline) => {
                let timed = TimedHandle::new(self.pool, TimeLimit::Until(deadline));
                timed.hold(location)?
            }
            None => self.pool.hold(location)?,
        };
        if let Some(label) = &self.options.label {
            guard.set_label(label);
        }
        Ok(guard)
    }

    /// Runs `f` in the transaction: commits if `f` returns `Ok`, rolls back if it returns `Err` or
    /// panics.
    ///
    /// With [`retry`](Self::retry), `f` may run several times, each time in a new transaction. What
    /// it does in the database is undone before. What it does elsewhere is not: send messages, and
    /// change what it captures, after `run` has returned.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use pgmonkey_sync::{IsolationLevel, Retry};
    ///
    /// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
    /// let left: i32 = pool
    ///     .build_transaction()
    ///     .isolation_level(IsolationLevel::Serializable)
    ///     .retry(Retry::attempts(5))
    ///     .timeout(Duration::from_secs(10))
    ///     .run(|tx| {
    ///         let take = "UPDATE stock SET n = n - 1 WHERE item = 'tea' RETURNING n";
    ///         Ok(tx.query_one(take, &[])?.get(0)) // nothing is sent from here
    ///     })?;
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
    pub fn run<T>(self, f: impl Fn(&mut Transaction) -> Result<T, Error>) -> Result<T, Error> {
        self.run_at(Location::caller(), f, Some)
    }

    /// As [`run`](Self::run), for a closure with its own error type. Whether it runs again depends
    /// on the server's last error, not on the closure's.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    #[track_caller]
    pub fn try_run<T, E: From<Error>>(
        self,
        f: impl Fn(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        self.run_at(Location::caller(), f, |_| None)
    }

    /// Makes attempts; `ours` is the error of the last one, if it is not the closure's own.
    fn run_at<T, E: From<Error>>(
        &self,
        location: &'static Location<'static>,
        f: impl Fn(&mut Transaction) -> Result<T, E>,
        ours: fn(E) -> Option<Error>,
    ) -> Result<T, E> {
        let now = Instant::now();
        let mut options = self.options.clone();
        if let Some(limit) = self.limit {
            options.limit_to(limit.deadline().remaining(now));
        }
        let mut attempts = Attempts::new(&options, now);
        loop {
            let deadline = attempts.deadline();
            let (error, reason) = match self.attempt(location, deadline, &f) {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            match attempts.failed(&reason, Instant::now(), random()) {
                Next::Return => return Err(error),
                Next::GiveUp(gave_up) => return Err(gave_up.error(ours(error), &reason).into()),
                Next::Again(pause) => {
                    drop(error);
                    self.tell(&attempts, &reason, pause);
                    std::thread::sleep(pause);
                }
            }
        }
    }

    /// Makes one attempt, on a session of its own.
    fn attempt<T, E: From<Error>>(
        &self,
        location: &'static Location<'static>,
        deadline: Option<Deadline>,
        f: impl Fn(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, (E, Reason)> {
        let unrelated = |error: Error| (error.into(), Reason::Other);
        let guard = self.acquire(location, deadline).map_err(unrelated)?;
        let observer = Arc::clone(guard.session().connected_to().observer());
        let mark = observer.mark_attempt();
        let failed = |error: Error| {
            let reason = Reason::of_error(&observer, mark, &error);
            (error.into(), reason)
        };
        let mut transaction = Transaction::begin_with(guard, &self.options).map_err(failed)?;
        match f(&mut transaction) {
            Ok(value) => {
                transaction.commit().map_err(failed)?;
                Ok(value)
            }
            // Before the transaction is dropped, which sends a rollback.
            Err(error) => {
                let reason = Reason::of(&observer, mark, transaction.is_closed());
                Err((error, reason))
            }
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
