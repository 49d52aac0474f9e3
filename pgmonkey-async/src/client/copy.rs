//! Copies that are streamed instead of held in memory.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_core::Stream;
use futures_sink::Sink;
use pgmonkey_connect::Error;

use crate::client::stream::Origin;
use crate::session::answer::Copying;
use crate::session::unread::Source;

/// The data of a `COPY … TO STDOUT`, one message at a time: a [`Stream`], or [`next`](Self::next)
/// in a loop. Uses a session as a [`RowStream`](crate::RowStream) does.
///
/// ```no_run
/// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
/// let mut users = pool.copy_out("COPY users TO STDOUT (FORMAT csv)").await?;
/// while let Some(line) = users.next().await {
///     print!("{}", String::from_utf8_lossy(&line?));
/// }
/// # Ok(()) }
/// ```
#[must_use = "data is fetched as it is read"]
pub struct CopyOutStream {
    /// `None` after the end.
    data: Option<Copying<Pin<Box<tokio_postgres::CopyOutStream>>>>,
    origin: Origin,
}

impl CopyOutStream {
    pub(crate) fn new(data: Copying<tokio_postgres::CopyOutStream>, origin: Origin) -> Self {
        let data = Some(data.pinned());
        Self { data, origin }
    }

    /// Returns the next piece; `None` after the last one.
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
        let this = &mut *self;
        let Some(data) = &mut this.data else {
            return Poll::Ready(None);
        };
        if let Err(exceeded) = this.origin.check_limit(cx) {
            this.end();
            return Poll::Ready(Some(Err(exceeded)));
        }
        let piece = ready!(data.stream.as_mut().poll_next(cx));
        if piece.is_none() {
            (this.data, this.origin.guard) = (None, None);
        }
        Poll::Ready(piece.map(|piece| piece.map_err(|error| this.origin.explain(error))))
    }
}

impl CopyOutStream {
    /// Ends the stream before its last piece.
    fn end(&mut self) {
        if let Some(data) = self.data.take() {
            self.origin.leave(Source::Copy(data));
        }
        self.origin.guard = None;
    }
}

impl Drop for CopyOutStream {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for CopyOutStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOutStream").finish_non_exhaustive()
    }
}

/// Takes the data of a `COPY … FROM STDIN`: a [`Sink`], or [`send`](Self::send).
/// [`finish`](Self::finish) ends the copy; dropping it earlier aborts the copy.
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
    copy: Copying<Pin<Box<tokio_postgres::CopyInSink<U>>>>,
    origin: Origin,
}

impl<U: Buf + Send + 'static> CopyInSink<U> {
    pub(crate) fn new(copy: Copying<tokio_postgres::CopyInSink<U>>, origin: Origin) -> Self {
        let copy = copy.pinned();
        Self { copy, origin }
    }

    /// Sends one piece. Pieces need not end at row boundaries.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn send(&mut self, piece: U) -> Result<(), Error> {
        poll_fn(|cx| Pin::new(&mut *self).poll_ready(cx)).await?;
        Pin::new(&mut *self).start_send(piece)?;
        poll_fn(|cx| Pin::new(&mut *self).poll_flush(cx)).await
    }

    /// Ends the copy and returns the number of rows.
    ///
    /// # Errors
    ///
    /// [`Error::Database`], which may also concern data sent earlier.
    pub async fn finish(&mut self) -> Result<u64, Error> {
        let mut finish = pin!(self.copy.stream.as_mut().finish());
        let copied = poll_fn(|cx| {
            self.origin.check_limit(cx)?;
            finish.as_mut().poll(cx).map(Ok::<_, Error>)
        });
        let copied = copied.await?;
        self.copy.statement = None;
        self.origin.guard = None;
        copied.map_err(|error| self.origin.explain(error))
    }
}

impl<U: Buf + Send + 'static> Sink<U> for CopyInSink<U> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.origin.check_limit(cx)?;
        let ready = self.copy.stream.as_mut().poll_ready(cx);
        ready.map_err(|error| self.origin.explain(error))
    }

    fn start_send(mut self: Pin<&mut Self>, piece: U) -> Result<(), Error> {
        let sent = self.copy.stream.as_mut().start_send(piece);
        sent.map_err(|error| self.origin.explain(error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.origin.check_limit(cx)?;
        let flushed = self.copy.stream.as_mut().poll_flush(cx);
        flushed.map_err(|error| self.origin.explain(error))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let closed = self.copy.stream.as_mut().poll_close(cx);
        closed.map_err(|error| self.origin.explain(error))
    }
}

impl<U> fmt::Debug for CopyInSink<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyInSink").finish_non_exhaustive()
    }
}
