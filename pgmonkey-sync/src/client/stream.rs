//! Rows that are streamed instead of held in memory, and what all streams have in common.

use std::fmt;
use std::io;
use std::panic::Location;
use std::sync::Arc;
use std::vec;

use fallible_iterator::FallibleIterator;
use pgmonkey_connect::answer::Takes;
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

/// The session of a stream.
pub(crate) enum Holder<'a> {
    Borrowed(&'a mut Session),
    /// Released at the end of the stream.
    Owned(ClientGuard),
}

impl Holder<'_> {
    pub(super) fn session(&mut self) -> &mut Session {
        match self {
            Self::Borrowed(session) => session,
            Self::Owned(guard) => guard.session_mut(),
        }
    }

    /// Records how the stream ended, before the session is released.
    pub(super) fn close<T>(mut self, ended: Result<T, Error>) -> Result<T, Error> {
        ended.inspect_err(|error| self.session().give_up_for(error))
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
        statement: &S,
        params: Params<'_>,
    ) -> Result<Self, Error> {
        let session = holder.session();
        let plan = Plan::of(session, statement, params, Takes::Rows)?;
        let Some(values) = encode(params, plan.types()) else {
            // The values do not fit the statement: either an error, or the statement is stale.
            let rows = session.run_statement::<Rows, S>(Location::caller(), statement, params)?;
            return Ok(Self(Source::Memory(rows.into_iter())));
        };
        let mut rows = Coroutine::new(|yielder| async move {
            let mut holder = holder;
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
