//! Builds a transaction with a session of its own.

use std::panic::Location;

use pgmonkey_connect::Error;
use pgmonkey_connect::transaction::Options;

use crate::client::options::transaction_options;
use crate::client::transaction::Transaction;
use crate::handle::connection::Connection;
use crate::handle::database::Database;
use crate::handle::pool::Pool;

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
}

transaction_options!(TransactionBuilder<'_>);

impl<'a> TransactionBuilder<'a> {
    fn new(pool: &'a Pool) -> Self {
        Self {
            pool,
            options: Options::default(),
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
        // Before a session is taken for it.
        self.options.begin_text()?;
        let guard = self.pool.hold(location)?;
        Transaction::begin(guard, &self.options)
    }

    /// Runs `f` in the transaction: commits if `f` returns `Ok`, rolls back if it returns `Err` or
    /// panics.
    ///
    /// # Errors
    ///
    /// The error that `f` returned; the errors of [`begin`](Self::begin); [`Error::RolledBack`] if
    /// `f` returned `Ok` although one of its statements failed.
    #[track_caller]
    pub fn run<T>(self, f: impl Fn(&mut Transaction) -> Result<T, Error>) -> Result<T, Error> {
        self.try_run(f)
    }

    /// As [`run`](Self::run), for a closure with its own error type.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    #[track_caller]
    pub fn try_run<T, E: From<Error>>(
        self,
        f: impl Fn(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut transaction = self.begin_at(Location::caller())?;
        let value = f(&mut transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}

impl Pool {
    /// Builds a transaction with options, on a session of its own.
    pub fn build_transaction(&self) -> TransactionBuilder<'_> {
        TransactionBuilder::new(self)
    }
}

impl Connection {
    /// As [`Pool::build_transaction`].
    pub fn build_transaction(&self) -> TransactionBuilder<'_> {
        TransactionBuilder::new(self.pool())
    }
}

impl Database {
    /// As [`Pool::build_transaction`].
    pub fn build_transaction(&self) -> TransactionBuilder<'_> {
        TransactionBuilder::new(self.pool())
    }
}
