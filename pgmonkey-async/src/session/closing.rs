//! Closes a session.

use std::time::Instant;

use pgmonkey_connect::limits;

use super::Session;

impl Drop for Session {
    fn drop(&mut self) {
        self.take_leave();
    }
}

impl Session {
    /// Limits how long closing the session may wait for the server.
    fn take_leave(&self) {
        let farewell = Instant::now() + limits::FAREWELL;
        self.observer.limit_to(Some(farewell));
    }
}
