//! Gauges, counters and histograms with fixed attributes, each looked up once.
//!
//! Each of them reports to the crate `metrics` ([`recorder`]) and to the crate `opentelemetry`
//! ([`otel`]). If a feature is off, its half is zero-sized and does nothing ([`off`]).

#[cfg(not(all(feature = "metrics", feature = "otel")))]
mod off;
#[cfg(feature = "otel")]
mod otel;
#[cfg(feature = "metrics")]
mod recorder;

use std::time::Duration;

#[cfg(not(feature = "otel"))]
use off as otel;
#[cfg(not(feature = "metrics"))]
use off as recorder;

use super::definitions::Definition;

/// Whether metrics are reported at all. If not, no clock has to be read for them.
pub(super) const ENABLED: bool = cfg!(any(feature = "metrics", feature = "otel"));

/// The attributes of a metric.
#[derive(Clone)]
pub(super) struct Attributes(recorder::Attributes, otel::Attributes);

impl Attributes {
    /// No attributes.
    pub(super) fn none() -> Self {
        Self(recorder::Attributes::none(), otel::Attributes::none())
    }

    /// These, and one more.
    pub(super) fn with(self, key: &'static str, value: &str) -> Self {
        Self(self.0.with(key, value), self.1.with(key, value))
    }

    /// These, and one more.
    pub(super) fn with_number(self, key: &'static str, value: u16) -> Self {
        Self(
            self.0.with(key, &value.to_string()),
            self.1.with_number(key, value),
        )
    }
}

/// A number that goes up and down.
///
/// It is incremented and decremented, never set: handles of the same name add up, and no update can
/// be outdated.
pub(super) struct Gauge(recorder::Gauge, otel::Gauge);

impl Gauge {
    pub(super) fn new(definition: &Definition, attributes: &Attributes) -> Self {
        Self(
            recorder::Gauge::new(definition, &attributes.0),
            otel::Gauge::new(definition, &attributes.1),
        )
    }

    #[inline]
    pub(super) fn add(&self, number: i64) {
        self.0.add(number);
        self.1.add(number);
    }
}

/// A number that goes up.
pub(super) struct Counter(recorder::Counter, otel::Counter);

impl Counter {
    pub(super) fn new(definition: &Definition, attributes: &Attributes) -> Self {
        Self(
            recorder::Counter::new(definition, &attributes.0),
            otel::Counter::new(definition, &attributes.1),
        )
    }

    #[inline]
    pub(super) fn add(&self, number: u64) {
        self.0.add(number);
        self.1.add(number);
    }
}

/// A distribution of numbers.
pub(super) struct Histogram(recorder::Histogram, otel::Histogram);

impl Histogram {
    pub(super) fn new(definition: &Definition, attributes: &Attributes) -> Self {
        Self(
            recorder::Histogram::new(definition, &attributes.0),
            otel::Histogram::new(definition, &attributes.1),
        )
    }

    #[inline]
    pub(super) fn record(&self, number: f64) {
        self.0.record(number);
        self.1.record(number);
    }

    #[inline]
    pub(super) fn record_time(&self, time: Duration) {
        self.record(time.as_secs_f64());
    }
}
