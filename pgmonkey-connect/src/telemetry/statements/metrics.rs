//! The metrics of one session's statements; no-ops without the feature `metrics`.

#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(feature = "metrics")]
mod on;

#[cfg(not(feature = "metrics"))]
pub(super) use off::Metrics;
#[cfg(feature = "metrics")]
pub(super) use on::Metrics;
