//! Streams that were dropped before their end, on a session that is used on.
//!
//! The driver reads the rest of a dropped stream at once and to its end. So the stream is kept
//! until the next call on its session, which reads the rest or cancels the statement.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_core::Stream;
use pgmonkey_connect::Error;
use pgmonkey_connect::unread::{Unread, UnreadStep};
use pgmonkey_connect::wire::WireState;
use tokio::time::timeout;
use tokio_postgres::{CopyOutStream, RowStream};

use super::Session;
use super::answer::Copying;

/// The dropped streams of one use of a session.
#[derive(Default)]
pub(crate) struct UnreadStreams {
    any: AtomicBool,
    streams: Mutex<Vec<UnreadStream>>,
}

/// A stream with an answer that was not read to its end.
pub(crate) struct UnreadStream {
    pub(crate) source: Source,
    /// Whether its statement is to be cancelled in any case: its deadline has passed.
    pub(crate) stops: bool,
}

pub(crate) enum Source {
    Rows(Pin<Box<RowStream>>),
    Copy(Copying<Pin<Box<CopyOutStream>>>),
}

impl UnreadStreams {
    /// Keeps a stream for the next call.
    pub(crate) fn keep(&self, stream: UnreadStream) {
        self.streams().push(stream);
        self.any.store(true, Ordering::Release);
    }

    fn take(&self) -> Taken<'_> {
        let streams = std::mem::take(&mut *self.streams());
        self.any.store(false, Ordering::Release);
        Taken {
            from: self,
            streams,
        }
    }

    fn streams(&self) -> MutexGuard<'_, Vec<UnreadStream>> {
        // No code that can panic runs under the lock.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Streams in the hands of one call. They go back if the call is dropped.
struct Taken<'a> {
    from: &'a UnreadStreams,
    streams: Vec<UnreadStream>,
}

impl Taken<'_> {
    /// Reads until all have ended, or this many bytes have been received.
    fn poll_read(&mut self, cx: &mut Context<'_>, enough: impl Fn() -> bool) -> Poll<()> {
        while let Some(stream) = self.streams.first_mut() {
            let ended = match &mut stream.source {
                Source::Rows(rows) => {
                    ready!(rows.as_mut().poll_next(cx)).is_none_or(|row| row.is_err())
                }
                Source::Copy(data) => {
                    ready!(data.stream.as_mut().poll_next(cx)).is_none_or(|piece| piece.is_err())
                }
            };
            if ended {
                self.streams.remove(0);
            } else if enough() {
                break;
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for stream in self.streams.drain(..) {
            self.from.keep(stream);
        }
    }
}

impl Session {
    /// The dropped streams of the session's caller.
    pub(crate) fn unread(&self) -> &Arc<UnreadStreams> {
        &self.unread
    }

    /// Drops what the last caller has left unread; its streams have no part in the next use.
    pub(crate) fn forget_unread(&mut self) {
        if Arc::strong_count(&self.unread) > 1 {
            self.unread = Arc::default();
        }
        if self.unread.any.load(Ordering::Acquire) {
            self.unread.take().streams.clear();
        }
    }

    /// Prepares the session for the next statement: what is left of a dropped stream is read, or
    /// its statement cancelled.
    ///
    /// # Errors
    ///
    /// As [`check_usable`](Self::check_usable); [`Error::StreamUnread`] inside a transaction if too
    /// much is left.
    #[inline]
    pub(crate) async fn make_ready(&self) -> Result<(), Error> {
        self.check_usable()?;
        match self.unread.any.load(Ordering::Acquire) {
            true => Box::pin(self.finish_unread(false)).await,
            false => Ok(()),
        }
    }

    /// As [`make_ready`](Self::make_ready), before a rollback, which a cancelled statement does not
    /// prevent.
    pub(crate) async fn make_ready_to_roll_back(&self) -> Result<(), Error> {
        self.check_usable()?;
        match self.unread.any.load(Ordering::Acquire) {
            true => Box::pin(self.finish_unread(true)).await,
            false => Ok(()),
        }
    }

    async fn finish_unread(&self, rolls_back: bool) -> Result<(), Error> {
        let mut taken = self.unread.take();
        let stops = rolls_back || taken.streams.iter().any(|stream| stream.stops);
        let spared = self.observer.was_in_transaction() && !stops;
        let mut unread = Unread::new(&self.observer, spared, Instant::now());
        while !taken.streams.is_empty() {
            let received = self.observer.received();
            match unread.step(self.state(), received, Instant::now()) {
                UnreadStep::Done => taken.streams.clear(),
                UnreadStep::Refuse => return Err(Error::StreamUnread),
                UnreadStep::Cancel => {
                    taken.streams.clear();
                    // With other statements behind it, the request might reach one of those.
                    if self.state() == WireState::Busy(1) {
                        self.observer.mark_changed();
                        // A failure to do so is reported by the next statement.
                        self.drain().await;
                    }
                }
                UnreadStep::Read(pause) => {
                    let enough = || self.observer.received() >= unread.stops_at();
                    let read = poll_fn(|cx| taken.poll_read(cx, enough));
                    let _ = timeout(pause, read).await;
                }
            }
        }
        Ok(())
    }
}
