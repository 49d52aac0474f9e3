//! Stand-ins for the parts of the crate that the pool's sources use.

/// The counterpart of `src/pool/sync.rs`.
pub(crate) mod sync {
    use std::cell::Cell;
    use std::ops::{Add, AddAssign, Sub};
    use std::time::Duration;

    pub(crate) use std::sync::Arc;

    pub(crate) use shuttle::sync::{Mutex, MutexGuard};
    pub(crate) use shuttle::thread::{Thread, current, park};

    use crate::world::draw;

    thread_local! {
        // A whole schedule runs in one OS thread.
        static NOW: Cell<Duration> = const { Cell::new(START) };
    }

    /// Late enough for earlier times to exist.
    const START: Duration = Duration::from_secs(1000);

    /// An instant of a clock that only [`pass`] advances.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub struct Instant(Duration);

    impl Instant {
        pub fn now() -> Self {
            Self(NOW.get())
        }

        pub fn saturating_duration_since(&self, earlier: Self) -> Duration {
            self.0.saturating_sub(earlier.0)
        }
    }

    impl Add<Duration> for Instant {
        type Output = Self;

        fn add(self, time: Duration) -> Self {
            Self(self.0 + time)
        }
    }

    impl AddAssign<Duration> for Instant {
        fn add_assign(&mut self, time: Duration) {
            self.0 += time;
        }
    }

    impl Sub<Duration> for Instant {
        type Output = Self;

        fn sub(self, time: Duration) -> Self {
            Self(self.0 - time)
        }
    }

    pub(crate) fn reset_clock() {
        NOW.set(START);
    }

    pub(crate) fn pass(time: Duration) {
        NOW.set(NOW.get() + time);
    }

    /// Chooses whether the timeout expires before the thread is woken.
    pub(crate) fn park_timeout(left: Duration) {
        match draw(2) {
            0 => {
                shuttle::thread::yield_now();
                pass(left);
            }
            _ => park(),
        }
    }
}

/// A name and gauges, which must return to 0 when no caller waits and no session is in use.
pub(crate) mod label {
    use std::panic::Location;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI32, Ordering};

    use super::sync::Instant;
    use crate::error::Error;
    use crate::status::{CloseReason, StatementCacheStatus, StatementStatus};

    #[derive(Debug)]
    pub struct Label {
        name: Arc<str>,
        pub(crate) acquired: AtomicI32,
        pub(crate) waiting: AtomicI32,
    }

    impl Label {
        pub(crate) fn new() -> Self {
            Self {
                name: Arc::from("model"),
                acquired: AtomicI32::new(0),
                waiting: AtomicI32::new(0),
            }
        }

        pub(crate) fn name(&self) -> &Arc<str> {
            &self.name
        }

        pub(crate) fn target(&self) -> &Arc<str> {
            &self.name
        }

        pub(crate) fn statements(&self) -> &Self {
            self
        }

        pub(crate) fn status(&self) -> StatementCacheStatus {
            StatementCacheStatus::default()
        }

        pub(crate) fn statement_status(&self) -> StatementStatus {
            StatementStatus::default()
        }

        pub(crate) fn acquired(&self, _: &'static Location<'static>, _: Instant) {
            self.acquired.fetch_add(1, Ordering::SeqCst);
        }

        pub(crate) fn released(&self, _: std::time::Duration) {
            self.acquired.fetch_sub(1, Ordering::SeqCst);
        }

        pub(crate) fn waits(&self) {
            self.waiting.fetch_add(1, Ordering::SeqCst);
        }

        pub(crate) fn waited(&self) {
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }

        pub(crate) fn opened(&self) {}
        pub(crate) fn open_failed(&self, _: &Error) {}
        pub(crate) fn ended(&self, _: CloseReason) {}
        pub(crate) fn timed_out(&self) {}
        pub(crate) fn resized(&self, _: u32, _: u32) {}
    }
}

pub(crate) mod error {
    use std::panic::Location;
    use std::sync::Arc;
    use std::time::Duration;

    use crate::status::Status;

    #[derive(Debug, Clone)]
    pub enum Error {
        /// No session could be opened; another attempt may help if `transient`.
        Connect {
            transient: bool,
        },
        /// Servers answered, and none had the role.
        OtherRole,
        Timeout(Arc<AcquireTimeout>),
        QueueFull {
            target: Arc<str>,
            status: Box<Status>,
        },
        Closed {
            what: &'static str,
        },
        Sizes {
            min_size: u32,
            max_size: u32,
        },
    }

    impl Error {
        pub(crate) fn is_transient(&self) -> bool {
            matches!(self, Self::Connect { transient: true } | Self::OtherRole)
        }

        pub(crate) fn found_other_role(&self) -> bool {
            matches!(self, Self::OtherRole)
        }

        pub(crate) fn refuses_login(&self) -> bool {
            matches!(self, Self::Connect { transient: false })
        }
    }

    #[derive(Debug)]
    pub struct AcquireTimeout {
        pub(crate) longest_held: Option<(&'static Location<'static>, Duration)>,
        pub(crate) longest_label: Option<std::sync::Arc<str>>,
        pub(crate) last_error: Option<Error>,
        pub(crate) budget: Option<String>,
    }

    impl AcquireTimeout {
        pub(crate) fn new(_: Arc<str>, _: Duration, _: Status) -> Self {
            Self {
                longest_held: None,
                longest_label: None,
                last_error: None,
                budget: None,
            }
        }
    }

    /// For the unit tests in the pool's sources, which are compiled here too.
    pub(crate) mod tests {
        pub(crate) fn refused() -> super::Error {
            super::Error::Connect { transient: true }
        }

        pub(crate) fn of_other_role() -> super::Error {
            super::Error::OtherRole
        }
    }
}

pub(crate) mod events {
    use std::panic::Location;
    use std::time::Duration;

    use crate::error::Error;

    pub(crate) fn acquire_failed(_: &str, _: Duration, _: &Error) {}
    pub(crate) fn closed(_: &str, _: &str) {}
    pub(crate) fn resized(_: &str, _: u32, _: u32) {}
    pub(crate) fn leaked(_: &str, _: &Location<'_>, _: Option<&str>, _: Duration) {}
}

/// A single process that never forks.
pub(crate) mod process {
    use crate::error::Error;

    #[derive(Debug, Clone, Copy)]
    pub struct Origin;

    impl Origin {
        pub(crate) fn here() -> Self {
            Self
        }

        pub(crate) fn is_here(self) -> bool {
            true
        }

        pub(crate) fn check(self, _: &'static str) -> Result<(), Error> {
            Ok(())
        }
    }
}
