//! A `BEGIN` that is sent together with the first statement of its transaction.

use std::sync::atomic::Ordering;

use super::{Observer, lock};

/// The `BEGIN` has not been sent.
pub(super) const DEFERRED: u64 = 1 << 23;
/// It was sent and is unanswered.
const BEGINNING: u64 = 1 << 24;
/// It has failed: its session is in no transaction, and the caller believes that it is.
pub(super) const NOT_BEGUN: u64 = 1 << 25;
/// In a transaction from the caller's point of view, whatever the server's status letter says.
pub(super) const BEGINS: u64 = DEFERRED | BEGINNING | NOT_BEGUN;

const PARSE: u8 = b'P';
/// `Bind` of the unnamed statement without parameters to the unnamed portal.
const BIND: [u8; 13] = [b'B', 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0];
/// `Execute` of the unnamed portal.
const EXECUTE: [u8; 10] = [b'E', 0, 0, 0, 9, 0, 0, 0, 0, 0];

/// Statements that begin a transaction, as messages without a Sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginMessages {
    bytes: Box<[u8]>,
    statements: u32,
}

impl BeginMessages {
    /// Encodes the statements: `BEGIN`, then those that set something for the transaction. `None`
    /// if there is none, or if one contains a NUL or is too long for a message.
    pub fn new<'a>(statements: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let (mut bytes, mut count) = (Vec::new(), 0);
        for statement in statements {
            // The length itself, an empty name, the text and its end, and no types.
            let length = i32::try_from(statement.len() + 8).ok()?;
            if statement.contains('\0') {
                return None;
            }
            bytes.push(PARSE);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.push(0);
            bytes.extend_from_slice(statement.as_bytes());
            bytes.extend_from_slice(&[0, 0, 0]);
            bytes.extend_from_slice(&BIND);
            bytes.extend_from_slice(&EXECUTE);
            count += 1;
        }
        (count > 0).then(|| Self {
            bytes: bytes.into(),
            statements: count,
        })
    }

    pub(in crate::wire) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many statements they are.
    pub(in crate::wire) fn statements(&self) -> u32 {
        self.statements
    }
}

/// Why the server has no transaction although the caller has begun one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unbegun {
    /// No statement was sent since, so neither was the `BEGIN`.
    Unsent,
    /// The `BEGIN` has failed, and every statement since.
    Failed,
}

/// How far a deferred `BEGIN` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::wire) enum BeginPhase {
    /// There is none, or it has succeeded.
    None,
    /// It is to be sent with the next statement.
    Deferred,
    /// It is unanswered.
    Sent,
    /// It has failed.
    Failed,
}

impl Observer {
    /// Has the stream send these statements together with the next one, before the same Sync. If
    /// one of them fails, so does that statement, without being run, and if it is `BEGIN`, then all
    /// others until [`cancel_begin`](Self::cancel_begin), or until a `ROLLBACK`.
    ///
    /// The session must be idle, with nothing queued in the driver. It counts as in a transaction
    /// from now on.
    pub fn defer_begin(&self, begin: BeginMessages) {
        let mut deferred = lock(&self.begin);
        *deferred = Some(begin);
        self.word.fetch_or(DEFERRED, Ordering::AcqRel);
    }

    /// Ends the transaction of a deferred `BEGIN` that the server does not have, and returns why
    /// not; `None` if there is no such transaction. Nothing may be queued in the driver: a
    /// statement queued there would run outside of a transaction.
    pub fn cancel_begin(&self) -> Option<Unbegun> {
        // Nearly always there is none, which one load shows.
        if !self.has_begin() {
            return None;
        }
        let mut deferred = lock(&self.begin);
        let ended = match self.begin_phase() {
            BeginPhase::Deferred => Unbegun::Unsent,
            BeginPhase::Failed => Unbegun::Failed,
            BeginPhase::Sent | BeginPhase::None => return None,
        };
        *deferred = None;
        self.word
            .fetch_and(!(DEFERRED | NOT_BEGUN), Ordering::AcqRel);
        Some(ended)
    }

    /// Whether a deferred `BEGIN` has not succeeded yet. Costs one load.
    #[inline]
    pub fn has_begin(&self) -> bool {
        self.word.load(Ordering::Acquire) & BEGINS != 0
    }

    pub(in crate::wire) fn begin_phase(&self) -> BeginPhase {
        let word = self.word.load(Ordering::Acquire);
        if word & NOT_BEGUN != 0 && word & BEGINNING == 0 {
            BeginPhase::Failed
        } else if word & BEGINNING != 0 {
            BeginPhase::Sent
        } else if word & DEFERRED != 0 {
            BeginPhase::Deferred
        } else {
            BeginPhase::None
        }
    }

    /// Takes the deferred `BEGIN`, to send it now; `None` if it was cancelled meanwhile.
    pub(in crate::wire) fn take_begin(&self) -> Option<BeginMessages> {
        let mut deferred = lock(&self.begin);
        let begin = deferred.take()?;
        // In this order, a reader in between still sees a transaction.
        self.word.fetch_or(BEGINNING, Ordering::AcqRel);
        self.word.fetch_and(!DEFERRED, Ordering::AcqRel);
        Some(begin)
    }

    /// Records that a statement of the `BEGIN` has failed; its answer is not complete yet.
    pub(in crate::wire) fn begin_fails(&self) {
        self.word.fetch_or(NOT_BEGUN, Ordering::AcqRel);
    }

    /// Records that the `BEGIN` is answered. If the server has a transaction nevertheless, it has
    /// failed there, and the server itself refuses further statements.
    pub(in crate::wire) fn begin_answered(&self) {
        let word = self.word.load(Ordering::Acquire);
        let over = match word as u8 {
            b'I' => BEGINNING,
            _ => BEGINNING | NOT_BEGUN,
        };
        self.word.fetch_and(!over, Ordering::AcqRel);
    }

    /// Records that the caller has rolled back what did not begin.
    pub(in crate::wire) fn begin_rolled_back(&self) {
        self.word.fetch_and(!NOT_BEGUN, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_encoded_without_a_sync() {
        let begin = BeginMessages::new(["BEGIN", "SET LOCAL a = 1"]).expect("two statements");
        let mut kinds = Vec::new();
        let mut rest = begin.bytes();
        while let Some((kind, after)) = crate::wire::framing::whole(rest) {
            kinds.push(kind);
            rest = after;
        }
        assert_eq!(
            (&*kinds, rest, begin.statements()),
            (&b"PBEPBE"[..], &b""[..], 2)
        );
        assert_eq!(BeginMessages::new([]), None);
        assert_eq!(BeginMessages::new(["BEGIN\0"]), None);
    }
}
