//! [`tracing`] spans and events: all names, levels and fields in one place, so that both drivers
//! emit the same. `docs/observability.md` lists them.
//!
//! All use the target [`TARGET`]. An event has a message for people, and its name in the field
//! `event`, because few subscribers show an event's name. If the level is not enabled, a call costs
//! one relaxed load. No field contains a secret.

use std::fmt;
use std::panic::Location;
use std::path::Path;
use std::time::{Duration, Instant};

use pgmonkey_config::Target;
use pgmonkey_config::passfile::PassFileError;
use tokio_postgres::error::{DbError, Severity};
use tracing::{Level, Span, debug, debug_span, info, level_enabled, trace, trace_span, warn};

use crate::error::failure::FailedAttempt;
use crate::error::{Error, HookFailure};
use crate::printable::line;
use crate::status::{CloseReason, StandbyStatus};
use crate::verdict::Verdict;

/// The target of all spans and events, for filters such as `pgmonkey=debug`.
pub const TARGET: &str = "pgmonkey";

/// Span: acquiring a session, from the call to the guard. Event: the outcome.
pub const ACQUIRE: &str = "pgmonkey.acquire";
/// Span: waiting in the queue for a released or new session.
pub const WAIT: &str = "pgmonkey.wait";
/// Span: opening one session. Event: one attempt at one host, or the failure of all.
pub const CONNECT: &str = "pgmonkey.connect";
/// Event: what a returned session needed.
pub const RECYCLE: &str = "pgmonkey.recycle";
/// Event: a session was closed.
pub const DISCARD: &str = "pgmonkey.discard";
/// Event: a handle was closed.
pub const CLOSE: &str = "pgmonkey.close";
/// Event: the sizes of a pool were changed.
pub const RESIZE: &str = "pgmonkey.resize";
/// Event: a session has been in use for longer than `leak_warning`.
pub const LEAK: &str = "pgmonkey.leak";
/// Event: a hook failed.
pub const HOOK: &str = "pgmonkey.hook";
/// Event: a listener lost its session, or reconnected.
pub const LISTEN: &str = "pgmonkey.listen";
/// Event: a standby of a cluster is used, or no longer used.
pub const STANDBY: &str = "pgmonkey.standby";
/// Event: a handle was replaced, or a watched file could not be applied.
pub const RELOAD: &str = "pgmonkey.reload";

/// Event: the server sent a notice or a warning.
pub const NOTICE: &str = "pgmonkey.notice";

/// Event: a transaction failed and is run again.
pub const RETRY: &str = "pgmonkey.retry";
/// Event: a passfile is not used.
pub const PASSFILE: &str = "pgmonkey.passfile";
/// Event: TLS is not used, or not as the files on disk say.
pub const TLS: &str = "pgmonkey.tls";

/// Span: a statement, from the last byte of its request to the end of its answer.
pub const STATEMENT: &str = "pgmonkey.statement";

/// Event: a statement ran for as long as `slow_statement`.
pub const SLOW_STATEMENT: &str = "pgmonkey.slow_statement";

/// Event: a text ran as often as `statements_per_checkout` in one checkout.
pub const REPEATED_STATEMENT: &str = "pgmonkey.repeated_statement";

/// Event: a caller waited for as long as `slow_acquire`.
pub const SLOW_ACQUIRE: &str = "pgmonkey.slow_acquire";

/// Waits of at least this duration are logged at `DEBUG` instead of `TRACE`.
const NOTABLE: Duration = Duration::from_millis(1);

/// The span of one acquire, if enabled.
#[inline]
pub fn acquire(pool: &str) -> Option<Span> {
    level_enabled!(Level::TRACE).then(|| trace_span!(target: TARGET, ACQUIRE, pool))
}

/// The span of a wait in the queue, if enabled.
#[inline]
pub fn wait(pool: &str) -> Option<Span> {
    level_enabled!(Level::DEBUG).then(|| debug_span!(target: TARGET, WAIT, pool))
}

/// The span of opening one session.
pub fn connect(pool: &str) -> Span {
    debug_span!(target: TARGET, CONNECT, pool)
}

/// A session was acquired by a caller that asked at `began`.
#[inline]
pub fn acquired(pool: &str, began: Instant) {
    if level_enabled!(Level::DEBUG) {
        acquired_after(pool, began.elapsed());
    }
}

fn acquired_after(pool: &str, wait: Duration) {
    let wait_seconds = wait.as_secs_f64();
    if wait < NOTABLE {
        trace!(
            name: ACQUIRE, target: TARGET, event = ACQUIRE, pool, wait_seconds, outcome = "acquired",
            "session acquired after {wait:.1?}"
        );
    } else {
        debug!(
            name: ACQUIRE, target: TARGET, event = ACQUIRE, pool, wait_seconds, outcome = "acquired",
            "session acquired after {wait:.1?}"
        );
    }
}

/// A caller got no session: it timed out or was refused.
pub fn acquire_failed(pool: &str, wait: Duration, error: &Error) {
    let wait_seconds = wait.as_secs_f64();
    let outcome = match error {
        Error::Timeout(_) => "timeout",
        Error::QueueFull { .. } => "queue_full",
        _ => "failed",
    };
    warn!(
        name: ACQUIRE, target: TARGET, event = ACQUIRE, pool, wait_seconds, outcome,
        "{error}"
    );
}

/// An attempt, numbered from 1 and started at `began`, opened a session.
pub(crate) fn attempt_succeeded(pool: &str, host: &Target, attempt: usize, began: Instant) {
    let took = began.elapsed();
    let seconds = took.as_secs_f64();
    debug!(
        name: CONNECT, target: TARGET, event = CONNECT, pool, %host, attempt, seconds,
        outcome = "opened",
        "session opened on {host} after {took:.1?}"
    );
}

/// An attempt, numbered from 1 and started at `began`, failed.
pub(crate) fn attempt_failed(pool: &str, failed: &FailedAttempt, attempt: usize, began: Instant) {
    let (host, seconds) = (&failed.host, began.elapsed().as_secs_f64());
    debug!(
        name: CONNECT, target: TARGET, event = CONNECT, pool, %host, attempt, seconds,
        outcome = "failed",
        "attempt {attempt} to open a session failed: {failed}"
    );
}

/// No session could be opened.
pub fn connect_failed(pool: &str, error: &Error) {
    warn!(
        name: CONNECT, target: TARGET, event = CONNECT, pool, outcome = "given_up",
        "{error}"
    );
}

/// A session was returned, with this verdict.
#[inline]
pub fn recycled(pool: &str, verdict: Verdict) {
    let needs = match verdict {
        Verdict::Keep => {
            trace!(
                name: RECYCLE, target: TARGET, event = RECYCLE, pool, verdict = verdict.as_str(),
                "session released clean"
            );
            return;
        }
        Verdict::RollBack => "in a transaction: it is rolled back",
        Verdict::CancelAndDrain => "with unanswered requests: they are cancelled and drained",
        Verdict::Discard => "unusable: it is closed",
    };
    debug!(
        name: RECYCLE, target: TARGET, event = RECYCLE, pool, verdict = verdict.as_str(),
        "session released {needs}"
    );
}

/// A statement may have changed a session that cannot be reset, because a pooler gives each
/// transaction another session of the server.
pub fn out_of_reach(pool: &str) {
    warn!(
        name: RECYCLE, target: TARGET, event = RECYCLE, pool,
        "a statement changed its session (SET, LISTEN, an advisory lock, a temporary table, ...), \
         and behind a pooler in transaction mode that session is shared with other clients and is \
         not reset: use SET LOCAL or transaction-scoped locks"
    );
}

/// The statements that reset a session were answered by another session of the server.
pub fn behind_pooler(pool: &str) {
    warn!(
        name: RECYCLE, target: TARGET, event = RECYCLE, pool,
        "a pooler is in front of the server: sessions that a statement changed are replaced \
         instead of reset; set `pooler: session` or `pooler: transaction` in connection_settings"
    );
}

/// Another pool hands out sessions without the check that resets them.
pub fn unchecked(pool: &str) {
    warn!(
        name: RECYCLE, target: TARGET, event = RECYCLE, pool,
        "the pool hands out sessions that its manager has not checked, so those that a caller left \
         unclean are closed instead of reset: turn on its check at checkout for every checkout"
    );
}

/// A session was closed.
pub fn discarded(pool: &str, reason: CloseReason) {
    let because = reason.text();
    debug!(
        name: DISCARD, target: TARGET, event = DISCARD, pool, reason = reason.as_str(),
        "session closed: {because}"
    );
}

/// A hook failed.
pub fn hook_failed(pool: &str, failure: &HookFailure) {
    warn!(name: HOOK, target: TARGET, event = HOOK, pool, "{failure}");
}

/// A handle was closed; `what` is `pool`, `connection` or `listener`.
pub fn closed(pool: &str, what: &str) {
    debug!(name: CLOSE, target: TARGET, event = CLOSE, pool, "{what} closed");
}

/// A handle was retired: another one serves its callers.
pub fn replaced(pool: &str, what: &str) {
    info!(
        name: RELOAD, target: TARGET, event = RELOAD, pool, outcome = "replaced",
        "{what} replaced: another one serves its callers"
    );
}

/// A watched file changed, and could not be loaded, or its handle not be opened.
pub fn not_reloaded(path: &Path, error: &Error) {
    let path = path.display();
    warn!(
        name: RELOAD, target: TARGET, event = RELOAD, file = %path, outcome = "failed",
        "{path} has changed and cannot be applied, its handles go on as before: {error}"
    );
}

/// A pool has new sizes.
pub fn resized(pool: &str, min_size: u32, max_size: u32) {
    info!(
        name: RESIZE, target: TARGET, event = RESIZE, pool, min_size, max_size,
        "pool resized: at least {min_size} and at most {max_size} sessions"
    );
}

/// A session acquired at `place`, for the transaction of this label, has been in use for `leak_warning` or longer.
pub fn leaked(pool: &str, place: &Location<'_>, label: Option<&str>, held: Duration) {
    let held_seconds = held.as_secs_f64();
    let place = format_args!("{}:{}", place.file(), place.line());
    let label = line(label.unwrap_or(""));
    warn!(
        name: LEAK, target: TARGET, event = LEAK, pool, %place, %label, held_seconds,
        "a session acquired at {place} has been in use for {held:.1?}"
    );
}

/// A transaction failed for the `failures`-th time, and is run again after `pause`. `code` is the
/// SQLSTATE; empty if the session was lost without one.
pub fn retried(
    pool: &str,
    label: Option<&str>,
    failures: u32,
    code: Option<&str>,
    pause: Duration,
) {
    let (label, code) = (line(label.unwrap_or("")), line(code.unwrap_or("")));
    let pause_seconds = pause.as_secs_f64();
    debug!(
        name: RETRY, target: TARGET, event = RETRY, pool, %label, failures, %code, pause_seconds,
        "transaction failed ({failures} so far) and is run again after {pause:.1?}"
    );
}

/// The server sent a notice or a warning on one of the sessions; `suppressed` others before it were
/// not reported.
pub fn noticed(pool: &str, notice: &DbError, suppressed: u64) {
    let (severity, message) = (line(notice.severity()), line(notice.message()));
    macro_rules! report {
        ($level:ident) => {
            $level!(
                name: NOTICE, target: TARGET, event = NOTICE, pool, %severity, suppressed,
                "the server reports: {message}"
            )
        };
    }
    // An old server sends the severity in its own language only.
    match notice.parsed_severity() {
        Some(Severity::Warning) => report!(warn),
        Some(Severity::Debug) => report!(debug),
        _ => report!(info),
    }
}

/// A listener has lost its session for this reason, which may be empty.
pub fn listener_lost(pool: &str, reason: &str) {
    let reason = line(reason);
    warn!(
        name: LISTEN, target: TARGET, event = LISTEN, pool, outcome = "lost",
        "listener lost its session, and reconnects: {reason}"
    );
}

/// A listener has reconnected, with this many subscribed channels.
pub fn listener_back(pool: &str, channels: usize) {
    info!(
        name: LISTEN, target: TARGET, event = LISTEN, pool, channels, outcome = "reconnected",
        "listener reconnected, and listens on its channels again ({channels})"
    );
}

/// A standby of a cluster is used from now on, or no longer.
pub(crate) fn standby_changed(pool: &str, standby: &StandbyStatus) {
    let (host, lag_seconds) = (&standby.host, standby.lag.map(|lag| lag.as_secs_f64()));
    match &standby.unused {
        Some(why) => warn!(
            name: STANDBY, target: TARGET, event = STANDBY, pool, %host, lag_seconds,
            outcome = "unused", "{host} is not read from: {}", line(why)
        ),
        None => info!(
            name: STANDBY, target: TARGET, event = STANDBY, pool, %host, lag_seconds,
            outcome = "used", "{host} is read from"
        ),
    }
}

/// A passfile could not be read.
pub(crate) fn passfile_ignored(path: &Path, error: &PassFileError) {
    let file = path.display();
    warn!(
        name: PASSFILE, target: TARGET, event = PASSFILE, %file,
        "passfile ignored: {error}"
    );
}

/// TLS failed, and `sslmode` allows a session without it.
pub(crate) fn tls_given_up(pool: &str, host: &Target, cause: &dyn fmt::Display) {
    warn!(
        name: TLS, target: TARGET, event = TLS, pool, %host, outcome = "given_up",
        "TLS with {host} failed, and is not used, as sslmode allows: {cause}"
    );
}

/// A changed client certificate cannot be used.
pub fn certificate_kept(certificate: &Path, failure: &dyn fmt::Display) {
    let file = certificate.display();
    warn!(
        name: TLS, target: TARGET, event = TLS, %file, outcome = "kept",
        "the client certificate has changed and cannot be used, the previous one stays in use: \
         {failure}"
    );
}
