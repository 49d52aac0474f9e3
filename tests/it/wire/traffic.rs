//! The observer's state does not depend on how the bytes of a session arrive.
//!
//! Real sessions are recorded in both directions and played back in other pieces: cut in two at
//! every position, byte by byte, and in pieces of any size.

use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use pgmonkey_connect::wire::{
    ObservedStream, Observer, StatementListener, StatementRecord, StatementText, WireState,
};
use pgmonkey_tests::Outcome;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use recording::{Event, Recording};

mod recording;
mod sessions;

/// How many bytes at either end of a long segment are cut at every position.
const ENDS: usize = 300;
/// How many bytes around each message boundary are cut: a header and a little more.
const AROUND: usize = 6;

/// The recording in which a copy that the server refused makes the driver lose count.
const LOSES_COUNT: &str = "refused copy";

/// A peer that sends and accepts a given number of bytes at a time.
#[derive(Default, Clone)]
struct Peer(Arc<Mutex<Orders>>);

#[derive(Default)]
struct Orders {
    say: Vec<u8>,
    take: usize,
}

impl Peer {
    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.0.lock().expect("one thread has it")
    }
}

impl AsyncRead for Peer {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut orders = self.orders();
        if orders.say.is_empty() {
            return Poll::Pending;
        }
        let count = buf.remaining().min(orders.say.len());
        buf.put_slice(&orders.say[..count]);
        orders.say.drain(..count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match std::mem::take(&mut self.orders().take) {
            0 => Poll::Pending,
            most => Poll::Ready(Ok(most.min(bytes.len()))),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The statements of a session: the text, its rows, its bytes in both directions, its outcome.
#[derive(Debug, Default)]
struct Statements(Mutex<Vec<String>>);

impl StatementListener for Statements {
    fn describe(&self, text: &[u8], _: bool) -> Arc<StatementText> {
        Arc::new(StatementText {
            operation: "SELECT",
            summary: String::from_utf8_lossy(text).into(),
            text: None,
            key: 0,
            slot: AtomicU32::new(0),
        })
    }

    fn ended(&self, record: &StatementRecord) {
        let text = &record.text.summary;
        let (rows, sent, received) = (record.rows, record.sent, record.received);
        let told = format!("{text}: {rows}, {sent}, {received}, {:?}", record.outcome);
        self.0.lock().expect("one thread has it").push(told);
    }
}

/// What is known of a session that was played back: its state after each event, and its statements.
type Seen = (Vec<WireState>, Vec<String>);

/// A session that is played back.
struct Playback {
    statements: Arc<Statements>,
    stream: ObservedStream<Peer>,
    peer: Peer,
    observer: Arc<Observer>,
}

impl Playback {
    fn new() -> Self {
        let peer = Peer::default();
        let observer = Arc::new(Observer::default());
        let statements = Arc::new(Statements::default());
        let listener = Arc::clone(&statements) as Arc<dyn StatementListener>;
        let stream = ObservedStream::new(peer.clone(), Arc::clone(&observer), None);
        Self {
            statements,
            stream: stream.reporting_to(Some(listener)),
            peer,
            observer,
        }
    }

    /// Writes `bytes`, of which the peer accepts `pieces` at a time.
    fn send(&mut self, mut bytes: &[u8], mut pieces: impl Iterator<Item = usize>) {
        let mut cx = Context::from_waker(Waker::noop());
        while !bytes.is_empty() {
            self.peer.orders().take = piece(&mut pieces);
            let Poll::Ready(Ok(count)) = Pin::new(&mut self.stream).poll_write(&mut cx, bytes)
            else {
                panic!("the peer takes something");
            };
            bytes = &bytes[count..];
            let more = Pin::new(&mut self.stream).poll_write(&mut cx, bytes);
            // What is sent to a condemned session is swallowed.
            let all = bytes.is_empty() || self.observer.condemned().is_some();
            assert!(all || more.is_pending(), "not at once");
        }
    }

    /// Reads `bytes`, of which `pieces` arrive at a time.
    fn receive(&mut self, mut bytes: &[u8], mut pieces: impl Iterator<Item = usize>) {
        let mut cx = Context::from_waker(Waker::noop());
        let mut room = vec![0; bytes.len()];
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(piece(&mut pieces).min(bytes.len()));
            self.peer.orders().say.extend(now);
            bytes = later;
            let mut buf = ReadBuf::new(&mut room);
            let read = Pin::new(&mut self.stream).poll_read(&mut cx, &mut buf);
            assert!(matches!(read, Poll::Ready(Ok(()))));
            assert_eq!(buf.filled(), now, "the bytes come through");
            assert!(
                Pin::new(&mut self.stream)
                    .poll_read(&mut cx, &mut buf)
                    .is_pending()
            );
        }
    }
}

fn piece(pieces: &mut impl Iterator<Item = usize>) -> usize {
    pieces.next().unwrap_or(usize::MAX)
}

/// The state after each event, when event `n` arrives in `pieces(n)`. Whenever the session is
/// quiet, the state must be the server's.
fn play<I: Iterator<Item = usize>>(
    recording: &Recording,
    mut pieces: impl FnMut(usize) -> I,
) -> Seen {
    let mut playback = Playback::new();
    let mut states = Vec::with_capacity(recording.events.len());
    for (at, event) in recording.events.iter().enumerate() {
        match event {
            Event::Sent(bytes) => playback.send(bytes, pieces(at)),
            Event::Received(bytes) => playback.receive(bytes, pieces(at)),
            Event::Rest(state) => assert_eq!(
                playback.observer.state(),
                *state,
                "{}: at the rest that is event {at}",
                recording.name
            ),
        }
        states.push(playback.observer.state());
        // The rest was recorded on a session whose stream did not swallow it.
        if playback.observer.condemned().is_some() {
            break;
        }
    }
    let is_condemned = playback.observer.condemned().is_some();
    assert_eq!(
        is_condemned,
        recording.name == LOSES_COUNT,
        "{}",
        recording.name
    );
    let statements = std::mem::take(&mut *playback.statements.0.lock().expect("one thread"));
    (states, statements)
}

fn whole(recording: &Recording) -> Seen {
    play(recording, |_| std::iter::empty())
}

/// The positions at which to cut each event in two: everywhere, except that in the middle of long
/// events only those around message boundaries are used.
fn cuts(recording: &Recording) -> Vec<Vec<usize>> {
    let boundaries = recording.boundaries();
    let of = |(event, boundaries): (&Event, &Vec<usize>)| {
        let length = event.bytes().len();
        let near = |place: &usize| {
            *place <= ENDS
                || place + ENDS >= length
                || boundaries.iter().any(|at| at.abs_diff(*place) <= AROUND)
        };
        (1..length).filter(near).collect()
    };
    recording.events.iter().zip(&boundaries).map(of).collect()
}

#[test]
fn a_segment_may_be_cut_in_two_anywhere() -> Outcome {
    for recording in sessions::all()? {
        let expected = whole(&recording);
        // Nothing may have ended before the session was condemned.
        let told = !expected.1.is_empty() || recording.name == LOSES_COUNT;
        assert!(told, "{}: no statement", recording.name);
        let cuts = cuts(&recording);
        let rounds = cuts.iter().map(Vec::len).max().unwrap_or_default();
        // One playback cuts every segment once.
        for round in 0..rounds {
            let states = play(&recording, |at| cuts[at].get(round).copied().into_iter());
            assert_eq!(states, expected, "{}: cuts {round}", recording.name);
        }
        let places: usize = cuts.iter().map(Vec::len).sum();
        println!("{recording}, {places} places to cut");
    }
    Ok(())
}

#[test]
fn bytes_may_come_one_by_one() -> Outcome {
    for recording in sessions::all()? {
        let states = play(&recording, |_| std::iter::repeat(1));
        assert_eq!(states, whole(&recording), "{}", recording.name);
    }
    Ok(())
}

#[test]
fn segments_may_come_in_any_pieces() -> Outcome {
    let recordings = sessions::all()?;
    let expected: Vec<_> = recordings.iter().map(whole).collect();
    let size = prop_oneof![4 => 1..16_usize, 2 => 1..600_usize, 1 => 600..9000_usize];
    let sizes = prop::collection::vec(size, 1..60);
    let config = ProptestConfig {
        cases: 150,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest::test_runner::TestRunner::new(config).run(&sizes, |sizes| {
        let pieces = std::cell::RefCell::new(sizes.iter().copied().cycle());
        for (recording, expected) in recordings.iter().zip(&expected) {
            let states = play(recording, |_| {
                std::iter::from_fn(|| pieces.borrow_mut().next())
            });
            prop_assert_eq!(&states, expected, "{}", recording.name);
        }
        Ok(())
    })?;
    Ok(())
}
