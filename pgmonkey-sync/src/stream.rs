//! Rows and copies that are not in memory at once.

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::panic::Location;
use std::sync::Arc;
use std::vec;

use fallible_iterator::FallibleIterator;
use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::parameter_types::check_number;
use pgmonkey_connect::wire::Observer;
use pgmonkey_connect::{AsStatement, Error, StatementRef};
use postgres::types::Type;
use postgres::{Row, Statement};

use crate::answer::{Params, Rows};
use crate::coroutine::{Coroutine, Turn};
use crate::encoded::encode;
use crate::guard::ClientGuard;
use crate::prepared::Failed;
use crate::session::Session;

/// As much as is collected before it is sent.
const BLOCK: usize = 16 * 1024;

/// The session of a stream.
pub(crate) enum Holder<'a> {
    Borrowed(&'a mut Session),
    /// Goes back at the end of the stream.
    Owned(ClientGuard),
}

impl Holder<'_> {
    fn session(&mut self) -> &mut Session {
        match self {
            Self::Borrowed(session) => session,
            Self::Owned(guard) => guard.session_mut(),
        }
    }

    /// Says how the stream ended, before the session goes back.
    fn close<T>(mut self, ended: Result<T, Error>) -> Result<T, Error> {
        ended.inspect_err(|error| self.session().give_up_for(error))
    }
}

/// What explains an error of a stream.
struct Origin {
    observer: Option<Arc<Observer>>,
    takes: Takes,
}

impl Origin {
    fn of(session: &Session, takes: Takes) -> Self {
        Self {
            observer: session.observer().cloned(),
            takes,
        }
    }

    /// An error of the driver's, with the reason if the session has ended.
    fn explain(&self, error: postgres::Error) -> Error {
        self.takes.explain(error, self.observer.as_deref())
    }

    /// The same for one that the standard library's traits have wrapped.
    fn explain_io(&self, error: io::Error) -> Error {
        match error.downcast() {
            Ok(error) => self.explain(error),
            Err(error) => Error::other(error),
        }
    }
}

/// How a statement is sent, free of the caller's borrow.
enum Plan {
    AsIs(Statement),
    Prepared {
        text: String,
        statement: Statement,
        /// Whether it came from the cache.
        kept: bool,
    },
    Unnamed {
        text: String,
        types: Arc<[Type]>,
    },
}

impl Plan {
    fn of<S: ?Sized + AsStatement>(
        session: &mut Session,
        statement: &S,
        params: Params<'_>,
        takes: Takes,
    ) -> Result<Self, Error> {
        check_number(params.len())?;
        session.check_usable()?;
        let text = match statement.as_statement() {
            StatementRef::Prepared(statement) => return Ok(Self::AsIs(statement.clone())),
            StatementRef::Text(text) => text.to_owned(),
        };
        session.check_text(&text, takes)?;
        if session.prepared_mut().is_off() {
            let types = match params {
                [] => Arc::default(),
                _ => session.types_of(&text)?,
            };
            return Ok(Self::Unnamed { text, types });
        }
        let found = session.find_prepared(&text, &[]);
        let kept = found.is_some();
        let statement = match found {
            Some(statement) => statement,
            None => session.prepare(&text, &[])?,
        };
        Ok(Self::Prepared {
            text,
            statement,
            kept,
        })
    }

    fn types(&self) -> &[Type] {
        match self {
            Self::AsIs(statement) | Self::Prepared { statement, .. } => statement.params(),
            Self::Unnamed { types, .. } => types,
        }
    }
}

/// Sends a statement by its plan; prepared anew if that is what an error asks for.
macro_rules! send {
    ($session:ident, $plan:ident, $origin:ident, |$statement:ident| $send:expr, |$text:ident| $unnamed:expr) => {
        match $plan {
            Plan::AsIs(prepared) => {
                let $statement = &prepared;
                $send.map_err(|error| $origin.explain(error))?
            }
            Plan::Prepared {
                text,
                statement: prepared,
                kept,
            } => 'sent: {
                let $statement = &prepared;
                let error = match $send {
                    Ok(sent) => break 'sent sent,
                    Err(error) => error,
                };
                let failed = Failed {
                    error,
                    statement: prepared.clone(),
                    kept,
                };
                let prepared = $session.prepare_anew(&text, failed, $origin.takes)?;
                let $statement = &prepared;
                $send.map_err(|error| $origin.explain(error))?
            }
            Plan::Unnamed { text: $text, .. } => {
                $unnamed.map_err(|error| $origin.explain(error))?
            }
        }
    };
}

/// Rows as they come from the server.
///
/// That of a handle has a session of its own, which goes back at the end of the rows or when the
/// iterator is dropped.
///
/// ```no_run
/// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
/// for row in pool.query_raw("SELECT name FROM users WHERE id > $1", &[&42])? {
///     println!("{}", row?.get::<_, &str>("name"));
/// }
/// # Ok(()) }
/// ```
#[must_use = "rows come as they are read"]
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
            // They do not fit the statement: that is an error, or the statement is out of date.
            let rows = session.run_statement::<Rows, S>(Location::caller(), statement, params)?;
            return Ok(Self(Source::Memory(rows.into_iter())));
        };
        let mut rows = Coroutine::new(|turns| async move {
            let mut holder = holder;
            let ended = async {
                let session = holder.session();
                let origin = Origin::of(session, Takes::Rows);
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
                turns.give(None).await;
                while let Some(row) = rows.next().map_err(|error| origin.explain(error))? {
                    turns.give(Some(row)).await;
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

/// What a `COPY … TO STDOUT` gives. Of the session the same holds as for a [`RowIter`].
///
/// ```no_run
/// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), Box<dyn std::error::Error>> {
/// let mut users = pool.copy_out("COPY users TO STDOUT (FORMAT csv)")?;
/// std::io::copy(&mut users, &mut std::io::stdout())?;
/// # Ok(()) }
/// ```
#[must_use = "data comes as it is read"]
pub struct CopyOutReader<'a> {
    /// `None` after the end.
    data: Option<Coroutine<'a, (), Vec<u8>, Result<(), Error>>>,
    block: Vec<u8>,
    read: usize,
}

impl<'a> CopyOutReader<'a> {
    pub(crate) fn open<S: ?Sized + AsStatement>(
        mut holder: Holder<'a>,
        statement: &S,
    ) -> Result<Self, Error> {
        let plan = Plan::of(holder.session(), statement, &[], Takes::CopyOut)?;
        let mut data = Coroutine::new(|turns| async move {
            let mut holder = holder;
            let ended = async {
                let session = holder.session();
                let origin = Origin::of(session, Takes::CopyOut);
                let mut reader = send!(
                    session,
                    plan,
                    origin,
                    |statement| session.client_mut().copy_out(statement),
                    |text| session.client_mut().copy_out(&text)
                );
                turns.give(Vec::new()).await;
                loop {
                    let block = reader
                        .fill_buf()
                        .map_err(|error| origin.explain_io(error))?;
                    let block = block.to_vec();
                    if block.is_empty() {
                        return Ok(());
                    }
                    reader.consume(block.len());
                    turns.give(block).await;
                }
            };
            let ended = ended.await;
            holder.close(ended)
        });
        match data.start() {
            Turn::Gave(block) => Ok(Self {
                data: Some(data),
                block,
                read: 0,
            }),
            Turn::Ended(ended) => ended.map(|()| Self {
                data: None,
                block: Vec::new(),
                read: 0,
            }),
        }
    }
}

impl BufRead for CopyOutReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.read == self.block.len()
            && let Some(data) = &mut self.data
        {
            self.read = 0;
            match data.resume(()) {
                Turn::Gave(block) => self.block = block,
                Turn::Ended(ended) => {
                    (self.data, self.block) = (None, Vec::new());
                    ended.map_err(io::Error::other)?;
                }
            }
        }
        Ok(&self.block[self.read..])
    }

    fn consume(&mut self, amount: usize) {
        self.read = (self.read + amount).min(self.block.len());
    }
}

impl Read for CopyOutReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut block = self.fill_buf()?;
        let amount = block.read(out)?;
        self.consume(amount);
        Ok(amount)
    }
}

/// Where the data of a `COPY … FROM STDIN` goes. [`finish`](Self::finish) ends the copy; dropped
/// before, it is aborted. Of the session the same holds as for a [`RowIter`].
///
/// ```no_run
/// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::Write;
///
/// let mut users = pool.copy_in("COPY users FROM STDIN (FORMAT csv)")?;
/// users.write_all(b"1,ann\n2,bob\n")?;
/// println!("{} rows", users.finish()?);
/// # Ok(()) }
/// ```
#[must_use = "a copy that is not finished is aborted"]
pub struct CopyInWriter<'a> {
    copy: Coroutine<'a, Input, (), Result<u64, Error>>,
    block: Vec<u8>,
    /// Why the copy has ended before it was finished.
    failed: Option<Error>,
}

enum Input {
    Block(Vec<u8>),
    End,
}

impl<'a> CopyInWriter<'a> {
    pub(crate) fn open<S: ?Sized + AsStatement>(
        mut holder: Holder<'a>,
        statement: &S,
    ) -> Result<Self, Error> {
        let plan = Plan::of(holder.session(), statement, &[], Takes::CopyIn)?;
        let mut copy = Coroutine::new(|turns| async move {
            let mut holder = holder;
            let ended = async {
                let session = holder.session();
                let origin = Origin::of(session, Takes::CopyIn);
                let mut writer = send!(
                    session,
                    plan,
                    origin,
                    |statement| session.client_mut().copy_in(statement),
                    |text| session.client_mut().copy_in(&text)
                );
                while let Input::Block(block) = turns.give(()).await {
                    let sent = writer.write_all(&block).and_then(|()| writer.flush());
                    if let Err(error) = sent {
                        // The server's reason comes with the end.
                        let reason = writer.finish().err().map(|error| origin.explain(error));
                        return Err(reason.unwrap_or_else(|| origin.explain_io(error)));
                    }
                }
                writer.finish().map_err(|error| origin.explain(error))
            };
            let ended = ended.await;
            holder.close(ended)
        });
        match copy.start() {
            Turn::Gave(()) => Ok(Self {
                copy,
                block: Vec::with_capacity(BLOCK),
                failed: None,
            }),
            Turn::Ended(ended) => Err(ended.expect_err("it has data to wait for")),
        }
    }

    /// Ends the copy; returns the number of rows.
    ///
    /// # Errors
    ///
    /// [`Error::Database`], also for what was wrong with data written before.
    pub fn finish(mut self) -> Result<u64, Error> {
        self.send()?;
        match self.copy.resume(Input::End) {
            Turn::Ended(ended) => ended,
            Turn::Gave(()) => unreachable!("the end ends it"),
        }
    }

    fn send(&mut self) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        match self.copy.resume(Input::Block(block)) {
            Turn::Ended(Err(error)) => {
                self.failed = Some(error.clone());
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

impl Write for CopyInWriter<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.block.len() >= BLOCK {
            self.flush()?;
        }
        self.block.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send().map_err(io::Error::other)
    }
}

impl fmt::Debug for RowIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowIter").finish_non_exhaustive()
    }
}

impl fmt::Debug for CopyOutReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOutReader").finish_non_exhaustive()
    }
}

impl fmt::Debug for CopyInWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyInWriter").finish_non_exhaustive()
    }
}
