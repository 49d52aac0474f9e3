//! What the server has to answer in time.

use std::time::{Duration, Instant};

use pgmonkey_connect::{Error, PING, Report, limits};
use tokio::time::timeout;

use super::Session;

impl Session {
    /// Does `work`, which the server has this long to answer. A session whose server does not is
    /// over.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let done = timeout(limit, work).await.ok();
        if done.is_none() {
            self.observer.fall_silent();
        }
        done
    }

    /// Asks the server for a sign of life; remembers why if there is none in time.
    pub(crate) async fn answers(&mut self, limit: Duration) -> bool {
        let asked = self.within(limit, self.client.batch_execute("")).await;
        let alive = matches!(asked, Some(Ok(())));
        !self.note_dead(!alive)
    }

    /// Asks the server for a sign of life and says what answered.
    ///
    /// # Errors
    ///
    /// [`Error::Unanswered`], [`Error::Database`].
    pub(crate) async fn ping(&self, limit: Duration) -> Result<Report, Error> {
        let began = Instant::now();
        let ask = self.client.query_typed_one(PING, &[]);
        match self.within(limit, ask).await {
            Some(Ok(row)) => Ok(Report::from_row(&row, began.elapsed(), self.route())?),
            Some(Err(error)) => Err(self.explain(error)),
            None => Err(Error::Unanswered {
                address: self.route().address().to_string(),
                limit,
            }),
        }
    }

    /// Whether the server has left something unanswered.
    pub(super) fn is_silent(&self) -> bool {
        self.observer.is_silent()
    }

    /// Lets the end of the session wait for the server no longer than for a farewell.
    pub(super) fn take_leave(&self) {
        let farewell = Instant::now() + limits::FAREWELL;
        self.observer.limit_to(Some(farewell));
    }
}
