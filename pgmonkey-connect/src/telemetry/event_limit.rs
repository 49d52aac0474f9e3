//! Limits how many events of a kind are emitted.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Allows a number of events at once, and then so many a second.
#[derive(Debug)]
pub(super) struct EventLimit {
    burst: f64,
    rate: f64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many events are used up, of a burst, at that time.
    used: Option<(f64, Instant)>,
    suppressed: u64,
}

impl EventLimit {
    pub(super) const fn new(burst: u32, rate: u32) -> Self {
        Self {
            burst: burst as f64,
            rate: rate as f64,
            state: Mutex::new(State {
                used: None,
                suppressed: 0,
            }),
        }
    }

    /// Whether another event may be emitted at `now`: if so, how many were suppressed before it.
    pub(super) fn allows(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let used = state.used.map_or(0.0, |(used, at)| {
            let since = now.saturating_duration_since(at).as_secs_f64();
            (used - since * self.rate).max(0.0)
        });
        if used + 1.0 > self.burst {
            state.suppressed += 1;
            return None;
        }
        state.used = Some((used + 1.0, now));
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_gives_few_events() {
        let (limit, now) = (EventLimit::new(50, 5), Instant::now());
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
