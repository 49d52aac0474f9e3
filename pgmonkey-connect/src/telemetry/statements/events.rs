//! The events about statements.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use tracing::warn;

use crate::printable::line;
use crate::telemetry::events::{REPEATED_STATEMENT, SLOW_ACQUIRE, SLOW_STATEMENT, TARGET};
use crate::wire::{StatementOutcome, StatementRecord, StatementText};

/// A statement ran for as long as `slow_statement` or longer; `suppressed` others before it were not
/// reported.
#[cold]
pub(super) fn slow(pool: &str, record: &StatementRecord, suppressed: u64) {
    let text = shown(&record.text);
    let (operation, rows, place) = (record.text.operation, record.rows, Place(record.place));
    let duration_seconds = record.duration().as_secs_f64();
    let wait_seconds = record.wait().as_secs_f64();
    let first_byte_seconds = record.first_byte().as_secs_f64();
    let code = match record.outcome {
        StatementOutcome::Done => "",
        StatementOutcome::Failed(_) => record.outcome.code().unwrap_or(""),
        StatementOutcome::Lost => "lost",
    };
    let (sent_bytes, received_bytes) = (record.sent, record.received);
    warn!(
        name: SLOW_STATEMENT, target: TARGET, event = SLOW_STATEMENT, pool, duration_seconds,
        wait_seconds, first_byte_seconds, rows, sent_bytes, received_bytes, operation, %code, %text,
        %place, suppressed,
        "slow statement: {text} took {:.1?} and gave {rows} rows, sent from {place}",
        record.duration()
    );
}

/// A text has run as often as `statements_per_checkout` while a caller held its session.
#[cold]
pub(super) fn repeated(
    pool: &str,
    record: &StatementRecord,
    (count, total): (u32, Duration),
    suppressed: u64,
) {
    let (text, place) = (shown(&record.text), Place(record.place));
    let (operation, total_seconds) = (record.text.operation, total.as_secs_f64());
    warn!(
        name: REPEATED_STATEMENT, target: TARGET, event = REPEATED_STATEMENT, pool, count,
        total_seconds, operation, %text, %place, suppressed,
        "the same statement ran {count} times on one acquired session and took {total:.1?}: \
         {text}, sent from {place}"
    );
}

/// An acquire took as long as `slow_acquire` or longer.
#[cold]
pub(crate) fn slow_acquire(
    pool: &str,
    place: &'static Location<'static>,
    wait: Duration,
    suppressed: u64,
) {
    let (wait_seconds, place) = (wait.as_secs_f64(), Place(Some(place)));
    warn!(
        name: SLOW_ACQUIRE, target: TARGET, event = SLOW_ACQUIRE, pool, wait_seconds, %place, suppressed,
        "slow acquire: the call at {place} waited {wait:.1?} for a session"
    );
}

/// The text of a statement, or what may be shown instead, in one line.
fn shown(text: &StatementText) -> impl fmt::Display + '_ {
    line(text.text.as_deref().unwrap_or(&text.summary))
}

/// A place in the program.
struct Place(Option<&'static Location<'static>>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(place) => write!(f, "{}:{}", place.file(), place.line()),
            None => f.write_str("pgmonkey"),
        }
    }
}
