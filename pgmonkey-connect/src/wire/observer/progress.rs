//! How much the server has sent, and how much of it is read.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Observer;

/// The bytes received so far, and where reading stops.
#[derive(Debug)]
pub(super) struct Progress {
    received: AtomicU64,
    stops_at: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            received: AtomicU64::new(0),
            stops_at: AtomicU64::new(u64::MAX),
        }
    }
}

impl Observer {
    /// How many bytes the server has sent, as far as they were read. Costs one load.
    #[inline]
    pub fn received(&self) -> u64 {
        self.progress.received.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn note_received(&self, bytes: usize) {
        // One writer.
        let before = self.progress.received.load(Ordering::Relaxed);
        let now = before.wrapping_add(bytes as u64);
        self.progress.received.store(now, Ordering::Relaxed);
    }

    /// Stops reading once this many bytes have been [`received`](Self::received), until the next
    /// call; `None` reads everything.
    ///
    /// For the blocking driver, which reads only while it waits for something: the stream then has
    /// nothing to read, and does not wake the reader when the limit is lifted.
    pub fn read_until(&self, bytes: Option<u64>) {
        let stops_at = bytes.unwrap_or(u64::MAX);
        self.progress.stops_at.store(stops_at, Ordering::Relaxed);
    }

    /// Whether nothing more is to be read for now.
    #[inline]
    pub(in crate::wire) fn is_paused(&self) -> bool {
        self.received() >= self.progress.stops_at.load(Ordering::Relaxed)
    }
}
