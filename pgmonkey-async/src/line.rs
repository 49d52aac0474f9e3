//! Waiting for a session when none is idle: who waits, and who opens one in the meantime.
//!
//! A session is opened by a task of its own, so that a caller who gives up does not undo a login
//! that is half done, and one who is served by a session that came back does not wait for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgmonkey_connect::Error;
use pgmonkey_connect::shelf::Ticket;
use tokio::sync::futures::OwnedNotified;
use tokio::sync::{Notify, oneshot};

use crate::engine::Loan;
use crate::gate::Place;
use crate::pool::Shared;

/// A session with the place it counts for.
pub(crate) struct Handed {
    pub(crate) loan: Loan,
    pub(crate) place: Place,
}

/// One who waits, as those see him who bring a session.
pub(crate) struct Waiter {
    sender: oneshot::Sender<Result<Handed, Error>>,
    cause: Cause,
}

/// For whom a session is opened.
#[derive(Clone)]
struct Cause {
    /// When he asked.
    began: Instant,
    /// Notified when he is served or gone: several may open for him.
    served: Arc<Notify>,
}

impl Waiter {
    /// Brings him a session, which comes back if he has given up meanwhile.
    pub(crate) fn hand(self, handed: Handed) -> Option<Handed> {
        self.cause.served.notify_waiters();
        self.sender.send(Ok(handed)).err().and_then(Result::ok)
    }

    /// Tells him why there is none.
    pub(crate) fn refuse(self, error: Error) {
        self.cause.served.notify_waiters();
        // He may have given up meanwhile.
        let _ = self.sender.send(Err(error));
    }
}

/// One's own place in the line. Dropping it leaves the line, and passes on what was brought.
pub(crate) struct Waiting {
    pool: Arc<Shared>,
    ticket: Ticket,
    receiver: oneshot::Receiver<Result<Handed, Error>>,
    cause: Cause,
}

/// How a wait began.
pub(crate) enum Begun {
    Waiting(Waiting),
    /// It did not: a session has come back just now.
    Idle(Loan),
}

impl Waiting {
    /// Stands in line, unless a session has come back just now.
    pub(crate) fn begin(pool: &Arc<Shared>, began: Instant) -> Begun {
        let (sender, receiver) = oneshot::channel();
        let served = Arc::new(Notify::new());
        let cause = Cause { began, served };
        let waiter = Waiter {
            sender,
            cause: cause.clone(),
        };
        match pool.shelf.take_or_wait(waiter) {
            Ok(loan) => Begun::Idle(loan),
            Err(ticket) => Begun::Waiting(Self {
                pool: Arc::clone(pool),
                ticket,
                receiver,
                cause,
            }),
        }
    }

    /// What opens a session for this one, by the right to `place`.
    pub(crate) fn opener(&self, place: Place) -> Opener {
        Opener {
            pool: Arc::clone(&self.pool),
            ticket: self.ticket,
            cause: self.cause.clone(),
            place,
        }
    }

    /// What was brought; `None` if nothing was within `limit`.
    pub(crate) async fn handed(
        &mut self,
        limit: Option<Duration>,
    ) -> Option<Result<Handed, Error>> {
        let brought = match limit {
            Some(limit) => tokio::time::timeout(limit, &mut self.receiver).await.ok()?,
            None => (&mut self.receiver).await,
        };
        // Without an error when the runtime of the one who opens is gone, and so is this one's.
        brought.ok()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.pool.shelf.leave(self.ticket).is_some() {
            self.cause.served.notify_waiters();
            return;
        }
        // What is not here yet comes back to who brings it.
        self.receiver.close();
        if let Ok(Ok(Handed { loan, place })) = self.receiver.try_recv() {
            self.pool.put(loan, Instant::now(), place);
        }
    }
}

/// Opens a session for one who waits.
pub(crate) struct Opener {
    pool: Arc<Shared>,
    ticket: Ticket,
    cause: Cause,
    place: Place,
}

impl Opener {
    /// Tries until there is a session, no retry can help, or nobody waits for one any more.
    ///
    /// What is opened goes to whoever came first, so that one's own waiter may be served by
    /// another. Then it goes on for the first of those who still wait: one of them may have lost
    /// his opener to that. It ends with one waiter served or refused, or with none left.
    pub(crate) async fn run(mut self) {
        let pool = Arc::clone(&self.pool);
        pool.settled().await;
        let mut failures = 0;
        while let Some(served) = self.whom() {
            let permit = tokio::select! {
                permit = pool.openers.acquire() => permit,
                () = served => continue,
            };
            if self.whom().is_none() {
                return;
            }
            let opened = pool.open().await;
            drop(permit);
            let error = match opened {
                Ok(loan) => return pool.put(loan, Instant::now(), self.place),
                Err(error) => error,
            };
            failures += 1;
            let Some(served) = self.whom() else {
                return;
            };
            let (patience, now) = (pool.patience(self.cause.began), Instant::now());
            if let Some(pause) = patience.pause(&error, failures, now) {
                // Served or not: whether anybody waits is looked at next.
                let _ = tokio::time::timeout(pause, served).await;
            } else if let Some(waiter) = pool.shelf.leave(self.ticket) {
                let error = patience.give_up(error, now);
                drop(self.place);
                return waiter.refuse(error);
            }
        }
    }

    /// For whom a session is opened now: the one it was begun for, or whose turn it is; what comes
    /// about when he is served or gone. `None` if nobody waits.
    fn whom(&mut self) -> Option<OwnedNotified> {
        loop {
            // Listened to before it is looked, so that nothing is missed in between.
            let served = Arc::clone(&self.cause.served).notified_owned();
            if self.pool.shelf.is_waiting(self.ticket) {
                return Some(served);
            }
            let first = self.pool.shelf.first(|waiter| waiter.cause.clone());
            (self.ticket, self.cause) = first?;
        }
    }
}
