//! The I/O side of [`Tracker`]: a stream that passes bytes through and feeds them to it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use pgmonkey_config::RequireAuth;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use super::observer::{Observer, Tracker, WireState};
use super::statements::StatementListener;
use begin::Beginning;
use failed_write::FailedWrite;
use synthetic_answer::{INVALID_STATE, PROBE_ANSWER, Unread, refusal};

mod begin;
mod begin_io;
mod failed_write;
mod synthetic_answer;

/// A stream that feeds every byte to an [`Observer`] and enforces the connect deadline until the
/// server is ready.
#[derive(Debug)]
pub struct ObservedStream<S> {
    /// `None` once the server has not answered in time.
    inner: Option<S>,
    observer: Arc<Observer>,
    tracker: Tracker,
    beginning: Beginning,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Wakes the reader at the observer's limit.
    alarm: Option<Pin<Box<Sleep>>>,
    probe_seen: bool,
    look_seen: bool,
    /// The rest of a synthetic answer, which precedes anything from the server.
    unread: Unread,
    /// How many requests of a discarded session are still to be refused.
    refused: u32,
    failed_write: Option<FailedWrite>,
    /// Whether closing the stream first waits for the server to close its end.
    lingers: bool,
}

impl<S> ObservedStream<S> {
    /// Refuses a server whose login method is not in `allowed`, before any answer is sent.
    #[must_use]
    pub fn requiring(mut self, allowed: RequireAuth) -> Self {
        self.tracker = Tracker::requiring(allowed);
        self
    }

    /// Reports each statement to `listener`, if there is one.
    #[must_use]
    pub fn reporting_to(mut self, listener: Option<Arc<dyn StatementListener>>) -> Self {
        if let Some(listener) = listener {
            self.tracker.report_to(listener);
        }
        self
    }

    /// Wraps a stream on which no byte of the startup message has been sent.
    pub fn new(inner: S, observer: Arc<Observer>, deadline: Option<Pin<Box<Sleep>>>) -> Self {
        Self {
            inner: Some(inner),
            observer,
            tracker: Tracker::default(),
            beginning: Beginning::default(),
            deadline,
            alarm: None,
            probe_seen: false,
            look_seen: false,
            unread: Unread::default(),
            refused: 0,
            failed_write: None,
            lingers: false,
        }
    }

    /// The stream that is observed, unless the server has not answered in time.
    pub(crate) fn inner(&self) -> Option<&S> {
        self.inner.as_ref()
    }

    /// Sets whether closing the stream waits for the server to close its end first.
    ///
    /// The server answers a cancel request by closing the connection, once it has signaled the
    /// backend; a caller that continues earlier may see its next statement canceled. The client's
    /// end stays open until then, as in libpq: PgBouncer 1.18 exits when a client that sent a
    /// cancel request closes its end first.
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

    /// Fails once the observer's limit has passed, or the session was given up, and closes the
    /// socket: the driver may keep the stream for as long as its client.
    fn check_limit(&mut self) -> io::Result<()> {
        if let Some(reason) = self.observer.abandoned() {
            if self.observer.origin().is_here() {
                self.inner = None;
            }
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, reason));
        }
        match self.observer.limit() {
            Some(limit) if Instant::now() >= limit => {
                self.observer.fall_silent();
                if self.observer.origin().is_here() {
                    self.inner = None;
                }
                Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the server did not answer in time",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Wakes the task at the observer's limit, unless it is woken earlier.
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

    /// Feeds read bytes to the tracker; withholds them from the reader if the session is refused.
    fn read(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let bytes = &buf.filled()[before..];
        if bytes.is_empty() {
            self.observer.close();
            self.tracker.lost();
            return Ok(());
        }
        match self.beginning.passes_reads() {
            true => self.tracker.received(&self.observer, bytes),
            false => self.read_answer_to_begin(buf, before),
        }
        match self.tracker.refusal(&self.observer) {
            None => Ok(()),
            Some(refusal) => {
                buf.set_filled(before);
                Err(self.fail(refusal))
            }
        }
    }

    fn fail(&mut self, error: io::Error) -> io::Error {
        self.observer.close();
        self.tracker.lost();
        error
    }

    /// Ready once the socket has been polled for what the server sent before the write; fails if
    /// that was the end of the session.
    #[cold]
    fn look(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.look_seen {
            // As for a probe; the driver reads before it writes.
            self.look_seen = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.look_seen = false;
        self.observer.looked();
        Poll::Ready(match self.observer.state() {
            WireState::Closed => Err(io::ErrorKind::BrokenPipe.into()),
            _ => Ok(()),
        })
    }

    /// Answers a probe once the socket has been polled and had nothing to read.
    fn answer_probe(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<()> {
        if !self.observer.probe_requested() || !self.tracker.at_boundary() {
            return Poll::Pending;
        }
        if !self.probe_seen {
            // After a wake-up the runtime polls its I/O driver before this task, and only that
            // notices a socket closed by the peer.
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

    /// Accepts requests of a discarded session in place of the server.
    #[cold]
    fn swallow(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> usize {
        self.refused += self.tracker.requests_in(bytes);
        cx.waker().wake_by_ref();
        bytes.len()
    }

    /// Refuses one request of a discarded session.
    #[cold]
    fn refuse(&mut self, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let reason = self.observer.condemned().unwrap_or_default();
        if !self.tracker.at_boundary() {
            return Poll::Ready(Err(io::Error::other(reason)));
        }
        // Requests sent earlier come first; the server will never answer them.
        self.refused += self.tracker.take_unanswered();
        let Some(left) = self.refused.checked_sub(1) else {
            return Poll::Pending;
        };
        self.refused = left;
        self.unread = Unread::new(refusal(INVALID_STATE, reason));
        self.unread.hand_out(buf);
        Poll::Ready(Ok(()))
    }
}

/// The stream that is observed.
#[inline]
fn open<S: Unpin>(inner: &mut Option<S>) -> io::Result<Pin<&mut S>> {
    let inner = inner.as_mut().map(Pin::new);
    inner.ok_or_else(|| io::ErrorKind::NotConnected.into())
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
        if polled.is_pending() && this.observer.is_watched() {
            this.observer.keep_reader(cx.waker());
            // It may have been given up in the meantime.
            this.check_limit()?;
        }
        this.set_alarm(cx, polled)
    }
}

impl<S: AsyncRead + Unpin> ObservedStream<S> {
    /// Reads from the server, or answers in its place.
    fn poll_fresh(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.observer.is_condemned() {
            return self.refuse(buf);
        }
        // Before the read, so that it also stops a server that never stops sending.
        if let Err(error) = self.check_deadline(cx) {
            return Poll::Ready(Err(self.fail(error)));
        }
        if self.beginning.owes_refusal() && self.refuse_after_begin(buf) {
            return Poll::Ready(Ok(()));
        }
        if self.observer.is_paused() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        loop {
            match open(&mut self.inner)?.poll_read(cx, buf) {
                Poll::Ready(Ok(())) => {
                    let ended = buf.filled().len() == before;
                    self.read(buf, before)?;
                    // Otherwise the driver got nothing of what was read, which would look like the
                    // end.
                    if ended || buf.filled().len() > before {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(self.fail(error))),
                Poll::Pending => return self.answer_probe(cx, buf).map(Ok),
            }
        }
    }

    /// Ready when the server has closed its end; fails when the deadline passes.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            self.check_deadline(cx)?;
            let mut bytes = [0; 64];
            let mut buf = ReadBuf::new(&mut bytes);
            match ready!(open(&mut self.inner)?.poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                // The end of the stream counts even without a TLS close_notify.
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
        if this.observer.is_to_look() {
            ready!(this.look(cx))?;
        }
        if !this.beginning.passes_writes(&this.observer) {
            return this.poll_write_around_begin(cx, bytes);
        }
        let began = this.tracker.read_clock();
        let written = open(&mut this.inner)?.poll_write(cx, bytes);
        match written {
            Poll::Ready(Ok(count)) => this.tracker.wrote(&this.observer, &bytes[..count], began),
            Poll::Ready(Err(error)) => return this.write_failed(cx, error, bytes),
            Poll::Pending => {}
        }
        this.set_alarm(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.observer.origin().is_here() {
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        ready!(this.poll_write_accepted(cx))?;
        open(&mut this.inner)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // In a child of `fork`, a shutdown would end the parent's session.
        if !this.observer.origin().is_here() {
            return Poll::Ready(Ok(()));
        }
        if !this.lingers {
            this.check_limit()?;
            this.observer.close();
            let closed = open(&mut this.inner)?.poll_shutdown(cx);
            return this.set_alarm(cx, closed);
        }
        ready!(this.poll_end(cx))?;
        this.observer.close();
        // The peer has closed its end, so the shutdown may fail.
        let _ = ready!(open(&mut this.inner)?.poll_shutdown(cx));
        Poll::Ready(Ok(()))
    }
}

impl<S> Drop for ObservedStream<S> {
    fn drop(&mut self) {
        self.observer.close();
        self.tracker.lost();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// A peer that never sends anything.
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
        let error = closed.expect_err("the peer did not close it");
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
    async fn a_reader_of_a_session_that_is_given_up_is_woken_and_fails() {
        use tokio::io::AsyncReadExt;
        let observer = Arc::new(Observer::default());
        observer.watch();
        let mut stream = ObservedStream::new(Silent, Arc::clone(&observer), None);
        let reading = tokio::spawn(async move { stream.read_u8().await });
        tokio::task::yield_now().await;
        assert!(!reading.is_finished());
        observer.abandon("another host has taken over".to_owned());
        let error = reading.await.expect("no panic").expect_err("given up");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert!(error.to_string().contains("taken over"), "{error}");
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
