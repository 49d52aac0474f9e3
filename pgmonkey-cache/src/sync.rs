//! The primitives that decide how threads meet, in one place: the model test compiles the other files
//! of this crate against its own version of this one, in which every step is scheduled.

use std::sync::Arc;

use arc_swap::ArcSwap;

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::thread_local;

/// A value that is read without a lock and replaced as a whole.
#[derive(Debug)]
pub(crate) struct Snapshot<T>(ArcSwap<T>);

impl<T> Snapshot<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ArcSwap::from_pointee(value))
    }

    /// What is current now. Neither allocates nor writes memory that other readers use.
    pub(crate) fn load(&self) -> impl std::ops::Deref<Target = Arc<T>> {
        self.0.load()
    }

    /// Makes `value` current and returns what was.
    pub(crate) fn swap(&self, value: T) -> Arc<T> {
        self.0.swap(Arc::new(value))
    }
}
