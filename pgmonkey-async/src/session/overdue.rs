//! Statements that must end by a deadline.
//!
//! At the deadline the statement is not dropped but cancelled, so that the call knows what became
//! of it, and leaves nothing for the next one.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Instant;

use pgmonkey_connect::deadline::{Overdue, OverdueStep, TimedCall, give_up_at};
use pgmonkey_connect::error::{DeadlineExceeded, StatementEnd};
use pgmonkey_connect::{Error, limits};
use tokio::time::{timeout, timeout_at};

use super::Session;

impl Session {
    /// Limits the calls on this session, until the next call of this method; returns the limit so
    /// far.
    pub(crate) fn limit_to(&mut self, call: Option<TimedCall>) -> Option<TimedCall> {
        std::mem::replace(&mut self.limit, call)
    }

    /// What limits the calls on this session.
    pub(crate) fn limit(&self) -> Option<TimedCall> {
        self.limit
    }

    /// Runs `work` within the limit of the session's calls.
    pub(crate) async fn bounded<T>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        self.bounded_to(self.limit, work).await
    }

    /// Runs `work` within this limit, if there is one.
    pub(crate) async fn bounded_to<T>(
        &self,
        limit: Option<TimedCall>,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        match limit {
            None => work.await,
            Some(call) => Box::pin(self.bounded_by(call, work)).await,
        }
    }

    /// Runs `work`, which must end by a deadline.
    pub(crate) async fn bounded_by<T>(
        &self,
        call: TimedCall,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        call.check()?;
        let mut work = pin!(work);
        let deadline = call.deadline.instant().into();
        if let Ok(done) = timeout_at(deadline, &mut work).await {
            return done;
        }
        let mut overdue = Overdue::new(call.deadline);
        loop {
            match overdue.step(Instant::now()) {
                OverdueStep::Cancel => {
                    // The statement may complete just before it is cancelled.
                    self.observer.mark_changed();
                    // Until the request is over, nothing else runs on the session.
                    self.cancel_until(give_up_at(call.deadline)).await;
                }
                OverdueStep::Wait(left) => {
                    if let Ok(done) = timeout(left, &mut work).await {
                        return DeadlineExceeded::of_answer(done, false, call);
                    }
                }
                OverdueStep::GiveUp => {
                    self.give_up();
                    // Fails once the driver has noticed; a COMMIT has an error of its own.
                    return match timeout(limits::FAREWELL, &mut work).await {
                        Ok(done) => DeadlineExceeded::of_answer(done, true, call),
                        Err(_) => Err(DeadlineExceeded::running(StatementEnd::Unanswered, call)),
                    };
                }
            }
        }
    }

    /// Undoes work: by the deadline, but within no less than a second.
    pub(crate) async fn bounded_undo<T>(
        &self,
        undo: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let limit = self.limit.map(|call| call.at_least(limits::OVERDUE));
        self.bounded_to(limit, undo).await
    }

    /// Closes the session: the server does not react.
    pub(super) fn give_up(&self) {
        self.observer.fall_silent();
        // Wakes the driver, which finds the stream closed.
        let mut wake = pin!(self.client.batch_execute(""));
        let _ = wake.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }
}
