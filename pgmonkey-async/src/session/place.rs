//! The place in the program that sends a statement.

use std::panic::Location;

use pgmonkey_connect::wire::CallPlace;

use super::Session;

impl Session {
    /// Records that a caller at `place` has acquired the session.
    #[inline]
    pub(crate) fn acquired_at(&self, place: &'static Location<'static>) {
        self.observer.acquired_at(place);
    }

    /// Records that the next statements are sent by a call at `place`, until the returned value is
    /// dropped.
    #[inline]
    pub(crate) fn calling_from(&self, place: &'static Location<'static>) -> CallPlace {
        self.observer.calling_from(place)
    }
}
