//! Sessions whose statements are known, fed in pieces, against a reference.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{StatementListener, StatementOutcome, StatementRecord, StatementText, hash_of};
use crate::wire::observer::{Observer, Tracker};

/// What a record says, with times as numbers of pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    text: String,
    rows: u64,
    sent: u64,
    received: u64,
    outcome: StatementOutcome,
    wait: u64,
    first_byte: u64,
    duration: u64,
}

#[derive(Debug, Default)]
struct Listener(Mutex<Vec<Told>>);

impl StatementListener for Listener {
    fn describe(&self, text: &[u8], _: bool) -> Arc<StatementText> {
        Arc::new(StatementText {
            operation: "SELECT",
            summary: String::from_utf8_lossy(text).into(),
            text: None,
            key: hash_of(text),
            slot: AtomicU32::new(0),
        })
    }

    fn ended(&self, record: &StatementRecord) {
        let pieces = |time: Duration| time.as_secs();
        self.0.lock().expect("no panic").push(Told {
            text: record.text.summary.to_string(),
            rows: record.rows,
            sent: record.sent,
            received: record.received,
            outcome: record.outcome,
            wait: pieces(record.wait()),
            first_byte: pieces(record.first_byte()),
            duration: pieces(record.duration()),
        });
    }
}

/// A statement as the reference knows it; positions count bytes in one direction.
#[derive(Debug, Clone)]
struct Expected {
    text: String,
    rows: u64,
    outcome: StatementOutcome,
    /// From where to where its request and its answer reach.
    sent: (u64, u64),
    received: (u64, u64),
    /// Up to where its request must be sent for it to begin.
    complete: u64,
    /// How much of what was sent later belongs to it.
    data: u64,
    /// Whether another statement follows in its request.
    is_followed: bool,
}

/// A session as it is written: bytes in both directions, and what its statements are.
#[derive(Debug, Default)]
struct Script {
    segments: Vec<(bool, Vec<u8>)>,
    sent: u64,
    received: u64,
    statements: Vec<Expected>,
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&(body.len() as u32 + 4).to_be_bytes());
    out.extend_from_slice(body);
    out
}

impl Script {
    fn new() -> Self {
        let mut script = Self::default();
        script.send(message(0, b"\0\x03\0\0user\0u\0\0")[1..].to_vec());
        script.answer(message(b'R', &0_u32.to_be_bytes()));
        script.answer(message(b'S', b"standard_conforming_strings\0on\0"));
        script.answer(message(b'Z', b"I"));
        script
    }

    fn send(&mut self, bytes: Vec<u8>) -> (u64, u64) {
        let from = self.sent;
        self.sent += bytes.len() as u64;
        self.segments.push((false, bytes));
        (from, self.sent)
    }

    fn answer(&mut self, bytes: Vec<u8>) -> (u64, u64) {
        let from = self.received;
        self.received += bytes.len() as u64;
        self.segments.push((true, bytes));
        (from, self.received)
    }

    /// Parse, Bind and Execute of a text, whose statement may have a name.
    fn run(name: &str, text: &str) -> Vec<u8> {
        let mut bytes = message(b'P', format!("{name}\0{text}\0\0\0").as_bytes());
        bytes.extend(message(b'B', format!("\0{name}\0\0\0\0\0\0\0").as_bytes()));
        bytes.extend(message(b'E', b"\0\0\0\0\0"));
        bytes
    }

    fn rows(count: u64) -> Vec<u8> {
        let mut bytes = message(b'2', b"");
        (0..count).for_each(|_| bytes.extend(message(b'D', b"\0\x01\0\0\0\x011")));
        bytes.extend(message(b'C', format!("SELECT {count}\0").as_bytes()));
        bytes
    }

    fn expect(&mut self, text: &str, rows: u64, sent: (u64, u64), received: (u64, u64)) {
        self.statements.push(Expected {
            text: text.to_owned(),
            rows,
            outcome: StatementOutcome::Done,
            sent,
            received,
            complete: sent.1,
            data: 0,
            is_followed: false,
        });
    }

    fn fail(&mut self, code: &[u8; 5]) {
        let last = self.statements.last_mut().expect("a statement");
        last.outcome = StatementOutcome::Failed(*code);
    }

    /// One request and its answer; `n` makes its texts its own.
    fn work(&mut self, kind: u8, n: u64) {
        let text = format!("SELECT {n}");
        let sync = || message(b'S', b"");
        let ready = || message(b'Z', b"I");
        let error = || message(b'E', b"SERROR\0C22012\0Mzero\0\0");
        match kind {
            // One statement, of the simple and of the extended protocol.
            0 => {
                let sent = self.send(message(b'Q', format!("{text}\0").as_bytes()));
                let received = self.answer([Self::rows(n), ready()].concat());
                self.expect(&text, n, sent, received);
            }
            1 => {
                let name = format!("s{n}");
                let sent = self.send([Self::run(&name, &text), sync()].concat());
                let received = self.answer([Self::rows(n), ready()].concat());
                self.expect(&text, n, sent, received);
            }
            // A statement that fails.
            2 => {
                let sent = self.send([Self::run("", &text), sync()].concat());
                let received = self.answer([message(b'2', b""), error(), ready()].concat());
                self.expect(&text, 0, sent, received);
                self.fail(b"22012");
            }
            // A text that is prepared, which fails or not; only the failure is told.
            3 => {
                let parse = message(b'P', format!("p{n}\0{text}\0\0\0").as_bytes());
                let sent = self.send([parse, sync()].concat());
                if n.is_multiple_of(2) {
                    self.answer([message(b'1', b""), ready()].concat());
                } else {
                    let received = self.answer([error(), ready()].concat());
                    self.expect(&text, 0, sent, received);
                    self.fail(b"22012");
                }
            }
            4 => self.three(n),
            5 => self.pipeline(n),
            // A copy in, by both protocols.
            6 | 7 => self.copy_in(kind == 6, n),
            // A statement that is closed, and an empty query.
            8 => {
                self.send([message(b'C', b"Ss1\0"), sync()].concat());
                self.send(message(b'Q', b"\0"));
                self.answer([message(b'3', b""), ready()].concat());
                self.answer([message(b'I', b""), ready()].concat());
            }
            // Rows that are fetched in two parts, and a commit that fails.
            9 => {
                let begins = self.send([Self::run("", &text), sync()].concat());
                let first = [message(b'D', b"\0\0"), message(b's', b""), ready()].concat();
                let received = self.answer(first);
                self.expect(&text, 1, begins, received);
            }
            _ => {
                let sent = self.send([Self::run("", &text), sync()].concat());
                let received = self.answer([Self::rows(1), error(), ready()].concat());
                self.expect(&text, 1, sent, received);
                self.fail(b"22012");
            }
        }
    }

    /// Three statements in one simple query, the second of which may fail.
    fn three(&mut self, n: u64) {
        let text = format!("SELECT a; SELECT b{n} ;; SELECT c");
        let sent = self.send(message(b'Q', format!("{text}\0").as_bytes()));
        let fails = n.is_multiple_of(3);
        let rest = match fails {
            true => [message(b'E', b"C22012\0\0"), message(b'Z', b"I")].concat(),
            false => [Self::rows(2), Self::rows(3), message(b'Z', b"I")].concat(),
        };
        let received = self.answer([Self::rows(1), rest].concat());
        self.expect(&text, if fails { 1 } else { 6 }, sent, received);
        if fails {
            self.fail(b"22012");
        }
    }

    /// Requests that are sent before the first is answered, one of them with two statements.
    fn pipeline(&mut self, n: u64) {
        let texts = [
            format!("SELECT a{n}"),
            format!("SELECT b{n}"),
            format!("SELECT c{n}"),
        ];
        let sync = || message(b'S', b"");
        let one = self.send([Self::run("x", &texts[0]), sync()].concat());
        let two = self.send(Self::run("", &texts[1]));
        let three = self.send([Self::run("", &texts[2]), sync()].concat());
        let received = self.answer([Self::rows(1), message(b'Z', b"I")].concat());
        self.expect(&texts[0], 1, one, received);
        let received = self.answer(Self::rows(2));
        self.expect(&texts[1], 2, two, received);
        let second = self.statements.last_mut().expect("one");
        (second.complete, second.is_followed) = (three.1, true);
        let received = self.answer([Self::rows(3), message(b'Z', b"I")].concat());
        self.expect(&texts[2], 3, three, received);
    }

    fn copy_in(&mut self, is_simple: bool, n: u64) {
        let text = format!("COPY t{n} FROM STDIN");
        let request = match is_simple {
            true => message(b'Q', format!("{text}\0").as_bytes()),
            false => [Self::run("", &text), message(b'S', b"")].concat(),
        };
        let sent = self.send(request);
        let begins = self.answer(message(b'G', b"\0\0\0"));
        let mut data = message(b'd', b"1\n");
        data.extend(message(b'c', b""));
        if !is_simple {
            data.extend(message(b'S', b""));
        }
        let data = self.send(data);
        let tag = format!("COPY {n}\0");
        let ends = self.answer([message(b'C', tag.as_bytes()), message(b'Z', b"I")].concat());
        self.expect(&text, n, sent, (begins.0, ends.1));
        self.statements.last_mut().expect("one").data = data.1 - data.0;
    }
}

/// Feeds a script in pieces of these sizes. Returns what was told, and what was to be told.
fn play(script: &Script, sizes: &[usize]) -> (Vec<Told>, Vec<Told>) {
    let listener = Arc::new(Listener::default());
    let (observer, mut tracker) = (Observer::default(), Tracker::default());
    tracker.report_to(Arc::clone(&listener) as Arc<dyn StatementListener>);
    let began = Instant::now();
    let mut sizes = sizes.iter().cycle();
    // The piece with which each byte was fed.
    let (mut pieces, mut sent, mut received) = (0_u64, Vec::new(), Vec::new());
    for (from_server, bytes) in &script.segments {
        let mut bytes = &bytes[..];
        while !bytes.is_empty() {
            let size = sizes.next().map_or(1, |size| *size).clamp(1, bytes.len());
            let (now, later) = bytes.split_at(size);
            pieces += 1;
            let clock = || began + Duration::from_secs(pieces);
            if *from_server {
                tracker.received_at(&observer, now, clock);
                received.extend(now.iter().map(|_| pieces));
            } else {
                tracker.sent_at(&observer, now, clock);
                sent.extend(now.iter().map(|_| pieces));
            }
            bytes = later;
        }
    }
    let told = std::mem::take(&mut *listener.0.lock().expect("no panic"));
    let mut free = 0;
    let ends = |one: &Expected| received[one.received.1 as usize - 1];
    let expected = script.statements.iter().enumerate().map(|(at, one)| {
        let complete = sent[one.complete as usize - 1];
        let begins = complete.max(free);
        let mut first = received[one.received.0 as usize];
        free = ends(one);
        // Told apart only if the next byte came later.
        if one.is_followed && free == received[script.statements[at + 1].received.0 as usize] {
            (first, free) = (begins, begins);
        }
        Told {
            text: one.text.clone(),
            rows: one.rows,
            sent: one.sent.1 - one.sent.0 + one.data,
            received: one.received.1 - one.received.0,
            outcome: one.outcome,
            wait: begins - complete,
            first_byte: first.saturating_sub(begins),
            duration: free - begins,
        }
    });
    (told, expected.collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn each_statement_is_told_once_however_it_arrives(
        works in vec((0..=10_u8, 0..40_u64), 1..12),
        sizes in vec(prop_oneof![1..12_usize, Just(1000)], 1..20),
    ) {
        let mut script = Script::new();
        works.iter().for_each(|(kind, n)| script.work(*kind, *n));
        for sizes in [&sizes[..], &[1], &[100_000]] {
            let (told, expected) = play(&script, sizes);
            prop_assert_eq!(&told, &expected, "{:?}", sizes);
        }
    }

    #[test]
    fn any_bytes_are_endured(pieces in vec((any::<bool>(), vec(any::<u8>(), 0..60)), 0..20)) {
        let mut script = Script::new();
        script.segments.extend(pieces);
        let (observer, mut tracker) = (Observer::default(), Tracker::default());
        tracker.report_to(Arc::new(Listener::default()));
        for (from_server, bytes) in &script.segments {
            match from_server {
                true => tracker.received(&observer, bytes),
                false => tracker.sent(&observer, bytes),
            }
        }
        tracker.lost();
    }
}

#[test]
fn statements_without_an_answer_are_lost() {
    let mut script = Script::new();
    script.work(0, 1);
    script.send([Script::run("", "SELECT lost"), message(b'S', b"")].concat());
    script.send(message(b'P', b"\0SELECT unsent\0\0\0"));
    let listener = Arc::new(Listener::default());
    let (observer, mut tracker) = (Observer::default(), Tracker::default());
    tracker.report_to(Arc::clone(&listener) as Arc<dyn StatementListener>);
    for (from_server, bytes) in &script.segments {
        match from_server {
            true => tracker.received(&observer, bytes),
            false => tracker.sent(&observer, bytes),
        }
    }
    tracker.lost();
    tracker.lost();
    let told = listener.0.lock().expect("no panic");
    let told: Vec<_> = told.iter().map(|one| (&*one.text, one.outcome)).collect();
    assert_eq!(
        told,
        [
            ("SELECT 1", StatementOutcome::Done),
            ("SELECT lost", StatementOutcome::Lost)
        ]
    );
}

#[test]
fn a_statement_is_sent_on_behalf_of_the_caller_and_of_its_call() {
    let observer = Arc::new(Observer::default());
    assert_eq!(observer.place(), None);
    let (acquire, call) = here_twice();
    observer.acquired_at(acquire);
    let checkout = observer.checkout();
    {
        let _call = observer.calling_from(call);
        assert_eq!(
            observer.place().map(|place| place.line()),
            Some(call.line())
        );
    }
    assert_eq!(
        observer.place().map(|place| place.line()),
        Some(acquire.line())
    );
    observer.acquired_at(call);
    assert_ne!(observer.checkout(), checkout);
}

fn here_twice() -> (
    &'static std::panic::Location<'static>,
    &'static std::panic::Location<'static>,
) {
    let acquire = std::panic::Location::caller();
    (acquire, place_of_call())
}

#[track_caller]
fn place_of_call() -> &'static std::panic::Location<'static> {
    std::panic::Location::caller()
}
