//! When the standbys of a cluster are read from.

use std::time::Duration;

/// What limits the use of a cluster's readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReaderLimits {
    /// A standby whose data is older is not used.
    pub max_lag: Option<Duration>,
    /// Whether the writer is read from while no standby can be used.
    pub fallback: bool,
}
