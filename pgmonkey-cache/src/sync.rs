//! The synchronization primitives, in one place: the model test compiles the other files of this
//! crate against its own version of this file, in which the scheduler controls every step.

use std::sync::Arc;

use arc_swap::ArcSwap;

pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::thread_local;

/// A value that is read without a lock and replaced atomically.
#[derive(Debug)]
pub(crate) struct Snapshot<T>(ArcSwap<T>);

impl<T> Snapshot<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ArcSwap::from_pointee(value))
    }

    /// Returns the current value. Neither allocates nor writes memory that other readers use.
    pub(crate) fn load(&self) -> impl std::ops::Deref<Target = Arc<T>> {
        self.0.load()
    }

    /// Makes `value` current and returns the previous one.
    pub(crate) fn swap(&self, value: T) -> Arc<T> {
        self.0.swap(Arc::new(value))
    }
}
