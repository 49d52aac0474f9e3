//! One call that asks for a session: where it comes from and how long it may take.

use std::panic::Location;
use std::time::Duration;

use super::home::Home;
use super::sync::Instant;

/// A caller that asks for a session.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// The call site.
    pub location: &'static Location<'static>,
    /// When the call began.
    pub began: Instant,
    /// The runtime of the call.
    pub home: Home,
    /// How long the caller waits, if it began to wait at a pool that has been retired since:
    /// the `timeout` of that pool.
    pub timeout: Option<Duration>,
    /// The end of the whole call, if it has a deadline.
    pub until: Option<Instant>,
    /// Whether it has another server to turn to, and does not wait for one that is away.
    pub turns_away: bool,
    /// Whether its session must answer before, whatever the settings say.
    pub checks: bool,
}

impl Caller {
    /// A caller that asks now.
    #[inline]
    pub fn new(location: &'static Location<'static>, home: Home) -> Self {
        Self {
            location,
            began: Instant::now(),
            home,
            timeout: None,
            until: None,
            turns_away: false,
            checks: false,
        }
    }

    /// How much of a time limit of the pool applies to the caller: no more than its deadline leaves.
    pub fn at_most(&self, limit: Duration) -> Duration {
        match self.until {
            None => limit,
            Some(until) if limit.is_zero() => until.saturating_duration_since(self.began),
            Some(until) => limit.min(until.saturating_duration_since(self.began)),
        }
    }

    /// Records that the caller waits at a pool with this `timeout`, and returns how long it waits.
    pub fn wait_for(&mut self, timeout: Duration) -> Duration {
        *self.timeout.get_or_insert(timeout)
    }
}
