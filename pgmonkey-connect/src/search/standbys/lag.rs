//! How old the data of a standby is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::answer::Answer;

/// How many received positions are kept: more than the longest sensible `max_lag` needs.
const MOST: usize = 1024;

/// What a standby had received at the times when it was asked.
///
/// The age of the last replayed transaction alone says little: on a primary that nothing writes to,
/// it grows while the standby misses nothing, and the first transaction after a pause would make the
/// standby late by the whole pause. So it is compared with the time at which the standby is known to
/// have received something that it has not replayed.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// In the order of time; those that have been replayed are gone.
    received: VecDeque<(Instant, u64)>,
    /// When everything that had been received by then was known to be replayed later on.
    replayed_until: Option<Instant>,
}

impl Lag {
    /// The age of the data according to an answer; `None` if it is unknown. A primary has none.
    pub(super) fn of(&mut self, answer: &Answer, now: Instant) -> Option<Duration> {
        if !answer.in_recovery {
            *self = Self::default();
            return Some(Duration::ZERO);
        }
        if answer.is_caught_up() {
            self.received.clear();
            self.replayed_until = Some(now);
            return Some(Duration::ZERO);
        }
        if let Some(received) = answer.received
            && self
                .received
                .back()
                .is_none_or(|(_, last)| *last < received)
            && self.received.len() < MOST
        {
            self.received.push_back((now, received));
        }
        let replayed = answer.position.map_or(0, |position| position.lsn);
        while let Some((at, lsn)) = self.received.front()
            && *lsn <= replayed
        {
            self.replayed_until = Some(*at);
            self.received.pop_front();
        }
        // Without a walreceiver it is unknown what is missing.
        let known = self.replayed_until.filter(|_| answer.streams);
        let known = known.map(|until| now.saturating_duration_since(until));
        known.into_iter().chain(answer.replayed_ago).min()
    }
}
