//! The error of a caller that may not wait.

use std::sync::Arc;
use std::time::Duration;

use super::PoolCore;
use crate::Error;
use crate::telemetry::events;

impl<S> PoolCore<S> {
    pub(super) fn queue_full(&self) -> Error {
        let error = Error::QueueFull {
            target: Arc::clone(self.label.target()),
            status: Box::new(self.status()),
        };
        events::acquire_failed(self.label.name(), Duration::ZERO, &error);
        error
    }
}
