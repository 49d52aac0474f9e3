//! Detects use of sessions in a child of `fork`.
//!
//! A child of `fork` has a copy of the parent's memory and shares its sockets, but has none of its
//! threads. It must neither use nor close what it inherited: a session that two processes write to
//! is lost to both, and one that the child closes is closed for the parent. So everything through
//! which a session can be reached records the process that created it. The check costs one relaxed
//! load; a fork hook counts forks (see [`exit`]), and on platforms without `fork` the result is a
//! constant.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

pub mod exit;

/// The number of forks between the first process and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The text of [`Error::OpenedBeforeFork`](crate::Error::OpenedBeforeFork) for a session; the
/// driver's own calls fail with it.
pub(crate) const OPENED_BEFORE_FORK: &str = "the session was opened before fork, in the parent process: open handles in the child, after the fork";

/// Called in the child, before `fork` returns there.
#[cfg(unix)]
fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// The process in which a value was created.
///
/// ```
/// use pgmonkey_connect::process::Origin;
///
/// let origin = Origin::here();
/// assert!(origin.is_here()); // and false in a child that is forked from now on
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin(u32);

impl Origin {
    /// This process.
    pub fn here() -> Self {
        exit::watch_forks();
        Self(FORKS.load(Ordering::Relaxed))
    }

    /// Whether it is this process.
    #[inline]
    pub fn is_here(self) -> bool {
        cfg!(not(unix)) || self.0 == FORKS.load(Ordering::Relaxed)
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self::here()
    }
}

/// A value that each process has its own instance of: a child gets a new one, regardless of locks
/// that the parent's threads held in the old one.
///
/// ```
/// use pgmonkey_connect::process::PerProcess;
///
/// let cache: PerProcess<std::sync::Mutex<Vec<u32>>> = PerProcess::default();
/// cache.get().lock().expect("no panic").push(1); // a child sees it empty
/// ```
#[derive(Debug, Default)]
pub struct PerProcess<T> {
    origin: Origin,
    value: T,
    /// The child's instance.
    next: OnceLock<Box<Self>>,
}

impl<T: Default> PerProcess<T> {
    /// Returns this process's instance.
    #[inline]
    pub fn get(&self) -> &T {
        let mut here = self;
        while !here.origin.is_here() {
            here = here.next.get_or_init(Box::default);
        }
        &here.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_says_what_to_do() {
        let elsewhere = Origin(Origin::here().0.wrapping_sub(1));
        let error = elsewhere.check("pool").expect_err("of another process");
        assert_eq!(
            error.to_string(),
            "the pool was opened before fork, in the parent process: open handles in the child, after the fork"
        );
    }

    #[test]
    fn a_value_of_another_process_is_not_given_out() {
        let mut value = PerProcess {
            value: 1_u32,
            ..PerProcess::default()
        };
        assert_eq!(*value.get(), 1);
        value.origin = Origin(value.origin.0.wrapping_sub(1));
        assert_eq!(*value.get(), 0);
        assert!(std::ptr::eq(value.get(), value.get()));
    }
}
