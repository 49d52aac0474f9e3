//! Requests that the server has to answer within a limit.

use std::time::{Duration, Instant};

use pgmonkey_connect::{Error, PING, Report};
use tokio::time::timeout;

use super::Session;

impl Session {
    /// Runs `work`, which the server has to answer within `limit`. If it does not, the session is
    /// dead.
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

    /// Pings the server. Returns whether it answers within `limit`.
    pub(crate) async fn answers(&self, limit: Duration) -> bool {
        let asked = self.within(limit, self.client.batch_execute("")).await;
        matches!(asked, Some(Ok(())))
    }

    /// Pings the server and reports which server answered.
    ///
    /// # Errors
    ///
    /// [`Error::Unanswered`], [`Error::Database`].
    pub(crate) async fn ping(&self, limit: Duration) -> Result<Report, Error> {
        self.make_ready().await?;
        let began = Instant::now();
        let ask = self.client.query_typed_one(PING, &[]);
        match self.within(limit, ask).await {
            Some(Ok(row)) => Ok(Report::from_row(
                &row,
                began.elapsed(),
                self.connected_to(),
            )?),
            Some(Err(error)) => Err(self.explain(error)),
            None => Err(self.unanswered(limit)),
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
        self.observer.is_silent()
    }
}
