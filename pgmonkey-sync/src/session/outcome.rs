//! What a caller learns of a statement that failed.

use pgmonkey_connect::Error;
use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::outcome::Sending;

use super::Session;

impl Session {
    /// What is known before a statement is sent.
    #[inline]
    pub(crate) fn sending(&self) -> Sending {
        Sending::on(self.observer.as_deref(), self.has_begun)
    }

    /// As [`explain_answer`](Self::explain_answer), for a statement of a caller, which may have been
    /// executed although its session was lost.
    #[cold]
    pub(crate) fn explain_statement(
        &mut self,
        error: postgres::Error,
        takes: Takes,
        (sending, text): (Sending, Option<&str>),
    ) -> Error {
        let error = self.explain_answer(error, takes);
        sending.explain(error, self.observer.as_deref(), text)
    }

    /// As [`explain`](Self::explain), for a statement from whose answer `takes` was taken.
    pub(crate) fn explain_answer(&mut self, error: postgres::Error, takes: Takes) -> Error {
        self.note_failure(&error);
        let error = takes.explain(error, self.observer.as_deref());
        self.give_up_for(&error);
        error
    }
}
