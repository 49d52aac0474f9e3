//! Commits transactions whose outcome is looked for if the answer is lost.

use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use pgmonkey_connect::Error;
use pgmonkey_connect::pool::Caller;
use pgmonkey_connect::savepoint::Mark;
use pgmonkey_connect::transaction::Confirm;
use pgmonkey_connect::transaction::confirmation::{Answer, Confirmation, Step};

use crate::client::guard::ClientGuard;
use crate::pool::Shared;
use crate::runtimes;
use crate::session::confirmation::Lost;

/// Commits a transaction that owns its session.
pub(super) async fn commit_owned(
    guard: ClientGuard,
    mark: Mark,
    confirm: Confirm,
) -> Result<(), Error> {
    let Some(lost) = guard.session().commit_with_ticket(mark).await? else {
        return Ok(());
    };
    let pool = Arc::clone(guard.pool());
    // A pool of one session can only open another once this one is gone.
    drop(guard);
    find_out(&pool, lost, confirm).await
}

/// Commits a transaction on a session that stays with the caller.
pub(super) async fn commit_borrowed(
    guard: &ClientGuard,
    mark: Mark,
    confirm: Confirm,
) -> Result<(), Error> {
    match guard.session().commit_with_ticket(mark).await? {
        None => Ok(()),
        Some(lost) => find_out(guard.pool(), lost, confirm).await,
    }
}

/// Asks other sessions of the pool for the outcome, until it is known or the time is over.
pub(super) async fn find_out(
    pool: &Arc<Shared>,
    (ticket, lost): Lost,
    confirm: Confirm,
) -> Result<(), Error> {
    let timeout = pool.settings.timeout;
    let mut confirmation = Confirmation::new(ticket, lost, confirm.deadline, timeout);
    let mut step = confirmation.begin();
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
    caller.wait_for(confirmation.deadline().remaining(caller.began));
    let guard = ClientGuard::new(pool.acquire(&mut caller).await?);
    guard.session().ask_outcome(confirmation).await
}
