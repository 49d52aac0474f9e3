//! When a watched file is loaded again.

use std::time::{Duration, Instant};

use crate::Stamp;

/// The pause between two looks at a watched file: one `stat` each.
pub const LOOK: Duration = Duration::from_secs(2);
/// The pauses after failures are at least [`LOOK`], double with each failure, and are at most this.
const LONGEST: Duration = Duration::from_secs(300);

/// What is known of a watched file.
#[derive(Debug, Default)]
pub struct WatchedFile {
    /// The version that was loaded last; the inner `None` if there was no file.
    loaded: Option<Option<Stamp>>,
    /// Failures of this version.
    failures: u32,
    /// When to try this version again, after a failure.
    again: Option<Instant>,
}

impl WatchedFile {
    /// Whether to load the file now, given its current stamp: it has changed, or a pause after a
    /// failure is over. The first look loads it, because it may have changed before it was watched.
    pub fn look(&mut self, stamp: Option<Stamp>, now: Instant) -> bool {
        if self.loaded != Some(stamp) {
            *self = Self {
                loaded: Some(stamp),
                ..Self::default()
            };
            return true;
        }
        self.again.is_some_and(|again| now >= again)
    }

    /// Records that the file was loaded and its handles were opened.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.again = None;
    }

    /// Records that the file could not be loaded, or a handle not be opened. Returns whether to
    /// report it: once for each version of the file.
    pub fn failed(&mut self, now: Instant) -> bool {
        let pause = LOOK.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures += 1;
        self.again = Some(now + pause.min(LONGEST));
        self.failures == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_version_is_loaded_once() {
        let (mut file, now) = (WatchedFile::default(), Instant::now());
        for version in [Some(Stamp::of_length(1)), Some(Stamp::of_length(2)), None] {
            assert!(file.look(version, now));
            file.succeeded();
            assert!(!file.look(version, now + LONGEST));
        }
    }

    #[test]
    fn a_failure_is_reported_once_and_tried_again_less_and_less_often() {
        let (mut file, mut now) = (WatchedFile::default(), Instant::now());
        assert!(file.look(None, now) && file.failed(now));
        for pause in [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            let pause = Duration::from_secs(pause);
            assert!(!file.look(None, now + pause - Duration::from_millis(1)));
            now += pause;
            assert!(file.look(None, now));
            assert!(!file.failed(now), "reported before");
        }
        let other = Some(Stamp::of_length(1));
        assert!(file.look(other, now));
        assert!(file.failed(now), "another version");
        file.succeeded();
        assert!(!file.look(other, now + LONGEST));
    }
}
