//! A session in use.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use pgmonkey_connect::savepoint::Mark;
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{Error, Report, limits};

use crate::client::statements::statements_of_session;
use crate::client::timed::timed;
use crate::client::transaction::Savepoint;
use crate::pool::Shared;
use crate::pool::acquire::InUse;
use crate::session::Session;
use crate::session::prepared::prepares;

/// A session in use. Dereferences to the driver's [`tokio_postgres::Client`]; dropping the guard
/// releases the session.
///
/// A transaction left open is rolled back at release. A guard may outlive its pool, and may be
/// dropped anywhere. This includes code outside a runtime. A statement still running at release is
/// cancelled.
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
#[must_use = "dropping the guard immediately releases the session"]
pub struct ClientGuard {
    in_use: InUse,
    /// The transaction begun with `begin`.
    by_hand: Option<Mark>,
}

impl ClientGuard {
    #[inline]
    pub(crate) fn new(in_use: InUse) -> Self {
        Self {
            in_use,
            by_hand: None,
        }
    }

    /// Whether the configuration says that statements outside a transaction are meant.
    pub(crate) fn autocommit(&self) -> bool {
        self.in_use.pool().autocommit
    }

    /// The session's pool.
    pub(crate) fn pool(&self) -> &Arc<Shared> {
        self.in_use.pool()
    }

    /// Begins a transaction; end it with [`commit`](Self::commit) or [`rollback`](Self::rollback).
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn begin(&mut self) -> Result<(), Error> {
        let depth = self.session().outermost();
        let session = self.session();
        self.by_hand = Some(session.bounded(session.begin(depth)).await?);
        Ok(())
    }

    /// Commits the open transaction.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] if none is open, [`Error::RolledBack`] if one of its statements
    /// failed, [`Error::TransactionEnded`] if one of its statements ended it, [`Error::Database`].
    pub async fn commit(&mut self) -> Result<(), Error> {
        let mark = self.take_by_hand("commit").await?;
        let session = self.session();
        session.bounded(session.commit(mark)).await
    }

    /// Rolls back the open transaction.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] if none is open, [`Error::TransactionEnded`] if one of its
    /// statements ended it, [`Error::Database`].
    pub async fn rollback(&mut self) -> Result<(), Error> {
        let mark = self.take_by_hand("rollback").await?;
        let session = self.session();
        session.bounded_undo(session.roll_back_to(mark)).await
    }

    /// Begins a transaction, or a savepoint if a transaction is open. It ends when the returned
    /// value is committed, rolled back or dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn transaction(&mut self) -> Result<Savepoint<'_>, Error> {
        Savepoint::within(self).await
    }

    /// Clears this session's prepared statements and the types that the driver has looked up.
    /// Needed after a schema change that causes no error.
    /// [`Pool::forget_types`](crate::Pool::forget_types) does this for all sessions.
    pub fn clear_statements(&self) {
        self.session().forget_statements();
    }

    /// Pings the server and reports which server answered. One round trip, limited to the pool's
    /// `timeout`, but to no less than a second.
    ///
    /// # Errors
    ///
    /// [`Error::Unanswered`], [`Error::Database`].
    pub async fn ping(&mut self) -> Result<Report, Error> {
        let limit = self.ping_limit();
        let session = self.session();
        session.bounded(session.ping(limit)).await
    }

    pub(crate) fn ping_limit(&self) -> Duration {
        limits::ping(self.in_use.pool().settings.timeout)
    }

    async fn take_by_hand(&mut self, action: &'static str) -> Result<Mark, Error> {
        match self.by_hand.take() {
            Some(mark) => Ok(mark),
            None => {
                let session = self.session();
                session.bounded_undo(session.mark_open(action)).await
            }
        }
    }

    /// Whether a transaction is open from the caller's point of view.
    pub(crate) async fn is_inside(&self) -> Result<bool, Error> {
        match self.session().outermost() {
            0 => {
                let session = self.session();
                Ok(session.bounded(session.idle_state()).await? != WireState::Idle)
            }
            _ => Ok(self.by_hand.is_some()),
        }
    }

    /// Names the transaction that it is held for.
    pub(crate) fn set_label(&self, label: &Arc<str>) {
        self.in_use.set_label(Arc::clone(label));
    }

    pub(crate) fn session(&self) -> &Session {
        &self.in_use
    }

    pub(crate) fn session_mut(&mut self) -> &mut Session {
        &mut self.in_use
    }
}

prepares!(ClientGuard);
statements_of_session!(ClientGuard);
timed!(ClientGuard, |holder| (holder, None));

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

impl fmt::Debug for ClientGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientGuard")
            .field("at", &self.session().connected_to().address().to_string())
            .finish_non_exhaustive()
    }
}
