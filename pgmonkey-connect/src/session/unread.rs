//! What happens to the rest of a stream that was dropped before its end, when its session is used
//! on.
//!
//! The rest has to be read before the answer to the next statement, or the statement that sends it
//! has to be cancelled. Inside a transaction a cancel would abort the transaction.

use std::time::{Duration, Instant};

use crate::limits;
use crate::wire::{Observer, WireState};

/// How much of it is read, and for how long, before its statement is cancelled: sending a cancel
/// request takes about as long.
const LITTLE: u64 = 64 << 10;
const SHORT: Duration = Duration::from_millis(10);
/// How long each look at the rest takes at first.
const FIRST: Duration = Duration::from_millis(2);

/// The rest of a dropped stream, on a session that is to be used on.
#[derive(Debug)]
pub struct Unread {
    /// Whether its statement must not be cancelled.
    spared: bool,
    from: u64,
    began: Instant,
    pause: Duration,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnreadStep {
    /// Nothing is left.
    Done,
    /// Read on, for at most this long.
    Read(Duration),
    /// Cancel the statement, and read what is left.
    Cancel,
    /// Refuse the call.
    Refuse,
}

impl Unread {
    /// The rest on this session at `now`. With `spared`, a cancel would abort a transaction that
    /// goes on.
    pub fn new(observer: &Observer, spared: bool, now: Instant) -> Self {
        Self {
            spared,
            from: observer.received(),
            began: now,
            pause: FIRST,
        }
    }

    /// The number of received bytes at which the next step is due.
    pub fn stops_at(&self) -> u64 {
        self.from + self.most()
    }

    fn most(&self) -> u64 {
        if self.spared { limits::UNREAD } else { LITTLE }
    }

    /// Returns what to do in this state, after this many bytes have been received.
    pub fn step(&mut self, state: WireState, received: u64, now: Instant) -> UnreadStep {
        let WireState::Busy(_) = state else {
            return UnreadStep::Done;
        };
        let longest = if self.spared {
            limits::STATEMENT
        } else {
            SHORT
        };
        let left = longest.saturating_sub(now.saturating_duration_since(self.began));
        if received < self.stops_at() && !left.is_zero() {
            let pause = self.pause.min(left);
            self.pause *= 4;
            return UnreadStep::Read(pause);
        }
        match self.spared {
            true => UnreadStep::Refuse,
            false => UnreadStep::Cancel,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUSY: WireState = WireState::Busy(1);

    #[test]
    fn nothing_is_left_once_the_session_is_at_rest() {
        let now = Instant::now();
        for spared in [false, true] {
            let mut unread = Unread::new(&Observer::default(), spared, now);
            for state in [WireState::Idle, WireState::Failed, WireState::Closed] {
                assert_eq!(unread.step(state, u64::MAX, now), UnreadStep::Done);
            }
        }
    }

    proptest! {
        #[test]
        fn reading_ends_at_a_bound_of_bytes_and_of_time(
            spared: bool,
            reads in prop::collection::vec((0_u64..1 << 20, 0_u64..1000), 1..200),
        ) {
            let mut now = Instant::now();
            let mut unread = Unread::new(&Observer::default(), spared, now);
            let (mut received, mut took) = (0, Duration::ZERO);
            for (bytes, part) in reads {
                match unread.step(BUSY, received, now) {
                    UnreadStep::Read(pause) => {
                        prop_assert!(!pause.is_zero());
                        let part = pause.mul_f64(part as f64 / 1000.0);
                        let pause = part.max(Duration::from_micros(1)).min(pause);
                        (received, now, took) = (received + bytes, now + pause, took + pause);
                    }
                    UnreadStep::Refuse => {
                        prop_assert!(spared && (received >= limits::UNREAD || took >= limits::STATEMENT));
                        return Ok(());
                    }
                    UnreadStep::Cancel => {
                        prop_assert!(!spared && (received >= LITTLE || took >= SHORT));
                        return Ok(());
                    }
                    UnreadStep::Done => prop_assert!(false, "it is busy"),
                }
                prop_assert!(took <= limits::STATEMENT);
            }
        }
    }
}
