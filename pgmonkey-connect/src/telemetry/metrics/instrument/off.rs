//! The half of an instrument whose feature is off.

use super::super::definitions::Definition;

#[derive(Clone)]
pub(super) struct Attributes;

impl Attributes {
    pub(super) fn none() -> Self {
        Self
    }

    pub(super) fn with(self, _: &'static str, _: &str) -> Self {
        self
    }

    /// For the half that knows numbers.
    #[cfg(not(feature = "otel"))]
    pub(super) fn with_number(self, _: &'static str, _: u16) -> Self {
        self
    }
}

pub(super) struct Gauge;

impl Gauge {
    pub(super) fn new(_: &Definition, _: &Attributes) -> Self {
        Self
    }

    #[inline]
    pub(super) fn add(&self, _: i64) {}
}

pub(super) struct Counter;

impl Counter {
    pub(super) fn new(_: &Definition, _: &Attributes) -> Self {
        Self
    }

    #[inline]
    pub(super) fn add(&self, _: u64) {}
}

pub(super) struct Histogram;

impl Histogram {
    pub(super) fn new(_: &Definition, _: &Attributes) -> Self {
        Self
    }

    #[inline]
    pub(super) fn record(&self, _: f64) {}
}
