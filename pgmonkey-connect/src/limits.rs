//! How long the server may take to answer the statements that a pool makes by itself.

use std::time::Duration;

/// For a statement that makes a session clean, and for a cancelled one to end. Beyond it the
/// session is not worth more waiting than opening another.
pub const STATEMENT: Duration = Duration::from_secs(5);
/// For a sign of life.
pub const LOOK: Duration = Duration::from_secs(1);
/// For the end of a session: what is not closed by then is closed without the server.
pub const FAREWELL: Duration = Duration::from_secs(1);
/// Not less, so that a caller whose time is nearly over does not end a session that is well.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);

/// For the check of a session by a caller that has waited this long already: at most half of
/// the time that is left, as the next session needs some as well.
///
/// ```
/// use pgmonkey_connect::limits::check;
/// use std::time::Duration;
///
/// let (second, none) = (Duration::from_secs(1), Duration::ZERO);
/// assert_eq!(check(30 * second, none), second);
/// assert_eq!(check(2 * second, second), second / 2);
/// // A time-out of 0 means not to wait for other callers.
/// assert_eq!(check(none, none), second);
/// ```
pub fn check(timeout: Duration, waited: Duration) -> Duration {
    if timeout.is_zero() {
        return LOOK;
    }
    let half = timeout.saturating_sub(waited) / 2;
    half.clamp(SHORTEST_LOOK, LOOK)
}

/// For a ping through a handle with this acquire time-out.
pub fn ping(timeout: Duration) -> Duration {
    timeout.max(LOOK)
}
