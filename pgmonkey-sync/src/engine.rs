//! r2d2, and what it takes to keep our promises on top of it. The only file that knows r2d2.
//!
//! r2d2 0.8 keeps the idle sessions, opens new ones on threads of its own and counts. It is
//! told little else: its minimum, its ages and its queue are switched off, for they act late
//! (a sweep every 30 s, idle sessions only) or out of order, and it never opens anything before
//! somebody waits for it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgmonkey_connect::ledger::Ledger;
use pgmonkey_connect::{Dialing, Error, expiry};
use r2d2::{ManageConnection, NopErrorHandler, PooledConnection};
use scheduled_thread_pool::{OnPoolDropBehavior, ScheduledThreadPool};

use crate::dial::dial;
use crate::session::Session;

/// What r2d2 is given as a connection.
///
/// r2d2 retries a failed connect until the caller's time-out and keeps only its text. So a
/// failure is handed to it as a connection: it reaches the caller at once, whole, and is
/// discarded when it comes back.
pub(crate) enum Slot {
    Open(Session),
    Failed(Error),
}

/// A slot on loan.
pub(crate) type Loan = PooledConnection<Manager>;

/// r2d2's pool.
pub(crate) type Engine = r2d2::Pool<Manager>;

/// Opens and judges sessions on r2d2's behalf.
pub(crate) struct Manager {
    pub(crate) what: &'static str,
    pub(crate) dialing: Dialing,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) closing: Arc<AtomicBool>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) check_on_checkout: bool,
}

/// Builds the engine. Opens nothing.
pub(crate) fn build(manager: Manager, max_size: u32, workers: u32) -> Engine {
    // r2d2's own default is three threads a pool that linger for 30 s after it is gone.
    let threads = ScheduledThreadPool::builder()
        .num_threads(workers.clamp(1, max_size) as usize)
        .thread_name_pattern("pgmonkey-open-{}")
        .on_drop_behavior(OnPoolDropBehavior::DiscardPendingScheduled)
        .build();
    r2d2::Pool::builder()
        .max_size(max_size)
        .min_idle(Some(0))
        .max_lifetime(None)
        .idle_timeout(None)
        .test_on_check_out(true)
        .error_handler(Box::new(NopErrorHandler))
        .thread_pool(Arc::new(threads))
        .build_unchecked(manager)
}

impl ManageConnection for Manager {
    type Connection = Slot;
    type Error = Rejected;

    fn connect(&self) -> Result<Slot, Rejected> {
        Ok(match dial(&self.dialing) {
            // Nobody may be left to take it, and nobody would close it then.
            Ok(_) if self.closing.load(Ordering::Acquire) => {
                Slot::Failed(Error::Closed { what: self.what })
            }
            Ok(opened) => {
                let ends = expiry::end_of_life(Instant::now(), self.max_lifetime, expiry::draw());
                Slot::Open(Session::new(opened, ends, Arc::clone(&self.ledger)))
            }
            Err(error) => {
                self.ledger.open_failed(&error);
                Slot::Failed(error)
            }
        })
    }

    /// Asked when a slot is taken out.
    fn is_valid(&self, slot: &mut Slot) -> Result<(), Rejected> {
        let Slot::Open(session) = slot else {
            return Ok(());
        };
        let over = session.is_over(Instant::now()) || self.check_on_checkout && !session.answers();
        if over { Err(Rejected) } else { Ok(()) }
    }

    /// Asked when a slot comes back: true discards it.
    fn has_broken(&self, slot: &mut Slot) -> bool {
        match slot {
            Slot::Failed(_) => true,
            Slot::Open(session) => {
                session.is_discarded()
                    || session.is_expired(Instant::now())
                    || self.closing.load(Ordering::Acquire)
            }
        }
    }
}

/// r2d2 wants an error to skip a session; the reason is with the session.
#[derive(Debug)]
pub(crate) struct Rejected;

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session is over")
    }
}

impl std::error::Error for Rejected {}
