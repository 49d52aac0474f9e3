//! The notices and warnings of a handle's sessions: to the program's hook, and as events.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use tokio_postgres::error::DbError;

use super::event_limit::EventLimit;
use super::events;
use crate::error::HookFailure;

/// Called for each notice or warning that the server sends.
pub type NoticeHook = Arc<dyn Fn(&DbError) + Send + Sync>;

/// How many events a handle may emit at once.
const BURST: u32 = 50;
/// How many it may emit in a second, once it has emitted a burst.
const RATE: u32 = 5;

/// Reports the notices of a handle's sessions.
///
/// A statement in a loop can raise millions of them, so the number of events is limited: 50 at
/// once, then 5 a second. The hook gets all of them.
pub struct Notices {
    pool: Arc<str>,
    hook: Option<NoticeHook>,
    limit: EventLimit,
}

impl Notices {
    /// Reports the notices of the handle called `pool`, to the hook if there is one.
    pub fn new(pool: Arc<str>, hook: Option<NoticeHook>) -> Self {
        Self {
            pool,
            hook,
            limit: EventLimit::new(BURST, RATE),
        }
    }

    /// The server has sent a notice or a warning.
    pub fn received(&self, notice: &DbError) {
        if let Some(suppressed) = self.limit.allows(Instant::now()) {
            events::noticed(&self.pool, notice, suppressed);
        }
        let Some(hook) = &self.hook else {
            return;
        };
        // A panic would end the session's driver.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| hook(notice))) {
            let failure = HookFailure::panicked("on_notice", &*panic);
            events::hook_failed(&self.pool, &failure);
        }
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notices").field(&self.pool).finish()
    }
}
