//! A handle's name and target, and the metrics and events reported under them.

use std::borrow::Cow;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgmonkey_config::PoolSettings;

use crate::Error;
use crate::session::statement_cache::StatementCounts;
use crate::status::{CloseReason, StatementStatus};
use crate::telemetry::events;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::statements::StatementLog;

/// A handle's name and target, with its metrics and statement counts.
#[derive(Debug)]
pub struct Label {
    number: u64,
    name: Arc<str>,
    target: Arc<str>,
    metrics: Metrics,
    statements: Arc<StatementCounts>,
    log: Option<Arc<StatementLog>>,
}

impl Label {
    /// Creates a label; `name` identifies the handle in events and metrics, `target` is
    /// `user@host:port/database`.
    pub fn new(
        name: impl Into<Arc<str>>,
        target: impl Into<Arc<str>>,
        settings: &PoolSettings,
    ) -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let name = name.into();
        Self {
            number: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            metrics: Metrics::new(&name, settings.min_size, settings.max_size),
            name,
            target: target.into(),
            statements: Arc::default(),
            log: None,
        }
    }

    /// Sets what the handle's statements are reported to.
    #[must_use]
    pub fn reporting_to(mut self, log: &Arc<StatementLog>) -> Self {
        self.log = Some(Arc::clone(log));
        self
    }

    /// The numbers of the handle's statements.
    pub(super) fn statement_status(&self) -> StatementStatus {
        self.log.as_ref().map(|log| log.all()).unwrap_or_default()
    }

    /// What the handle's statements are reported to.
    pub fn statement_log(&self) -> Option<&Arc<StatementLog>> {
        self.log.as_ref()
    }

    /// A text that is not cached, as it is to be sent.
    #[inline]
    pub fn text_to_send<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.log {
            Some(log) => log.text_to_send(text),
            None => Cow::Borrowed(text),
        }
    }

    /// The handle's number: no other handle of the process has it.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The handle's name in events and metrics.
    #[inline]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// `user@host:port/database`.
    pub fn target(&self) -> &Arc<str> {
        &self.target
    }

    /// The counters shared by the statement caches of the handle's sessions.
    pub fn statements(&self) -> &Arc<StatementCounts> {
        &self.statements
    }

    /// Records that a server search begun at `began` opened a session.
    pub fn connected(&self, began: Instant) {
        self.metrics.connected(began);
    }

    /// Records that a session was acquired at `place` by a caller that asked at `began`.
    #[inline]
    pub(super) fn acquired(&self, place: &'static Location<'static>, began: Instant) {
        events::acquired(&self.name, began);
        if let Some(log) = &self.log {
            log.acquired(place, || began.elapsed());
        }
        self.metrics.acquired(began);
    }

    /// Records that a session was released after this time.
    #[inline]
    pub(super) fn released(&self, held: Duration) {
        self.metrics.released(held);
    }

    pub(super) fn opened(&self) {
        self.metrics.opened();
    }

    pub(super) fn open_failed(&self, error: &Error) {
        self.metrics.open_failed();
        events::connect_failed(&self.name, error);
    }

    pub(super) fn ended(&self, reason: CloseReason) {
        self.metrics.closed(reason);
        events::discarded(&self.name, reason);
    }

    pub(super) fn waits(&self) {
        self.metrics.waits();
    }

    pub(super) fn waited(&self) {
        self.metrics.waited();
    }

    pub(super) fn timed_out(&self) {
        self.metrics.timed_out();
    }

    pub(super) fn resized(&self, min_size: u32, max_size: u32) {
        self.metrics.resized(min_size, max_size);
        events::resized(&self.name, min_size, max_size);
    }
}
