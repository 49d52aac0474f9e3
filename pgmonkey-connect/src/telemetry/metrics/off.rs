//! Metrics without the feature `metrics`: no-ops.

use std::time::Instant;

use crate::status::CloseReason;

/// A zero-sized no-op.
#[derive(Debug)]
pub(crate) struct Metrics;

impl Metrics {
    pub(crate) fn new(_: &str, _: u32) -> Self {
        Self
    }

    pub(crate) fn resized(&self, _: u32) {}
    pub(crate) fn opened(&self) {}
    pub(crate) fn connected(&self, _: Instant) {}
    pub(crate) fn open_failed(&self) {}
    pub(crate) fn closed(&self, _: CloseReason) {}
    pub(crate) fn timed_out(&self) {}
    pub(crate) fn waits(&self) {}
    pub(crate) fn waited(&self) {}
    pub(crate) fn released(&self, _: Instant) {}

    /// Returns the start of a checkout that was requested at `began`.
    pub(crate) fn acquired(&self, began: Instant) -> Instant {
        began
    }
}
