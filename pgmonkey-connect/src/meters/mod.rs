//! The gauges, counters and histograms of one handle: real ones with the feature `metrics`,
//! nothing without it.

#[cfg(feature = "metrics")]
mod recorded;
#[cfg(not(feature = "metrics"))]
mod silent;

#[cfg(feature = "metrics")]
pub(crate) use recorded::Meters;
#[cfg(not(feature = "metrics"))]
pub(crate) use silent::Meters;
