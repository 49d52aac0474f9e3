//! Sends a deferred `BEGIN` with the first statement of its transaction, and takes its answer out of
//! what the driver reads.
//!
//! The driver knows nothing of the `BEGIN`. Its messages go in front of those of the statement and
//! share their Sync, so that the server skips the statement if the `BEGIN` fails; the error then is
//! the answer to the statement. Later requests, which the driver may pipeline, are held back until
//! that is answered, except those that change nothing outside of a transaction. A simple
//! query does not share a Sync; for it the `BEGIN` is a request of its own.

use std::time::Instant;

use super::super::framing::whole;
use super::super::observer::{BeginPhase, Observer, Tracker};

const SYNC: [u8; 5] = [b'S', 0, 0, 0, 4];
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";
const ROLLBACK: &[u8] = b"Q\0\0\0\x0dROLLBACK\0";

/// How many bytes are accepted from the driver before they are written.
const MOST: usize = 64 << 10;

/// What the driver gets in place of an answer while its `BEGIN` has failed.
pub(super) const REFUSAL: &str =
    "current transaction did not begin, commands ignored until end of transaction block";

/// The stream's part of a deferred `BEGIN`. Pure: bytes in, bytes out.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    /// What was accepted from the driver or added, and from where it is not written yet.
    out: Vec<u8>,
    written: usize,
    /// What is still to be received of the answer to the `BEGIN`.
    answer: Option<BeginAnswer>,
    dropped: Dropped,
}

/// What is still to be received.
#[derive(Debug, Clone, Copy)]
struct BeginAnswer {
    /// How many statements are unanswered.
    statements: u32,
    /// Whether they are a request of their own.
    alone: bool,
    failed: bool,
    /// Whether the current message is hidden from the driver.
    hides: bool,
}

/// The requests of the driver that do not reach the server, because their `BEGIN` has failed.
#[derive(Debug, Default)]
struct Dropped {
    /// Whether the rest of a request is dropped, and whether its end has been seen.
    drops: bool,
    ends: bool,
    /// How many are to be answered.
    unanswered: u32,
    /// Whether the next one has its answer already.
    answered: bool,
}

/// What becomes of a request.
enum Rule {
    /// It is sent, at least its first so many bytes.
    Send(usize),
    /// It is held back.
    Hold,
    /// It is answered in place of the server.
    Drop,
}

impl Beginning {
    /// Whether the stream need not look at single messages on the way to the server.
    #[inline]
    pub(super) fn passes_writes(&self, observer: &Observer) -> bool {
        let drops = self.dropped.drops || self.dropped.answered;
        !observer.has_begin() && self.out.is_empty() && !drops
    }

    /// Whether the stream need not look at single messages from the server.
    #[inline]
    pub(super) fn passes_reads(&self) -> bool {
        self.answer.is_none()
    }

    /// The bytes to write next.
    pub(super) fn unwritten(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// Records that so many of them were written.
    pub(super) fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.written == self.out.len() {
            self.written = 0;
            self.out.clear();
            self.out.shrink_to(MOST);
        }
    }

    /// Forgets what cannot be written any more.
    pub(super) fn forget_unwritten(&mut self) {
        self.written = 0;
        self.out.clear();
    }

    /// Whether a dropped request is to be answered.
    #[inline]
    pub(super) fn owes_refusal(&self) -> bool {
        self.dropped.unanswered > 0
    }

    /// Takes a dropped request that is to be answered, once all earlier ones are answered.
    pub(super) fn take_refusal(&mut self, tracker: &Tracker) -> bool {
        let now = self.owes_refusal() && tracker.at_boundary() && tracker.is_answered();
        self.dropped.unanswered -= u32::from(now);
        now
    }

    /// Accepts bytes from the driver. Returns how many; none if the next request is held back.
    pub(super) fn accept(
        &mut self,
        observer: &Observer,
        tracker: &mut Tracker,
        bytes: &[u8],
    ) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.out.len() < MOST {
            let rest = &bytes[at..];
            if self.dropped.drops {
                at += self.dropped.take(tracker, rest);
                continue;
            }
            let count = match tracker.is_between_requests() {
                false => tracker.sent_piece(rest),
                true => match self.rule(observer, tracker, rest) {
                    Rule::Send(count) => count,
                    Rule::Hold => break,
                    Rule::Drop => {
                        self.dropped.drops = true;
                        continue;
                    }
                },
            };
            self.send(observer, tracker, &rest[..count]);
            at += count;
        }
        at
    }

    fn send(&mut self, observer: &Observer, tracker: &mut Tracker, bytes: &[u8]) {
        tracker.sent(observer, bytes);
        self.out.extend_from_slice(bytes);
    }

    /// What becomes of the request at the front of `bytes`.
    fn rule(&mut self, observer: &Observer, tracker: &mut Tracker, bytes: &[u8]) -> Rule {
        if self.dropped.answered {
            return Rule::Drop;
        }
        match observer.begin_phase() {
            BeginPhase::Deferred if begins_statement(bytes[0]) => {
                if self.send_begin(observer, tracker, bytes[0] == b'Q') {
                    return Rule::Hold;
                }
            }
            BeginPhase::Sent => return self.rule_of_sent(bytes),
            BeginPhase::Failed if bytes.starts_with(ROLLBACK) => {
                observer.begin_rolled_back();
            }
            BeginPhase::Failed if begins_statement(bytes[0]) => return Rule::Drop,
            BeginPhase::None | BeginPhase::Deferred | BeginPhase::Failed => {}
        }
        Rule::Send(tracker.sent_piece(bytes))
    }

    /// What becomes of a request after the one with the `BEGIN`, which is unanswered.
    fn rule_of_sent(&self, bytes: &[u8]) -> Rule {
        let is_alone = self.answer.is_some_and(|answer| answer.alone);
        let passes = [COMMIT, ROLLBACK].into_iter();
        let mut passes = passes.filter(|end| bytes.starts_with(end) && !is_alone);
        let end = passes.next().map(<[u8]>::len);
        let savepoint = || savepoint(bytes).filter(|_| !is_alone);
        match end.or_else(savepoint).or_else(|| harmless(bytes)) {
            Some(count) => Rule::Send(count),
            None => Rule::Hold,
        }
    }

    /// Sends the deferred `BEGIN`, unless it was cancelled meanwhile. Returns whether the request
    /// after it has to wait for the answer.
    fn send_begin(&mut self, observer: &Observer, tracker: &mut Tracker, alone: bool) -> bool {
        let Some(begin) = observer.take_begin() else {
            return false;
        };
        tracker.begins();
        self.send(observer, tracker, begin.bytes());
        if alone {
            self.send(observer, tracker, &SYNC);
        }
        self.answer = Some(BeginAnswer {
            statements: begin.statements(),
            alone,
            failed: false,
            hides: false,
        });
        alone
    }

    /// Receives bytes from the server, and moves those that the driver gets to the front. Returns
    /// how many they are.
    pub(super) fn receive(
        &mut self,
        observer: &Observer,
        tracker: &mut Tracker,
        bytes: &mut [u8],
    ) -> usize {
        let (mut at, mut kept) = (0, 0);
        // All of it has arrived at the same time.
        let now = Instant::now();
        while at < bytes.len() {
            let Some(answer) = &mut self.answer else {
                tracker.received_at(observer, &bytes[at..], || now);
                bytes.copy_within(at.., kept);
                return kept + bytes.len() - at;
            };
            if tracker.at_boundary() {
                answer.hides = tracker.is_beginning() && answer.hides(bytes[at]);
                if answer.failed {
                    observer.begin_fails();
                }
            }
            let hides = answer.hides;
            let piece = at..at + tracker.received_piece(&bytes[at..]);
            at = piece.end;
            tracker.received_at(observer, &bytes[piece.clone()], || now);
            if !hides {
                let count = piece.len();
                bytes.copy_within(piece, kept);
                kept += count;
            }
            if answer.failed || (tracker.at_boundary() && answer.is_complete(tracker)) {
                self.dropped.answered = answer.failed && answer.alone;
                self.answer = None;
                tracker.begun();
            }
        }
        kept
    }
}

impl BeginAnswer {
    /// Receives the kind of the next message. Returns whether it is hidden from the driver.
    fn hides(&mut self, kind: u8) -> bool {
        match kind {
            b'E' => {
                self.failed = true;
                false
            }
            b'C' => {
                self.statements = self.statements.saturating_sub(1);
                true
            }
            b'1' | b'2' | b'D' => true,
            b'Z' => self.alone,
            // Notices, settings and notifications may arrive at any time.
            _ => false,
        }
    }

    /// Whether what the driver must not see has been received, after the end of a message.
    fn is_complete(&self, tracker: &Tracker) -> bool {
        match self.alone {
            // With its ReadyForQuery.
            true => !tracker.is_beginning(),
            false => self.statements == 0,
        }
    }
}

impl Dropped {
    /// Drops a part of a request. Returns its length.
    fn take(&mut self, tracker: &mut Tracker, bytes: &[u8]) -> usize {
        let count = tracker.sent_piece(bytes);
        let ends = tracker.requests_in(&bytes[..count]);
        if ends > 0 {
            self.ends = true;
            self.unanswered += ends - u32::from(std::mem::take(&mut self.answered));
        }
        if self.ends && tracker.is_at_message() {
            (self.drops, self.ends) = (false, false);
        }
        count
    }
}

/// Whether a message of this kind begins a request that may do something.
fn begins_statement(kind: u8) -> bool {
    matches!(kind, b'Q' | b'P' | b'B' | b'E' | b'D' | b'F')
}

/// The length of a simple query that begins with `SAVEPOINT`: outside of a transaction that fails,
/// and what follows in the text is not executed.
fn savepoint(bytes: &[u8]) -> Option<usize> {
    let (kind, after) = whole(bytes)?;
    let length = bytes.len() - after.len();
    (kind == b'Q' && bytes[5..].starts_with(b"SAVEPOINT ")).then_some(length)
}

/// The length of what is at the front of `bytes` if it has no effect outside of a transaction: a
/// complete request that only prepares, describes or closes, a message of a copy, or the end of the
/// session.
fn harmless(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    loop {
        let (kind, after) = whole(rest)?;
        let length = bytes.len() - after.len();
        match kind {
            b'P' | b'D' | b'C' | b'H' => rest = after,
            b'S' => return Some(length),
            b'd' | b'c' | b'f' | b'X' if rest.len() == bytes.len() => return Some(length),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{BeginMessages, Unbegun, WireState};

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![kind];
        out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    fn messages(all: &[(u8, &[u8])]) -> Vec<u8> {
        all.iter()
            .flat_map(|(kind, body)| message(*kind, body))
            .collect()
    }

    fn kinds(mut bytes: &[u8]) -> String {
        let mut kinds = String::new();
        while let Some((kind, rest)) = whole(bytes) {
            kinds.push(char::from(kind));
            bytes = rest;
        }
        assert!(bytes.is_empty(), "{bytes:?} after {kinds}");
        kinds
    }

    /// A session whose `BEGIN` is deferred.
    struct Session {
        observer: Observer,
        tracker: Tracker,
        beginning: Beginning,
    }

    impl Session {
        fn new(statements: &[&str]) -> Self {
            let (observer, mut tracker) = (Observer::default(), Tracker::default());
            tracker.sent(&observer, &message(0, b"\0\x03\0\0user\0u\0\0")[1..]);
            tracker.received(&observer, &message(b'R', &[0, 0, 0, 3]));
            tracker.sent(&observer, &message(b'p', b"secret\0"));
            tracker.received(&observer, &messages(&[(b'R', &[0; 4]), (b'Z', b"I")]));
            let begin = BeginMessages::new(statements.iter().copied());
            observer.defer_begin(begin.expect("statements"));
            Self {
                observer,
                tracker,
                beginning: Beginning::default(),
            }
        }

        /// Offers bytes in pieces until no more are accepted. Returns how many were, and what is
        /// written.
        fn write(&mut self, bytes: &[u8], piece: usize) -> (usize, Vec<u8>) {
            let mut at = 0;
            while at < bytes.len() {
                // The driver offers all that it has, and then what was not accepted again.
                let rest = &bytes[at..(at + piece).min(bytes.len())];
                let count = self
                    .beginning
                    .accept(&self.observer, &mut self.tracker, rest);
                let more = (at + piece) < bytes.len();
                at += count;
                if count == 0 && !more {
                    break;
                }
                if count == 0 {
                    let all = &bytes[at..];
                    let count = self
                        .beginning
                        .accept(&self.observer, &mut self.tracker, all);
                    at += count;
                    if count == 0 {
                        break;
                    }
                }
            }
            let out = self.beginning.unwritten().to_vec();
            self.beginning.wrote(out.len());
            (at, out)
        }

        fn read(&mut self, bytes: &[u8], piece: usize) -> Vec<u8> {
            let mut got = Vec::new();
            for piece in bytes.chunks(piece) {
                let mut piece = piece.to_vec();
                let kept = self
                    .beginning
                    .receive(&self.observer, &mut self.tracker, &mut piece);
                got.extend_from_slice(&piece[..kept]);
            }
            got
        }
    }

    const BEGUN: [(u8, &[u8]); 3] = [(b'1', b""), (b'2', b""), (b'C', b"BEGIN\0")];
    const SET: [(u8, &[u8]); 3] = [(b'1', b""), (b'2', b""), (b'C', b"SET\0")];
    const INSERT: [(u8, &[u8]); 4] = [
        (b'B', b"\0s1\0\0\0\0\0\0\0"),
        (b'E', b"\0\0\0\0\0"),
        (b'S', b""),
        (b'B', b"\0s2\0\0\0\0\0\0\0"),
    ];
    const INSERTED: [(u8, &[u8]); 3] = [(b'2', b""), (b'C', b"INSERT 0 1\0"), (b'Z', b"T")];
    const CANCELED: [(u8, &[u8]); 2] = [(b'E', b"SERROR\0C57014\0\0"), (b'Z', b"I")];

    #[test]
    fn begin_and_the_first_statement_share_a_sync() {
        for piece in [1, 3, 7, 1000] {
            let mut session = Session::new(&["BEGIN", "SET LOCAL a = 1"]);
            assert_eq!(session.observer.state(), WireState::InTransaction);
            let (accepted, out) = session.write(&messages(&INSERT[..3]), piece);
            assert_eq!(accepted, messages(&INSERT[..3]).len());
            assert_eq!(kinds(&out), "PBEPBEBES");
            assert_eq!(session.observer.state(), WireState::Busy(1));
            let answer = messages(&[&BEGUN[..], &SET, &INSERTED].concat());
            assert_eq!(session.read(&answer, piece), messages(&INSERTED));
            assert!(session.beginning.passes_reads());
            assert!(session.beginning.passes_writes(&session.observer));
            assert_eq!(session.observer.state(), WireState::InTransaction);
        }
    }

    #[test]
    fn later_requests_wait_until_the_begin_has_succeeded() {
        let mut session = Session::new(&["BEGIN"]);
        let first = messages(&INSERT[..3]);
        let both = [&*first, &*first].concat();
        assert_eq!(session.write(&both, 1000).0, first.len());
        assert_eq!(session.write(&first, 1000), (0, Vec::new()));
        // What changes nothing outside of a transaction need not wait, nor its end.
        for (request, sent) in [
            (
                messages(&[(b'P', b"s3\0SELECT 1\0\0\0"), (b'D', b"Ss3\0"), (b'S', b"")]),
                true,
            ),
            (messages(&[(b'C', b"Ss3\0"), (b'S', b"")]), true),
            (message(b'Q', b"COMMIT\0"), true),
            (message(b'Q', b"SAVEPOINT a; SELECT 1\0"), true),
            (message(b'Q', b"COMMIT AND CHAIN\0"), false),
            (message(b'Q', b"INSERT\0"), false),
            (messages(&[(b'P', b"\0INSERT\0\0\0"), (b'B', b"")]), false),
            (messages(&[(b'P', b"\0INSERT\0\0\0")]), false),
        ] {
            let (accepted, out) = session.write(&request, 1000);
            assert_eq!(
                accepted,
                if sent { request.len() } else { 0 },
                "{request:?}"
            );
            assert_eq!(out.len(), accepted);
        }
        session.read(&messages(&BEGUN), 1000);
        assert_eq!(session.write(&first, 1000), (0, Vec::new()));
        session.read(&messages(&INSERTED), 1000);
        assert_eq!(session.write(&first, 1000), (first.len(), first.clone()));
    }

    #[test]
    fn after_a_begin_that_failed_every_statement_is_refused_until_the_end() {
        for piece in [1, 4, 1000] {
            let mut session = Session::new(&["BEGIN"]);
            let statement = messages(&INSERT[..3]);
            session.write(&statement, piece);
            assert_eq!(
                session.read(&messages(&CANCELED), piece),
                messages(&CANCELED)
            );
            assert_eq!(session.observer.state(), WireState::Failed);
            assert_eq!(
                session.write(&statement, piece),
                (statement.len(), Vec::new())
            );
            assert!(session.beginning.take_refusal(&session.tracker));
            assert!(
                !session.beginning.take_refusal(&session.tracker),
                "one for each"
            );
            let query = message(b'Q', b"INSERT\0");
            assert_eq!(session.write(&query, piece), (query.len(), Vec::new()));
            assert!(session.beginning.take_refusal(&session.tracker));
            assert_eq!(session.observer.cancel_begin(), Some(Unbegun::Failed));
            assert_eq!(session.observer.state(), WireState::Idle);
            assert_eq!(
                session.write(&statement, 1000),
                (statement.len(), statement)
            );
        }
    }

    #[test]
    fn a_rollback_ends_what_did_not_begin() {
        let mut session = Session::new(&["BEGIN"]);
        session.write(&messages(&INSERT[..3]), 1000);
        session.read(&messages(&CANCELED), 1000);
        let rollback = message(b'Q', b"ROLLBACK\0");
        assert_eq!(session.write(&rollback, 1000), (rollback.len(), rollback));
        session.read(&messages(&[(b'C', b"ROLLBACK\0"), (b'Z', b"I")]), 1000);
        assert_eq!(session.observer.state(), WireState::Idle);
    }

    #[test]
    fn a_setting_that_fails_leaves_the_refusing_to_the_server() {
        let mut session = Session::new(&["BEGIN", "SET LOCAL a = 1"]);
        session.write(&messages(&INSERT[..3]), 1000);
        let failed = [(b'E', &b"SERROR\0C42704\0\0"[..]), (b'Z', b"E")];
        let answer = messages(&[&BEGUN[..], &failed].concat());
        assert_eq!(session.read(&answer, 1), messages(&failed));
        assert_eq!(session.observer.state(), WireState::Failed);
        assert_eq!(session.observer.cancel_begin(), None);
        let statement = messages(&INSERT[..3]);
        assert_eq!(session.write(&statement, 1000).1, statement);
    }

    #[test]
    fn a_simple_query_waits_for_a_begin_of_its_own() {
        for piece in [1, 1000] {
            let mut session = Session::new(&["BEGIN"]);
            let query = message(b'Q', b"COMMIT\0");
            let (accepted, out) = session.write(&query, 1000);
            assert_eq!((accepted, &*kinds(&out)), (0, "PBES"));
            assert_eq!(session.write(&query, 1000), (0, Vec::new()));
            let notice = messages(&[(b'N', b"SNOTICE\0\0")]);
            let answer = [messages(&BEGUN), notice.clone(), message(b'Z', b"T")].concat();
            assert_eq!(session.read(&answer, piece), notice);
            assert_eq!(session.observer.state(), WireState::InTransaction);
            assert_eq!(session.write(&query, 1000), (query.len(), query));
        }
    }

    #[test]
    fn a_simple_query_gets_the_error_of_its_begin() {
        let mut session = Session::new(&["BEGIN"]);
        let query = message(b'Q', b"INSERT\0");
        session.write(&query, 1000);
        assert_eq!(session.read(&messages(&CANCELED), 1), messages(&CANCELED));
        // It has its answer, so it is dropped without another one.
        assert_eq!(session.write(&query, 1000), (query.len(), Vec::new()));
        assert!(!session.beginning.owes_refusal());
        assert_eq!(session.write(&query, 1000), (query.len(), Vec::new()));
        assert!(session.beginning.take_refusal(&session.tracker));
    }

    #[test]
    fn a_simple_query_gets_the_error_of_a_setting() {
        let mut session = Session::new(&["BEGIN", "SET LOCAL a = 1"]);
        let query = message(b'Q', b"ROLLBACK\0");
        session.write(&query, 1000);
        let failed = messages(&[(b'E', b"SERROR\0C42704\0\0"), (b'Z', b"E")]);
        let answer = [messages(&BEGUN), failed.clone()].concat();
        assert_eq!(session.read(&answer, 3), failed);
        assert_eq!(session.observer.state(), WireState::Failed);
        // It has its answer; the next one reaches the server.
        assert_eq!(session.write(&query, 1000), (query.len(), Vec::new()));
        assert!(!session.beginning.owes_refusal());
        assert_eq!(session.write(&query, 1000).1, query);
    }

    #[test]
    fn a_dropped_statement_is_closed_before_the_begin_and_without_it() {
        let mut session = Session::new(&["BEGIN"]);
        let close = messages(&[(b'C', b"Ss1\0"), (b'S', b"")]);
        assert_eq!(session.write(&close, 1000), (close.len(), close));
        let (_, out) = session.write(&messages(&INSERT[..3]), 1000);
        assert_eq!(kinds(&out), "PBEBES");
        let closed = messages(&[(b'3', b""), (b'Z', b"I")]);
        let answer = [closed.clone(), messages(&BEGUN), messages(&INSERTED)].concat();
        let wanted = [closed, messages(&INSERTED)].concat();
        assert_eq!(session.read(&answer, 1), wanted);
    }

    #[test]
    fn a_cancelled_begin_is_not_sent() {
        let mut session = Session::new(&["BEGIN"]);
        assert_eq!(session.observer.cancel_begin(), Some(Unbegun::Unsent));
        assert_eq!(session.observer.state(), WireState::Idle);
        let statement = messages(&INSERT[..3]);
        assert_eq!(
            session.write(&statement, 1000),
            (statement.len(), statement)
        );
    }

    proptest! {
        /// However the server's bytes are cut, the driver gets the same.
        #[test]
        fn cuts_make_no_difference(cut in 1..60_usize, alone: bool, fails: bool) {
            let mut session = Session::new(&["BEGIN", "SET LOCAL a = 1"]);
            let request = match alone {
                true => message(b'Q', b"SELECT 1\0"),
                false => messages(&INSERT[..3]),
            };
            session.write(&request, 1000);
            let begun = match alone {
                true => messages(&[&BEGUN[..], &SET, &[(b'Z', b"T")]].concat()),
                false => messages(&[&BEGUN[..], &SET].concat()),
            };
            let own = if fails { messages(&CANCELED) } else { messages(&INSERTED) };
            let answer = match fails {
                true => own.clone(),
                false => [begun, own.clone()].concat(),
            };
            prop_assert_eq!(session.read(&answer, cut), own);
            let state = if fails { WireState::Failed } else { WireState::InTransaction };
            prop_assert_eq!(session.observer.state(), state);
        }
    }
}
