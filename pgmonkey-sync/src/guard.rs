//! A borrowed session.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use pgmonkey_connect::ledger::LoanId;
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{Error, PING, Report};

use crate::engine::{Loan, Slot};
use crate::gate::Place;
use crate::pool::Shared;
use crate::prepared::prepares;
use crate::session::Session;
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
}

impl ClientGuard {
    pub(crate) fn new(pool: Arc<Shared>, loan: Loan, number: LoanId, place: Place) -> Self {
        Self {
            pool,
            loan: Some((loan, number, place)),
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
        self.session_mut().run("BEGIN")
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
    /// [`Error::NoTransaction`] if none is open, [`Error::RolledBack`] if an error had ended it
    /// before, [`Error::Database`].
    pub fn commit(&mut self) -> Result<(), Error> {
        match self.session_mut().state_at_rest()? {
            WireState::Idle => Err(Error::NoTransaction { action: "commit" }),
            WireState::Failed => {
                self.session_mut().run("ROLLBACK")?;
                Err(Error::RolledBack)
            }
            _ => self.session_mut().run("COMMIT"),
        }
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
    /// [`Error::NoTransaction`] if none is open, [`Error::Database`].
    pub fn rollback(&mut self) -> Result<(), Error> {
        match self.session_mut().state_at_rest()? {
            WireState::Idle => Err(Error::NoTransaction { action: "rollback" }),
            _ => self.session_mut().run("ROLLBACK"),
        }
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

    /// Asks the server for a sign of life and says what answered. One round trip.
    ///
    /// ```no_run
    /// # fn example(mut client: pgmonkey_sync::ClientGuard) -> Result<(), pgmonkey_sync::Error> {
    /// println!("server process {}", client.ping()?.backend_pid);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub fn ping(&mut self) -> Result<Report, Error> {
        let session = self.session_mut();
        let began = Instant::now();
        let row = session.client_mut().query_typed_one(PING, &[])?;
        Ok(Report::from_row(&row, began.elapsed(), session.route())?)
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
