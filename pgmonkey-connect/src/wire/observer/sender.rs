//! On whose behalf statements are sent.

use std::panic::Location;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_utils::atomic::AtomicCell;
use tracing::{Level, Span, level_enabled};

use super::{Observer, lock};

/// The caller that uses a session.
#[derive(Debug, Default)]
pub(super) struct Sender {
    place: AtomicCell<Option<&'static Location<'static>>>,
    checkout: AtomicU32,
    /// The span of the caller, if spans of statements are recorded.
    span: Mutex<Option<Span>>,
}

impl Sender {
    #[cold]
    fn note_span(&self) {
        *lock(&self.span) = Some(Span::current());
    }
}

impl Observer {
    /// Records that a caller at `place` has acquired the session: the statements from now on are
    /// sent on its behalf. Costs two stores.
    #[inline]
    pub fn acquired_at(&self, place: &'static Location<'static>) {
        self.sender.place.store(Some(place));
        // One writer.
        let checkout = self.sender.checkout.load(Ordering::Relaxed);
        let next = checkout.wrapping_add(1);
        self.sender.checkout.store(next, Ordering::Relaxed);
        self.note_span();
    }

    /// Records that the next statements are sent by a call at `place`, until the returned value is
    /// dropped. Costs a load if that is where the session was acquired.
    #[inline]
    pub fn calling_from(self: &Arc<Self>, place: &'static Location<'static>) -> CallPlace {
        self.note_span();
        let before = self.sender.place.load();
        let is_same = before.is_some_and(|before| std::ptr::eq(before, place));
        if !is_same {
            self.sender.place.store(Some(place));
        }
        CallPlace((!is_same).then(|| (Arc::clone(self), before)))
    }

    /// Records the current span as that of the statements from now on.
    #[inline]
    fn note_span(&self) {
        if level_enabled!(Level::DEBUG) {
            self.sender.note_span();
        }
    }

    /// The span of the caller.
    pub(in crate::wire) fn caller_span(&self) -> Option<Span> {
        lock(&self.sender.span).clone()
    }

    /// On behalf of which code statements are sent.
    #[inline]
    pub(in crate::wire) fn place(&self) -> Option<&'static Location<'static>> {
        self.sender.place.load()
    }

    /// The number of the current checkout, modulo 2³².
    #[inline]
    pub(in crate::wire) fn checkout(&self) -> u32 {
        self.sender.checkout.load(Ordering::Relaxed)
    }
}

/// A call that sends statements; see [`Observer::calling_from`].
#[derive(Debug)]
pub struct CallPlace(Option<(Arc<Observer>, Option<&'static Location<'static>>)>);

impl Drop for CallPlace {
    #[inline]
    fn drop(&mut self) {
        if let Some((observer, before)) = &self.0 {
            observer.sender.place.store(*before);
        }
    }
}
