//! A span for each statement, with the names of OpenTelemetry's conventions for databases.

use tracing::{Span, debug_span, field};

use super::SessionLog;
use crate::telemetry::events::{STATEMENT, TARGET};
use crate::wire::{StatementOutcome, StatementRecord, StatementText};

/// The span of a statement that was sent, within that of its caller.
#[cold]
pub(super) fn begin(
    session: &SessionLog,
    text: &StatementText,
    parent: Option<&Span>,
) -> Option<Span> {
    let span = debug_span!(
        target: TARGET, parent: parent.and_then(Span::id), STATEMENT,
        otel.name = &*text.summary,
        otel.kind = "client",
        otel.status_code = field::Empty,
        db.system.name = "postgresql",
        db.namespace = &*session.log.namespace,
        db.operation.name = text.operation,
        db.query.summary = &*text.summary,
        db.query.text = text.text.as_deref(),
        db.response.returned_rows = field::Empty,
        db.response.status_code = field::Empty,
        error.type = field::Empty,
        server.address = &*session.host,
        server.port = session.port,
        db.client.connection.pool.name = &*session.log.pool,
        code.file.path = field::Empty,
        code.line.number = field::Empty,
    );
    (!span.is_disabled()).then_some(span)
}

/// Completes the span of a statement that has ended.
#[cold]
pub(super) fn end(span: &Span, record: &StatementRecord) {
    span.record("db.response.returned_rows", record.rows);
    if let Some(place) = record.place {
        span.record("code.file.path", place.file());
        span.record("code.line.number", place.line());
    }
    let kind = match record.outcome {
        StatementOutcome::Done => return,
        StatementOutcome::Failed(_) => record.outcome.code().unwrap_or_default(),
        StatementOutcome::Lost => "session_lost",
    };
    span.record("otel.status_code", "ERROR");
    span.record("error.type", kind);
    if let Some(code) = record.outcome.code() {
        span.record("db.response.status_code", code);
    }
}
