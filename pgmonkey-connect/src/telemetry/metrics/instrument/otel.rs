//! Instruments of the crate `opentelemetry`: of the global meter provider that is set when the
//! attributes are created.

use std::sync::Arc;

use opentelemetry::metrics::{self, Meter, UpDownCounter};
use opentelemetry::{InstrumentationScope, KeyValue, Value, global};

use super::super::definitions::Definition;

#[derive(Clone)]
pub(super) struct Attributes {
    meter: Meter,
    pairs: Arc<[KeyValue]>,
}

impl Attributes {
    pub(super) fn none() -> Self {
        let scope =
            InstrumentationScope::builder("pgmonkey").with_version(env!("CARGO_PKG_VERSION"));
        Self {
            meter: global::meter_with_scope(scope.build()),
            pairs: Arc::new([]),
        }
    }

    pub(super) fn with(self, key: &'static str, value: &str) -> Self {
        self.and(key, value.to_owned())
    }

    pub(super) fn with_number(self, key: &'static str, value: u16) -> Self {
        self.and(key, i64::from(value))
    }

    fn and(self, key: &'static str, value: impl Into<Value>) -> Self {
        let pairs = self.pairs.iter().cloned();
        Self {
            pairs: pairs.chain([KeyValue::new(key, value)]).collect(),
            meter: self.meter,
        }
    }
}

pub(super) struct Gauge(UpDownCounter<i64>, Arc<[KeyValue]>);

impl Gauge {
    pub(super) fn new(definition: &Definition, attributes: &Attributes) -> Self {
        let builder = attributes.meter.i64_up_down_counter(definition.name);
        let builder = builder.with_unit(definition.unit);
        let counter = builder.with_description(definition.description).build();
        Self(counter, Arc::clone(&attributes.pairs))
    }

    #[inline]
    pub(super) fn add(&self, number: i64) {
        self.0.add(number, &self.1);
    }
}

pub(super) struct Counter(metrics::Counter<u64>, Arc<[KeyValue]>);

impl Counter {
    pub(super) fn new(definition: &Definition, attributes: &Attributes) -> Self {
        let builder = attributes.meter.u64_counter(definition.name);
        let builder = builder.with_unit(definition.unit);
        let counter = builder.with_description(definition.description).build();
        Self(counter, Arc::clone(&attributes.pairs))
    }

    #[inline]
    pub(super) fn add(&self, number: u64) {
        self.0.add(number, &self.1);
    }
}

pub(super) struct Histogram(metrics::Histogram<f64>, Arc<[KeyValue]>);

impl Histogram {
    pub(super) fn new(definition: &Definition, attributes: &Attributes) -> Self {
        let builder = attributes.meter.f64_histogram(definition.name);
        let builder = builder.with_unit(definition.unit);
        let builder = builder.with_boundaries(definition.boundaries.to_vec());
        let histogram = builder.with_description(definition.description).build();
        Self(histogram, Arc::clone(&attributes.pairs))
    }

    #[inline]
    pub(super) fn record(&self, number: f64) {
        self.0.record(number, &self.1);
    }
}
