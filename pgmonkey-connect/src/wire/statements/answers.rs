//! What the server answers.

use std::time::Instant;

use super::queue::{End, code_of, rows_of};
use super::{StatementOutcome, Statements};
use crate::wire::framing::Backend;

impl Statements {
    /// Records the first byte of an answer, if the bytes received up to this position have one.
    #[inline]
    pub(in crate::wire) fn received_to(&mut self, position: u64, now: impl FnOnce() -> Instant) {
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
    pub(in crate::wire) fn received(
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
    pub(in crate::wire) fn completed(&mut self, tag: &[u8], now: Instant, at: u64) {
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
    pub(in crate::wire) fn ready(&mut self, at: u64, now: impl FnOnce() -> Instant) {
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
    pub(in crate::wire) fn lost(&mut self, now: Instant) {
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
