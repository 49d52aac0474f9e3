//! The notices and warnings of a handle's sessions: to the program's hook, and as events.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio_postgres::error::DbError;

use super::events;
use crate::error::HookFailure;

/// Called for each notice or warning that the server sends.
pub type NoticeHook = Arc<dyn Fn(&DbError) + Send + Sync>;

/// How many events a handle may emit at once.
const BURST: f64 = 50.0;
/// How many it may emit in a second, once it has emitted a burst.
const RATE: f64 = 5.0;

/// Reports the notices of a handle's sessions.
///
/// A statement in a loop can raise millions of them, so the number of events is limited: 50 at
/// once, then 5 a second. The hook gets all of them.
pub struct Notices {
    pool: Arc<str>,
    hook: Option<NoticeHook>,
    limit: Mutex<EventLimit>,
}

impl Notices {
    /// Reports the notices of the handle called `pool`, to the hook if there is one.
    pub fn new(pool: Arc<str>, hook: Option<NoticeHook>) -> Self {
        Self {
            pool,
            hook,
            limit: Mutex::default(),
        }
    }

    /// The server has sent a notice or a warning.
    pub fn received(&self, notice: &DbError) {
        let limit = self.limit.lock();
        let allowed = limit
            .unwrap_or_else(PoisonError::into_inner)
            .allows(Instant::now());
        if let Some(suppressed) = allowed {
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

/// Limits the number of events.
#[derive(Debug, Default)]
struct EventLimit {
    /// How many events are used up, of a burst, at that time.
    used: Option<(f64, Instant)>,
    suppressed: u64,
}

impl EventLimit {
    /// Whether another event may be emitted at `now`: if so, how many were suppressed before it.
    fn allows(&mut self, now: Instant) -> Option<u64> {
        let used = self.used.map_or(0.0, |(used, at)| {
            let since = now.saturating_duration_since(at).as_secs_f64();
            (used - since * RATE).max(0.0)
        });
        if used + 1.0 > BURST {
            self.suppressed += 1;
            return None;
        }
        self.used = Some((used + 1.0, now));
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_of_notices_gives_few_events() {
        let (mut limit, now) = (EventLimit::default(), Instant::now());
        let at_once = (0..1000).filter_map(|_| limit.allows(now)).count();
        assert_eq!(at_once, 50);
        let later = now + Duration::from_secs(1);
        let allowed: Vec<_> = (0..1000).filter_map(|_| limit.allows(later)).collect();
        assert_eq!(
            allowed,
            [950, 0, 0, 0, 0],
            "the first says how many are missing"
        );
        let much_later = later + Duration::from_secs(3600);
        let at_once = (0..1000).filter_map(|_| limit.allows(much_later)).count();
        assert_eq!(at_once, 50, "no more than at first");
    }
}
