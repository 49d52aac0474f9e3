//! The shell around [`Tracker`]: a stream that lets the bytes through and shows them to it.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pgmonkey_config::RequireAuth;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use super::observer::{Observer, Tracker, WireState};
use crate::MaybeTls;

/// The driver's farewell.
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// `NotificationResponse` from process 0 with an empty channel and payload: no server sends
/// this, so the reader can tell it from a real one.
const PROBE_ANSWER: [u8; 11] = [b'A', 0, 0, 0, 10, 0, 0, 0, 0, 0, 0];

/// How long a write that failed is kept from the writer, so that the reader comes first.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A stream that shows every byte to an [`Observer`] and enforces the connect deadline until
/// the server is ready.
#[derive(Debug)]
pub struct ObservedStream<S> {
    inner: S,
    observer: Arc<Observer>,
    tracker: Tracker,
    deadline: Option<Pin<Box<Sleep>>>,
    /// What wakes the reader at the observer's limit.
    alarm: Option<Pin<Box<Sleep>>>,
    probe_seen: bool,
    /// What is left of an answer of our own: it comes before anything from the server.
    unread: Unread,
    /// How many requests of a session that was given up are to be refused.
    refused: u32,
    failed_write: Option<FailedWrite>,
    /// Whether closing the stream first waits for the server to close its end.
    lingers: bool,
}

impl<S> ObservedStream<S> {
    /// Refuses a server that asks for another kind of login than `allowed`, before anything is
    /// sent in answer.
    #[must_use]
    pub fn requiring(mut self, allowed: RequireAuth) -> Self {
        self.tracker = Tracker::requiring(allowed);
        self
    }

    /// Wraps a stream on which no byte of the startup message was sent yet.
    pub fn new(inner: S, observer: Arc<Observer>, deadline: Option<Pin<Box<Sleep>>>) -> Self {
        Self {
            inner,
            observer,
            tracker: Tracker::default(),
            deadline,
            alarm: None,
            probe_seen: false,
            unread: Unread::default(),
            refused: 0,
            failed_write: None,
            lingers: false,
        }
    }

    /// Whether closing it waits for the server to close its end first.
    ///
    /// The server answers a cancel request by closing the connection, once it has signalled the
    /// backend; a caller that goes on earlier may see its next statement cancelled. Our end stays
    /// open until then, as libpq's does: PgBouncer 1.18 exits when a client that sent a cancel
    /// request closes its end first.
    #[must_use]
    pub fn lingering(mut self, lingers: bool) -> Self {
        self.lingers = lingers;
        self
    }

    fn check_deadline(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let Some(sleep) = &mut self.deadline else {
            return Ok(());
        };
        if !self.observer.is_under_deadline() {
            self.deadline = None;
            return Ok(());
        }
        match sleep.as_mut().poll(cx) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no answer within connect_timeout",
            )),
        }
    }

    /// Fails once the observer's limit is over.
    fn check_limit(&self) -> io::Result<()> {
        match self.observer.limit() {
            Some(limit) if Instant::now() >= limit => {
                self.observer.fall_silent();
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the server did not answer in time",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Has the task look again at the observer's limit, unless it has something to do before.
    #[inline]
    fn set_alarm<T>(&mut self, cx: &mut Context<'_>, polled: Poll<T>) -> Poll<T> {
        if polled.is_pending()
            && !self.probe_seen
            && let Some(limit) = self.observer.limit()
        {
            self.set_alarm_to(limit, cx);
        }
        polled
    }

    fn set_alarm_to(&mut self, limit: Instant, cx: &mut Context<'_>) {
        let limit = limit.into();
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(sleep_until(limit)));
        if alarm.deadline() != limit {
            alarm.as_mut().reset(limit);
        }
        if alarm.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }

    /// Takes what was read into account; the reader gets nothing of a login that must not go on.
    fn read(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let bytes = &buf.filled()[before..];
        if bytes.is_empty() {
            self.observer.close();
            return Ok(());
        }
        self.tracker.received(&self.observer, bytes);
        match self.tracker.refusal(&self.observer) {
            None => Ok(()),
            Some(refusal) => {
                buf.set_filled(before);
                Err(self.fail(refusal))
            }
        }
    }

    fn fail(&self, error: io::Error) -> io::Error {
        self.observer.close();
        error
    }

    /// Whether a write has failed because the server has gone, without a word so far: then its
    /// reason may be there to be read.
    ///
    /// The drivers give up at the first write that fails. A server that ends a session says why and
    /// closes its end; what is written after that fails, often before the reader has looked.
    fn may_say_why(&self, error: &io::Error, bytes: &[u8]) -> bool {
        let state = self.observer.state();
        matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        ) && !matches!(state, WireState::Starting | WireState::Closed)
            // Behind its farewell the driver reads nothing.
            && !bytes.ends_with(&TERMINATE)
    }

    /// Gives a write's error to the writer when the reader has had its time.
    #[cold]
    fn poll_failed_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(failed) = &mut self.failed_write {
            ready!(failed.until.as_mut().poll(cx));
        }
        let failed = self.failed_write.take().map(|failed| failed.error);
        Poll::Ready(Err(
            failed.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
        ))
    }

    /// Answers a probe once the socket has been looked at and had nothing to say.
    fn answer_probe(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<()> {
        if !self.observer.probe_requested() || !self.tracker.at_boundary() {
            return Poll::Pending;
        }
        if !self.probe_seen {
            // A wake-up sends the runtime through its I/O driver before it polls again, and only
            // that notices a socket that the peer closed.
            self.probe_seen = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.probe_seen = false;
        self.observer.probe_answered();
        self.unread = Unread::new(PROBE_ANSWER.as_slice());
        self.unread.hand_out(buf);
        Poll::Ready(())
    }

    /// Takes what a session that was given up is asked, in the server's place.
    #[cold]
    fn swallow(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> usize {
        self.refused += self.tracker.requests_in(bytes);
        cx.waker().wake_by_ref();
        bytes.len()
    }

    /// Refuses one request of a session that was given up.
    #[cold]
    fn refuse(&mut self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let reason = self.observer.condemned().unwrap_or_default();
        if !self.tracker.at_boundary() {
            return Poll::Ready(Err(io::Error::other(reason)));
        }
        // Those that were sent before come first; each has an end that the server never sends.
        self.refused += self.tracker.take_unanswered();
        let Some(left) = self.refused.checked_sub(1) else {
            return Poll::Pending;
        };
        self.refused = left;
        self.unread = Unread::new(refusal(reason));
        self.unread.hand_out(buf);
        Poll::Ready(Ok(()))
    }
}

/// A write that failed, and until when the reader comes first.
#[derive(Debug)]
struct FailedWrite {
    error: io::Error,
    until: Pin<Box<Sleep>>,
}

/// An answer that is handed out as the reader has room for it.
#[derive(Debug, Default)]
struct Unread {
    bytes: Cow<'static, [u8]>,
    at: usize,
}

impl Unread {
    fn new(bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        Self {
            bytes: bytes.into(),
            at: 0,
        }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Hands out what the reader has room for: it makes sure of one byte only.
    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let left = &self.bytes[self.at..];
        let now = left.len().min(buf.remaining());
        buf.put_slice(&left[..now]);
        self.at += now;
    }
}

/// An `ErrorResponse` with this text (SQLSTATE 25000, invalid transaction state) and a
/// `ReadyForQuery`.
fn refusal(reason: &str) -> Vec<u8> {
    let fields = format!("SERROR\0VERROR\0C25000\0M{reason}\0\0");
    let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX);
    let mut bytes = vec![b'E'];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(fields.as_bytes());
    bytes.extend_from_slice(b"Z\0\0\0\x05I");
    bytes
}

impl<S: AsyncRead + Unpin> AsyncRead for ObservedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.unread.is_empty() {
            this.unread.hand_out(buf);
            return Poll::Ready(Ok(()));
        }
        this.check_limit()?;
        let polled = this.poll_fresh(cx, buf);
        this.set_alarm(cx, polled)
    }
}

impl<S: AsyncRead + Unpin> ObservedStream<S> {
    /// Reads what comes next, from the server or in its place.
    fn poll_fresh(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.observer.is_condemned() {
            return self.refuse(buf);
        }
        // Before the read, so that a server that never stops talking runs into it as well.
        if let Err(error) = self.check_deadline(cx) {
            return Poll::Ready(Err(self.fail(error)));
        }
        let before = buf.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => Poll::Ready(self.read(buf, before)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.fail(error))),
            Poll::Pending => self.answer_probe(cx, buf).map(Ok),
        }
    }

    /// Ready when the server has closed its end, or the deadline is over.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.check_deadline(cx)?;
            let mut bytes = [0; 64];
            let mut buf = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                // An end is an end, also without the farewell of TLS.
                _ => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ObservedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.observer.is_condemned() {
            return Poll::Ready(Ok(this.swallow(cx, bytes)));
        }
        this.check_limit()?;
        if this.failed_write.is_some() {
            return this.poll_failed_write(cx);
        }
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        match written {
            Poll::Ready(Ok(count)) => this.tracker.sent(&this.observer, &bytes[..count]),
            Poll::Ready(Err(error)) => {
                let waits = this.may_say_why(&error, bytes);
                this.observer.close();
                if !waits {
                    return Poll::Ready(Err(error));
                }
                let until = Box::pin(tokio::time::sleep(LAST_WORDS));
                this.failed_write = Some(FailedWrite { error, until });
                return this.poll_failed_write(cx);
            }
            Poll::Pending => {}
        }
        this.set_alarm(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.observer.origin().is_here() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // It would end the parent's session.
        if !this.observer.origin().is_here() {
            return Poll::Ready(Ok(()));
        }
        if !this.lingers {
            this.check_limit()?;
            this.observer.close();
            let closed = Pin::new(&mut this.inner).poll_shutdown(cx);
            return this.set_alarm(cx, closed);
        }
        ready!(this.poll_end(cx))?;
        this.observer.close();
        // The peer is gone, so that a farewell to it may fail.
        let _ = ready!(Pin::new(&mut this.inner).poll_shutdown(cx));
        Poll::Ready(Ok(()))
    }
}

impl<S> Drop for ObservedStream<S> {
    fn drop(&mut self) {
        self.observer.close();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for ObservedStream<MaybeTls<S>> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// A peer that never says anything.
    struct Silent;

    impl AsyncRead for Silent {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[test]
    fn a_probe_is_answered_whole_however_small_the_readers_buffer_is() {
        for size in 1..16 {
            let observer = Arc::new(Observer::default());
            let mut stream = ObservedStream::new(Silent, Arc::clone(&observer), None);
            observer.request_probe();
            let mut cx = Context::from_waker(Waker::noop());
            let mut read = Vec::new();
            for _ in 0..32 {
                let mut bytes = vec![0; size];
                let mut buf = ReadBuf::new(&mut bytes);
                if Pin::new(&mut stream)
                    .poll_read(&mut cx, &mut buf)
                    .is_ready()
                {
                    read.extend_from_slice(buf.filled());
                }
            }
            assert_eq!(read, PROBE_ANSWER, "with a buffer of {size}");
        }
    }

    #[tokio::test]
    async fn closing_a_lingering_stream_waits_for_the_peer() {
        use tokio::io::AsyncWriteExt;
        for lingers in [false, true] {
            let (ours, theirs) = tokio::io::duplex(64);
            let stream = ObservedStream::new(ours, Arc::default(), None);
            let mut stream = stream.lingering(lingers);
            let closing = tokio::spawn(async move { stream.shutdown().await });
            tokio::task::yield_now().await;
            assert_eq!(closing.is_finished(), !lingers);
            drop(theirs);
            closing.await.expect("no panic").expect("closed");
        }
    }

    #[tokio::test]
    async fn a_lingering_stream_keeps_its_own_end_open_until_the_peer_closes() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (ours, mut theirs) = tokio::io::duplex(64);
        let stream = ObservedStream::new(ours, Arc::default(), None);
        let mut stream = stream.lingering(true);
        let closing = tokio::spawn(async move { stream.shutdown().await });
        tokio::task::yield_now().await;
        let end = std::future::poll_fn(|cx| {
            let mut byte = [0];
            let mut buf = ReadBuf::new(&mut byte);
            Poll::Ready(Pin::new(&mut theirs).poll_read(cx, &mut buf).is_ready())
        });
        assert!(!end.await, "the peer sees no end yet");
        theirs.shutdown().await.expect("closed");
        closing.await.expect("no panic").expect("closed");
        assert_eq!(theirs.read(&mut [0]).await.expect("an end"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lingering_stream_does_not_wait_beyond_its_deadline() {
        use tokio::io::AsyncWriteExt;
        let (ours, _theirs) = tokio::io::duplex(64);
        let limit = std::time::Duration::from_secs(5);
        let deadline = Some(Box::pin(tokio::time::sleep(limit)));
        let stream = ObservedStream::new(ours, Arc::default(), deadline);
        let closed = stream.lingering(true).shutdown().await;
        let error = closed.expect_err("nobody closed it");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_silent_peer_is_waited_for_until_the_limit_and_never_again() {
        use tokio::io::AsyncReadExt;
        let observer = Arc::new(Observer::default());
        let mut stream = ObservedStream::new(Silent, Arc::clone(&observer), None);
        let limited = observer.limited(Instant::now());
        for _ in 0..2 {
            let error = stream.read_u8().await.expect_err("it says nothing");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        drop(limited);
        assert!(observer.is_silent() && stream.read_u8().await.is_err());
    }

    #[tokio::test]
    async fn a_limit_wakes_its_task_and_gives_way_to_the_one_before() {
        use tokio::io::AsyncReadExt;
        let observer = Arc::new(Observer::default());
        let mut stream = ObservedStream::new(Silent, Arc::clone(&observer), None);
        let limit = Instant::now() + std::time::Duration::from_millis(20);
        let outer = observer.limited(limit);
        drop(observer.limited(Instant::now()));
        assert!(stream.read_u8().await.is_err() && Instant::now() >= limit);
        drop(outer);
        assert!(observer.is_silent());
    }
}
