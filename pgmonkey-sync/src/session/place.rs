//! The place in the program that sends a statement.

use std::panic::Location;

use pgmonkey_connect::wire::CallPlace;

use super::Session;

impl Session {
    /// Records that a caller at `place` has acquired the session; not on a Unix socket.
    #[inline]
    pub(crate) fn acquired_at(&self, place: &'static Location<'static>) {
        if let Some(observer) = &self.observer {
            observer.acquired_at(place);
        }
    }

    /// Records that the next statements are sent by a call at `place`, until the returned value is
    /// dropped; not on a Unix socket.
    #[inline]
    pub(crate) fn calling_from(&self, place: &'static Location<'static>) -> Option<CallPlace> {
        let observer = self.observer.as_ref();
        observer.map(|observer| observer.calling_from(place))
    }
}
