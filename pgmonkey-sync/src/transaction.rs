//! A transaction that owns its session, and one within a session that somebody else owns.

use std::fmt;
use std::ops::{Deref, DerefMut};

use pgmonkey_connect::Error;
use pgmonkey_connect::nesting::Mark;

use crate::context;
use crate::guard::ClientGuard;
use crate::prepared::prepares;
use crate::session::Session;
use crate::statements::statements_of_session;

/// An open transaction with a session of its own. It is the driver's [`postgres::Client`] to use;
/// [`commit`](Self::commit) keeps its work, [`rollback`](Self::rollback) or dropping it does
/// not.
///
/// ```no_run
/// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
/// let mut transaction = pool.begin()?;
/// transaction.execute("UPDATE accounts SET open = false", &[])?;
/// let mut savepoint = transaction.transaction()?;
/// savepoint.execute("DELETE FROM sessions", &[])?;
/// savepoint.rollback()?; // the sessions stay
/// transaction.commit()?; // the accounts are closed
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
    pub(crate) fn begin(mut guard: ClientGuard) -> Result<Self, Error> {
        let depth = guard.session().outermost();
        let mark = guard.session_mut().begin(depth)?;
        Ok(Self { guard, mark })
    }

    /// Opens a savepoint: committing it keeps its work for this transaction, dropping it undoes
    /// no more than its own.
    ///
    /// ```no_run
    /// # fn example(mut transaction: pgmonkey_sync::Transaction) -> Result<(), pgmonkey_sync::Error> {
    /// let mut savepoint = transaction.transaction()?;
    /// savepoint.execute("DELETE FROM visits", &[])?;
    /// savepoint.rollback()?; // the visits stay
    /// transaction.commit()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub fn transaction(&mut self) -> Result<Nested<'_>, Error> {
        Nested::open(&mut self.guard, self.mark.depth + 1)
    }

    /// Makes the work permanent.
    ///
    /// ```no_run
    /// # fn example(mut transaction: pgmonkey_sync::Transaction) -> Result<(), pgmonkey_sync::Error> {
    /// transaction.execute("DELETE FROM visits", &[])?;
    /// transaction.commit()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::RolledBack`] if one of its statements had failed, [`Error::TransactionEnded`] if
    /// one of them had ended it, [`Error::Database`].
    pub fn commit(mut self) -> Result<(), Error> {
        self.guard.session_mut().commit(self.mark)
    }

    /// Undoes the work, and says if that failed, which dropping does not.
    ///
    /// ```no_run
    /// # fn example(mut transaction: pgmonkey_sync::Transaction) -> Result<(), pgmonkey_sync::Error> {
    /// transaction.execute("DELETE FROM visits", &[])?;
    /// transaction.rollback()?; // the visits stay
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TransactionEnded`] if one of its statements had ended it, [`Error::Database`].
    pub fn rollback(mut self) -> Result<(), Error> {
        self.guard.session_mut().roll_back_to(self.mark)
    }
}

impl Transaction {
    fn session_mut(&mut self) -> &mut Session {
        self.guard.session_mut()
    }
}

prepares!(Transaction);
statements_of_session!(Transaction);

/// A transaction within a session that is borrowed: the first one is a transaction, those
/// within it are savepoints. It is the driver's [`postgres::Client`] to use; dropping it undoes its work.
///
/// ```no_run
/// # fn example(mut client: pgmonkey_sync::ClientGuard) -> Result<(), pgmonkey_sync::Error> {
/// let mut outer = client.transaction()?;
/// let mut inner = outer.transaction()?; // a savepoint
/// inner.execute("DELETE FROM visits", &[])?;
/// drop(inner); // the visits stay
/// outer.commit()?;
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
    pub(crate) fn within(guard: &'a mut ClientGuard) -> Result<Self, Error> {
        let depth = guard.session().outermost() + u32::from(guard.is_inside()?);
        Self::open(guard, depth)
    }

    fn open(guard: &'a mut ClientGuard, depth: u32) -> Result<Self, Error> {
        let mark = guard.session_mut().begin(depth)?;
        Ok(Self {
            guard,
            mark,
            done: false,
        })
    }

    /// Opens a savepoint within.
    ///
    /// ```no_run
    /// # fn example(mut client: pgmonkey_sync::ClientGuard) -> Result<(), pgmonkey_sync::Error> {
    /// let mut outer = client.transaction()?;
    /// let mut inner = outer.transaction()?;
    /// inner.execute("DELETE FROM visits", &[])?;
    /// let innermost = inner.transaction()?;
    /// innermost.rollback()?;
    /// inner.commit()?;
    /// outer.commit()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub fn transaction(&mut self) -> Result<Nested<'_>, Error> {
        Nested::open(self.guard, self.mark.depth + 1)
    }

    /// Makes the work permanent, or part of the transaction around a savepoint.
    ///
    /// ```no_run
    /// # fn example(mut client: pgmonkey_sync::ClientGuard) -> Result<(), pgmonkey_sync::Error> {
    /// let mut outer = client.transaction()?;
    /// let mut inner = outer.transaction()?;
    /// inner.execute("DELETE FROM visits", &[])?;
    /// inner.commit()?; // for the transaction around it
    /// outer.commit()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::RolledBack`] if one of its statements had failed, [`Error::TransactionEnded`] if
    /// one of them had ended it, [`Error::Database`].
    pub fn commit(mut self) -> Result<(), Error> {
        let ended = self.guard.session_mut().commit(self.mark);
        // A failed COMMIT has ended the transaction all the same.
        self.done = true;
        ended
    }

    /// Undoes the work, and says if that failed, which dropping does not.
    ///
    /// ```no_run
    /// # fn example(mut client: pgmonkey_sync::ClientGuard) -> Result<(), pgmonkey_sync::Error> {
    /// let mut outer = client.transaction()?;
    /// let mut inner = outer.transaction()?;
    /// inner.execute("DELETE FROM visits", &[])?;
    /// inner.rollback()?; // the visits stay
    /// outer.commit()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::TransactionEnded`] if one of its statements had ended it, [`Error::Database`].
    pub fn rollback(mut self) -> Result<(), Error> {
        let undone = self.guard.session_mut().roll_back_to(self.mark);
        self.done = true;
        undone
    }
}

impl Nested<'_> {
    fn session_mut(&mut self) -> &mut Session {
        self.guard.session_mut()
    }
}

prepares!(Nested<'_>);
statements_of_session!(Nested<'_>);

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let (session, mark) = (self.guard.session_mut(), self.mark);
        if !context::may_block() {
            return session.give_up();
        }
        // A text may have ended it, which the end of what is around it tells.
        let _ = context::block(|| session.roll_back_to(mark));
    }
}

impl Deref for Transaction {
    type Target = postgres::Client;

    fn deref(&self) -> &postgres::Client {
        &self.guard
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut postgres::Client {
        &mut self.guard
    }
}

impl Deref for Nested<'_> {
    type Target = postgres::Client;

    fn deref(&self) -> &postgres::Client {
        self.guard
    }
}

impl DerefMut for Nested<'_> {
    fn deref_mut(&mut self) -> &mut postgres::Client {
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
