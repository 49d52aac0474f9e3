//! The metrics of one standby of a cluster's reading side.

use std::fmt;
use std::time::Duration;

use pgmonkey_config::Target;

use super::definitions as all;
use super::instrument::{Attributes, Gauge, Histogram};

/// One standby's metrics.
pub(crate) struct StandbyMetrics {
    lag: Histogram,
    used: Gauge,
    is_used: bool,
}

impl StandbyMetrics {
    /// Looks up the metrics of a standby of the pool named `pool`.
    pub(crate) fn new(pool: &str, standby: &Target) -> Self {
        let attributes = Attributes::none()
            .with(all::POOL_NAME, pool)
            .with(all::SERVER_ADDRESS, &standby.host.to_string())
            .with_number(all::SERVER_PORT, standby.port);
        Self {
            lag: Histogram::new(&all::STANDBY_LAG, &attributes),
            used: Gauge::new(&all::STANDBY_USED, &attributes),
            is_used: false,
        }
    }

    /// It said how old its data is.
    pub(crate) fn asked(&self, lag: Option<Duration>) {
        if let Some(lag) = lag {
            self.lag.record_time(lag);
        }
    }

    /// It is used from now on, or not.
    pub(crate) fn is_used(&mut self, is_used: bool) {
        let was_used = std::mem::replace(&mut self.is_used, is_used);
        self.used.add(i64::from(is_used) - i64::from(was_used));
    }
}

impl Drop for StandbyMetrics {
    fn drop(&mut self) {
        self.is_used(false);
    }
}

impl fmt::Debug for StandbyMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandbyMetrics").finish_non_exhaustive()
    }
}
