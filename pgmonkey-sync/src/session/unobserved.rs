//! What the observer records elsewhere, for a session on a Unix socket, whose wire is not observed.

use pgmonkey_connect::Error;
use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::sql::{Effects, effects};

use super::Session;

impl Session {
    /// Keeps a server's error: it may decide whether a transaction runs again.
    pub(super) fn note_failure(&self, error: &postgres::Error) {
        if let (None, Some(failure)) = (&self.observer, error.as_db_error()) {
            self.connected_to.observer().note_driver_failure(failure);
        }
    }

    /// Keeps that a text is sent which may end a transaction.
    pub(super) fn note_text(&self, text: &str) {
        if self.observer.is_none() && effects(text).has(Effects::ENDS) {
            self.connected_to.observer().note_ending();
        }
    }

    /// On a Unix socket, checks whether `takes` can be taken from the answer to a text.
    pub(crate) fn check_text(&self, text: &str, takes: Takes) -> Result<(), Error> {
        match self.observer {
            Some(_) => Ok(()),
            None => takes.check(text),
        }
    }

    /// Blocks further use after a `COPY` that the call does not handle, if it cannot be observed
    /// whether the server waits for data.
    pub(crate) fn give_up_for(&mut self, error: &Error) {
        if let (Error::WrongCopy { .. }, None) = (error, &self.observer) {
            self.given_up = Some(error.clone());
        }
    }
}
