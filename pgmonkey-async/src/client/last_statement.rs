//! The last statement of a transaction, sent together with its `COMMIT`.

use std::panic::Location;

use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{AsStatement, Error};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::client::confirmation;
use crate::client::transaction::{Savepoint, Transaction};
use crate::session::answer::{Answer, Count, Params, Rows};

impl Transaction {
    /// Runs the last statement and commits. Both are sent together, in one round trip, if the driver
    /// can do so: the blocking one can if the statement is a text without parameters. Returns the
    /// number of rows that the statement changed. If it fails, nothing is committed.
    ///
    /// ```no_run
    /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
    /// let transaction = pool.begin().await?;
    /// transaction.execute("DELETE FROM visits WHERE page = $1", &[&7]).await?;
    /// let closed = "UPDATE pages SET open = false WHERE id = $1";
    /// transaction.execute_and_commit(closed, &[&7]).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The statement's, and those of [`commit`](Self::commit).
    #[track_caller]
    pub fn execute_and_commit<S: ?Sized + Sync + AsStatement>(
        self,
        statement: &S,
        params: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<u64, Error>> + Send {
        self.run_and_commit::<Count, S>(Location::caller(), statement, params)
    }

    /// As [`execute_and_commit`](Self::execute_and_commit), but returns the rows of the statement.
    /// The blocking driver sends the `COMMIT` after it.
    ///
    /// # Errors
    ///
    /// As [`execute_and_commit`](Self::execute_and_commit).
    #[track_caller]
    pub fn query_and_commit<S: ?Sized + Sync + AsStatement>(
        self,
        statement: &S,
        params: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send {
        self.run_and_commit::<Rows, S>(Location::caller(), statement, params)
    }
}

impl Transaction {
    async fn run_and_commit<A: Answer, S: ?Sized + Sync + AsStatement>(
        self,
        location: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let session = self.guard.session();
        let _place = session.calling_from(location);
        if !self.confirms {
            let run = session.run_and_commit::<A, S>(self.mark, statement, params);
            let output = session.bounded(run).await?;
            session.run_undo(self.undo.as_deref()).await?;
            return Ok(output);
        }
        let run = session.run_and_commit_with_ticket::<A, S>(self.mark, statement, params);
        // Boxed, so that transactions without it do not pay for its size.
        let (output, lost) = Box::pin(session.bounded(run)).await?;
        if let Some(lost) = lost {
            Box::pin(confirmation::find_out_alone(self.guard, lost)).await?;
        }
        Ok(output)
    }
}

impl Savepoint<'_> {
    async fn run_and_commit<A: Answer, S: ?Sized + Sync + AsStatement>(
        mut self,
        location: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let session = self.guard.session();
        let _place = session.calling_from(location);
        if !self.confirms {
            let run = session.run_and_commit::<A, S>(self.mark, statement, params);
            let ended = session.bounded(run).await;
            self.done = ended.is_ok() || session.state() == WireState::Idle;
            let output = ended?;
            session.run_undo(self.undo.as_deref()).await?;
            return Ok(output);
        }
        let run = session.run_and_commit_with_ticket::<A, S>(self.mark, statement, params);
        let (output, lost) = Box::pin(session.bounded(run)).await?;
        self.done = true;
        if let Some(lost) = lost {
            Box::pin(confirmation::find_out_beside(self.guard, lost)).await?;
        }
        Ok(output)
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
    pub fn execute_and_commit<S: ?Sized + Sync + AsStatement>(
        self,
        statement: &S,
        params: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<u64, Error>> + Send {
        self.run_and_commit::<Count, S>(Location::caller(), statement, params)
    }

    /// As [`execute_and_commit`](Self::execute_and_commit), but returns the rows of the statement.
    /// The blocking driver sends the `COMMIT` after it.
    ///
    /// # Errors
    ///
    /// As [`execute_and_commit`](Self::execute_and_commit).
    #[track_caller]
    pub fn query_and_commit<S: ?Sized + Sync + AsStatement>(
        self,
        statement: &S,
        params: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send {
        self.run_and_commit::<Rows, S>(Location::caller(), statement, params)
    }
}
