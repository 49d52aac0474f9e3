//! Time limits for the statements that a pool sends by itself.

use std::time::Duration;

/// For a statement that resets a session, and for a cancelled statement to end. After that, opening
/// another session is cheaper than waiting.
pub const STATEMENT: Duration = Duration::from_secs(5);
/// For a ping.
pub const LOOK: Duration = Duration::from_secs(1);
/// For a password provider, unless `connect_timeout` sets a limit.
pub const PROVIDER: Duration = Duration::from_secs(60);
/// For a polite close: after that, the session is closed without waiting for the server.
pub const FAREWELL: Duration = Duration::from_secs(1);
/// For a statement to end after its deadline, once it has been cancelled: after that, its session is
/// closed.
pub const OVERDUE: Duration = Duration::from_secs(1);
/// How many bytes of a dropped stream are read inside a transaction, where its statement cannot be
/// cancelled.
pub const UNREAD: u64 = 8 << 20;
/// How long a cancel request may take to have an effect before another one is sent.
pub const CANCEL_AGAIN: Duration = Duration::from_millis(250);
/// The lower limit of a check, so that a caller with little time left does not discard a healthy
/// session.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);

/// For the check of a session by a caller that has already waited for `waited`: at most half of the
/// time left, as checking or opening the next session needs time too.
///
/// ```
/// use pgmonkey_connect::limits::check;
/// use std::time::Duration;
///
/// let (second, none) = (Duration::from_secs(1), Duration::ZERO);
/// assert_eq!(check(30 * second, none), second);
/// assert_eq!(check(2 * second, second), second / 2);
/// // A timeout of 0 means not to wait for other callers.
/// assert_eq!(check(none, none), second);
/// ```
pub fn check(timeout: Duration, waited: Duration) -> Duration {
    if timeout.is_zero() {
        return LOOK;
    }
    let half = timeout.saturating_sub(waited) / 2;
    half.clamp(SHORTEST_LOOK, LOOK)
}

/// For a ping through a handle with this acquire timeout.
pub fn ping(timeout: Duration) -> Duration {
    timeout.max(LOOK)
}
