//! A transaction that owns its session, and one within a session that somebody else owns.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::task::{Context, Waker};

use pgmonkey_connect::nesting::Mark;
use pgmonkey_connect::{Error, nesting};

use crate::guard::ClientGuard;
use crate::prepared::prepares;
use crate::session::Session;
use crate::statements::statements_of_session;

/// An open transaction with a session of its own. It is the driver's [`tokio_postgres::Client`] to use;
/// [`commit`](Self::commit) keeps its work, [`rollback`](Self::rollback) or dropping it does
/// not.
///
/// ```no_run
/// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
/// let mut transaction = pool.begin().await?;
/// transaction.execute("UPDATE accounts SET open = false", &[]).await?;
/// let savepoint = transaction.transaction().await?;
/// savepoint.execute("DELETE FROM sessions", &[]).await?;
/// savepoint.rollback().await?; // the sessions stay
/// transaction.commit().await?; // the accounts are closed
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping a transaction rolls it back"]
pub struct Transaction {
    /// Dropping it rolls back what is still open.
    guard: ClientGuard,
    mark: Mark,
}

impl Transaction {
    pub(crate) async fn begin(guard: ClientGuard) -> Result<Self, Error> {
        let depth = guard.session().outermost();
        let mark = guard.session().begin(depth).await?;
        Ok(Self { guard, mark })
    }

    /// Opens a savepoint: committing it keeps its work for this transaction, dropping it undoes
    /// no more than its own.
    ///
    /// ```no_run
    /// # async fn example(mut transaction: pgmonkey_async::Transaction) -> Result<(), pgmonkey_async::Error> {
    /// let savepoint = transaction.transaction().await?;
    /// savepoint.execute("DELETE FROM visits", &[]).await?;
    /// savepoint.rollback().await?; // the visits stay
    /// transaction.commit().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn transaction(&mut self) -> Result<Nested<'_>, Error> {
        Nested::open(&mut self.guard, self.mark.depth + 1).await
    }

    /// Makes the work permanent.
    ///
    /// ```no_run
    /// # async fn example(transaction: pgmonkey_async::Transaction) -> Result<(), pgmonkey_async::Error> {
    /// transaction.execute("DELETE FROM visits", &[]).await?;
    /// transaction.commit().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::RolledBack`] if one of its statements had failed, [`Error::TransactionEnded`] if
    /// one of them had ended it, [`Error::Database`].
    pub async fn commit(self) -> Result<(), Error> {
        self.guard.session().commit(self.mark).await
    }

    /// Undoes the work, and says if that failed, which dropping does not.
    ///
    /// ```no_run
    /// # async fn example(transaction: pgmonkey_async::Transaction) -> Result<(), pgmonkey_async::Error> {
    /// transaction.execute("DELETE FROM visits", &[]).await?;
    /// transaction.rollback().await?; // the visits stay
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TransactionEnded`] if one of its statements had ended it, [`Error::Database`].
    pub async fn rollback(self) -> Result<(), Error> {
        self.guard.session().roll_back_to(self.mark).await
    }
}

impl Transaction {
    fn session(&self) -> &Session {
        self.guard.session()
    }
}

prepares!(Transaction);
statements_of_session!(Transaction);

/// A transaction within a session that is borrowed: the first one is a transaction, those
/// within it are savepoints. It is the driver's [`tokio_postgres::Client`] to use; dropping it undoes its work.
///
/// ```no_run
/// # async fn example(mut client: pgmonkey_async::ClientGuard) -> Result<(), pgmonkey_async::Error> {
/// let mut outer = client.transaction().await?;
/// let inner = outer.transaction().await?; // a savepoint
/// inner.execute("DELETE FROM visits", &[]).await?;
/// drop(inner); // the visits stay
/// outer.commit().await?;
/// # Ok(()) }
/// ```
#[must_use = "dropping a transaction rolls it back"]
pub struct Nested<'a> {
    guard: &'a mut ClientGuard,
    mark: Mark,
    done: bool,
}

impl<'a> Nested<'a> {
    /// A transaction, or a savepoint if one is open already.
    pub(crate) async fn within(guard: &'a mut ClientGuard) -> Result<Self, Error> {
        let depth = guard.session().outermost() + u32::from(guard.is_inside().await?);
        Self::open(guard, depth).await
    }

    async fn open(guard: &'a mut ClientGuard, depth: u32) -> Result<Self, Error> {
        // Made first: dropped during the statement, it undoes what the statement did.
        let mut opened = Self {
            mark: guard.session().mark(depth),
            guard,
            done: false,
        };
        opened.mark = opened.guard.session().begin(depth).await?;
        Ok(opened)
    }

    /// Opens a savepoint within.
    ///
    /// ```no_run
    /// # async fn example(mut client: pgmonkey_async::ClientGuard) -> Result<(), pgmonkey_async::Error> {
    /// let mut outer = client.transaction().await?;
    /// let mut inner = outer.transaction().await?;
    /// inner.execute("DELETE FROM visits", &[]).await?;
    /// let innermost = inner.transaction().await?;
    /// innermost.rollback().await?;
    /// inner.commit().await?;
    /// outer.commit().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn transaction(&mut self) -> Result<Nested<'_>, Error> {
        Nested::open(self.guard, self.mark.depth + 1).await
    }

    /// Makes the work permanent, or part of the transaction around a savepoint.
    ///
    /// ```no_run
    /// # async fn example(mut client: pgmonkey_async::ClientGuard) -> Result<(), pgmonkey_async::Error> {
    /// let mut outer = client.transaction().await?;
    /// let inner = outer.transaction().await?;
    /// inner.execute("DELETE FROM visits", &[]).await?;
    /// inner.commit().await?; // for the transaction around it
    /// outer.commit().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::RolledBack`] if one of its statements had failed, [`Error::TransactionEnded`] if
    /// one of them had ended it, [`Error::Database`].
    pub async fn commit(mut self) -> Result<(), Error> {
        let ended = self.guard.session().commit(self.mark).await;
        // A failed COMMIT has ended the transaction all the same.
        self.done = true;
        ended
    }

    /// Undoes the work, and says if that failed, which dropping does not.
    ///
    /// ```no_run
    /// # async fn example(mut client: pgmonkey_async::ClientGuard) -> Result<(), pgmonkey_async::Error> {
    /// let mut outer = client.transaction().await?;
    /// let inner = outer.transaction().await?;
    /// inner.execute("DELETE FROM visits", &[]).await?;
    /// inner.rollback().await?; // the visits stay
    /// outer.commit().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TransactionEnded`] if one of its statements had ended it, [`Error::Database`].
    pub async fn rollback(mut self) -> Result<(), Error> {
        let undone = self.guard.session().roll_back_to(self.mark).await;
        self.done = true;
        undone
    }
}

impl Nested<'_> {
    fn session(&self) -> &Session {
        self.guard.session()
    }
}

prepares!(Nested<'_>);
statements_of_session!(Nested<'_>);

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // The driver queues a statement when its future is polled first; nobody needs the
        // answer, and whatever follows on the session stands behind it.
        let statement = nesting::rollback(self.mark.depth);
        self.guard.session().note_ended(self.mark.depth);
        let mut undo = pin!(self.guard.session().run(&statement));
        let _ = undo.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
}

impl Deref for Transaction {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &tokio_postgres::Client {
        &self.guard
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut tokio_postgres::Client {
        &mut self.guard
    }
}

impl Deref for Nested<'_> {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &tokio_postgres::Client {
        self.guard
    }
}

impl DerefMut for Nested<'_> {
    fn deref_mut(&mut self) -> &mut tokio_postgres::Client {
        self.guard
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transaction").field(&self.guard).finish()
    }
}

impl fmt::Debug for Nested<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nested")
            .field("depth", &self.mark.depth)
            .finish_non_exhaustive()
    }
}
