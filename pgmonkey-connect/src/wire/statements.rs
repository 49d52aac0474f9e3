//! Tells the statements of one session apart and times them. Pure: messages and times in, records
//! out.
//!
//! The queue holds what was sent and is unanswered: each execution of a statement, with the end of
//! its request, which the server answers with `ReadyForQuery`. A statement has ended there, because
//! only then is it committed; one that is followed by another in the same request has ended with its
//! own completion.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tracing::{Level, level_enabled};

use super::framing::Frontend;
use super::observer::Observer;
pub(crate) use names::hash_of;
use names::{Names, cut};
use queue::{End, Queue, Unit};
pub use record::{StatementListener, StatementOutcome, StatementRecord, StatementText};

mod answers;
mod names;
mod queue;
mod record;
#[cfg(test)]
mod tests;

/// How many portals with a name are tracked in one session.
const MOST_PORTALS: usize = 1000;

/// The statements of one session.
#[derive(Debug)]
pub(super) struct Statements {
    listener: Arc<dyn StatementListener>,
    names: Names,
    /// The statement of the unnamed portal, until it is executed.
    bound: Option<Arc<StatementText>>,
    portals: HashMap<Box<[u8]>, Arc<StatementText>>,
    /// The last statement that was prepared since the end of the last request.
    parsed: Option<Arc<StatementText>>,
    queue: Queue,
    /// How many units belong to a request that is not completely sent.
    open: usize,
    /// Whether the end of a request is among the bytes that are being fed.
    is_sent: bool,
    copy_ended: bool,
    /// How many bytes were sent and received up to the end of the last statement.
    sent_to: u64,
    received_to: u64,
    /// When the server completed the statement before.
    free_at: Option<Instant>,
}

impl Statements {
    pub(super) fn new(listener: Arc<dyn StatementListener>) -> Self {
        Self {
            listener,
            names: Names::default(),
            bound: None,
            portals: HashMap::new(),
            parsed: None,
            queue: Queue::default(),
            open: 0,
            is_sent: false,
            copy_ended: false,
            sent_to: 0,
            received_to: 0,
            free_at: None,
        }
    }

    /// Receives a message from the client, which ends `at` this position.
    #[inline]
    pub(super) fn sent(&mut self, observer: &Observer, message: Frontend<'_>, at: u64) {
        match message {
            Frontend::Bind(Some(body)) => self.bind(body),
            Frontend::Execute(Some(body)) => self.execute(observer, body, at),
            Frontend::Sync => self.sync(observer, at),
            Frontend::Query(Some(body)) => self.query(observer, body, at),
            Frontend::Parse(Some(body)) => self.parse(observer, body),
            Frontend::Close(Some(body)) => self.close(body),
            Frontend::CopyEnd => self.end_copy(at),
            Frontend::Late { kind, body, .. } => self.late(observer, kind, body, at),
            _ => {}
        }
    }

    #[cold]
    fn late(&mut self, observer: &Observer, kind: u8, body: &[u8], at: u64) {
        match kind {
            b'B' => self.bind(body),
            b'E' => self.execute(observer, body, at),
            b'Q' => self.query(observer, body, at),
            b'P' => self.parse(observer, body),
            b'C' => self.close(body),
            _ => {}
        }
    }

    /// A statement's name, NUL, its text, NUL, and types.
    fn parse(&mut self, observer: &Observer, body: &[u8]) {
        let (name, rest) = cut(body);
        let text = cut(rest.unwrap_or_default()).0;
        let known = self.names.parse(observer, &*self.listener, name, text);
        self.parsed = Some(known);
    }

    /// A portal's name, NUL, a statement's name, NUL, and more.
    #[inline]
    fn bind(&mut self, body: &[u8]) {
        match body.split_first() {
            Some((0, rest)) => self.bound = self.names.get(rest),
            _ => self.bind_portal(body),
        }
    }

    fn bind_portal(&mut self, body: &[u8]) {
        let (portal, rest) = cut(body);
        if let Some(text) = self.names.get(rest.unwrap_or_default())
            && self.portals.len() < MOST_PORTALS
        {
            self.portals.insert(portal.into(), text);
        }
    }

    #[inline]
    fn execute(&mut self, observer: &Observer, body: &[u8], at: u64) {
        let text = match body.first() {
            Some(0) | None => self.bound.take(),
            Some(_) => self.portals.get(cut(body).0).cloned(),
        };
        let text = text.unwrap_or_else(|| self.unknown(observer));
        self.push(observer, text, at, false);
    }

    /// A statement that cannot be told, such as one that was prepared by a text.
    #[cold]
    fn unknown(&self, observer: &Observer) -> Arc<StatementText> {
        self.listener.describe(b"", observer.has_standard_strings())
    }

    #[inline]
    fn push(&mut self, observer: &Observer, text: Arc<StatementText>, at: u64, prepares: bool) {
        let bytes = at - std::mem::replace(&mut self.sent_to, at);
        let (place, checkout) = (observer.place(), observer.checkout());
        self.queue.push(Unit {
            record: Some(StatementRecord::new(text, place, checkout, bytes)),
            prepares,
            end: End::Open,
        });
        self.open += 1;
    }

    #[inline]
    fn sync(&mut self, observer: &Observer, at: u64) {
        if self.parsed.is_some()
            && let Some(text) = self.parsed.take()
            && self.open == 0
        {
            self.push(observer, text, at, true);
        }
        let bytes = at - std::mem::replace(&mut self.sent_to, at);
        self.is_sent = true;
        let is_copied = std::mem::take(&mut self.copy_ended);
        let unit = match is_copied {
            true => self.queue.first_mut(),
            false if self.open > 0 => self.queue.last_mut(),
            false => None,
        };
        self.open = 0;
        match unit {
            Some(unit) => {
                unit.end = End::Sync;
                if let Some(record) = &mut unit.record {
                    record.sent += bytes;
                }
            }
            None => self.queue.push(Unit {
                record: None,
                prepares: false,
                end: End::Sync,
            }),
        }
    }

    /// Statements separated by semicolons. They are one unit: the server sends their completions
    /// together, at the end.
    fn query(&mut self, observer: &Observer, body: &[u8], at: u64) {
        let text = cut(body).0;
        let text = self.names.unnamed(observer, &*self.listener, text);
        self.push(observer, text, at, false);
        if let Some(unit) = self.queue.last_mut() {
            unit.end = End::Query;
        }
        (self.sent_to, self.open, self.is_sent) = (at, 0, true);
    }

    /// `S` and a statement's name, or `P` and a portal's.
    fn close(&mut self, body: &[u8]) {
        match body.split_first() {
            Some((b'S', name)) => self.names.close(cut(name).0),
            Some((_, name)) if !self.portals.is_empty() => {
                self.portals.remove(cut(name).0);
            }
            _ => {}
        }
    }

    /// The data of a copy belongs to the statement that is being answered.
    fn end_copy(&mut self, at: u64) {
        let bytes = at - std::mem::replace(&mut self.sent_to, at);
        if let Some(record) = self.queue.current() {
            record.sent += bytes;
        }
        self.copy_ended = true;
    }

    /// Whether [`stamp`](Self::stamp) is to be called with the time.
    #[inline]
    pub(super) fn is_to_stamp(&self) -> bool {
        self.is_sent
    }

    /// Records when the last bytes of a request were sent.
    #[inline]
    pub(super) fn stamp(&mut self, observer: &Observer, now: Instant) {
        self.is_sent = false;
        // Those of the next request are not completely sent.
        if self.queue.is_single() && self.open == 0 {
            if let Some(record) = self.queue.current() {
                record.sent_at.get_or_insert(now);
            }
        } else {
            self.stamp_all(now);
        }
        if level_enabled!(Level::DEBUG) {
            self.begin_spans(observer);
        }
    }

    fn stamp_all(&mut self, now: Instant) {
        for unit in self.queue.backwards().skip(self.open) {
            let Some(record) = &mut unit.record else {
                continue;
            };
            if record.sent_at.is_some() {
                break;
            }
            record.sent_at = Some(now);
        }
    }

    #[cold]
    fn begin_spans(&mut self, observer: &Observer) {
        let caller = observer.caller_span();
        for unit in self.queue.backwards().skip(self.open) {
            if let Some(record) = &mut unit.record
                && record.span.is_none()
                && !unit.prepares
            {
                let span = self.listener.began(&record.text, caller.as_ref());
                record.span = span.map(Box::new);
            }
        }
    }

    /// Records that what was sent so far, up to this position, was the login.
    pub(super) fn login_ends(&mut self, sent: u64) {
        self.sent_to = sent;
    }
}
