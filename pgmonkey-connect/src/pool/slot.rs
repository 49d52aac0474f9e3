//! The slot through which one waiter, a task or a thread, receives its session.

use std::sync::PoisonError;
use std::task::{Context, Poll, Wake, Waker};

use super::sync::{Arc, Instant, Mutex, MutexGuard, Thread, current, park, park_timeout};

/// A one-shot channel: one value for one waiter.
#[derive(Debug)]
pub struct Slot<T>(Mutex<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    value: Option<T>,
    waker: Option<Waker>,
}

impl<T> Slot<T> {
    /// Creates an empty slot.
    pub fn new() -> Self {
        Self(Mutex::new(Inner {
            value: None,
            waker: None,
        }))
    }

    /// Fills the slot. Returns the waiter's waker, to be called after the caller has released its
    /// own locks.
    #[must_use = "the waiter sleeps until it is woken"]
    pub fn fill(&self, value: T) -> Option<Waker> {
        let mut inner = self.inner();
        inner.value = Some(value);
        inner.waker.take()
    }

    /// Returns the waiter's waker, to be called for a reason other than a value.
    pub fn nudge(&self) -> Option<Waker> {
        self.inner().waker.take()
    }

    /// Takes the value if the slot is filled.
    pub fn take(&self) -> Option<T> {
        self.inner().value.take()
    }

    /// Ready once the slot is filled.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<T> {
        let mut inner = self.inner();
        match inner.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                match &mut inner.waker {
                    Some(waker) => waker.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }

    /// Blocks until the slot is filled, at most until `deadline`.
    pub fn wait(&self, deadline: Option<Instant>) -> Option<T> {
        let waker = Waker::from(std::sync::Arc::new(Unpark(current())));
        let cx = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(value) = self.poll(&cx) {
                return Some(value);
            }
            match deadline {
                None => park(),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    park_timeout(left);
                }
            }
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        // Nothing under this lock can panic halfway through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// A slot shared by a waiter and the side that serves it.
pub type SharedSlot<T> = Arc<Slot<T>>;

/// Wakes a parked thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}
