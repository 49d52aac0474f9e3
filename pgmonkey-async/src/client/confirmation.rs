//! Commits transactions whose outcome is looked for if the answer is lost.

use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use pgmonkey_connect::pool::Caller;
use pgmonkey_connect::savepoint::Mark;
use pgmonkey_connect::transaction::confirmation::{Answer, Confirmation, Step};
use pgmonkey_connect::{Deadline, Error};

use crate::client::guard::ClientGuard;
use crate::pool::Shared;
use crate::runtimes;
use crate::session::confirmation::Lost;

/// Commits a transaction that owns its session.
pub(super) async fn commit_owned(guard: ClientGuard, mark: Mark) -> Result<(), Error> {
    let session = guard.session();
    let commit = session.bounded(session.commit_with_ticket(mark));
    match commit.await? {
        None => Ok(()),
        Some(lost) => find_out_alone(guard, lost).await,
    }
}

/// As [`find_out`], for a transaction that owns its session.
pub(super) async fn find_out_alone(guard: ClientGuard, lost: Lost) -> Result<(), Error> {
    let (pool, limit) = (Arc::clone(guard.pool()), guard.session().limit());
    // A pool of one session can only open another once this one is gone.
    drop(guard);
    find_out(&pool, lost, limit.map(|call| call.deadline)).await
}

/// Commits a transaction on a session that stays with the caller.
pub(super) async fn commit_borrowed(guard: &ClientGuard, mark: Mark) -> Result<(), Error> {
    let session = guard.session();
    let commit = session.bounded(session.commit_with_ticket(mark));
    match commit.await? {
        None => Ok(()),
        Some(lost) => find_out_beside(guard, lost).await,
    }
}

/// As [`find_out`], for a transaction whose session stays with the caller.
pub(super) async fn find_out_beside(guard: &ClientGuard, lost: Lost) -> Result<(), Error> {
    let limit = guard.session().limit();
    find_out(guard.pool(), lost, limit.map(|call| call.deadline)).await
}

/// Asks other sessions of the pool for the outcome, until it is known or the time is over: that of
/// the transaction, or else the pool's `timeout`.
async fn find_out(
    pool: &Arc<Shared>,
    (ticket, lost): Lost,
    deadline: Option<Deadline>,
) -> Result<(), Error> {
    let timeout = pool.settings.timeout;
    let mut confirmation = Confirmation::new(ticket, lost, deadline, timeout);
    let mut step = confirmation.begin(Instant::now());
    loop {
        match step {
            Step::Done(outcome) => return outcome,
            Step::Ask(pause) => {
                tokio::time::sleep(pause).await;
                let answer = ask(pool, &confirmation).await;
                step = confirmation.answered(answer, Instant::now());
            }
        }
    }
}

async fn ask(pool: &Arc<Shared>, confirmation: &Confirmation) -> Result<Option<Answer>, Error> {
    let mut caller = Caller::new(Location::caller(), runtimes::here());
    let deadline = confirmation.deadline();
    caller.wait_for(deadline.remaining(caller.began));
    caller.until = Some(deadline.instant());
    let guard = ClientGuard::new(pool.acquire(&mut caller).await?);
    guard.session().ask_outcome(confirmation).await
}
