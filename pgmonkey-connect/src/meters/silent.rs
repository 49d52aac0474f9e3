//! What is left of the meters without the feature: nothing.

use std::time::Instant;

use crate::CloseReason;

/// Has no size and does nothing.
#[derive(Debug)]
pub(crate) struct Meters;

impl Meters {
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
    pub(crate) fn returned(&self, _: Instant) {}

    /// When a loan that was asked for at `began` counts as lent.
    pub(crate) fn lent(&self, began: Instant) -> Instant {
        began
    }
}
