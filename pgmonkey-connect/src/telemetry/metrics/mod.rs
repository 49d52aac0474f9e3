//! The gauges, counters and histograms of one handle; no-ops without the feature `metrics`.

#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(feature = "metrics")]
mod on;

#[cfg(not(feature = "metrics"))]
pub(crate) use off::Metrics;
#[cfg(feature = "metrics")]
pub(crate) use on::Metrics;
