//! Rows that are streamed instead of held in memory, and what all streams have in common.

use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::vec;

use fallible_iterator::FallibleIterator;
use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::deadline::TimedCall;
use pgmonkey_connect::outcome::Sending;
use pgmonkey_connect::wire::Observer;
use pgmonkey_connect::{AsStatement, Error};
use postgres::Row;

use crate::client::coroutine::{Coroutine, Turn};
use crate::client::encoded::encode;
use crate::client::guard::ClientGuard;
use crate::client::plan::{Plan, send};
use crate::session::Session;
use crate::session::answer::{Params, Rows};
use crate::session::overdue::Armed;

/// The session of a stream, until the stream ends or is dropped.
pub(crate) struct Holder<'a> {
    armed: Option<Armed>,
    /// The limit of the stream, and that of the session's other calls.
    limit: Option<TimedCall>,
    outer: Option<TimedCall>,
    /// Whether the server may still be sending.
    unread: bool,
    held: Held<'a>,
}

enum Held<'a> {
    Borrowed(&'a mut Session),
    /// Released at the end of the stream.
    Owned(ClientGuard),
}

impl<'a> Holder<'a> {
    /// The session of a guard. The stream has this limit, or that of the guard's other calls.
    pub(crate) fn borrowed(session: &'a mut Session, limit: Option<TimedCall>) -> Self {
        Self::new(Held::Borrowed(session), limit)
    }

    /// A session of the stream's own.
    pub(crate) fn owned(guard: ClientGuard) -> Self {
        Self::new(Held::Owned(guard), None)
    }

    fn new(held: Held<'a>, limit: Option<TimedCall>) -> Self {
        let mut holder = Self {
            armed: None,
            limit,
            outer: None,
            unread: false,
            held,
        };
        // One limit for all that the stream does, until it ends.
        holder.outer = holder.session().limit_to(None);
        holder.limit = match limit {
            Some(call) => Some(call.earlier(holder.outer)),
            None => holder.outer,
        };
        holder
    }

    pub(super) fn session(&mut self) -> &mut Session {
        match &mut self.held {
            Held::Borrowed(session) => session,
            Held::Owned(guard) => guard.session_mut(),
        }
    }

    /// Begins the time that the stream has.
    pub(super) fn arm(&mut self) -> Result<(), Error> {
        if let Some(call) = self.limit {
            self.armed = Some(self.session().arm(call)?);
        }
        Ok(())
    }

    /// Records that an answer follows, which has to be read to its end.
    pub(super) fn has_unread(&mut self) {
        self.unread = true;
    }

    /// Records how the stream ended, before the session is released.
    pub(super) fn close<T>(mut self, ended: Result<T, Error>) -> Result<T, Error> {
        self.unread = false;
        let ended = match self.armed.take() {
            Some(armed) => armed.end(ended),
            None => ended,
        };
        ended.inspect_err(|error| self.session().give_up_for(error))
    }
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        // Before the session is used on or released: no cancel request may reach another caller.
        drop(self.armed.take());
        let (outer, unread) = (self.outer, self.unread);
        let session = self.session();
        session.limit_to(outer);
        if unread {
            session.mark_unread();
        }
    }
}

/// Explains the errors of a stream.
pub(super) struct Origin {
    observer: Option<Arc<Observer>>,
    pub(super) takes: Takes,
    /// The statement, which may have been executed although the session was lost.
    pub(super) sending: Sending,
    text: Option<Box<str>>,
}

impl Origin {
    pub(super) fn of(session: &Session, plan: &Plan, takes: Takes) -> Self {
        Self {
            observer: session.observer().cloned(),
            takes,
            sending: session.sending(),
            text: plan.text().map(Box::from),
        }
    }

    /// Converts a driver error; adds the reason if the session has ended.
    pub(super) fn explain(&self, error: postgres::Error) -> Error {
        let observer = self.observer.as_deref();
        let error = self.takes.explain(error, observer);
        self.sending.explain(error, observer, self.text.as_deref())
    }

    /// As [`explain`](Self::explain), for an error wrapped by the traits of the standard library.
    pub(super) fn explain_io(&self, error: io::Error) -> Error {
        match error.downcast() {
            Ok(error) => self.explain(error),
            Err(error) => Error::other(error),
        }
    }
}

/// Rows as they arrive from the server.
///
/// On a handle, the rows use a session of their own. It is released at the end of the rows or when
/// the iterator is dropped.
///
/// ```no_run
/// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
/// for row in pool.query_raw("SELECT name FROM users WHERE id > $1", &[&42])? {
///     println!("{}", row?.get::<_, &str>("name"));
/// }
/// # Ok(()) }
/// ```
#[must_use = "rows are fetched as they are read"]
pub struct RowIter<'a>(Source<'a>);

enum Source<'a> {
    Server(Coroutine<'a, (), Option<Row>, Result<(), Error>>),
    /// Rows of a statement that had to be run again.
    Memory(vec::IntoIter<Row>),
    Over,
}

impl<'a> RowIter<'a> {
    pub(crate) fn open<S: ?Sized + AsStatement>(
        mut holder: Holder<'a>,
        place: &'static Location<'static>,
        statement: &S,
        params: Params<'_>,
    ) -> Result<Self, Error> {
        let _place = holder.session().calling_from(place);
        holder.arm()?;
        let plan = match Plan::of(holder.session(), statement, params, Takes::Rows) {
            Ok(plan) => plan,
            Err(error) => return holder.close(Err(error)),
        };
        let Some(values) = encode(params, plan.types()) else {
            // The values do not fit the statement: either an error, or the statement is stale.
            let session = holder.session();
            let rows = session.run_statement::<Rows, S>(place, statement, params);
            let rows = holder.close(rows)?;
            return Ok(Self(Source::Memory(rows.into_iter())));
        };
        let mut rows = Coroutine::new(|yielder| async move {
            let mut holder = holder;
            holder.has_unread();
            let ended = async {
                let session = holder.session();
                let origin = Origin::of(session, &plan, Takes::Rows);
                let mut rows = send!(
                    session,
                    plan,
                    origin,
                    |statement| session.client_mut().query_raw(statement, values.clone()),
                    |text| {
                        let typed = values
                            .iter()
                            .map(|value| (value.clone(), value.kind().clone()));
                        session.client_mut().query_typed_raw(&text, typed)
                    }
                );
                yielder.give(None).await;
                while let Some(row) = rows.next().map_err(|error| origin.explain(error))? {
                    yielder.give(Some(row)).await;
                }
                Ok(())
            };
            let ended = ended.await;
            holder.close(ended)
        });
        match rows.start() {
            Turn::Gave(_) => Ok(Self(Source::Server(rows))),
            Turn::Ended(ended) => ended.map(|()| Self(Source::Over)),
        }
    }
}

impl Iterator for RowIter<'_> {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::Server(rows) => match rows.resume(()) {
                Turn::Gave(row) => row.map(Ok),
                Turn::Ended(ended) => {
                    self.0 = Source::Over;
                    ended.err().map(Err)
                }
            },
            Source::Memory(rows) => rows.next().map(Ok),
            Source::Over => None,
        }
    }
}

impl fmt::Debug for RowIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowIter").finish_non_exhaustive()
    }
}
