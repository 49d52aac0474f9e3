//! Rows that are streamed instead of held in memory, and what all streams have in common.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use pgmonkey_connect::Error;
use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::outcome::Sending;
use pgmonkey_connect::wire::Observer;
use tokio_postgres::Row;

use crate::client::guard::ClientGuard;
use crate::session::Session;

/// The session of a stream.
pub(crate) struct Origin {
    observer: Arc<Observer>,
    /// The statement, which may have been executed although the session was lost.
    statement: (Sending, Option<Box<str>>),
    /// The session's guard, for the stream of a handle; released at the end of the stream.
    pub(super) guard: Option<ClientGuard>,
}

impl Origin {
    pub(crate) fn new(session: &Session, (sending, text): (Sending, Option<&str>)) -> Self {
        Self {
            observer: Arc::clone(session.observer()),
            statement: (sending, text.map(Box::from)),
            guard: None,
        }
    }

    /// Keeps the session's guard until the end of the stream.
    pub(crate) fn keeping(self, guard: ClientGuard) -> Self {
        Self {
            guard: Some(guard),
            ..self
        }
    }

    /// Converts a driver error; adds the reason if the session has ended.
    pub(super) fn explain(&self, error: tokio_postgres::Error) -> Error {
        let (sending, text) = &self.statement;
        let error = Takes::Rows.explain(error, Some(&self.observer));
        sending.explain(error, Some(&self.observer), text.as_deref())
    }
}

/// Rows as they arrive from the server: a [`Stream`], or [`next`](Self::next) in a loop.
///
/// On a handle, the rows use a session of their own. It is released at the end of the rows or when
/// the stream is dropped. Rows that were not read are then cancelled.
///
/// ```no_run
/// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
/// let mut rows = pool.query_raw("SELECT name FROM users WHERE id > $1", &[&42]).await?;
/// while let Some(row) = rows.next().await {
///     println!("{}", row?.get::<_, &str>("name"));
/// }
/// # Ok(()) }
/// ```
#[must_use = "rows are fetched as they are read"]
pub struct RowStream {
    rows: Pin<Box<tokio_postgres::RowStream>>,
    /// After the rows, so that it is dropped after them.
    origin: Origin,
    /// The driver's stream must not be polled after its end.
    ended: bool,
}

impl RowStream {
    pub(crate) fn new(rows: tokio_postgres::RowStream, origin: Origin) -> Self {
        Self {
            rows: Box::pin(rows),
            origin,
            ended: false,
        }
    }

    /// Returns the next row; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn next(&mut self) -> Option<Result<Row, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Returns how many rows the statement affected; known at the end of the stream.
    pub fn rows_affected(&self) -> Option<u64> {
        self.rows.rows_affected()
    }
}

impl Stream for RowStream {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let row = ready!(self.rows.as_mut().poll_next(cx));
        if row.is_none() {
            (self.ended, self.origin.guard) = (true, None);
        }
        Poll::Ready(row.map(|row| row.map_err(|error| self.origin.explain(error))))
    }
}

impl fmt::Debug for RowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").finish_non_exhaustive()
    }
}
