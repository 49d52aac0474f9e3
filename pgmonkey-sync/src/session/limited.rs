//! Requests that the server has to answer within a limit.
//!
//! On a Unix socket, where the wire is not observed, there is no limit.

use std::time::{Duration, Instant};

use pgmonkey_connect::{Error, PING, Report};

use super::Session;

impl Session {
    /// Runs `work`, which the server has to answer within `limit`. If it does not, the session is
    /// dead and `work` fails.
    pub(super) fn within<T>(&mut self, limit: Duration, work: impl FnOnce(&mut Self) -> T) -> T {
        let observer = self.observer.clone();
        let observer = observer.as_ref();
        let _limited = observer.map(|observer| observer.limited(Instant::now() + limit));
        work(self)
    }

    /// Pings the server. Returns whether it answers within `limit`.
    pub(crate) fn answers(&mut self, limit: Duration) -> bool {
        self.within(limit, |session| session.client_mut().batch_execute(""))
            .is_ok()
    }

    /// Pings the server and reports which server answered.
    ///
    /// # Errors
    ///
    /// [`Error::Unanswered`], [`Error::Database`].
    pub(crate) fn ping(&mut self, limit: Duration) -> Result<Report, Error> {
        self.make_ready()?;
        let began = Instant::now();
        let ask = |session: &mut Self| session.client_mut().query_typed_one(PING, &[]);
        match self.within(limit, ask) {
            Ok(row) => Ok(Report::from_row(
                &row,
                began.elapsed(),
                self.connected_to(),
            )?),
            Err(_) if self.is_silent() => Err(self.unanswered(limit)),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// The error of a request that was not answered within `limit`.
    pub(super) fn unanswered(&self, limit: Duration) -> Error {
        Error::Unanswered {
            address: self.connected_to().address().to_string(),
            limit,
        }
    }

    /// Whether the server has left a request unanswered.
    pub(super) fn is_silent(&self) -> bool {
        let observer = self.observer.as_ref();
        observer.is_some_and(|observer| observer.is_silent())
    }
}
