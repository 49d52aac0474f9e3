//! A failed write, which is withheld until the reader has had time to read the reason.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use super::ObservedStream;
use crate::wire::observer::WireState;

/// The driver's `Terminate` message.
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

/// How long a failed write is withheld from the writer, so that the reader can read the reason
/// first.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A failed write, and until when it is withheld.
#[derive(Debug)]
pub(super) struct FailedWrite {
    error: io::Error,
    until: Pin<Box<Sleep>>,
}

impl<S> ObservedStream<S> {
    /// Whether a write failed because the server closed the connection without a reason so far: the
    /// reason may still be unread.
    ///
    /// The drivers give up at the first failed write. A server that ends a session sends the reason
    /// and closes its end; later writes fail, often before the reader has read the reason.
    fn may_say_why(&self, error: &io::Error, bytes: &[u8]) -> bool {
        let state = self.observer.state();
        matches!(
            error.kind(),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
        ) && !matches!(state, WireState::Starting | WireState::Closed)
            // The driver reads nothing after `Terminate`.
            && !bytes.ends_with(&TERMINATE)
    }

    /// Fails a write, later if the reader may first read the reason.
    #[cold]
    pub(super) fn write_failed(
        &mut self,
        cx: &mut Context<'_>,
        error: io::Error,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let waits = self.may_say_why(&error, bytes);
        self.observer.close();
        if !waits {
            return Poll::Ready(Err(error));
        }
        let until = Box::pin(tokio::time::sleep(LAST_WORDS));
        self.failed_write = Some(FailedWrite { error, until });
        self.poll_failed_write(cx)
    }

    /// Returns a failed write's error once the reader has had time to read the reason.
    #[cold]
    pub(super) fn poll_failed_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(failed) = &mut self.failed_write {
            ready!(failed.until.as_mut().poll(cx));
        }
        let failed = self.failed_write.take().map(|failed| failed.error);
        Poll::Ready(Err(
            failed.unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
        ))
    }
}
