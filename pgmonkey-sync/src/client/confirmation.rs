//! Commits transactions whose outcome is looked for if the answer is lost.

use std::panic::Location;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use pgmonkey_connect::pool::{Caller, Home};
use pgmonkey_connect::savepoint::Mark;
use pgmonkey_connect::transaction::confirmation::{Answer, Confirmation, Step};
use pgmonkey_connect::{Deadline, Error};

use crate::client::guard::ClientGuard;
use crate::pool::Shared;
use crate::session::confirmation::Lost;

/// Commits a transaction that owns its session.
pub(super) fn commit_owned(mut guard: ClientGuard, mark: Mark) -> Result<(), Error> {
    let session = guard.session_mut();
    match session.bounded(|session| session.commit_with_ticket(mark))? {
        None => Ok(()),
        Some(lost) => find_out_alone(guard, lost),
    }
}

/// As [`find_out`], for a transaction that owns its session.
fn find_out_alone(guard: ClientGuard, lost: Lost) -> Result<(), Error> {
    let (pool, limit) = (Arc::clone(guard.pool()), guard.session().limit());
    // A pool of one session can only open another once this one is gone.
    drop(guard);
    find_out(&pool, lost, limit.map(|call| call.deadline))
}

/// Commits a transaction on a session that stays with the caller.
pub(super) fn commit_borrowed(guard: &mut ClientGuard, mark: Mark) -> Result<(), Error> {
    let session = guard.session_mut();
    match session.bounded(|session| session.commit_with_ticket(mark))? {
        None => Ok(()),
        Some(lost) => find_out_beside(guard, lost),
    }
}

/// As [`find_out`], for a transaction whose session stays with the caller.
fn find_out_beside(guard: &ClientGuard, lost: Lost) -> Result<(), Error> {
    let limit = guard.session().limit();
    find_out(guard.pool(), lost, limit.map(|call| call.deadline))
}

/// Asks other sessions of the pool for the outcome, until it is known or the time is over: that of
/// the transaction, or else the pool's `timeout`.
fn find_out(
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
                thread::sleep(pause);
                let answer = ask(pool, &confirmation);
                step = confirmation.answered(answer, Instant::now());
            }
        }
    }
}

fn ask(pool: &Arc<Shared>, confirmation: &Confirmation) -> Result<Option<Answer>, Error> {
    let mut caller = Caller::new(Location::caller(), Home::ANYWHERE);
    let deadline = confirmation.deadline();
    caller.wait_for(deadline.remaining(caller.began));
    caller.until = Some(deadline.instant());
    let mut guard = ClientGuard::new(pool.acquire(&mut caller)?);
    guard.session_mut().ask_outcome(confirmation)
}
