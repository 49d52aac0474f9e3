//! Rows that are fetched in chunks.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::vec;

use futures_core::Stream;
use pgmonkey_connect::Error;
use pgmonkey_connect::cursor::Cursor;
use pgmonkey_connect::deadline::TimedCall;
use tokio_postgres::Row;

use crate::session::Session;
use crate::session::answer::Params;

/// The rows of a transaction's [`stream`](crate::Transaction::stream), fetched in chunks: a
/// [`Stream`], or [`next`](Self::next) in a loop.
///
/// Dropping it closes the cursor: nothing is left to be read, and nothing is cancelled.
///
/// ```no_run
/// # async fn example(tx: pgmonkey_async::Transaction) -> Result<(), pgmonkey_async::Error> {
/// let mut rows = tx.stream("SELECT name FROM users WHERE id > $1", &[&42], 500).await?;
/// while let Some(row) = rows.next().await {
///     println!("{}", row?.get::<_, &str>(0));
/// }
/// # Ok(()) }
/// ```
#[must_use = "rows are fetched as they are read"]
pub struct ChunkedRows<'t> {
    session: &'t Session,
    limit: Option<TimedCall>,
    /// `None` once it is closed, or the transaction has failed.
    cursor: Option<Cursor>,
    chunk: vec::IntoIter<Row>,
    fetching: Option<Fetching<'t>>,
    is_last: bool,
}

type Fetching<'t> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + Send + 't>>;

impl<'t> ChunkedRows<'t> {
    pub(crate) async fn open(
        session: &'t Session,
        limit: Option<TimedCall>,
        text: &str,
        params: Params<'_>,
        chunk: u32,
    ) -> Result<Self, Error> {
        let open = session.open_cursor(text, params, chunk);
        let cursor = session.bounded_to(limit, open).await?;
        Ok(Self {
            session,
            limit,
            cursor: Some(cursor),
            chunk: Vec::new().into_iter(),
            fetching: None,
            is_last: false,
        })
    }

    /// Returns the next row; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn next(&mut self) -> Option<Result<Row, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    fn close(&mut self) {
        self.fetching = None;
        if let Some(cursor) = self.cursor.take() {
            self.session.close_cursor(&cursor);
        }
    }
}

impl Stream for ChunkedRows<'_> {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(row) = this.chunk.next() {
                return Poll::Ready(Some(Ok(row)));
            }
            if this.is_last {
                this.close();
            }
            let Some(cursor) = &this.cursor else {
                return Poll::Ready(None);
            };
            let (session, limit) = (this.session, this.limit);
            let fetching = this.fetching.get_or_insert_with(|| {
                let fetch = session.fetch(cursor.clone());
                Box::pin(session.bounded_to(limit, fetch))
            });
            let fetched = ready!(fetching.as_mut().poll(cx));
            this.fetching = None;
            match fetched {
                Ok(rows) => {
                    this.is_last = cursor.is_last(rows.len());
                    this.chunk = rows.into_iter();
                }
                Err(error) => {
                    this.cursor = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl Drop for ChunkedRows<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for ChunkedRows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkedRows").finish_non_exhaustive()
    }
}

/// Generates the method for a transaction with `session()`.
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
            pub async fn stream(
                &self,
                text: &str,
                params: &[&(dyn ::tokio_postgres::types::ToSql + Sync)],
                chunk: u32,
            ) -> Result<$crate::ChunkedRows<'_>, Error> {
                let session = self.session();
                $crate::ChunkedRows::open(session, session.limit(), text, params, chunk).await
            }
        }
    };
}

pub(crate) use chunks;
