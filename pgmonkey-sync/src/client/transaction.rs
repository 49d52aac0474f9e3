//! A transaction that owns its session, and one that borrows it from a guard.

use std::fmt;
use std::ops::{Deref, DerefMut};

use pgmonkey_connect::deadline::{Limits, TimeLimit, TimedCall};
use pgmonkey_connect::savepoint::Mark;
use pgmonkey_connect::transaction::Options;
use pgmonkey_connect::{Error, Token, savepoint};

use crate::client::chunks::chunks;
use crate::client::confirmation;
use crate::client::guard::ClientGuard;
use crate::client::statements::statements_of_session;
use crate::client::timed::timed;
use crate::context;
use crate::session::Session;
use crate::session::prepared::prepares;

/// An open transaction with a session of its own. Dereferences to the driver's
/// [`postgres::Client`]. [`commit`](Self::commit) keeps its work; [`rollback`](Self::rollback) and
/// dropping it do not.
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
    /// Dropping the guard rolls back what is still open.
    pub(super) guard: ClientGuard,
    pub(super) mark: Mark,
    /// What undoes its settings once it is committed, if the server does not.
    pub(super) undo: Option<String>,
    /// Whether the outcome of its COMMIT is looked for if the answer is lost.
    pub(super) confirms: bool,
}

impl Transaction {
    pub(crate) fn begin(guard: ClientGuard) -> Result<Self, Error> {
        Self::begin_with(guard, &Options::default())
    }

    pub(crate) fn begin_with(mut guard: ClientGuard, options: &Options) -> Result<Self, Error> {
        let depth = guard.session().outermost();
        let text = options.text_at(depth)?;
        let session = guard.session_mut();
        let mark = session.bounded(|session| session.begin_with(depth, &text))?;
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
    pub fn transaction(&mut self) -> Result<Savepoint<'_>, Error> {
        Savepoint::open(
            &mut self.guard,
            self.mark.depth + 1,
            &Options::default(),
            None,
        )
    }

    /// Makes the work permanent.
    ///
    /// # Errors
    ///
    /// [`Error::RolledBack`] if one of its statements failed, [`Error::TransactionEnded`] if one of
    /// its statements ended it, [`Error::CommitUnknown`] if the answer was lost,
    /// [`Error::NotCommitted`] if it was lost and `confirm_commit` found that nothing was committed,
    /// [`Error::Database`].
    pub fn commit(mut self) -> Result<(), Error> {
        if self.confirms {
            return confirmation::commit_owned(self.guard, self.mark);
        }
        let mark = self.mark;
        let session = self.guard.session_mut();
        session.bounded(|session| session.commit(mark))?;
        match self.undo {
            Some(text) => self.guard.session_mut().run(&text),
            None => Ok(()),
        }
    }

    /// As [`commit`](Self::commit), and returns a token by which a
    /// [`Cluster`](crate::Cluster::read_after) reads what was written. It costs no round trip, except
    /// with `confirm_commit`, if the transaction sent nothing, and for threads on a Unix socket.
    ///
    /// ```no_run
    /// # fn example(cluster: pgmonkey_sync::Cluster) -> Result<(), pgmonkey_sync::Error> {
    /// let mut transaction = cluster.writer().begin()?;
    /// transaction.execute("INSERT INTO orders DEFAULT VALUES", &[])?;
    /// let token = transaction.commit_with_token()?;
    /// println!("{token}"); // for a cookie or a header
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    pub fn commit_with_token(mut self) -> Result<Token, Error> {
        let mark = self.mark;
        let token = match self.confirms {
            true => {
                confirmation::commit_borrowed(&mut self.guard, mark)?;
                self.guard.session_mut().ask_token()
            }
            false => {
                let session = self.guard.session_mut();
                session.bounded(|session| session.commit_with_token(mark))?
            }
        };
        match self.undo {
            Some(text) => self.guard.session_mut().run(&text).map(|()| token),
            None => Ok(token),
        }
    }

    /// Undoes the work. Reports whether that failed, which dropping does not.
    ///
    /// # Errors
    ///
    /// [`Error::TransactionEnded`] if one of its statements ended it, [`Error::Database`].
    pub fn rollback(mut self) -> Result<(), Error> {
        let (session, mark) = (self.guard.session_mut(), self.mark);
        session.bounded_undo(|session| session.roll_back_to(mark))
    }
}

impl Transaction {
    pub(crate) fn guard_mut(&mut self) -> &mut ClientGuard {
        &mut self.guard
    }

    fn session_mut(&mut self) -> &mut Session {
        self.guard.session_mut()
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
/// it are savepoints. Dereferences to the driver's [`postgres::Client`]; dropping it undoes its
/// work.
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
    pub(crate) fn within(guard: &'a mut ClientGuard) -> Result<Self, Error> {
        let depth = guard.session().outermost() + u32::from(guard.is_inside()?);
        Self::open(guard, depth, &Options::default(), None)
    }

    /// Opens a savepoint or, at the session's outermost depth, a transaction, on a view with this
    /// limit.
    pub(super) fn open(
        guard: &'a mut ClientGuard,
        depth: u32,
        options: &Options,
        view: Option<TimeLimit>,
    ) -> Result<Self, Error> {
        let text = options.text_at(depth)?;
        let session = guard.session_mut();
        let outer = session.limit();
        let limits = Limits::new(view, options.timeout, outer);
        session.limit_to(limits.begin);
        let begun = session.bounded(|session| session.begin_with(depth, &text));
        session.limit_to(if begun.is_ok() { limits.later } else { outer });
        let mark = begun?;
        Ok(Self {
            guard,
            mark,
            done: false,
            undo: options.undo_at(depth),
            confirms: options.confirms(depth),
            outer,
        })
    }

    pub(super) fn parts(&mut self) -> (&mut ClientGuard, Mark) {
        (self.guard, self.mark)
    }

    /// Opens a nested savepoint.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub fn transaction(&mut self) -> Result<Savepoint<'_>, Error> {
        Savepoint::open(self.guard, self.mark.depth + 1, &Options::default(), None)
    }

    /// Makes the work permanent or, for a savepoint, part of the enclosing transaction.
    ///
    /// # Errors
    ///
    /// [`Error::RolledBack`] if one of its statements failed, [`Error::TransactionEnded`] if one of
    /// its statements ended it, [`Error::CommitUnknown`] if the answer was lost,
    /// [`Error::NotCommitted`] if it was lost and `confirm_commit` found that nothing was committed,
    /// [`Error::Database`].
    pub fn commit(mut self) -> Result<(), Error> {
        let ended = match self.confirms {
            true => confirmation::commit_borrowed(self.guard, self.mark),
            false => {
                let (session, mark) = (self.guard.session_mut(), self.mark);
                session.bounded(|session| session.commit(mark))
            }
        };
        self.done = !savepoint::is_unsent(&ended);
        match (ended, self.undo.take()) {
            (Ok(()), Some(text)) => self.guard.session_mut().run(&text),
            (ended, _) => ended,
        }
    }

    /// Undoes the work. Reports whether that failed, which dropping does not.
    ///
    /// # Errors
    ///
    /// [`Error::TransactionEnded`] if one of its statements ended it, [`Error::Database`].
    pub fn rollback(mut self) -> Result<(), Error> {
        let (session, mark) = (self.guard.session_mut(), self.mark);
        let undone = session.bounded_undo(|session| session.roll_back_to(mark));
        self.done = true;
        undone
    }
}

impl Savepoint<'_> {
    fn session_mut(&mut self) -> &mut Session {
        self.guard.session_mut()
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
        let (session, mark) = (self.guard.session_mut(), self.mark);
        if !self.done {
            match context::may_block() {
                // A statement may have ended it; the end of the enclosing transaction reports that.
                true => {
                    let undo = |session: &mut Session| session.roll_back_to(mark);
                    let _ = context::block(|| session.bounded_undo(undo));
                }
                false => session.give_up(),
            }
        }
        session.limit_to(self.outer);
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

impl Deref for Savepoint<'_> {
    type Target = postgres::Client;

    fn deref(&self) -> &postgres::Client {
        self.guard
    }
}

impl DerefMut for Savepoint<'_> {
    fn deref_mut(&mut self) -> &mut postgres::Client {
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
