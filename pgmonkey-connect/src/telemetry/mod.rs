//! Events and metrics for the program.

pub mod events;
pub(crate) mod metrics;
pub mod notices;

pub use metrics::operations;
