//! Builds a transaction with a session of its own.

use std::panic::Location;

use pgmonkey_connect::Error;
use pgmonkey_connect::transaction::Options;

use crate::client::options::transaction_options;
use crate::client::scoped::Scoped;
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
    pub fn begin(self) -> impl Future<Output = Result<Transaction, Error>> + Send + 'a {
        let location = Location::caller();
        async move { self.begin_at(location).await }
    }

    async fn begin_at(&self, location: &'static Location<'static>) -> Result<Transaction, Error> {
        // Before a session is taken for it.
        self.options.begin_text()?;
        let guard = self.pool.hold(location).await?;
        Transaction::begin(guard, &self.options).await
    }

    /// Runs `f` in the transaction: commits if `f` returns `Ok`, rolls back if it returns `Err` or
    /// panics. Dropping the future rolls back too.
    ///
    /// `f` must be `Clone`: each run gets a clone. An async closure is one if what it captures is,
    /// and what it captures by reference is.
    ///
    /// # Errors
    ///
    /// The error that `f` returned; the errors of [`begin`](Self::begin); [`Error::RolledBack`] if
    /// `f` returned `Ok` although one of its statements failed.
    #[track_caller]
    pub fn run<T, F>(self, f: F) -> impl Future<Output = Result<T, Error>>
    where
        F: AsyncFnOnce(Scoped<Transaction>) -> Result<T, Error> + Clone,
    {
        self.try_run(f)
    }

    /// As [`run`](Self::run), for a closure with its own error type.
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
        async move {
            let (transaction, back) = Scoped::new(self.begin_at(location).await?);
            let value = f(transaction).await?;
            match back.take() {
                Some(transaction) => Ok(transaction.commit().await.map(|()| value)?),
                None => Err(Error::SessionEscaped.into()),
            }
        }
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
