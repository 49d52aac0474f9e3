//! Events and metrics for the program.

mod event_limit;
pub mod events;
pub(crate) mod metrics;
pub mod notices;
pub(crate) mod statements;
pub(crate) mod trace_comments;

pub use metrics::operations;
