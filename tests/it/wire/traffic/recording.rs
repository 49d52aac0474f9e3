//! Records a session with a server, byte for byte.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pgmonkey_connect::wire::{ObservedStream, Observer, WireState};
use pgmonkey_tests::{Fixture, LONG};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::{Client, Config, NoTls};

/// What happened on the wire, in order.
#[derive(Debug, PartialEq)]
pub(super) enum Event {
    Sent(Vec<u8>),
    Received(Vec<u8>),
    /// Nothing is in flight, and the server reports the session in this state.
    Rest(WireState),
}

impl Event {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Sent(bytes) | Self::Received(bytes) => bytes,
            Self::Rest(_) => &[],
        }
    }
}

/// A recorded session.
pub(super) struct Recording {
    pub(super) name: &'static str,
    pub(super) events: Vec<Event>,
}

impl Recording {
    /// For each event, the positions where a message begins, found without the code under test.
    pub(super) fn boundaries(&self) -> Vec<Vec<usize>> {
        let mut sent = Messages::new(4);
        let mut received = Messages::new(5);
        let of = |event: &Event| match event {
            Event::Sent(bytes) => sent.starts(bytes),
            Event::Received(bytes) => received.starts(bytes),
            Event::Rest(_) => Vec::new(),
        };
        self.events.iter().map(of).collect()
    }
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.events.iter().map(|event| event.bytes().len()).sum();
        let rests = |event: &&Event| matches!(event, Event::Rest(_));
        write!(
            f,
            "{}: {} events, {bytes} bytes, {} rests",
            self.name,
            self.events.len(),
            self.events.iter().filter(rests).count()
        )
    }
}

/// Walks over the messages of one direction, a byte at a time.
struct Messages {
    /// Five bytes; four for the startup message, which has no type.
    header: usize,
    seen: Vec<u8>,
    body: usize,
}

impl Messages {
    fn new(header: usize) -> Self {
        Self {
            header,
            seen: Vec::new(),
            body: 0,
        }
    }

    fn starts(&mut self, bytes: &[u8]) -> Vec<usize> {
        let mut starts = Vec::new();
        for (at, byte) in bytes.iter().enumerate() {
            if self.body > 0 {
                self.body -= 1;
                continue;
            }
            if self.seen.is_empty() {
                starts.push(at);
            }
            self.seen.push(*byte);
            if let Some(length) = self.seen.get(self.header - 4..self.header) {
                let length: [u8; 4] = length.try_into().expect("four bytes");
                self.body = u32::from_be_bytes(length) as usize - 4;
                self.seen.clear();
                self.header = 5;
            }
        }
        starts
    }
}

type Log = Arc<Mutex<Vec<Event>>>;

/// A stream that records what passes.
struct Tape {
    inner: TcpStream,
    log: Log,
}

impl Tape {
    fn note(&self, event: Event) {
        self.log.lock().expect("not poisoned").push(event);
    }
}

impl AsyncRead for Tape {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        let bytes = &buf.filled()[before..];
        if !bytes.is_empty() {
            self.note(Event::Received(bytes.to_vec()));
        }
        read
    }
}

impl AsyncWrite for Tape {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count @ 1..)) = written {
            self.note(Event::Sent(bytes[..count].to_vec()));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A session that is being recorded.
pub(super) struct Session {
    pub(super) on: Fixture,
    pub(super) client: Client,
    observer: Arc<Observer>,
    log: Log,
    connection: tokio::task::JoinHandle<()>,
}

impl Session {
    pub(super) async fn start() -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let on = Fixture::new();
        let server = on.server();
        let inner = TcpStream::connect((server.host(), server.port())).await?;
        let log = Log::default();
        let tape = Tape {
            inner,
            log: Arc::clone(&log),
        };
        let observer = Arc::new(Observer::default());
        let stream = ObservedStream::new(tape, Arc::clone(&observer), None);
        let (client, connection) = Config::new()
            .user(server.user())
            .password(server.password())
            .dbname(server.dbname())
            .application_name(&on.name)
            .connect_raw(stream, NoTls)
            .await?;
        let connection = tokio::spawn(async { drop(connection.await) });
        let session = Self {
            on,
            client,
            observer,
            log,
            connection,
        };
        session.rest(WireState::Idle).await;
        Ok(session)
    }

    /// Waits until everything is answered; the server and the observer must both report this state.
    pub(super) async fn rest(&self, expected: WireState) {
        let busy = |state| matches!(state, WireState::Busy(_));
        self.settled(|state| !busy(state)).await;
        assert_eq!(self.observer.state(), expected);
        let word = match expected {
            WireState::Idle => "idle",
            WireState::InTransaction => "idle in transaction",
            WireState::Failed => "idle in transaction (aborted)",
            other => panic!("no rest: {other:?}"),
        };
        // Closing a statement in the background makes the session active for a moment.
        self.on.until(word, || self.on.sessions_in(word) == 1);
        self.note(expected);
    }

    /// Waits until the observer reports that the session is unusable.
    pub(super) async fn over(&self) {
        self.settled(|state| state == WireState::Closed).await;
        self.note(WireState::Closed);
    }

    async fn settled(&self, settled: impl Fn(WireState) -> bool) {
        let end = Instant::now() + LONG;
        while !settled(self.observer.state()) {
            assert!(Instant::now() < end, "{:?} for ever", self.observer.state());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn note(&self, state: WireState) {
        let mut log = self.log.lock().expect("not poisoned");
        log.push(Event::Rest(state));
    }

    /// Ends the session and its recording.
    pub(super) async fn end(self, name: &'static str) -> Recording {
        drop(self.client);
        let _ = self.connection.await;
        let mut events = std::mem::take(&mut *self.log.lock().expect("not poisoned"));
        events.push(Event::Rest(WireState::Closed));
        Recording { name, events }
    }
}
