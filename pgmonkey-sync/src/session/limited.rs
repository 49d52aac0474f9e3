//! What the server has to answer in time.
//!
//! On a Unix socket nobody watches the wire, and nothing has a limit.

use std::time::{Duration, Instant};

use pgmonkey_connect::{Error, PING, Report, limits};

use super::Session;

impl Session {
    /// Does `work`, which the server has this long to answer. A session whose server does not is
    /// over, and `work` fails.
    pub(super) fn within<T>(&mut self, limit: Duration, work: impl FnOnce(&mut Self) -> T) -> T {
        let observer = self.observer.clone();
        let observer = observer.as_ref();
        let _limited = observer.map(|observer| observer.limited(Instant::now() + limit));
        work(self)
    }

    /// Asks the server for a sign of life; remembers why if there is none in time.
    pub(crate) fn answers(&mut self, limit: Duration) -> bool {
        let asked = self.within(limit, |session| session.client_mut().batch_execute(""));
        !self.note_dead(asked.is_err())
    }

    /// Asks the server for a sign of life and says what answered.
    ///
    /// # Errors
    ///
    /// [`Error::Unanswered`], [`Error::Database`].
    pub(crate) fn ping(&mut self, limit: Duration) -> Result<Report, Error> {
        self.check_usable()?;
        let began = Instant::now();
        let ask = |session: &mut Self| session.client_mut().query_typed_one(PING, &[]);
        match self.within(limit, ask) {
            Ok(row) => Ok(Report::from_row(&row, began.elapsed(), self.route())?),
            Err(_) if self.is_silent() => Err(Error::Unanswered {
                address: self.route().address().to_string(),
                limit,
            }),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Whether the server has left something unanswered.
    pub(super) fn is_silent(&self) -> bool {
        let observer = self.observer.as_ref();
        observer.is_some_and(|observer| observer.is_silent())
    }

    /// Lets the end of the session wait for the server no longer than for a farewell.
    pub(super) fn take_leave(&self) {
        if let Some(observer) = &self.observer {
            observer.limit_to(Some(Instant::now() + limits::FAREWELL));
        }
    }
}
