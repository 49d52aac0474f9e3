//! What is known of a statement once it has ended.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use tracing::Span;

/// Receives the statements of one session.
///
/// Called from the stream: it must neither block nor panic.
pub trait StatementListener: fmt::Debug + Send + Sync {
    /// Describes a text that the session has not sent before. `standard` says whether
    /// `standard_conforming_strings` is known to be on.
    fn describe(&self, text: &[u8], standard: bool) -> Arc<StatementText>;

    /// A statement was sent completely. Returns its span, if spans are recorded.
    fn began(&self, text: &StatementText, caller: Option<&Span>) -> Option<Span> {
        let _ = (text, caller);
        None
    }

    /// A statement has ended.
    fn ended(&self, record: &StatementRecord);
}

/// What is kept of a statement's text: shared by all runs of the text in a handle.
#[derive(Debug)]
pub struct StatementText {
    /// The first word, such as `SELECT`; `OTHER` for an unknown one.
    pub operation: &'static str,
    /// The operations and what they act on, such as `SELECT users`.
    pub summary: Box<str>,
    /// The text, as far as it may be shown.
    pub text: Option<Box<str>>,
    /// Equal for texts that are counted together.
    pub key: u64,
    /// Where the listener keeps its numbers.
    pub slot: AtomicU32,
}

/// How a statement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementOutcome {
    /// The server completed it.
    Done,
    /// The server refused it, or failed while it ran: the SQLSTATE.
    Failed([u8; 5]),
    /// The session ended before the answer.
    Lost,
}

impl StatementOutcome {
    /// The SQLSTATE of a failure.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Failed(code) => std::str::from_utf8(code).ok(),
            Self::Done | Self::Lost => None,
        }
    }

    /// Whether the statement failed or was lost.
    #[inline]
    pub fn is_error(self) -> bool {
        self != Self::Done
    }
}

/// One run of a statement, from the last byte of its request to the server's `ReadyForQuery`, or to
/// its own completion if the server goes on with another statement of the same request.
#[derive(Debug)]
pub struct StatementRecord {
    /// What is known of its text.
    pub text: Arc<StatementText>,
    /// Where its session was acquired, or the call that sent it.
    pub place: Option<&'static Location<'static>>,
    /// Identifies the checkout in which it ran.
    pub checkout: u32,
    /// The number of rows: those returned, changed or copied.
    pub rows: u64,
    /// The bytes of its messages to the server.
    pub sent: u64,
    /// The bytes of its answer.
    pub received: u64,
    /// How it ended.
    pub outcome: StatementOutcome,
    /// Its span, if spans are recorded.
    pub span: Option<Box<Span>>,
    /// When the last byte of its request was sent.
    pub(super) sent_at: Option<Instant>,
    /// When the server could begin with it, if that was later.
    pub(super) began_at: Option<Instant>,
    pub(super) first_at: Option<Instant>,
    pub(super) ended_at: Option<Instant>,
}

impl StatementRecord {
    #[inline]
    pub(crate) fn new(
        text: Arc<StatementText>,
        place: Option<&'static Location<'static>>,
        checkout: u32,
        sent: u64,
    ) -> Self {
        Self {
            text,
            place,
            checkout,
            rows: 0,
            sent,
            received: 0,
            outcome: StatementOutcome::Done,
            span: None,
            sent_at: None,
            began_at: None,
            first_at: None,
            ended_at: None,
        }
    }

    /// How long it was queued behind other statements on its session.
    pub fn wait(&self) -> Duration {
        span(self.sent_at, self.began_at)
    }

    /// From the end of the wait to the first byte of its answer.
    pub fn first_byte(&self) -> Duration {
        span(self.begins(), self.first_at)
    }

    /// From the end of the wait to its end.
    #[inline]
    pub fn duration(&self) -> Duration {
        span(self.begins(), self.ended_at)
    }

    #[inline]
    pub(super) fn begins(&self) -> Option<Instant> {
        self.began_at.or(self.sent_at)
    }
}

#[inline]
fn span(from: Option<Instant>, to: Option<Instant>) -> Duration {
    match (from, to) {
        (Some(from), Some(to)) => to.saturating_duration_since(from),
        _ => Duration::ZERO,
    }
}
