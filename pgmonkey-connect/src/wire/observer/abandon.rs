//! Giving a session up from outside, while a statement may be in progress on it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::task::Waker;

use super::{Observer, lock};
use crate::status::CloseReason;

/// What giving a session up needs.
#[derive(Debug, Default)]
pub(super) struct Abandonment {
    /// Whether the stream keeps its reader's waker.
    is_watched: AtomicBool,
    reader: Mutex<Option<Waker>>,
    reason: OnceLock<String>,
    /// Why the session is to end when it is released.
    outdated: OnceLock<CloseReason>,
    /// Whether its user expects a server that accepts writes.
    expects_writes: AtomicBool,
}

impl Observer {
    /// Has the stream keep the waker of its reader, so that [`abandon`](Self::abandon) can wake it.
    pub(crate) fn watch(&self) {
        self.abandonment.is_watched.store(true, Ordering::Release);
    }

    #[inline]
    pub(in crate::wire) fn is_watched(&self) -> bool {
        self.abandonment.is_watched.load(Ordering::Relaxed)
    }

    /// Keeps the waker of a reader that waits for the server.
    pub(in crate::wire) fn keep_reader(&self, waker: &Waker) {
        let mut reader = lock(&self.abandonment.reader);
        match &mut *reader {
            Some(kept) => kept.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// Closes the session for this reason: a read or write in progress fails, and so does every
    /// later one. The first reason counts.
    pub(crate) fn abandon(&self, reason: String) {
        let _ = self.abandonment.reason.set(reason);
        self.close();
        let reader = lock(&self.abandonment.reader).take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Why the session was given up, if it was. Costs one load.
    #[inline]
    pub fn abandoned(&self) -> Option<&str> {
        self.abandonment.reason.get().map(String::as_str)
    }

    /// Has the session end when it is released. The first reason counts.
    pub(crate) fn outdate(&self, reason: CloseReason) {
        let _ = self.abandonment.outdated.set(reason);
    }

    /// Why the session is to end when it is released. Costs one load.
    #[inline]
    pub(crate) fn outdated(&self) -> Option<CloseReason> {
        self.abandonment.outdated.get().copied()
    }

    /// Records that the session's user expects a server that accepts writes.
    pub(crate) fn expect_writes(&self) {
        let expects = &self.abandonment.expects_writes;
        expects.store(true, Ordering::Relaxed);
    }

    /// Whether the server has refused a write because it is a standby although writes are expected,
    /// as after a failover. Nothing was written then: a standby cannot write, and a primary ends
    /// its sessions when it becomes one.
    pub(crate) fn is_unexpected_standby(&self) -> bool {
        self.was_read_only()
            && self.in_recovery() == Some(true)
            && self.abandonment.expects_writes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::task::Wake;

    use crate::wire::WireState;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_reader_is_woken_once_and_the_first_reason_counts() {
        let (observer, woken) = (Observer::default(), Arc::new(Woken::default()));
        observer.keep_reader(&Waker::from(Arc::clone(&woken)));
        for reason in ["first", "second"] {
            observer.abandon(reason.to_owned());
        }
        assert_eq!(observer.abandoned(), Some("first"));
        assert_eq!(observer.state(), WireState::Closed);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    }
}
