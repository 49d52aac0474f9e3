//! What is reported of single statements: numbers by text, slow and repeated ones, spans, metrics.

use std::borrow::Cow;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgmonkey_config::{Config, StatementTextMode};
use tracing::Span;

use super::event_limit::EventLimit;
use super::operations::{Operation, Operations};
use super::trace_comments::commented;
use crate::sql::shape;
use crate::status::StatementStatus;
use crate::wire::{StatementListener, StatementOutcome, StatementRecord, StatementText, hash_of};
use checkout::Repeated;
use table::Table;
pub use table::TopStatement;

mod checkout;
mod events;
mod histogram;
mod spans;
mod table;

pub(crate) use events::slow_acquire;

/// How many slow statements a handle logs a second, and how many repeated ones.
const RATE: u32 = 10;

/// Never reached by a duration.
const NEVER: Duration = Duration::MAX;

/// What is known of a handle's statements, and how they are reported.
#[derive(Debug)]
pub struct StatementLog {
    pool: Arc<str>,
    namespace: Arc<str>,
    mode: StatementTextMode,
    slow: Duration,
    slow_acquire: Option<Duration>,
    most: Option<u32>,
    table: Option<Mutex<Table>>,
    comments: bool,
    operations: Operations,
    slow_limit: EventLimit,
    repeated_limit: EventLimit,
    acquire_limit: EventLimit,
}

impl StatementLog {
    /// Reports the statements of the handle called `pool`.
    pub(crate) fn of(pool: &Arc<str>, config: &Config) -> Arc<Self> {
        let settings = &config.statements;
        Arc::new(Self {
            pool: Arc::clone(pool),
            namespace: config.connection_settings.effective_dbname().into(),
            mode: settings.statement_text,
            slow: settings.slow_statement.unwrap_or(NEVER),
            slow_acquire: settings.slow_acquire,
            most: settings.statements_per_checkout,
            table: settings.statement_stats.then(Mutex::default),
            comments: settings.sqlcommenter,
            operations: Operations::new(&config.connection_settings),
            slow_limit: EventLimit::new(RATE, RATE),
            repeated_limit: EventLimit::new(RATE, RATE),
            acquire_limit: EventLimit::new(RATE, RATE),
        })
    }

    /// The texts that have taken the most time since the handle was opened, at most `most`; none
    /// with `statement_stats: false`.
    pub fn top(&self, most: usize) -> Vec<TopStatement> {
        self.table().map_or_else(Vec::new, |table| table.top(most))
    }

    /// The numbers of all statements; zero with `statement_stats: false`.
    pub fn all(&self) -> StatementStatus {
        self.table().map(|table| table.all()).unwrap_or_default()
    }

    /// A text that is not cached, as it is to be sent: with the current trace, if that is asked for.
    #[inline]
    pub fn text_to_send<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.comments {
            true => commented(text),
            false => Cow::Borrowed(text),
        }
    }

    fn table(&self) -> Option<MutexGuard<'_, Table>> {
        let table = self.table.as_ref()?;
        Some(table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether anything is to be known of single statements.
    fn is_wanted(&self) -> bool {
        self.table.is_some()
            || self.slow != NEVER
            || self.most.is_some()
            || Operations::ENABLED
            || tracing::level_enabled!(tracing::Level::DEBUG)
    }

    /// The listener of a new session at this address; `None` if nothing is to be known.
    pub(crate) fn session(
        self: &Arc<Self>,
        host: &str,
        port: u16,
    ) -> Option<Arc<dyn StatementListener>> {
        self.is_wanted().then(|| {
            let session = SessionLog {
                repeated: self.most.map(Repeated::new),
                host: host.into(),
                port,
                log: Arc::clone(self),
            };
            Arc::new(session) as Arc<dyn StatementListener>
        })
    }

    /// A caller has acquired a session after this wait.
    #[inline]
    pub(crate) fn acquired(
        &self,
        place: &'static std::panic::Location<'static>,
        wait: impl FnOnce() -> Duration,
    ) {
        if let Some(limit) = self.slow_acquire {
            let wait = wait();
            if wait >= limit
                && let Some(suppressed) = self.acquire_limit.allows(Instant::now())
            {
                slow_acquire(&self.pool, place, wait, suppressed);
            }
        }
    }

    /// Describes a text, as far as it may be shown.
    fn describe(&self, text: &[u8], standard: bool) -> Arc<StatementText> {
        let shape = shape::of(text, standard);
        let as_it_is = shape.has_parameters || self.mode == StatementTextMode::All;
        // Texts that differ in their literals only are counted together.
        let key = match shape.has_parameters {
            true => hash_of(text),
            false => hash_of(shape.text.as_bytes()),
        };
        if let Some(known) = self.table().and_then(|table| table.get(key)) {
            return known;
        }
        let shown = match self.mode {
            StatementTextMode::None => None,
            _ if as_it_is => Some(shape::cut(text)),
            _ => Some(shape.text),
        };
        Arc::new(StatementText {
            operation: shape.operation,
            summary: shape.summary.into(),
            text: shown.map(Into::into),
            key,
            slot: AtomicU32::new(u32::MAX),
        })
    }
}

/// The statements of one session.
#[derive(Debug)]
struct SessionLog {
    log: Arc<StatementLog>,
    host: Box<str>,
    port: u16,
    repeated: Option<Repeated>,
}

impl StatementListener for SessionLog {
    fn describe(&self, text: &[u8], standard: bool) -> Arc<StatementText> {
        self.log.describe(text, standard)
    }

    fn began(&self, text: &StatementText, parent: Option<&Span>) -> Option<Span> {
        spans::begin(self, text, parent)
    }

    #[inline]
    fn ended(&self, record: &StatementRecord) {
        let (log, duration) = (&*self.log, record.duration());
        if let Some(mut table) = log.table() {
            table.count(record, duration);
        }
        log.operations.record(&operation(record, duration));
        if duration >= log.slow
            && let Some(suppressed) = log.slow_limit.allows(Instant::now())
        {
            events::slow(&log.pool, record, suppressed);
        }
        if let Some(repeated) = &self.repeated
            && let Some((count, total)) = repeated.count(record, duration)
            && let Some(suppressed) = log.repeated_limit.allows(Instant::now())
        {
            events::repeated(&log.pool, record, (count, total), suppressed);
        }
        if let Some(span) = &record.span {
            spans::end(span, record);
        }
    }
}

/// What the metrics say of a statement.
#[inline]
fn operation(record: &StatementRecord, duration: Duration) -> Operation<'_> {
    let mut operation = Operation::new(record.text.operation, duration);
    operation.first_byte = Some(record.first_byte());
    operation.rows = record.rows;
    operation.sent = record.sent;
    operation.received = record.received;
    operation.status_code = record.outcome.code();
    operation.error_type = match record.outcome {
        StatementOutcome::Done => None,
        StatementOutcome::Failed(_) => operation.status_code,
        StatementOutcome::Lost => Some("session_lost"),
    };
    operation
}

#[cfg(test)]
mod tests;
