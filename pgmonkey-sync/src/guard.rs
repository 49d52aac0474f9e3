//! A borrowed session.

use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use pgmonkey_connect::ledger::LoanId;
use pgmonkey_connect::nesting::Mark;
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{Error, Report, limits};

use crate::engine::{Loan, Slot};
use crate::gate::Place;
use crate::pool::Shared;
use crate::prepared::prepares;
use crate::session::Session;
use crate::statements::statements_of_session;
use crate::transaction::Nested;

/// A session on loan. It is the driver's [`postgres::Client`] to use; dropping the guard gives
/// the session back.
///
/// A transaction left open is rolled back on the way. A guard may outlive its pool, and may be
/// dropped anywhere, also inside an async task.
///
/// ```no_run
/// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
/// let mut client = pool.acquire()?;
/// client.begin()?;
/// client.execute("UPDATE accounts SET open = false", &[])?;
/// client.commit()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping the guard gives the session back at once"]
pub struct ClientGuard {
    pool: Arc<Shared>,
    /// `Some` until the drop takes it.
    loan: Option<(Loan, LoanId, Place)>,
    /// The transaction that was begun by hand.
    by_hand: Option<Mark>,
}

impl ClientGuard {
    pub(crate) fn new(pool: Arc<Shared>, loan: Loan, number: LoanId, place: Place) -> Self {
        Self {
            pool,
            loan: Some((loan, number, place)),
            by_hand: None,
        }
    }

    /// Begins a transaction by hand; end it with [`commit`](Self::commit) or
    /// [`rollback`](Self::rollback).
    ///
    /// ```no_run
    /// # fn example(mut client: pgmonkey_sync::ClientGuard) -> Result<(), pgmonkey_sync::Error> {
    /// client.begin()?;
    /// client.execute("DELETE FROM visits", &[])?;
    /// client.commit()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub fn begin(&mut self) -> Result<(), Error> {
        let depth = self.session().outermost();
        self.by_hand = Some(self.session_mut().begin(depth)?);
        Ok(())
    }

    /// Commits the transaction that is open.
    ///
    /// ```no_run
    /// # fn example(mut client: pgmonkey_sync::ClientGuard) -> Result<(), pgmonkey_sync::Error> {
    /// client.begin()?;
    /// client.execute("DELETE FROM visits", &[])?;
    /// client.commit()?;
    /// assert!(client.commit().is_err()); // nothing is open any more
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] if none is open, [`Error::RolledBack`] if one of its statements had
    /// failed, [`Error::TransactionEnded`] if one of them had ended it, [`Error::Database`].
    pub fn commit(&mut self) -> Result<(), Error> {
        let mark = self.take_by_hand("commit")?;
        self.session_mut().commit(mark)
    }

    /// Rolls the transaction that is open back.
    ///
    /// ```no_run
    /// # fn example(mut client: pgmonkey_sync::ClientGuard) -> Result<(), pgmonkey_sync::Error> {
    /// client.begin()?;
    /// client.execute("DELETE FROM visits", &[])?;
    /// client.rollback()?; // the visits stay
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] if none is open, [`Error::TransactionEnded`] if one of its
    /// statements had ended it, [`Error::Database`].
    pub fn rollback(&mut self) -> Result<(), Error> {
        let mark = self.take_by_hand("rollback")?;
        self.session_mut().roll_back_to(mark)
    }

    /// Begins a transaction that ends with the value returned; a savepoint if one is open
    /// already.
    ///
    /// ```no_run
    /// # fn example(mut client: pgmonkey_sync::ClientGuard) -> Result<(), pgmonkey_sync::Error> {
    /// let mut transaction = client.transaction()?;
    /// transaction.execute("DELETE FROM visits", &[])?;
    /// transaction.commit()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub fn transaction(&mut self) -> Result<Nested<'_>, Error> {
        Nested::within(self)
    }

    /// Forgets the prepared statements of this session and the types that the driver has learnt:
    /// after a change of the schema that no error tells of, for this session alone.
    /// [`Pool::forget_types`](crate::Pool::forget_types) does it for all.
    ///
    /// ```no_run
    /// # fn example(mut client: pgmonkey_sync::ClientGuard) -> Result<(), pgmonkey_sync::Error> {
    /// client.batch_execute("ALTER TYPE mood ADD VALUE 'great'")?;
    /// client.clear_statements();
    /// # Ok(()) }
    /// ```
    pub fn clear_statements(&mut self) {
        self.session_mut().forget_statements();
    }

    /// Asks the server for a sign of life and says what answered. One round trip, which is
    /// waited for as long as the pool's `timeout` and at least a second.
    ///
    /// ```no_run
    /// # fn example(mut client: pgmonkey_sync::ClientGuard) -> Result<(), pgmonkey_sync::Error> {
    /// println!("server process {}", client.ping()?.backend_pid);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Unanswered`], [`Error::Database`].
    pub fn ping(&mut self) -> Result<Report, Error> {
        let limit = limits::ping(self.pool.settings.timeout);
        self.session_mut().check_usable()?;
        self.session_mut().ping(limit)
    }

    fn take_by_hand(&mut self, action: &'static str) -> Result<Mark, Error> {
        match self.by_hand.take() {
            Some(mark) => Ok(mark),
            None => self.session_mut().mark_open(action),
        }
    }

    /// Whether a transaction is open as far as the caller is concerned.
    pub(crate) fn is_inside(&mut self) -> Result<bool, Error> {
        match self.session().outermost() {
            0 => Ok(self.session_mut().state_at_rest()? != WireState::Idle),
            _ => Ok(self.by_hand.is_some()),
        }
    }

    pub(crate) fn session(&self) -> &Session {
        match self.loan.as_ref().map(|(loan, ..)| &***loan) {
            Some(Slot::Open(session)) => session,
            _ => unreachable!("a guard is made of an open session and keeps it to its drop"),
        }
    }

    pub(crate) fn session_mut(&mut self) -> &mut Session {
        match self.loan.as_mut().map(|(loan, ..)| &mut ***loan) {
            Some(Slot::Open(session)) => session,
            _ => unreachable!("a guard is made of an open session and keeps it to its drop"),
        }
    }
}

prepares!(ClientGuard);
statements_of_session!(ClientGuard);

impl Deref for ClientGuard {
    type Target = postgres::Client;

    fn deref(&self) -> &postgres::Client {
        self.session().client()
    }
}

impl DerefMut for ClientGuard {
    fn deref_mut(&mut self) -> &mut postgres::Client {
        self.session_mut().client_mut()
    }
}

impl Drop for ClientGuard {
    fn drop(&mut self) {
        if !self.pool.origin.is_here() {
            return mem::forget((self.loan.take(), Arc::clone(&self.pool)));
        }
        if let Some((loan, number, place)) = self.loan.take() {
            self.pool.release(loan, number, place);
        }
    }
}

impl fmt::Debug for ClientGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientGuard")
            .field("at", &self.session().route().address().to_string())
            .finish_non_exhaustive()
    }
}
