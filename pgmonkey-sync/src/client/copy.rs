//! Copies that are streamed instead of held in memory.

use std::fmt;
use std::io::{self, BufRead, Read, Write};
use std::panic::Location;

use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::parameter_types::{NAMES_TRIED, is_name_taken};
use pgmonkey_connect::{AsStatement, Error};
use postgres::Statement;

use crate::client::coroutine::{Coroutine, Turn};
use crate::client::plan::{Plan, send};
use crate::client::stream::{Holder, Origin};
use crate::session::Session;

/// Bytes collected before they are sent.
const BLOCK: usize = 16 * 1024;

/// The data of a `COPY … TO STDOUT`. Uses a session as a [`RowIter`](crate::RowIter) does.
///
/// ```no_run
/// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), Box<dyn std::error::Error>> {
/// let mut users = pool.copy_out("COPY users TO STDOUT (FORMAT csv)")?;
/// std::io::copy(&mut users, &mut std::io::stdout())?;
/// # Ok(()) }
/// ```
#[must_use = "data is fetched as it is read"]
pub struct CopyOutReader<'a> {
    /// `None` after the end.
    data: Option<Coroutine<'a, (), Vec<u8>, Result<(), Error>>>,
    block: Vec<u8>,
    read: usize,
}

impl<'a> CopyOutReader<'a> {
    pub(crate) fn open<S: ?Sized + AsStatement>(
        mut holder: Holder<'a>,
        place: &'static Location<'static>,
        statement: &S,
    ) -> Result<Self, Error> {
        let _place = holder.session().calling_from(place);
        holder.arm()?;
        let plan = match Plan::of(holder.session(), statement, &[], Takes::CopyOut) {
            Ok(plan) => plan,
            Err(error) => return holder.close(Err(error)),
        };
        let mut data = Coroutine::new(|yielder| async move {
            let mut holder = holder;
            holder.has_unread();
            let ended = async {
                let session = holder.session();
                let origin = Origin::of(session, &plan, Takes::CopyOut);
                // Dropped after the copy: PgBouncer before 1.22 loses count of the answers if a
                // statement is closed while one runs.
                let of_text;
                let mut reader = send!(
                    session,
                    plan,
                    origin,
                    |statement| session.client_mut().copy_out(statement),
                    |text| {
                        of_text = prepared_for(session, &origin, &text)?;
                        session.client_mut().copy_out(&of_text)
                    }
                );
                yielder.give(Vec::new()).await;
                loop {
                    let block = reader
                        .fill_buf()
                        .map_err(|error| origin.explain_io(error))?;
                    let block = block.to_vec();
                    if block.is_empty() {
                        return Ok(());
                    }
                    reader.consume(block.len());
                    yielder.give(block).await;
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

/// Prepares a text for one copy. Behind a pooler another client may have left a statement of the
/// same name; the next one has another.
fn prepared_for(session: &mut Session, origin: &Origin, text: &str) -> Result<Statement, Error> {
    let client = session.client_mut();
    for _ in 1..NAMES_TRIED {
        match client.prepare(text) {
            Err(error) if is_name_taken(&error) => {}
            prepared => return prepared.map_err(|error| origin.explain(error)),
        }
    }
    let prepared = client.prepare(text);
    prepared.map_err(|error| origin.explain(error))
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

impl fmt::Debug for CopyOutReader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOutReader").finish_non_exhaustive()
    }
}

/// Takes the data of a `COPY … FROM STDIN`. [`finish`](Self::finish) ends the copy; dropping it
/// earlier aborts the copy.
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
    /// Why the copy ended before `finish`.
    failed: Option<Error>,
}

enum Input {
    Block(Vec<u8>),
    End,
}

impl<'a> CopyInWriter<'a> {
    pub(crate) fn open<S: ?Sized + AsStatement>(
        mut holder: Holder<'a>,
        place: &'static Location<'static>,
        statement: &S,
    ) -> Result<Self, Error> {
        let _place = holder.session().calling_from(place);
        holder.arm()?;
        let plan = match Plan::of(holder.session(), statement, &[], Takes::CopyIn) {
            Ok(plan) => plan,
            Err(error) => return holder.close(Err(error)),
        };
        let mut copy = Coroutine::new(|yielder| async move {
            let mut holder = holder;
            let ended = async {
                let session = holder.session();
                let origin = Origin::of(session, &plan, Takes::CopyIn);
                // As above.
                let of_text;
                let mut writer = send!(
                    session,
                    plan,
                    origin,
                    |statement| session.client_mut().copy_in(statement),
                    |text| {
                        of_text = prepared_for(session, &origin, &text)?;
                        session.client_mut().copy_in(&of_text)
                    }
                );
                while let Input::Block(block) = yielder.give(()).await {
                    let sent = writer.write_all(&block).and_then(|()| writer.flush());
                    if let Err(error) = sent {
                        // `finish` returns the server's reason.
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

    /// Ends the copy and returns the number of rows.
    ///
    /// # Errors
    ///
    /// [`Error::Database`], which may also concern data written earlier.
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

impl fmt::Debug for CopyInWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyInWriter").finish_non_exhaustive()
    }
}
