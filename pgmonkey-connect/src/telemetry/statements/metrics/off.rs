//! Metrics without the feature `metrics`: no-ops.

use std::time::Duration;

use crate::wire::StatementRecord;

/// A zero-sized no-op.
#[derive(Debug)]
pub(in crate::telemetry::statements) struct Metrics;

impl Metrics {
    /// Whether statements are to be reported for the sake of metrics.
    pub(in crate::telemetry::statements) const ARE_ON: bool = false;

    pub(in crate::telemetry::statements) fn new(_: &str, _: &str, _: &str, _: u16) -> Self {
        Self
    }

    pub(in crate::telemetry::statements) fn record(&self, _: &StatementRecord, _: Duration) {}
}
