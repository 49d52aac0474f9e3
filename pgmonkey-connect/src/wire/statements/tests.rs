//! Sessions whose statements are known, fed in pieces, against a reference.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;

use super::{StatementListener, StatementOutcome, StatementRecord, StatementText, hash_of};
use crate::wire::observer::{Observer, Tracker};
use script::{Expected, Script, message};

mod script;

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
