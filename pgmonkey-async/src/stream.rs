//! Rows and copies that are not in memory at once.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use futures_sink::Sink;
use pgmonkey_connect::Error;
use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::wire::Observer;
use tokio_postgres::Row;

use crate::guard::ClientGuard;

/// The session of a stream.
pub(crate) struct Origin {
    observer: Arc<Observer>,
    /// That of a handle, which goes back at the end of the stream.
    guard: Option<ClientGuard>,
}

impl Origin {
    pub(crate) fn new(observer: Arc<Observer>, guard: Option<ClientGuard>) -> Self {
        Self { observer, guard }
    }

    /// An error of the driver's, with the reason if the session has ended.
    fn explain(&self, error: tokio_postgres::Error) -> Error {
        Takes::Rows.explain(error, Some(&self.observer))
    }
}

/// Rows as they come from the server: a [`Stream`], or [`next`](Self::next) in a loop.
///
/// That of a handle has a session of its own, which goes back at the end of the rows or when
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
#[must_use = "rows come as they are read"]
pub struct RowStream {
    rows: Pin<Box<tokio_postgres::RowStream>>,
    /// Behind the rows, so that it is dropped after them.
    origin: Origin,
    /// The driver's stream must not be asked again then.
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

    /// The next row; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn next(&mut self) -> Option<Result<Row, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// How many rows the statement concerned; known at the end of the stream.
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

/// What a `COPY … TO STDOUT` gives, a message at a time: a [`Stream`], or [`next`](Self::next) in
/// a loop. Of the session it has the same holds as for a [`RowStream`].
///
/// ```no_run
/// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
/// let mut users = pool.copy_out("COPY users TO STDOUT (FORMAT csv)").await?;
/// while let Some(line) = users.next().await {
///     print!("{}", String::from_utf8_lossy(&line?));
/// }
/// # Ok(()) }
/// ```
#[must_use = "data comes as it is read"]
pub struct CopyOutStream {
    data: Pin<Box<tokio_postgres::CopyOutStream>>,
    origin: Origin,
    ended: bool,
}

impl CopyOutStream {
    pub(crate) fn new(data: tokio_postgres::CopyOutStream, origin: Origin) -> Self {
        Self {
            data: Box::pin(data),
            origin,
            ended: false,
        }
    }

    /// The next piece; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for CopyOutStream {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let piece = ready!(self.data.as_mut().poll_next(cx));
        if piece.is_none() {
            (self.ended, self.origin.guard) = (true, None);
        }
        Poll::Ready(piece.map(|piece| piece.map_err(|error| self.origin.explain(error))))
    }
}

/// Where the data of a `COPY … FROM STDIN` goes: a [`Sink`], or [`send`](Self::send).
/// [`finish`](Self::finish) ends the copy; dropped before, it is aborted.
///
/// ```no_run
/// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
/// let mut users = pool.copy_in::<_, &[u8]>("COPY users FROM STDIN (FORMAT csv)").await?;
/// users.send(b"1,ann\n2,bob\n").await?;
/// println!("{} rows", users.finish().await?);
/// # Ok(()) }
/// ```
#[must_use = "a copy that is not finished is aborted"]
pub struct CopyInSink<U> {
    sink: Pin<Box<tokio_postgres::CopyInSink<U>>>,
    origin: Origin,
}

impl<U: Buf + Send + 'static> CopyInSink<U> {
    pub(crate) fn new(sink: tokio_postgres::CopyInSink<U>, origin: Origin) -> Self {
        let sink = Box::pin(sink);
        Self { sink, origin }
    }

    /// Sends one piece. Pieces need not end where rows do.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn send(&mut self, piece: U) -> Result<(), Error> {
        poll_fn(|cx| Pin::new(&mut *self).poll_ready(cx)).await?;
        Pin::new(&mut *self).start_send(piece)?;
        poll_fn(|cx| Pin::new(&mut *self).poll_flush(cx)).await
    }

    /// Ends the copy; returns the number of rows.
    ///
    /// # Errors
    ///
    /// [`Error::Database`], also for what was wrong with a piece sent before.
    pub async fn finish(&mut self) -> Result<u64, Error> {
        let copied = self.sink.as_mut().finish().await;
        self.origin.guard = None;
        copied.map_err(|error| self.origin.explain(error))
    }
}

impl<U: Buf + Send + 'static> Sink<U> for CopyInSink<U> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let ready = self.sink.as_mut().poll_ready(cx);
        ready.map_err(|error| self.origin.explain(error))
    }

    fn start_send(mut self: Pin<&mut Self>, piece: U) -> Result<(), Error> {
        let sent = self.sink.as_mut().start_send(piece);
        sent.map_err(|error| self.origin.explain(error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let flushed = self.sink.as_mut().poll_flush(cx);
        flushed.map_err(|error| self.origin.explain(error))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let closed = self.sink.as_mut().poll_close(cx);
        closed.map_err(|error| self.origin.explain(error))
    }
}

impl fmt::Debug for RowStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").finish_non_exhaustive()
    }
}

impl fmt::Debug for CopyOutStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOutStream").finish_non_exhaustive()
    }
}

impl<U> fmt::Debug for CopyInSink<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyInSink").finish_non_exhaustive()
    }
}
