//! The last statement of a transaction, sent together with its `COMMIT`.

use std::panic::Location;

use pgmonkey_connect::{AsStatement, Error};
use postgres::Row;
use postgres::types::ToSql;

use crate::client::transaction::{Savepoint, Transaction};
use crate::session::answer::{Count, Rows};

impl Transaction {
    /// Runs the last statement and commits. Both are sent together, in one round trip, if the driver
    /// can do so: the blocking one can if the statement is a text without parameters. Returns the
    /// number of rows that the statement changed. If it fails, nothing is committed.
    ///
    /// ```no_run
    /// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
    /// let mut transaction = pool.begin()?;
    /// transaction.execute("DELETE FROM visits WHERE page = $1", &[&7])?;
    /// transaction.execute_and_commit("UPDATE pages SET open = false WHERE id = 7", &[])?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The statement's, and those of [`commit`](Self::commit).
    #[track_caller]
    pub fn execute_and_commit<S: ?Sized + AsStatement>(
        mut self,
        statement: &S,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let location = Location::caller();
        let session = self.guard.session_mut();
        if self.confirms {
            let changed = session.run_statement::<Count, S>(location, statement, params)?;
            return self.commit().map(|()| changed);
        }
        let mark = self.mark;
        let changed = session
            .bounded(|session| session.execute_and_commit(location, mark, statement, params))?;
        session.run_undo(self.undo.as_deref())?;
        Ok(changed)
    }

    /// As [`execute_and_commit`](Self::execute_and_commit), but returns the rows of the statement.
    /// The blocking driver sends the `COMMIT` after it.
    ///
    /// # Errors
    ///
    /// As [`execute_and_commit`](Self::execute_and_commit).
    #[track_caller]
    pub fn query_and_commit<S: ?Sized + AsStatement>(
        mut self,
        statement: &S,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let location = Location::caller();
        let session = self.guard.session_mut();
        let rows = session.run_statement::<Rows, S>(location, statement, params)?;
        self.commit()?;
        Ok(rows)
    }
}

impl Savepoint<'_> {
    /// As [`Transaction::execute_and_commit`]. If the statement fails, the work since the savepoint
    /// is undone.
    ///
    /// # Errors
    ///
    /// The statement's, and those of [`commit`](Self::commit).
    #[track_caller]
    pub fn execute_and_commit<S: ?Sized + AsStatement>(
        mut self,
        statement: &S,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        let location = Location::caller();
        let session = self.guard.session_mut();
        if self.confirms {
            let changed = session.run_statement::<Count, S>(location, statement, params)?;
            return self.commit().map(|()| changed);
        }
        let mark = self.mark;
        let ended = session
            .bounded(|session| session.execute_and_commit(location, mark, statement, params));
        self.done = ended.is_ok();
        let output = ended?;
        session.run_undo(self.undo.as_deref())?;
        Ok(output)
    }

    /// As [`execute_and_commit`](Self::execute_and_commit), but returns the rows of the statement.
    /// The blocking driver sends the `COMMIT` after it.
    ///
    /// # Errors
    ///
    /// As [`execute_and_commit`](Self::execute_and_commit).
    #[track_caller]
    pub fn query_and_commit<S: ?Sized + AsStatement>(
        self,
        statement: &S,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let location = Location::caller();
        let session = self.guard.session_mut();
        let rows = session.run_statement::<Rows, S>(location, statement, params)?;
        self.commit()?;
        Ok(rows)
    }
}
