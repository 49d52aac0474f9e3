//! How often threads were switched off their core: voluntarily, to wait, or by the system.
//!
//! A contended mutex shows in the voluntary switches. They are read from `/proc`; elsewhere there
//! is no count.

use std::fs;
use std::ops::{Add, Sub};

/// Context switches up to some moment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Switches {
    pub(crate) voluntary: u64,
    pub(crate) involuntary: u64,
}

impl Switches {
    /// Those of the calling thread.
    pub(crate) fn of_thread() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/thread-self/status").ok()?)
    }

    /// Those of all current threads of the process.
    pub(crate) fn of_process() -> Option<Self> {
        let threads = fs::read_dir("/proc/self/task").ok()?;
        let statuses = threads
            .flatten()
            // A thread that has ended in the meantime has no file.
            .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
        statuses.map(|status| Self::parse(&status)).sum()
    }

    fn parse(status: &str) -> Option<Self> {
        let count = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().parse().ok()
        };
        Some(Self {
            voluntary: count("voluntary_ctxt_switches:")?,
            involuntary: count("nonvoluntary_ctxt_switches:")?,
        })
    }
}

impl Add for Switches {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            voluntary: self.voluntary + other.voluntary,
            involuntary: self.involuntary + other.involuntary,
        }
    }
}

impl Sub for Switches {
    type Output = Self;

    /// A thread that has ended since then may take its count with it.
    fn sub(self, earlier: Self) -> Self {
        Self {
            voluntary: self.voluntary.saturating_sub(earlier.voluntary),
            involuntary: self.involuntary.saturating_sub(earlier.involuntary),
        }
    }
}

impl std::iter::Sum for Switches {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}
