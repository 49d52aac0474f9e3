//! Rows that are fetched in chunks.

use std::fmt;
use std::vec;

use pgmonkey_connect::Error;
use pgmonkey_connect::cursor::Cursor;
use pgmonkey_connect::deadline::TimedCall;
use postgres::Row;

use crate::context;
use crate::session::Session;
use crate::session::answer::Params;

/// The rows of a transaction's [`stream`](crate::Transaction::stream), fetched in chunks.
///
/// Dropping it closes the cursor: nothing is left to be read, and nothing is cancelled.
///
/// ```no_run
/// # fn example(mut tx: pgmonkey_sync::Transaction) -> Result<(), pgmonkey_sync::Error> {
/// for row in tx.stream("SELECT name FROM users WHERE id > $1", &[&42], 500)? {
///     println!("{}", row?.get::<_, &str>(0));
/// }
/// # Ok(()) }
/// ```
#[must_use = "rows are fetched as they are read"]
pub struct ChunkedRows<'t> {
    session: &'t mut Session,
    limit: Option<TimedCall>,
    /// `None` once it is closed, or the transaction has failed.
    cursor: Option<Cursor>,
    chunk: vec::IntoIter<Row>,
    is_last: bool,
}

impl<'t> ChunkedRows<'t> {
    pub(crate) fn open(
        session: &'t mut Session,
        limit: Option<TimedCall>,
        text: &str,
        params: Params<'_>,
        chunk: u32,
    ) -> Result<Self, Error> {
        let open = |session: &mut Session| session.open_cursor(text, params, chunk);
        let cursor = session.bounded_to(limit, open)?;
        Ok(Self {
            session,
            limit,
            cursor: Some(cursor),
            chunk: Vec::new().into_iter(),
            is_last: false,
        })
    }

    fn close(&mut self) {
        if let Some(cursor) = self.cursor.take() {
            self.session.close_cursor(&cursor);
        }
    }
}

impl Iterator for ChunkedRows<'_> {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.chunk.next() {
                return Some(Ok(row));
            }
            if self.is_last {
                self.close();
                return None;
            }
            let cursor = self.cursor.as_ref()?;
            let fetch = |session: &mut Session| session.fetch(cursor);
            match self.session.bounded_to(self.limit, fetch) {
                Ok(rows) => {
                    self.is_last = cursor.is_last(rows.len());
                    self.chunk = rows.into_iter();
                }
                Err(error) => {
                    self.cursor = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Drop for ChunkedRows<'_> {
    fn drop(&mut self) {
        // Elsewhere, the end of the transaction closes it.
        if self.cursor.is_some() && context::may_block() {
            context::block(|| self.close());
        }
    }
}

impl fmt::Debug for ChunkedRows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkedRows").finish_non_exhaustive()
    }
}

/// Generates the method for a transaction with `session_mut()`.
macro_rules! chunks {
    ($kind:ty) => {
        impl $kind {
            /// Returns the rows of a query in chunks of `chunk` rows, each fetched in one round trip
            /// when it is needed.
            ///
            /// Uses a cursor, so only `SELECT` and `VALUES` are allowed, and opening it takes a
            /// round trip. Unlike the rows of [`query_raw`](Self::query_raw), these can be dropped
            /// at any time: the rest is neither read nor cancelled, and the transaction goes on.
            ///
            /// # Errors
            ///
            /// As [`query`](Self::query).
            pub fn stream(
                &mut self,
                text: &str,
                params: &[&(dyn ::postgres::types::ToSql + Sync)],
                chunk: u32,
            ) -> Result<$crate::ChunkedRows<'_>, Error> {
                let session = self.session_mut();
                let limit = session.limit();
                $crate::ChunkedRows::open(session, limit, text, params, chunk)
            }
        }
    };
}

pub(crate) use chunks;
