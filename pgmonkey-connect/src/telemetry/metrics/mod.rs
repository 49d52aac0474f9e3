//! The metrics of handles and of their statements.
//!
//! Names, units, attributes and boundaries are those of OpenTelemetry's semantic conventions for
//! database clients, where they have one, and begin with `pgmonkey.` elsewhere. They are defined
//! once ([`definitions`]), and each instrument ([`instrument`]) reports through the crate `metrics`,
//! the crate `opentelemetry`, both or neither, as the features say.

mod definitions;
mod instrument;
pub mod operations;
mod pool;
mod standby;

pub(crate) use pool::Metrics;
pub(crate) use standby::StandbyMetrics;
