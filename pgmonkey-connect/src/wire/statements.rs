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

use super::framing::{Backend, Frontend};
use super::observer::Observer;
pub(crate) use names::hash_of;
use names::{Names, cut};
use queue::{End, Queue, Unit, code_of, rows_of};
pub use record::{StatementListener, StatementOutcome, StatementRecord, StatementText};

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

    /// Records the first byte of an answer, if the bytes received up to this position have one.
    #[inline]
    pub(super) fn received_to(&mut self, position: u64, now: impl FnOnce() -> Instant) {
        if position > self.received_to && self.queue.awaits() {
            let now = now();
            self.leave_ended(now);
            if let Some(record) = self.queue.current()
                && record.first_at.is_none()
            {
                record.first_at = Some(now);
            }
        }
    }

    /// Receives a message other than `CommandComplete` and `ReadyForQuery` from the server, which
    /// ends `at` this position.
    #[cold]
    pub(super) fn received(
        &mut self,
        message: &Backend<'_>,
        at: u64,
        now: &mut dyn FnMut() -> Instant,
    ) {
        match message {
            Backend::Suspended(rows) => self.ends(*rows, StatementOutcome::Done, now(), at),
            Backend::Error { fields, rows, .. } => {
                self.ends(*rows, StatementOutcome::Failed(code_of(fields)), now(), at);
            }
            Backend::Empty => self.was_empty(at, now()),
            Backend::CopyIn => self.copy_began(now()),
            _ => {}
        }
    }

    /// The server has completed a statement.
    #[inline]
    pub(super) fn completed(&mut self, tag: &[u8], now: Instant, at: u64) {
        self.ends(rows_of(tag), StatementOutcome::Done, now, at);
    }

    /// The server was given a statement without text.
    fn was_empty(&mut self, at: u64, now: Instant) {
        self.leave_ended(now);
        self.received_to = at;
        if let Some(unit) = self.queue.first_mut()
            && unit.record.as_ref().is_some_and(|r| r.ended_at.is_none())
        {
            match unit.end {
                End::Open => self.queue.pop(),
                End::Sync | End::Query => unit.record = None,
            }
        }
    }

    #[inline]
    fn ends(&mut self, rows: u64, outcome: StatementOutcome, now: Instant, at: u64) {
        self.leave_ended(now);
        let Some(record) = self.queue.current() else {
            return;
        };
        record.received += at - std::mem::replace(&mut self.received_to, at);
        record.rows += rows;
        if outcome.is_error() {
            record.outcome = outcome;
        }
        if record.ended_at.is_none()
            && let Some(free_at) = self.free_at
            && record.sent_at.is_none_or(|sent_at| free_at > sent_at)
        {
            record.began_at = Some(free_at);
        }
        record.first_at.get_or_insert(now);
        record.ended_at = Some(now);
        self.free_at = Some(now);
    }

    /// Reports the statement that was completed before, if another one follows in its request. The
    /// server skips what follows one that failed.
    #[inline]
    fn leave_ended(&mut self, now: Instant) {
        let is_left = !self.queue.is_single()
            && self.queue.first().is_some_and(|unit| {
                let record = unit.record.as_ref();
                unit.end == End::Open
                    && record.is_some_and(|r| r.ended_at.is_some() && !r.outcome.is_error())
            });
        if is_left {
            self.leave(now);
        }
    }

    /// The server sends the completions of one request together, unless they are long, so that the
    /// time of each cannot be known: it is that of the last one. Those before are a `BEGIN` and
    /// settings.
    #[cold]
    fn leave(&mut self, now: Instant) {
        if let Some(record) = self.queue.current() {
            if record.ended_at == Some(now) {
                let begins = record.begins();
                (record.first_at, record.ended_at) = (begins, begins);
                self.free_at = begins;
            }
            self.listener.ended(record);
        }
        self.queue.pop();
    }

    /// The server is ready for the next request.
    #[inline]
    pub(super) fn ready(&mut self, at: u64, now: impl FnOnce() -> Instant) {
        self.copy_ended = false;
        let received = at - std::mem::replace(&mut self.received_to, at);
        if let Some(record) = self.queue.current()
            && record.ended_at.is_some()
        {
            let now = now();
            record.received += received;
            record.ended_at = Some(now);
            self.free_at = Some(now);
            self.listener.ended(record);
        }
        // With it, statements after one that failed, which the server has skipped, and those that
        // it has only prepared.
        while let Some(unit) = self.queue.first() {
            let is_end = unit.end != End::Open;
            self.queue.pop();
            if is_end {
                break;
            }
        }
    }

    /// The server expects the data of a copy.
    fn copy_began(&mut self, now: Instant) {
        self.leave_ended(now);
        // It ignores the Sync that was sent with the statement; a simple query has none.
        if let Some(unit) = self.queue.first_mut()
            && unit.end == End::Sync
        {
            unit.end = End::Open;
        }
    }

    /// The session has ended: nothing more will be answered.
    #[cold]
    pub(super) fn lost(&mut self, now: Instant) {
        while let Some(unit) = self.queue.first_mut() {
            let prepares = unit.prepares;
            if let Some(record) = &mut unit.record
                && record.sent_at.is_some()
                && !prepares
            {
                if record.ended_at.is_none() {
                    let later = |free_at: &Instant| record.sent_at.is_some_and(|at| *free_at > at);
                    record.began_at = self.free_at.filter(later);
                }
                record.first_at.get_or_insert(now);
                record.ended_at = Some(now);
                if !record.outcome.is_error() {
                    record.outcome = StatementOutcome::Lost;
                }
                self.free_at = Some(now);
                self.listener.ended(record);
            }
            self.queue.pop();
        }
    }
}
