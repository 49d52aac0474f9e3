//! Which process something belongs to.
//!
//! A child of `fork` has a copy of the parent's memory and shares its sockets, but has none of its
//! threads. What it inherited it must neither use nor take down: a session that two processes
//! write to is lost to both, and one that the child ends is ended for the parent. So everything
//! that leads to a session knows where it was made. Asking costs one relaxed load; the child is
//! counted by a hook of `fork` (see [`exit`]), and where there is no `fork` the
//! answer is a constant.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Error, exit};

/// How many forks lie between the first process and this one.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// The text of [`Error::OpenedBeforeFork`] for a session, which the driver's own calls fail with.
pub(crate) const OPENED_BEFORE_FORK: &str = "the session was opened before fork, in the parent process: open handles in the child, after the fork";

/// Called in the child, before `fork` returns there.
#[cfg(unix)]
pub(crate) fn forked() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// The process in which something was made.
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

    /// Refuses `what` in a child that inherited it.
    ///
    /// # Errors
    ///
    /// [`Error::OpenedBeforeFork`].
    #[inline]
    pub fn check(self, what: &'static str) -> Result<(), Error> {
        match self.is_here() {
            true => Ok(()),
            false => Err(Error::OpenedBeforeFork { what }),
        }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Self::here()
    }
}

/// A value of which each process has its own: a child gets a new one, whatever locks the parent's
/// threads held in the old one.
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
    /// The child's.
    next: OnceLock<Box<Self>>,
}

impl<T: Default> PerProcess<T> {
    /// This process's.
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
