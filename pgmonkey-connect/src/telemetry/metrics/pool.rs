//! The metrics of one handle.
//!
//! They are looked up once, when the handle is created, so that an acquire and release cost a few
//! atomic additions and no allocation.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::definitions as all;
use super::instrument::{Attributes, Counter, ENABLED, Gauge, Histogram};
use crate::status::CloseReason;

/// One handle's metrics.
pub(crate) struct Metrics {
    idle: Gauge,
    used: Gauge,
    max: Gauge,
    idle_max: Gauge,
    idle_min: Gauge,
    min_size: AtomicU32,
    max_size: AtomicU32,
    pending_requests: Gauge,
    timeouts: Counter,
    create_time: Histogram,
    wait_time: Histogram,
    use_time: Histogram,
    opened: Counter,
    open_failures: Counter,
    closed: [Counter; CloseReason::ALL.len()],
}

impl Metrics {
    /// Looks up the metrics of the handle named `pool`.
    pub(crate) fn new(pool: &str, min_size: u32, max_size: u32) -> Self {
        let of_pool = Attributes::none().with(all::POOL_NAME, pool);
        let with = |key, value| of_pool.clone().with(key, value);
        let gauge = |definition| Gauge::new(definition, &of_pool);
        let counter = |definition| Counter::new(definition, &of_pool);
        let histogram = |definition| Histogram::new(definition, &of_pool);
        let metrics = Self {
            idle: Gauge::new(&all::COUNT, &with(all::STATE, "idle")),
            used: Gauge::new(&all::COUNT, &with(all::STATE, "used")),
            max: gauge(&all::MAX),
            idle_max: gauge(&all::IDLE_MAX),
            idle_min: gauge(&all::IDLE_MIN),
            min_size: AtomicU32::new(0),
            max_size: AtomicU32::new(0),
            pending_requests: gauge(&all::PENDING_REQUESTS),
            timeouts: counter(&all::TIMEOUTS),
            create_time: histogram(&all::CREATE_TIME),
            wait_time: histogram(&all::WAIT_TIME),
            use_time: histogram(&all::USE_TIME),
            opened: counter(&all::OPENED),
            open_failures: counter(&all::OPEN_FAILURES),
            closed: CloseReason::ALL
                .map(|reason| Counter::new(&all::CLOSED, &with(all::REASON, reason.as_str()))),
        };
        metrics.resized(min_size, max_size);
        metrics
    }

    pub(crate) fn resized(&self, min_size: u32, max_size: u32) {
        let change =
            |size: &AtomicU32, now| i64::from(now) - i64::from(size.swap(now, Ordering::Relaxed));
        self.idle_min.add(change(&self.min_size, min_size));
        let more = change(&self.max_size, max_size);
        self.max.add(more);
        // No limit of its own: all sessions may be idle.
        self.idle_max.add(more);
    }

    pub(crate) fn opened(&self) {
        self.opened.add(1);
        self.idle.add(1);
    }

    /// Records that a server search begun at `began` opened a session.
    pub(crate) fn connected(&self, began: Instant) {
        if ENABLED {
            self.create_time.record_time(began.elapsed());
        }
    }

    pub(crate) fn open_failed(&self) {
        self.open_failures.add(1);
    }

    pub(crate) fn closed(&self, reason: CloseReason) {
        self.closed[reason as usize].add(1);
        self.idle.add(-1);
    }

    pub(crate) fn timed_out(&self) {
        self.timeouts.add(1);
    }

    pub(crate) fn waits(&self) {
        self.pending_requests.add(1);
    }

    pub(crate) fn waited(&self) {
        self.pending_requests.add(-1);
    }

    /// Records an acquire that was requested at `began`.
    #[inline]
    pub(crate) fn acquired(&self, began: Instant) {
        if ENABLED {
            self.wait_time.record_time(began.elapsed());
            self.idle.add(-1);
            self.used.add(1);
        }
    }

    /// Records the end of a checkout that lasted this long.
    #[inline]
    pub(crate) fn released(&self, held: Duration) {
        self.use_time.record_time(held);
        self.used.add(-1);
        self.idle.add(1);
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.resized(0, 0);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
