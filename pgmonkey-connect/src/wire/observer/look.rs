//! Looks at the socket of a driver that seldom polls it.

use std::sync::atomic::Ordering;

use super::{DISTURBED, Observer};

impl Observer {
    /// Asks the stream to poll the socket once and, if there is nothing to read, to give the reader
    /// a synthetic notification from process 0.
    ///
    /// The blocking driver polls its socket only while it waits for an answer. A probe gives it an
    /// answer to wait for without a round trip.
    pub fn request_probe(&self) {
        self.probe.store(true, Ordering::Release);
    }

    #[inline]
    pub(in crate::wire) fn probe_requested(&self) -> bool {
        self.probe.load(Ordering::Acquire)
    }

    pub(in crate::wire) fn probe_answered(&self) {
        self.probe.store(false, Ordering::Release);
        self.word.fetch_and(!DISTURBED, Ordering::AcqRel);
    }

    /// Asks the stream to look at the socket before the next write, and not to write anything if the
    /// server has ended the session: what it would have been told is then known not to have been
    /// executed. For the blocking driver, which otherwise looks at its socket only while it waits
    /// for an answer.
    pub fn look_before_write(&self) {
        self.look.store(true, Ordering::Release);
    }

    #[inline]
    pub(in crate::wire) fn is_to_look(&self) -> bool {
        self.look.load(Ordering::Acquire)
    }

    pub(in crate::wire) fn looked(&self) {
        self.look.store(false, Ordering::Release);
    }
}
