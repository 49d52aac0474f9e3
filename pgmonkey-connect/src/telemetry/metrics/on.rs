//! Metrics through the `metrics` crate.
//!
//! They are registered once, when the handle is created, so that an acquire and release cost a few
//! atomic additions and no allocation. Gauges are incremented and decremented, never set: handles
//! of the same name add up, and no update can be outdated.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use crate::status::CloseReason;

const SIZE: &str = "pgmonkey_size";
const IDLE: &str = "pgmonkey_idle";
const IN_USE: &str = "pgmonkey_in_use";
const WAITING: &str = "pgmonkey_waiting";
const MAX_SIZE: &str = "pgmonkey_max_size";
const OPENED: &str = "pgmonkey_opened_total";
const OPEN_FAILURES: &str = "pgmonkey_open_failures_total";
const CLOSED: &str = "pgmonkey_closed_total";
const TIMEOUTS: &str = "pgmonkey_timeouts_total";
const ACQUIRES: &str = "pgmonkey_acquires_total";
const ACQUIRE_WAIT: &str = "pgmonkey_acquire_wait_seconds";
const CONNECT: &str = "pgmonkey_connect_seconds";
const HOLD: &str = "pgmonkey_hold_seconds";

/// One handle's metrics.
pub(crate) struct Metrics {
    size: Gauge,
    idle: Gauge,
    in_use: Gauge,
    waiting: Gauge,
    max: Gauge,
    max_size: AtomicU32,
    opened: Counter,
    open_failures: Counter,
    closed: [Counter; CloseReason::ALL.len()],
    timeouts: Counter,
    acquires: Counter,
    acquire_wait: Histogram,
    connect: Histogram,
    hold: Histogram,
}

impl Metrics {
    /// Registers the metrics of the handle named `pool` with the currently installed recorder.
    pub(crate) fn new(pool: &str, max_size: u32) -> Self {
        describe();
        let pool = || pool.to_owned();
        let metrics = Self {
            size: gauge!(SIZE, "pool" => pool()),
            idle: gauge!(IDLE, "pool" => pool()),
            in_use: gauge!(IN_USE, "pool" => pool()),
            waiting: gauge!(WAITING, "pool" => pool()),
            max: gauge!(MAX_SIZE, "pool" => pool()),
            max_size: AtomicU32::new(max_size),
            opened: counter!(OPENED, "pool" => pool()),
            open_failures: counter!(OPEN_FAILURES, "pool" => pool()),
            closed: CloseReason::ALL
                .map(|reason| counter!(CLOSED, "pool" => pool(), "reason" => reason.as_str())),
            timeouts: counter!(TIMEOUTS, "pool" => pool()),
            acquires: counter!(ACQUIRES, "pool" => pool()),
            acquire_wait: histogram!(ACQUIRE_WAIT, "pool" => pool()),
            connect: histogram!(CONNECT, "pool" => pool()),
            hold: histogram!(HOLD, "pool" => pool()),
        };
        metrics.max.increment(max_size);
        metrics
    }

    pub(crate) fn resized(&self, max_size: u32) {
        let before = self.max_size.swap(max_size, Ordering::Relaxed);
        self.max.increment(max_size);
        self.max.decrement(before);
    }

    pub(crate) fn opened(&self) {
        self.opened.increment(1);
        self.size.increment(1);
        self.idle.increment(1);
    }

    /// Records that a server search begun at `began` opened a session.
    pub(crate) fn connected(&self, began: Instant) {
        self.connect.record(began.elapsed());
    }

    pub(crate) fn open_failed(&self) {
        self.open_failures.increment(1);
    }

    pub(crate) fn closed(&self, reason: CloseReason) {
        self.closed[reason as usize].increment(1);
        self.size.decrement(1);
        self.idle.decrement(1);
    }

    pub(crate) fn timed_out(&self) {
        self.timeouts.increment(1);
    }

    pub(crate) fn waits(&self) {
        self.waiting.increment(1);
    }

    pub(crate) fn waited(&self) {
        self.waiting.decrement(1);
    }

    /// Records an acquire that was requested at `began`; returns the start of the checkout.
    pub(crate) fn acquired(&self, began: Instant) -> Instant {
        let now = Instant::now();
        self.acquires.increment(1);
        self.acquire_wait.record(now - began);
        self.idle.decrement(1);
        self.in_use.increment(1);
        now
    }

    /// Records the end of a checkout that started at `since`.
    pub(crate) fn released(&self, since: Instant) {
        self.hold.record(since.elapsed());
        self.in_use.decrement(1);
        self.idle.increment(1);
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.max.decrement(self.max_size.load(Ordering::Relaxed));
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

fn describe() {
    let count = Unit::Count;
    describe_gauge!(SIZE, count, "open sessions");
    describe_gauge!(IDLE, count, "idle sessions");
    describe_gauge!(IN_USE, count, "sessions in use");
    describe_gauge!(WAITING, count, "callers waiting for a session");
    describe_gauge!(MAX_SIZE, count, "maximum number of sessions");
    describe_counter!(OPENED, count, "sessions opened");
    describe_counter!(
        OPEN_FAILURES,
        count,
        "searches for a server that opened no session"
    );
    describe_counter!(CLOSED, count, "sessions closed");
    describe_counter!(TIMEOUTS, count, "callers that gave up waiting");
    describe_counter!(ACQUIRES, count, "sessions acquired");
    describe_histogram!(
        ACQUIRE_WAIT,
        Unit::Seconds,
        "time from the request to the acquired session"
    );
    describe_histogram!(
        CONNECT,
        Unit::Seconds,
        "time from the first attempt to an open session"
    );
    describe_histogram!(HOLD, Unit::Seconds, "time from acquire to release");
}
