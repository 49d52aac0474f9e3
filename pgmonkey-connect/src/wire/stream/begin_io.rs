//! The I/O of a deferred `BEGIN`.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncWrite, ReadBuf};

use super::begin::REFUSAL;
use super::synthetic_answer::{FAILED_TRANSACTION, Unread, refusal};
use super::{ObservedStream, open};

impl<S> ObservedStream<S> {
    /// Takes the answer to a deferred `BEGIN` out of what was read.
    #[cold]
    pub(super) fn read_answer_to_begin(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let bytes = &mut buf.filled_mut()[before..];
        let (observer, tracker) = (&*self.observer, &mut self.tracker);
        let kept = self.beginning.receive(observer, tracker, bytes);
        buf.set_filled(before + kept);
    }

    /// Answers a statement after a `BEGIN` that has failed. Returns whether there is one.
    #[cold]
    pub(super) fn refuse_after_begin(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let refuses = self.beginning.take_refusal(&self.tracker);
        if refuses {
            self.unread = Unread::new(refusal(FAILED_TRANSACTION, REFUSAL));
            self.unread.hand_out(buf);
        }
        refuses
    }
}

impl<S: AsyncWrite + Unpin> ObservedStream<S> {
    /// Accepts bytes while a `BEGIN` is deferred, unanswered or has failed.
    #[cold]
    pub(super) fn poll_write_around_begin(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_write_accepted(cx))?;
        let (observer, tracker) = (&*self.observer, &mut self.tracker);
        let count = self.beginning.accept(observer, tracker, bytes);
        if self.beginning.owes_refusal() {
            cx.waker().wake_by_ref();
        }
        // What cannot be written now is written by the next flush.
        if let Poll::Ready(Err(error)) = self.poll_write_accepted(cx) {
            return Poll::Ready(Err(error));
        }
        let accepted = match count {
            // Until the answer to the `BEGIN`, which wakes the driver, has been read.
            0 => Poll::Pending,
            _ => Poll::Ready(Ok(count)),
        };
        self.set_alarm(cx, accepted)
    }

    /// Writes what was accepted.
    pub(super) fn poll_write_accepted(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let unwritten = self.beginning.unwritten();
            if unwritten.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match ready!(open(&mut self.inner)?.poll_write(cx, unwritten)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.beginning.wrote(count),
                Err(error) => {
                    self.beginning.forget_unwritten();
                    return self.write_failed(cx, error, &[]).map_ok(drop);
                }
            }
        }
    }
}
