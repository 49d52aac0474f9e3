//! What is told to [`tracing`]: the name, level and fields of every span and event, in one place,
//! so that both drivers say the same. `docs/observability.md` is the table of them.
//!
//! Everything goes to the target [`TARGET`]. Where nobody listens at the level each call costs
//! one relaxed load. No field holds a secret.

use std::panic::Location;
use std::time::{Duration, Instant};

use pgmonkey_config::Target;
use tokio_postgres::error::DbError;
use tracing::{Level, Span, debug, debug_span, info, level_enabled, trace, trace_span, warn};

use crate::failure::FailedAttempt;
use crate::printable::line;
use crate::recycle::Verdict;
use crate::{CloseReason, Error, HookFailure};

/// The target of all spans and events: what a filter such as `pgmonkey=debug` goes by.
pub const TARGET: &str = "pgmonkey";

/// Span: a call that borrows a session, from the call to the guard. Event: how it ended.
pub const ACQUIRE: &str = "pgmonkey.acquire";
/// Span: waiting in the queue for a session that others have.
pub const WAIT: &str = "pgmonkey.wait";
/// Span: opening one session. Event: one attempt at one host, or the end of them all.
pub const CONNECT: &str = "pgmonkey.connect";
/// Event: what a session that came back needed.
pub const RECYCLE: &str = "pgmonkey.recycle";
/// Event: a session ended.
pub const DISCARD: &str = "pgmonkey.discard";
/// Event: a handle was closed.
pub const CLOSE: &str = "pgmonkey.close";
/// Event: the sizes of a pool were changed.
pub const RESIZE: &str = "pgmonkey.resize";
/// Event: a session has been in use for longer than `leak_warning`.
pub const LEAK: &str = "pgmonkey.leak";
/// Event: a hook failed.
pub const HOOK: &str = "pgmonkey.hook";
/// Event: a listener lost its session, or has one again.
pub const LISTEN: &str = "pgmonkey.listen";

/// Event: the server sent a notice or a warning.
pub const NOTICE: &str = "pgmonkey.notice";

/// From here on a wait is worth more than `TRACE`.
const NOTABLE: Duration = Duration::from_millis(1);

/// The span of one acquire, if anybody listens.
#[inline]
pub fn acquire(pool: &str) -> Option<Span> {
    level_enabled!(Level::TRACE).then(|| trace_span!(target: TARGET, ACQUIRE, pool))
}

/// The span of a wait in the queue, if anybody listens.
#[inline]
pub fn wait(pool: &str) -> Option<Span> {
    level_enabled!(Level::DEBUG).then(|| debug_span!(target: TARGET, WAIT, pool))
}

/// The span of opening one session.
pub fn connect(pool: &str) -> Span {
    debug_span!(target: TARGET, CONNECT, pool)
}

/// A session was lent to a caller that asked for it at `began`.
#[inline]
pub fn acquired(pool: &str, began: Instant) {
    if level_enabled!(Level::DEBUG) {
        acquired_after(pool, began.elapsed());
    }
}

fn acquired_after(pool: &str, wait: Duration) {
    let wait_seconds = wait.as_secs_f64();
    if wait < NOTABLE {
        trace!(name: ACQUIRE, target: TARGET, pool, wait_seconds, outcome = "acquired");
    } else {
        debug!(name: ACQUIRE, target: TARGET, pool, wait_seconds, outcome = "acquired");
    }
}

/// A caller got none: it gave up, or was not let in.
pub fn acquire_failed(pool: &str, wait: Duration, error: &Error) {
    let wait_seconds = wait.as_secs_f64();
    let outcome = match error {
        Error::Timeout(_) => "timeout",
        Error::QueueFull { .. } => "queue_full",
        _ => "failed",
    };
    warn!(name: ACQUIRE, target: TARGET, pool, wait_seconds, outcome, "{error}");
}

/// An attempt, counted from 1 and begun at `began`, gave a session.
pub(crate) fn attempt_succeeded(pool: &str, host: &Target, attempt: usize, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    debug!(name: CONNECT, target: TARGET, pool, %host, attempt, seconds, outcome = "opened");
}

/// An attempt, counted from 1 and begun at `began`, gave none.
pub(crate) fn attempt_failed(pool: &str, failed: &FailedAttempt, attempt: usize, began: Instant) {
    let (host, seconds) = (&failed.host, began.elapsed().as_secs_f64());
    debug!(
        name: CONNECT, target: TARGET, pool, %host, attempt, seconds, outcome = "failed",
        "{failed}"
    );
}

/// No host gave a session.
pub fn connect_failed(pool: &str, error: &Error) {
    warn!(name: CONNECT, target: TARGET, pool, outcome = "given_up", "{error}");
}

/// A session came back and needed this.
#[inline]
pub fn recycled(pool: &str, verdict: Verdict) {
    match verdict {
        Verdict::Keep => trace!(name: RECYCLE, target: TARGET, pool, verdict = verdict.as_str()),
        _ => debug!(name: RECYCLE, target: TARGET, pool, verdict = verdict.as_str()),
    }
}

/// A statement may have changed a session that cannot be put back: behind a pooler that gives each
/// transaction another session of the server.
pub fn out_of_reach(pool: &str) {
    warn!(
        name: RECYCLE, target: TARGET, pool,
        "a statement changed its session (SET, LISTEN, an advisory lock, a temporary table, ...), \
         and behind a pooler in transaction mode that session is shared with other clients and is \
         not put back: use SET LOCAL or transaction-scoped locks"
    );
}

/// The statements that put a session back were answered by another session of the server.
pub fn behind_pooler(pool: &str) {
    warn!(
        name: RECYCLE, target: TARGET, pool,
        "a pooler stands in front of the server: sessions that a statement changed are replaced \
         instead of put back; say `pooler: session` or `pooler: transaction` in connection_settings"
    );
}

/// A session ended.
pub fn discarded(pool: &str, reason: CloseReason) {
    debug!(name: DISCARD, target: TARGET, pool, reason = reason.as_str());
}

/// A hook failed.
pub fn hook_failed(pool: &str, failure: &HookFailure) {
    warn!(name: HOOK, target: TARGET, pool, "{failure}");
}

/// A handle was closed; `what` is `pool`, `connection` or `listener`.
pub fn closed(pool: &str, what: &str) {
    debug!(name: CLOSE, target: TARGET, pool, "{what} closed");
}

/// A pool has new sizes.
pub fn resized(pool: &str, min_size: u32, max_size: u32) {
    info!(name: RESIZE, target: TARGET, pool, min_size, max_size);
}

/// A session that was acquired at `place` has been in use for long.
pub fn leaked(pool: &str, place: &Location<'_>, held: Duration) {
    let held_seconds = held.as_secs_f64();
    let place = format_args!("{}:{}", place.file(), place.line());
    warn!(
        name: LEAK, target: TARGET, pool, %place, held_seconds,
        "a session acquired at {place} has been in use for {held:.1?}"
    );
}

/// The server sent a notice or a warning on some session.
pub fn noticed(pool: &str, notice: &DbError) {
    let (severity, message) = (line(notice.severity()), line(notice.message()));
    info!(name: NOTICE, target: TARGET, pool, %severity, "{message}");
}

/// A listener has lost its session, for this reason if there is one.
pub fn listener_lost(pool: &str, reason: &str) {
    warn!(name: LISTEN, target: TARGET, pool, outcome = "lost", "{}", line(reason));
}

/// A listener has a session again, and is subscribed to as many channels as before.
pub fn listener_back(pool: &str, channels: usize) {
    info!(name: LISTEN, target: TARGET, pool, channels, outcome = "reconnected");
}
