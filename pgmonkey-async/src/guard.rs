//! A borrowed session.

use std::fmt;
use std::ops::{Deref, DerefMut};

use pgmonkey_connect::nesting::Mark;
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{Error, Report, limits};

use crate::lease::Lease;
use crate::prepared::prepares;
use crate::session::Session;
use crate::statements::statements_of_session;
use crate::transaction::Nested;

/// A session on loan. It is the driver's [`tokio_postgres::Client`] to use; dropping the guard
/// gives the session back.
///
/// A transaction left open is rolled back on the way, a statement left running is cancelled. A
/// guard may outlive its pool, and may be dropped anywhere, also outside a runtime.
///
/// ```no_run
/// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
/// let mut client = pool.acquire().await?;
/// client.begin().await?;
/// client.execute("UPDATE accounts SET open = false", &[]).await?;
/// client.commit().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping the guard gives the session back at once"]
pub struct ClientGuard {
    /// `Some` until the drop takes it.
    lease: Option<Lease>,
    /// The transaction that was begun by hand.
    by_hand: Option<Mark>,
}

impl ClientGuard {
    pub(crate) fn new(lease: Lease) -> Self {
        Self {
            lease: Some(lease),
            by_hand: None,
        }
    }

    /// Begins a transaction by hand; end it with [`commit`](Self::commit) or
    /// [`rollback`](Self::rollback).
    ///
    /// ```no_run
    /// # async fn example(mut client: pgmonkey_async::ClientGuard) -> Result<(), pgmonkey_async::Error> {
    /// client.begin().await?;
    /// client.execute("DELETE FROM visits", &[]).await?;
    /// client.commit().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn begin(&mut self) -> Result<(), Error> {
        let depth = self.session().outermost();
        self.by_hand = Some(self.session().begin(depth).await?);
        Ok(())
    }

    /// Commits the transaction that is open.
    ///
    /// ```no_run
    /// # async fn example(mut client: pgmonkey_async::ClientGuard) -> Result<(), pgmonkey_async::Error> {
    /// client.begin().await?;
    /// client.execute("DELETE FROM visits", &[]).await?;
    /// client.commit().await?;
    /// assert!(client.commit().await.is_err()); // nothing is open any more
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] if none is open, [`Error::RolledBack`] if one of its statements had
    /// failed, [`Error::TransactionEnded`] if one of them had ended it, [`Error::Database`].
    pub async fn commit(&mut self) -> Result<(), Error> {
        let mark = self.take_by_hand("commit").await?;
        self.session().commit(mark).await
    }

    /// Rolls the transaction that is open back.
    ///
    /// ```no_run
    /// # async fn example(mut client: pgmonkey_async::ClientGuard) -> Result<(), pgmonkey_async::Error> {
    /// client.begin().await?;
    /// client.execute("DELETE FROM visits", &[]).await?;
    /// client.rollback().await?; // the visits stay
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] if none is open, [`Error::TransactionEnded`] if one of its
    /// statements had ended it, [`Error::Database`].
    pub async fn rollback(&mut self) -> Result<(), Error> {
        let mark = self.take_by_hand("rollback").await?;
        self.session().roll_back_to(mark).await
    }

    /// Begins a transaction that ends with the value returned; a savepoint if one is open
    /// already.
    ///
    /// ```no_run
    /// # async fn example(mut client: pgmonkey_async::ClientGuard) -> Result<(), pgmonkey_async::Error> {
    /// let transaction = client.transaction().await?;
    /// transaction.execute("DELETE FROM visits", &[]).await?;
    /// transaction.commit().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn transaction(&mut self) -> Result<Nested<'_>, Error> {
        Nested::within(self).await
    }

    /// Forgets the prepared statements of this session and the types that the driver has learnt:
    /// after a change of the schema that no error tells of, for this session alone.
    /// [`Pool::forget_types`](crate::Pool::forget_types) does it for all.
    ///
    /// ```no_run
    /// # async fn example(client: pgmonkey_async::ClientGuard) -> Result<(), pgmonkey_async::Error> {
    /// client.batch_execute("ALTER TYPE mood ADD VALUE 'great'").await?;
    /// client.clear_statements();
    /// # Ok(()) }
    /// ```
    pub fn clear_statements(&self) {
        self.session().forget_statements();
    }

    /// Asks the server for a sign of life and says what answered. One round trip, which is
    /// waited for as long as the pool's `timeout` and at least a second.
    ///
    /// ```no_run
    /// # async fn example(mut client: pgmonkey_async::ClientGuard) -> Result<(), pgmonkey_async::Error> {
    /// println!("server process {}", client.ping().await?.backend_pid);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Unanswered`], [`Error::Database`].
    pub async fn ping(&mut self) -> Result<Report, Error> {
        let limit = limits::ping(self.lease().pool.settings.timeout);
        self.session().check_usable()?;
        self.session().ping(limit).await
    }

    async fn take_by_hand(&mut self, action: &'static str) -> Result<Mark, Error> {
        match self.by_hand.take() {
            Some(mark) => Ok(mark),
            None => self.session().mark_open(action).await,
        }
    }

    /// Whether a transaction is open as far as the caller is concerned.
    pub(crate) async fn is_inside(&self) -> Result<bool, Error> {
        match self.session().outermost() {
            0 => Ok(self.session().state_at_rest().await? != WireState::Idle),
            _ => Ok(self.by_hand.is_some()),
        }
    }

    fn lease(&self) -> &Lease {
        self.lease.as_ref().expect("only the drop takes the lease")
    }

    pub(crate) fn session(&self) -> &Session {
        self.lease().loan()
    }

    pub(crate) fn session_mut(&mut self) -> &mut Session {
        self.lease
            .as_mut()
            .expect("only the drop takes the lease")
            .loan_mut()
    }
}

prepares!(ClientGuard);
statements_of_session!(ClientGuard);

impl Deref for ClientGuard {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &tokio_postgres::Client {
        self.session().client()
    }
}

impl DerefMut for ClientGuard {
    fn deref_mut(&mut self) -> &mut tokio_postgres::Client {
        self.session_mut().client_mut()
    }
}

impl Drop for ClientGuard {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.release();
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
