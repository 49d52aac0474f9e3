//! A trait for everything that runs statements, so that code over it is written once.

use pgmonkey_connect::{AsStatement, Error};
use tokio_postgres::Row;

use crate::client::copy::{CopyInSink, CopyOutStream};
use crate::client::guard::ClientGuard;
use crate::client::scoped::Scoped;
use crate::client::stream::RowStream;
use crate::client::timed::TimedSession;
use crate::client::transaction::{Savepoint, Transaction};
use crate::handle::connection::Connection;
use crate::handle::database::Database;
use crate::handle::pool::Pool;
use crate::handle::timed::TimedHandle;
use crate::session::answer::Params;

/// Runs statements: on a [`Pool`], a [`Connection`], a [`Database`], a [`ClientGuard`], a
/// [`Transaction`], a [`Savepoint`], on views of these with a deadline, and on the argument of a
/// `transaction` closure. Each method does the same as the type's own method of that name, with the
/// same cache and the same errors.
///
/// A repository generic over this trait is written once. Its caller decides whether it runs on a
/// session of its own or within a transaction:
///
/// ```no_run
/// use pgmonkey_async::{Error, Execute, Pool};
///
/// async fn name(db: &impl Execute, id: i64) -> Result<Option<String>, Error> {
///     let row = db.query_opt("SELECT name FROM users WHERE id = $1", &[&id]).await?;
///     Ok(row.map(|row| row.get(0)))
/// }
///
/// async fn rename(db: &mut impl Execute, id: i64, name: &str) -> Result<(), Error> {
///     use pgmonkey_async::OpenTransaction;
///
///     let both = db.begin().await?; // a savepoint, if a transaction is open
///     both.execute("UPDATE users SET name = $2 WHERE id = $1", &[&id, &name]).await?;
///     both.execute("INSERT INTO renamed VALUES ($1)", &[&id]).await?;
///     both.commit().await
/// }
///
/// # async fn example(mut pool: Pool) -> Result<(), Error> {
/// rename(&mut pool, 42, "ann").await?;
/// let mut client = pool.acquire().await?;
/// rename(&mut client, 42, "bob").await?;
/// pool.transaction(async |mut tx| {
///     rename(&mut tx, 42, "cid").await?;
///     name(&tx, 42).await
/// })
/// .await?;
/// # Ok(()) }
/// ```
///
/// Statements take `&self`, so that those of one transaction can be pipelined with `join!`.
/// [`begin`](Self::begin) takes `&mut self`, because nothing else may run on the session during a
/// transaction. The futures are `Send`. The trait is sealed.
pub trait Execute: sealed::Sealed + Send + Sync {
    /// The type that [`begin`](Self::begin) returns.
    type Transaction<'a>: OpenTransaction
    where
        Self: 'a;

    /// Returns all rows of a statement.
    ///
    /// # Errors
    ///
    /// As [`Pool::query`].
    fn query<S: ?Sized + Sync + AsStatement>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send;

    /// Returns the only row of a statement.
    ///
    /// # Errors
    ///
    /// [`Error::NoRow`] if there is no row; otherwise as [`Pool::query_one`].
    fn query_one<S: ?Sized + Sync + AsStatement>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> impl Future<Output = Result<Row, Error>> + Send;

    /// Returns the only row of a statement, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Pool::query_opt`].
    fn query_opt<S: ?Sized + Sync + AsStatement>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> impl Future<Output = Result<Option<Row>, Error>> + Send;

    /// Returns the rows of a statement as they arrive.
    ///
    /// # Errors
    ///
    /// As [`Pool::query_raw`].
    fn query_raw<S: ?Sized + Sync + AsStatement>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> impl Future<Output = Result<RowStream, Error>> + Send;

    /// Returns the number of rows that a statement changed.
    ///
    /// # Errors
    ///
    /// As [`Pool::execute`].
    fn execute<S: ?Sized + Sync + AsStatement>(
        &self,
        statement: &S,
        params: Params<'_>,
    ) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Runs statements separated by semicolons, without parameters.
    ///
    /// # Errors
    ///
    /// As [`Pool::batch_execute`].
    fn batch_execute(&self, statements: &str) -> impl Future<Output = Result<(), Error>> + Send;

    /// Begins a `COPY … FROM STDIN`.
    ///
    /// # Errors
    ///
    /// As [`Pool::copy_in`].
    fn copy_in<S, U>(
        &self,
        statement: &S,
    ) -> impl Future<Output = Result<CopyInSink<U>, Error>> + Send
    where
        S: ?Sized + Sync + AsStatement,
        U: bytes::Buf + Send + 'static;

    /// Begins a `COPY … TO STDOUT`.
    ///
    /// # Errors
    ///
    /// As [`Pool::copy_out`].
    fn copy_out<S: ?Sized + Sync + AsStatement>(
        &self,
        statement: &S,
    ) -> impl Future<Output = Result<CopyOutStream, Error>> + Send;

    /// Begins a transaction, or a savepoint if a transaction is open. Dropping it undoes its work.
    ///
    /// # Errors
    ///
    /// As [`Pool::begin`].
    fn begin(&mut self) -> impl Future<Output = Result<Self::Transaction<'_>, Error>> + Send;
}

/// An open transaction or savepoint. The trait is sealed.
pub trait OpenTransaction: Execute {
    /// Keeps its work.
    ///
    /// # Errors
    ///
    /// As [`Transaction::commit`].
    fn commit(self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Undoes its work.
    ///
    /// # Errors
    ///
    /// As [`Transaction::rollback`].
    fn rollback(self) -> impl Future<Output = Result<(), Error>> + Send;
}

mod sealed {
    /// Cannot be named outside this crate.
    pub trait Sealed {}
}

/// Implements the trait with the methods of `$target`.
macro_rules! execute {
    ([$($generics:tt)*] $kind:ty, $target:ty, $transaction:ty, |$this:ident| $begin:expr) => {
        impl<$($generics)*> sealed::Sealed for $kind {}

        impl<$($generics)*> Execute for $kind {
            type Transaction<'a>
                = $transaction
            where
                Self: 'a;

            #[track_caller]
            fn query<S: ?Sized + Sync + AsStatement>(
                &self,
                statement: &S,
                params: Params<'_>,
            ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send {
                <$target>::query(self, statement, params)
            }

            #[track_caller]
            fn query_one<S: ?Sized + Sync + AsStatement>(
                &self,
                statement: &S,
                params: Params<'_>,
            ) -> impl Future<Output = Result<Row, Error>> + Send {
                <$target>::query_one(self, statement, params)
            }

            #[track_caller]
            fn query_opt<S: ?Sized + Sync + AsStatement>(
                &self,
                statement: &S,
                params: Params<'_>,
            ) -> impl Future<Output = Result<Option<Row>, Error>> + Send {
                <$target>::query_opt(self, statement, params)
            }

            #[track_caller]
            fn query_raw<S: ?Sized + Sync + AsStatement>(
                &self,
                statement: &S,
                params: Params<'_>,
            ) -> impl Future<Output = Result<RowStream, Error>> + Send {
                <$target>::query_raw(self, statement, params)
            }

            #[track_caller]
            fn execute<S: ?Sized + Sync + AsStatement>(
                &self,
                statement: &S,
                params: Params<'_>,
            ) -> impl Future<Output = Result<u64, Error>> + Send {
                <$target>::execute(self, statement, params)
            }

            #[track_caller]
            fn batch_execute(&self, statements: &str) -> impl Future<Output = Result<(), Error>> + Send {
                <$target>::batch_execute(self, statements)
            }

            #[track_caller]
            fn copy_in<S, U>(&self, statement: &S) -> impl Future<Output = Result<CopyInSink<U>, Error>> + Send
            where
                S: ?Sized + Sync + AsStatement,
                U: bytes::Buf + Send + 'static,
            {
                <$target>::copy_in(self, statement)
            }

            #[track_caller]
            fn copy_out<S: ?Sized + Sync + AsStatement>(&self, statement: &S) -> impl Future<Output = Result<CopyOutStream, Error>> + Send {
                <$target>::copy_out(self, statement)
            }

            #[track_caller]
            fn begin(&mut self) -> impl Future<Output = Result<Self::Transaction<'_>, Error>> + Send {
                let $this = self;
                $begin
            }
        }
    };
}

execute!([] Pool, Pool, Transaction, |db| Pool::begin(db));
execute!([] Connection, Connection, Transaction, |db| Connection::begin(db));
execute!([] Database, Database, Transaction, |db| Database::begin(db));
execute!(['h] TimedHandle<'h>, TimedHandle<'h>, Transaction, |db| TimedHandle::begin(db));
execute!([] ClientGuard, ClientGuard, Savepoint<'a>, |db| db.transaction());
execute!([] Transaction, Transaction, Savepoint<'a>, |db| db.transaction());
execute!(['n] Savepoint<'n>, Savepoint<'n>, Savepoint<'a>, |db| db.transaction());
execute!(['s] TimedSession<'s>, TimedSession<'s>, Savepoint<'a>, |db| db.transaction());
execute!([] Scoped<ClientGuard>, ClientGuard, Savepoint<'a>, |db| db.transaction());
execute!([] Scoped<Transaction>, Transaction, Savepoint<'a>, |db| db.transaction());

impl OpenTransaction for Transaction {
    async fn commit(self) -> Result<(), Error> {
        Self::commit(self).await
    }

    async fn rollback(self) -> Result<(), Error> {
        Self::rollback(self).await
    }
}

impl OpenTransaction for Savepoint<'_> {
    async fn commit(self) -> Result<(), Error> {
        Savepoint::commit(self).await
    }

    async fn rollback(self) -> Result<(), Error> {
        Savepoint::rollback(self).await
    }
}
