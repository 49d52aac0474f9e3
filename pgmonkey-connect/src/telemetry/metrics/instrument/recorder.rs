//! Instruments of the crate `metrics`: of the recorder that is installed when they are looked up.

use metrics::{
    Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};

use super::super::definitions::Definition;

#[derive(Clone)]
pub(super) struct Attributes(Vec<Label>);

impl Attributes {
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn with(mut self, key: &'static str, value: &str) -> Self {
        self.0.push(Label::new(key, value.to_owned()));
        self
    }
}

pub(super) struct Gauge(metrics::Gauge);

impl Gauge {
    pub(super) fn new(definition: &Definition, attributes: &Attributes) -> Self {
        describe_gauge!(definition.name, unit(definition), definition.description);
        Self(gauge!(definition.name, attributes.0.clone()))
    }

    #[inline]
    pub(super) fn add(&self, number: i64) {
        self.0.increment(number as f64);
    }
}

pub(super) struct Counter(metrics::Counter);

impl Counter {
    pub(super) fn new(definition: &Definition, attributes: &Attributes) -> Self {
        describe_counter!(definition.name, unit(definition), definition.description);
        Self(counter!(definition.name, attributes.0.clone()))
    }

    #[inline]
    pub(super) fn add(&self, number: u64) {
        self.0.increment(number);
    }
}

pub(super) struct Histogram(metrics::Histogram);

impl Histogram {
    pub(super) fn new(definition: &Definition, attributes: &Attributes) -> Self {
        describe_histogram!(definition.name, unit(definition), definition.description);
        Self(histogram!(definition.name, attributes.0.clone()))
    }

    #[inline]
    pub(super) fn record(&self, number: f64) {
        self.0.record(number);
    }
}

fn unit(definition: &Definition) -> Unit {
    match definition.unit {
        "s" => Unit::Seconds,
        "By" => Unit::Bytes,
        _ => Unit::Count,
    }
}
