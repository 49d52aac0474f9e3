//! How long to wait before another attempt at a server that gave no session.

use std::time::Duration;

/// The first pause: a server that restarts on the same machine is back within a few of them.
const FIRST: Duration = Duration::from_millis(20);
/// The longest pause, and so the longest time until waiters notice that the server is back.
pub(crate) const LONGEST: Duration = Duration::from_secs(1);

/// The longest pause while servers answer and none has the role that is asked for: after a failover
/// one of them is promoted at any time.
const LONGEST_FOR_ROLE: Duration = Duration::from_millis(250);

/// The pause after `failures` (at least 1) consecutive failures of searches; the last one found, or
/// did not find, a server of another role.
pub(crate) fn pause_after(failures: u32, found_other_role: bool) -> Duration {
    match found_other_role {
        true => pause(failures).min(LONGEST_FOR_ROLE),
        false => pause(failures),
    }
}

/// The pause after `failures` (at least 1) consecutive failures: 20 ms, doubled up to 1 s.
pub(crate) fn pause(failures: u32) -> Duration {
    pause_between(FIRST, LONGEST, failures)
}

/// The same, from `first` up to `longest`.
pub(crate) fn pause_between(first: Duration, longest: Duration, failures: u32) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit() {
        assert_eq!(pause(1), FIRST);
        assert_eq!(pause(2), FIRST * 2);
        assert_eq!(pause(4000), LONGEST);
        assert_eq!(pause_after(4000, false), LONGEST);
    }

    #[test]
    fn a_promotion_is_looked_for_more_often() {
        assert_eq!(pause_after(1, true), FIRST);
        assert_eq!(pause_after(4000, true), LONGEST_FOR_ROLE);
    }
}
