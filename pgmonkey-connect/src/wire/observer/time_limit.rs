//! The limit on the time in which a session's stream must read and write.

use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Observer;

/// The origin of limits.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
/// A limit that has passed for good.
const SILENT: u64 = 1;

impl Observer {
    /// Limits the stream to this time: a later read or write fails and closes the session. `None`
    /// lifts the limit. Returns the previous limit.
    ///
    /// The stream notices the limit on its next poll, and then sets a timer for it.
    pub fn limit_to(&self, until: Option<Instant>) -> Option<Instant> {
        let to = |until: Instant| {
            let since = until.saturating_duration_since(*EPOCH).as_micros();
            u64::try_from(since).unwrap_or(u64::MAX).max(SILENT + 1)
        };
        let to = until.map_or(0, to);
        let unless_silent = |limit| (limit != SILENT).then_some(to);
        let before = self
            .limit
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, unless_silent);
        moment(before.unwrap_or(0))
    }

    /// Sets a limit until the returned guard is dropped, unless an earlier one is in force.
    #[must_use = "dropping it lifts the limit"]
    pub fn limited(&self, until: Instant) -> Limited<'_> {
        let until = self.limit().map_or(until, |before| before.min(until));
        Limited {
            observer: self,
            before: self.limit_to(Some(until)),
        }
    }

    #[inline]
    pub(in crate::wire) fn limit(&self) -> Option<Instant> {
        moment(self.limit.load(Ordering::Acquire))
    }

    /// Records that the server has not answered in time: the session is closed, and the stream
    /// fails on its next poll.
    pub fn fall_silent(&self) {
        self.limit.store(SILENT, Ordering::Release);
        self.close();
    }

    /// Whether the server has failed to answer in time.
    pub fn is_silent(&self) -> bool {
        self.limit.load(Ordering::Acquire) == SILENT
    }
}

/// Keeps a limit in force until dropped.
#[derive(Debug)]
pub struct Limited<'a> {
    observer: &'a Observer,
    before: Option<Instant>,
}

impl Drop for Limited<'_> {
    fn drop(&mut self) {
        self.observer.limit_to(self.before);
    }
}

#[inline]
fn moment(limit: u64) -> Option<Instant> {
    (limit != 0).then(|| *EPOCH + Duration::from_micros(limit))
}
