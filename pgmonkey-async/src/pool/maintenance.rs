//! Maintenance of a pool: closes sessions that are too old or were idle too long, opens missing
//! ones, and warns about sessions in use for long.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use pgmonkey_connect::pool;

use crate::pool::Shared;
use crate::runtimes;

impl Shared {
    /// Starts the maintenance of a pool that has lifetimes and sizes to maintain. It holds the pool
    /// weakly, and ends with it or when it notices that the pool sleeps. It runs in the library's
    /// own runtime, so it neither ends with a runtime of the program nor waits for a busy one.
    pub(crate) fn start_maintenance(self: &Arc<Self>) {
        if !self.is_kept {
            return;
        }
        self.core.keep_min_size();
        let pause = pool::interval(&self.settings);
        let pool = Arc::downgrade(self);
        runtimes::drivers().spawn(async move {
            loop {
                tokio::time::sleep(pause).await;
                if !look(&pool) {
                    return;
                }
            }
        });
    }

    /// Puts the pool to sleep if it has been unused for `at_least`; returns whether it fell asleep.
    /// Never blocks.
    pub(crate) fn sleep(self: &Arc<Self>, at_least: Duration) -> bool {
        let slept = pool::sleep(&**self, at_least, |over| pool::end_all(&**self, over));
        if slept {
            self.statements.forget_types();
        }
        slept
    }
}

/// Does one round; returns whether there will be another.
fn look(pool: &Weak<Shared>) -> bool {
    let Some(shared) = pool.upgrade().filter(|shared| !shared.core.is_closed()) else {
        return false;
    };
    if shared.core.ends_maintenance() {
        return false;
    }
    let tick = || {
        let end = |over| pool::end_all(&*shared, over);
        pool::tick(&shared, shared.settings.leak_warning, end);
    };
    // A panicking subscriber has been reported, and does not end the maintenance.
    let _ = catch_unwind(AssertUnwindSafe(tick));
    true
}
