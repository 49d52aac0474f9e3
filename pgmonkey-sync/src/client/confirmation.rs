//! Commits transactions whose outcome is looked for if the answer is lost.

use std::panic::Location;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use pgmonkey_connect::Error;
use pgmonkey_connect::pool::{Caller, Home};
use pgmonkey_connect::savepoint::Mark;
use pgmonkey_connect::transaction::Confirm;
use pgmonkey_connect::transaction::confirmation::{Answer, Confirmation, Step};

use crate::client::guard::ClientGuard;
use crate::pool::Shared;
use crate::session::confirmation::Lost;

/// Commits a transaction that owns its session.
pub(super) fn commit_owned(
    mut guard: ClientGuard,
    mark: Mark,
    confirm: Confirm,
) -> Result<(), Error> {
    let Some(lost) = guard.session_mut().commit_with_ticket(mark)? else {
        return Ok(());
    };
    let pool = Arc::clone(guard.pool());
    // A pool of one session can only open another once this one is gone.
    drop(guard);
    find_out(&pool, lost, confirm)
}

/// Commits a transaction on a session that stays with the caller.
pub(super) fn commit_borrowed(
    guard: &mut ClientGuard,
    mark: Mark,
    confirm: Confirm,
) -> Result<(), Error> {
    match guard.session_mut().commit_with_ticket(mark)? {
        None => Ok(()),
        Some(lost) => find_out(guard.pool(), lost, confirm),
    }
}

/// Asks other sessions of the pool for the outcome, until it is known or the time is over.
fn find_out(pool: &Arc<Shared>, (ticket, lost): Lost, confirm: Confirm) -> Result<(), Error> {
    let timeout = pool.settings.timeout;
    let mut confirmation = Confirmation::new(ticket, lost, confirm.deadline, timeout);
    let mut step = confirmation.begin();
    loop {
        match step {
            Step::Done(outcome) => return outcome,
            Step::Ask(pause) => {
                thread::sleep(pause);
                let answer = ask(pool, &confirmation);
                step = confirmation.answered(answer, Instant::now());
            }
        }
    }
}

fn ask(pool: &Arc<Shared>, confirmation: &Confirmation) -> Result<Option<Answer>, Error> {
    let mut caller = Caller::new(Location::caller(), Home::ANYWHERE);
    caller.wait_for(confirmation.deadline().remaining(caller.began));
    let mut guard = ClientGuard::new(pool.acquire(&mut caller)?);
    guard.session_mut().ask_outcome(confirmation)
}
