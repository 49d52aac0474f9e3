//! Metrics through the `metrics` crate, with the names of OpenTelemetry's conventions for databases.
//!
//! They are registered when the first statement of an operation ends in an outcome, and kept, so
//! that later ones cost a few atomic additions and no allocation.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{
    Counter, Histogram, Label, Unit, counter, describe_counter, describe_histogram, histogram,
};

use crate::wire::{StatementOutcome, StatementRecord};

const DURATION: &str = "db.client.operation.duration";
const FIRST_BYTE: &str = "pgmonkey.statement.first_byte";
const ROWS: &str = "pgmonkey.statement.rows";
const SENT: &str = "pgmonkey.statement.sent";
const RECEIVED: &str = "pgmonkey.statement.received";

/// The metrics of one session's statements.
pub(in crate::telemetry::statements) struct Metrics {
    labels: Vec<Label>,
    kinds: Mutex<Vec<Kind>>,
}

/// The metrics of one operation with one outcome.
struct Kind {
    operation: &'static str,
    outcome: StatementOutcome,
    handles: Arc<Handles>,
}

struct Handles {
    duration: Histogram,
    first_byte: Histogram,
    rows: Counter,
    sent: Counter,
    received: Counter,
}

impl Metrics {
    /// Whether statements are to be reported for the sake of metrics.
    pub(in crate::telemetry::statements) const ARE_ON: bool = true;

    pub(in crate::telemetry::statements) fn new(
        pool: &str,
        namespace: &str,
        host: &str,
        port: u16,
    ) -> Self {
        describe();
        Self {
            labels: vec![
                Label::new("db.system.name", "postgresql"),
                Label::new("db.namespace", namespace.to_owned()),
                Label::new("db.client.connection.pool.name", pool.to_owned()),
                Label::new("server.address", host.to_owned()),
                Label::new("server.port", port.to_string()),
            ],
            kinds: Mutex::default(),
        }
    }

    #[inline]
    pub(in crate::telemetry::statements) fn record(
        &self,
        record: &StatementRecord,
        duration: Duration,
    ) {
        let handles = self.handles(record);
        handles.duration.record(duration);
        handles.first_byte.record(record.first_byte());
        handles.rows.increment(record.rows);
        handles.sent.increment(record.sent);
        handles.received.increment(record.received);
    }

    #[inline]
    fn handles(&self, record: &StatementRecord) -> Arc<Handles> {
        let (operation, outcome) = (record.text.operation, record.outcome);
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same =
            |kind: &&Kind| std::ptr::eq(kind.operation, operation) && kind.outcome == outcome;
        if let Some(kind) = kinds.iter().find(is_same) {
            return Arc::clone(&kind.handles);
        }
        let handles = Arc::new(self.register(operation, outcome));
        kinds.push(Kind {
            operation,
            outcome,
            handles: Arc::clone(&handles),
        });
        handles
    }

    #[cold]
    fn register(&self, operation: &'static str, outcome: StatementOutcome) -> Handles {
        let mut labels = self.labels.clone();
        labels.push(Label::from_static_parts("db.operation.name", operation));
        match outcome {
            StatementOutcome::Done => {}
            StatementOutcome::Failed(_) => {
                let code = outcome.code().unwrap_or_default();
                labels.push(Label::new("db.response.status_code", code.to_owned()));
                labels.push(Label::new("error.type", code.to_owned()));
            }
            StatementOutcome::Lost => {
                labels.push(Label::from_static_parts("error.type", "session_lost"));
            }
        }
        Handles {
            duration: histogram!(DURATION, labels.clone()),
            first_byte: histogram!(FIRST_BYTE, labels.clone()),
            rows: counter!(ROWS, labels.clone()),
            sent: counter!(SENT, labels.clone()),
            received: counter!(RECEIVED, labels),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

fn describe() {
    describe_histogram!(
        DURATION,
        Unit::Seconds,
        "time from the last byte of a statement to the end of its answer"
    );
    describe_histogram!(
        FIRST_BYTE,
        Unit::Seconds,
        "time from the last byte of a statement to the first byte of its answer"
    );
    describe_counter!(ROWS, Unit::Count, "rows returned, changed or copied");
    describe_counter!(
        SENT,
        Unit::Bytes,
        "bytes of statements, parameters and copied data sent"
    );
    describe_counter!(
        RECEIVED,
        Unit::Bytes,
        "bytes of answers and copied data received"
    );
}
