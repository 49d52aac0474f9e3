//! A trait for everything that runs statements, so that code over it is written once.

use pgmonkey_connect::{AsStatement, Error};
use postgres::Row;

use crate::client::copy::{CopyInWriter, CopyOutReader};
use crate::client::guard::ClientGuard;
use crate::client::stream::RowIter;
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
/// use pgmonkey_sync::{Error, Execute, Pool};
///
/// fn name(db: &mut impl Execute, id: i64) -> Result<Option<String>, Error> {
///     let row = db.query_opt("SELECT name FROM users WHERE id = $1", &[&id])?;
///     Ok(row.map(|row| row.get(0)))
/// }
///
/// fn rename(db: &mut impl Execute, id: i64, name: &str) -> Result<(), Error> {
///     use pgmonkey_sync::OpenTransaction;
///
///     let mut both = db.begin()?; // a savepoint, if a transaction is open
///     both.execute("UPDATE users SET name = $2 WHERE id = $1", &[&id, &name])?;
///     both.execute("INSERT INTO renamed VALUES ($1)", &[&id])?;
///     both.commit()
/// }
///
/// # fn example(mut pool: Pool) -> Result<(), Error> {
/// rename(&mut pool, 42, "ann")?;
/// rename(&mut pool.acquire()?, 42, "bob")?;
/// pool.transaction(|tx| {
///     rename(tx, 42, "cid")?;
///     name(tx, 42)
/// })?;
/// # Ok(()) }
/// ```
///
/// All methods take `&mut self`, as the driver's do. The trait is sealed.
pub trait Execute: sealed::Sealed {
    /// The type that [`begin`](Self::begin) returns.
    type Transaction<'a>: OpenTransaction
    where
        Self: 'a;

    /// Returns all rows of a statement.
    ///
    /// # Errors
    ///
    /// As [`Pool::query`].
    fn query<S: ?Sized + AsStatement>(
        &mut self,
        statement: &S,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Error>;

    /// Returns the only row of a statement.
    ///
    /// # Errors
    ///
    /// [`Error::NoRow`] if there is no row; otherwise as [`Pool::query_one`].
    fn query_one<S: ?Sized + AsStatement>(
        &mut self,
        statement: &S,
        params: Params<'_>,
    ) -> Result<Row, Error>;

    /// Returns the only row of a statement, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Pool::query_opt`].
    fn query_opt<S: ?Sized + AsStatement>(
        &mut self,
        statement: &S,
        params: Params<'_>,
    ) -> Result<Option<Row>, Error>;

    /// Returns the rows of a statement as they arrive.
    ///
    /// # Errors
    ///
    /// As [`Pool::query_raw`].
    fn query_raw<S: ?Sized + AsStatement>(
        &mut self,
        statement: &S,
        params: Params<'_>,
    ) -> Result<RowIter<'_>, Error>;

    /// Returns the number of rows that a statement changed.
    ///
    /// # Errors
    ///
    /// As [`Pool::execute`].
    fn execute<S: ?Sized + AsStatement>(
        &mut self,
        statement: &S,
        params: Params<'_>,
    ) -> Result<u64, Error>;

    /// Runs statements separated by semicolons, without parameters.
    ///
    /// # Errors
    ///
    /// As [`Pool::batch_execute`].
    fn batch_execute(&mut self, statements: &str) -> Result<(), Error>;

    /// Begins a `COPY … FROM STDIN`.
    ///
    /// # Errors
    ///
    /// As [`Pool::copy_in`].
    fn copy_in<S: ?Sized + AsStatement>(
        &mut self,
        statement: &S,
    ) -> Result<CopyInWriter<'_>, Error>;

    /// Begins a `COPY … TO STDOUT`.
    ///
    /// # Errors
    ///
    /// As [`Pool::copy_out`].
    fn copy_out<S: ?Sized + AsStatement>(
        &mut self,
        statement: &S,
    ) -> Result<CopyOutReader<'_>, Error>;

    /// Begins a transaction, or a savepoint if a transaction is open. Dropping it undoes its work.
    ///
    /// # Errors
    ///
    /// As [`Pool::begin`].
    fn begin(&mut self) -> Result<Self::Transaction<'_>, Error>;
}

/// An open transaction or savepoint. The trait is sealed.
pub trait OpenTransaction: Execute {
    /// Keeps its work.
    ///
    /// # Errors
    ///
    /// As [`Transaction::commit`].
    fn commit(self) -> Result<(), Error>;

    /// Undoes its work.
    ///
    /// # Errors
    ///
    /// As [`Transaction::rollback`].
    fn rollback(self) -> Result<(), Error>;
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
            fn query<S: ?Sized + AsStatement>(
                &mut self,
                statement: &S,
                params: Params<'_>,
            ) -> Result<Vec<Row>, Error> {
                <$target>::query(self, statement, params)
            }

            #[track_caller]
            fn query_one<S: ?Sized + AsStatement>(
                &mut self,
                statement: &S,
                params: Params<'_>,
            ) -> Result<Row, Error> {
                <$target>::query_one(self, statement, params)
            }

            #[track_caller]
            fn query_opt<S: ?Sized + AsStatement>(
                &mut self,
                statement: &S,
                params: Params<'_>,
            ) -> Result<Option<Row>, Error> {
                <$target>::query_opt(self, statement, params)
            }

            #[track_caller]
            fn query_raw<S: ?Sized + AsStatement>(
                &mut self,
                statement: &S,
                params: Params<'_>,
            ) -> Result<RowIter<'_>, Error> {
                <$target>::query_raw(self, statement, params)
            }

            #[track_caller]
            fn execute<S: ?Sized + AsStatement>(
                &mut self,
                statement: &S,
                params: Params<'_>,
            ) -> Result<u64, Error> {
                <$target>::execute(self, statement, params)
            }

            #[track_caller]
            fn batch_execute(&mut self, statements: &str) -> Result<(), Error> {
                <$target>::batch_execute(self, statements)
            }

            #[track_caller]
            fn copy_in<S: ?Sized + AsStatement>(&mut self, statement: &S) -> Result<CopyInWriter<'_>, Error> {
                <$target>::copy_in(self, statement)
            }

            #[track_caller]
            fn copy_out<S: ?Sized + AsStatement>(&mut self, statement: &S) -> Result<CopyOutReader<'_>, Error> {
                <$target>::copy_out(self, statement)
            }

            #[track_caller]
            fn begin(&mut self) -> Result<Self::Transaction<'_>, Error> {
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

impl OpenTransaction for Transaction {
    fn commit(self) -> Result<(), Error> {
        Self::commit(self)
    }

    fn rollback(self) -> Result<(), Error> {
        Self::rollback(self)
    }
}

impl OpenTransaction for Savepoint<'_> {
    fn commit(self) -> Result<(), Error> {
        Savepoint::commit(self)
    }

    fn rollback(self) -> Result<(), Error> {
        Savepoint::rollback(self)
    }
}
