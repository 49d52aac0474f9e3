//! A transaction that owns its session, and one that borrows it from a guard.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::task::{Context, Waker};

use pgmonkey_connect::deadline::{Limits, TimeLimit, TimedCall};
use pgmonkey_connect::savepoint::Mark;
use pgmonkey_connect::transaction::Options;
use pgmonkey_connect::{Error, Token, savepoint};

use crate::client::chunks::chunks;
use crate::client::confirmation;
use crate::client::guard::ClientGuard;
use crate::client::statements::statements_of_session;
use crate::client::timed::timed;
use crate::session::Session;
use crate::session::prepared::prepares;

/// An open transaction with a session of its own. Dereferences to the driver's
/// [`tokio_postgres::Client`]. [`commit`](Self::commit) keeps its work;
/// [`rollback`](Self::rollback) and dropping it do not.
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
    /// Dropping the guard rolls back what is still open.
    pub(super) guard: ClientGuard,
    pub(super) mark: Mark,
    /// What undoes its settings once it is committed, if the server does not.
    pub(super) undo: Option<String>,
    /// Whether the outcome of its COMMIT is looked for if the answer is lost.
    pub(super) confirms: bool,
}

impl Transaction {
    pub(crate) async fn begin(guard: ClientGuard) -> Result<Self, Error> {
        Self::begin_with(guard, &Options::default()).await
    }

    pub(crate) async fn begin_with(guard: ClientGuard, options: &Options) -> Result<Self, Error> {
        let depth = guard.session().outermost();
        let text = options.text_at(depth)?;
        let session = guard.session();
        let begin = session.begin_with(depth, &text);
        let mark = session.bounded(begin).await?;
        Ok(Self {
            guard,
            mark,
            undo: options.undo_at(depth),
            confirms: options.confirms(depth),
        })
    }

    pub(super) fn parts(&mut self) -> (&mut ClientGuard, Mark) {
        (&mut self.guard, self.mark)
    }

    /// Opens a savepoint. Committing it keeps its work as part of this transaction; dropping it
    /// undoes only its own work.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn transaction(&mut self) -> Result<Savepoint<'_>, Error> {
        Savepoint::open(
            &mut self.guard,
            self.mark.depth + 1,
            &Options::default(),
            None,
        )
        .await
    }

    /// Makes the work permanent.
    ///
    /// # Errors
    ///
    /// [`Error::RolledBack`] if one of its statements failed, [`Error::TransactionEnded`] if one of
    /// its statements ended it, [`Error::CommitUnknown`] if the answer was lost,
    /// [`Error::NotCommitted`] if it was lost and `confirm_commit` found that nothing was committed,
    /// [`Error::Database`].
    pub async fn commit(self) -> Result<(), Error> {
        if self.confirms {
            // Boxed, so that transactions without it do not pay for its size.
            return Box::pin(confirmation::commit_owned(self.guard, self.mark)).await;
        }
        let session = self.guard.session();
        session.bounded(session.commit(self.mark)).await?;
        match self.undo {
            Some(text) => self.guard.session().run(&text).await,
            None => Ok(()),
        }
    }

    /// As [`commit`](Self::commit), and returns a token by which a
    /// [`Cluster`](crate::Cluster::read_after) reads what was written. It costs no round trip, except
    /// with `confirm_commit`, if the transaction sent nothing, and for threads on a Unix socket.
    ///
    /// ```no_run
    /// # async fn example(cluster: pgmonkey_async::Cluster) -> Result<(), pgmonkey_async::Error> {
    /// let transaction = cluster.writer().begin().await?;
    /// transaction.execute("INSERT INTO orders DEFAULT VALUES", &[]).await?;
    /// let token = transaction.commit_with_token().await?;
    /// println!("{token}"); // for a cookie or a header
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    pub async fn commit_with_token(self) -> Result<Token, Error> {
        let session = self.guard.session();
        let token = match self.confirms {
            true => {
                Box::pin(confirmation::commit_borrowed(&self.guard, self.mark)).await?;
                session.ask_token().await
            }
            false => {
                session
                    .bounded(session.commit_with_token(self.mark))
                    .await?
            }
        };
        match self.undo {
            Some(text) => session.run(&text).await.map(|()| token),
            None => Ok(token),
        }
    }

    /// Undoes the work. Reports whether that failed, which dropping does not.
    ///
    /// # Errors
    ///
    /// [`Error::TransactionEnded`] if one of its statements ended it, [`Error::Database`].
    pub async fn rollback(self) -> Result<(), Error> {
        let session = self.guard.session();
        session.bounded_undo(session.roll_back_to(self.mark)).await
    }
}

impl Transaction {
    pub(crate) fn guard(&self) -> &ClientGuard {
        &self.guard
    }

    pub(crate) fn guard_mut(&mut self) -> &mut ClientGuard {
        &mut self.guard
    }

    fn session(&self) -> &Session {
        self.guard.session()
    }
}

prepares!(Transaction);
statements_of_session!(Transaction);
timed!(Transaction, |holder| {
    let (guard, mark) = holder.parts();
    (guard, Some(mark.depth + 1))
});
chunks!(Transaction);

/// A transaction on a session that a guard holds: the outermost is a transaction, those nested in
/// it are savepoints. Dereferences to the driver's [`tokio_postgres::Client`]; dropping it undoes
/// its work.
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
pub struct Savepoint<'a> {
    pub(super) guard: &'a mut ClientGuard,
    pub(super) mark: Mark,
    pub(super) done: bool,
    /// What undoes its settings once it is committed, if the server does not.
    pub(super) undo: Option<String>,
    /// Whether the outcome of its COMMIT is looked for if the answer is lost.
    pub(super) confirms: bool,
    /// What limits the calls on the session outside of it.
    pub(super) outer: Option<TimedCall>,
}

impl<'a> Savepoint<'a> {
    /// Begins a transaction, or a savepoint if a transaction is open.
    pub(crate) async fn within(guard: &'a mut ClientGuard) -> Result<Self, Error> {
        let depth = guard.session().outermost() + u32::from(guard.is_inside().await?);
        Self::open(guard, depth, &Options::default(), None).await
    }

    /// Opens a savepoint or, at the session's outermost depth, a transaction, on a view with this
    /// limit.
    pub(super) async fn open(
        guard: &'a mut ClientGuard,
        depth: u32,
        options: &Options,
        view: Option<TimeLimit>,
    ) -> Result<Self, Error> {
        let text = options.text_at(depth)?;
        let outer = guard.session().limit();
        let limits = Limits::new(view, options.timeout, outer);
        guard.session_mut().limit_to(limits.begin);
        // Created first, so that dropping it during the statement undoes the statement.
        let mut opened = Self {
            mark: guard.session().mark(depth),
            guard,
            done: false,
            undo: options.undo_at(depth),
            confirms: options.confirms(depth),
            outer,
        };
        let session = opened.guard.session();
        let begin = session.begin_with(depth, &text);
        let begun = session.bounded(begin).await;
        // What was not begun is not undone.
        opened.done = savepoint::is_unsent(&begun);
        opened.mark = begun?;
        opened.guard.session_mut().limit_to(limits.later);
        Ok(opened)
    }

    pub(super) fn parts(&mut self) -> (&mut ClientGuard, Mark) {
        (self.guard, self.mark)
    }

    /// Opens a nested savepoint.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn transaction(&mut self) -> Result<Savepoint<'_>, Error> {
        Savepoint::open(self.guard, self.mark.depth + 1, &Options::default(), None).await
    }

    /// Makes the work permanent or, for a savepoint, part of the enclosing transaction.
    ///
    /// # Errors
    ///
    /// [`Error::RolledBack`] if one of its statements failed, [`Error::TransactionEnded`] if one of
    /// its statements ended it, [`Error::CommitUnknown`] if the answer was lost,
    /// [`Error::NotCommitted`] if it was lost and `confirm_commit` found that nothing was committed,
    /// [`Error::Database`].
    pub async fn commit(mut self) -> Result<(), Error> {
        let ended = match self.confirms {
            true => Box::pin(confirmation::commit_borrowed(self.guard, self.mark)).await,
            false => {
                let session = self.guard.session();
                session.bounded(session.commit(self.mark)).await
            }
        };
        self.done = !savepoint::is_unsent(&ended);
        match (ended, self.undo.take()) {
            (Ok(()), Some(text)) => self.guard.session().run(&text).await,
            (ended, _) => ended,
        }
    }

    /// Undoes the work. Reports whether that failed, which dropping does not.
    ///
    /// # Errors
    ///
    /// [`Error::TransactionEnded`] if one of its statements ended it, [`Error::Database`].
    pub async fn rollback(mut self) -> Result<(), Error> {
        let session = self.guard.session();
        let undone = session.bounded_undo(session.roll_back_to(self.mark)).await;
        self.done = true;
        undone
    }
}

impl Savepoint<'_> {
    fn session(&self) -> &Session {
        self.guard.session()
    }
}

prepares!(Savepoint<'_>);
statements_of_session!(Savepoint<'_>);
timed!(Savepoint<'_>, |holder| {
    let (guard, mark) = holder.parts();
    (guard, Some(mark.depth + 1))
});
chunks!(Savepoint<'_>);

impl Drop for Savepoint<'_> {
    fn drop(&mut self) {
        let outer = self.outer;
        self.guard.session_mut().limit_to(outer);
        if self.done {
            return;
        }
        if self.mark.depth == 0 && self.guard.session().cancel_begin_now().is_some() {
            return;
        }
        // The driver queues a statement when its future is first polled. The answer is not needed,
        // and later statements on the session run after this one.
        let statement = savepoint::rollback(self.mark.depth);
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

impl Deref for Savepoint<'_> {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &tokio_postgres::Client {
        self.guard
    }
}

impl DerefMut for Savepoint<'_> {
    fn deref_mut(&mut self) -> &mut tokio_postgres::Client {
        self.guard
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transaction").field(&self.guard).finish()
    }
}

impl fmt::Debug for Savepoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Savepoint")
            .field("depth", &self.mark.depth)
            .finish_non_exhaustive()
    }
}
