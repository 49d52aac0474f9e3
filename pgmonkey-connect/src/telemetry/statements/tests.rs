use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::*;
use crate::wire::{ObservedStream, Observer};

fn log(settings: &str) -> Arc<StatementLog> {
    let config = Config::from_yaml(settings).expect("valid");
    StatementLog::of(&"p".into(), &config)
}

#[test]
fn a_text_is_shown_as_the_file_allows() {
    let cases = [
        ("none", "SELECT 'secret'", None),
        ("none", "SELECT $1", None),
        ("parameterized", "SELECT 'secret'", Some("SELECT ?")),
        ("parameterized", "SELECT 'x', $1", Some("SELECT 'x', $1")),
        ("all", "SELECT 'secret'", Some("SELECT 'secret'")),
    ];
    for (mode, text, shown) in cases {
        let log = log(&format!("statement_text: {mode}"));
        let described = log.describe(text.as_bytes(), true);
        assert_eq!(described.text.as_deref(), shown, "{mode}: {text}");
        assert_eq!(
            (described.operation, &*described.summary),
            ("SELECT", "SELECT")
        );
    }
}

#[test]
fn texts_that_differ_in_their_literals_are_one() {
    let log = log("{}");
    let key = |text: &str| log.describe(text.as_bytes(), true).key;
    assert_eq!(key("SELECT 1"), key("SELECT  'x'"));
    assert_ne!(key("SELECT 1"), key("SELECT a"));
    assert_ne!(key("SELECT $1, 1"), key("SELECT $1, 2"));
}

#[test]
fn nothing_listens_if_nothing_is_asked_for() {
    let session = |settings: &str| log(settings).session("h", 1);
    assert!(session("{}").is_some());
    let off = session("statement_stats: false");
    assert_eq!(off.is_some(), Operations::ENABLED);
    assert!(session("{ statement_stats: false, slow_statement: 1 }").is_some());
}

/// A peer that accepts everything and says what it is told to.
#[derive(Default)]
struct Peer(Vec<u8>);

impl AsyncRead for Peer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        buf.put_slice(&self.0);
        self.0.clear();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // The answers to the startup message, a simple query, a Parse and a Bind.
        self.0.extend_from_slice(match bytes[0] {
            0 => b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I",
            b'Q' => b"C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I",
            b'P' => b"1\0\0\0\x04Z\0\0\0\x05I",
            _ => b"2\0\0\0\x04C\0\0\0\x0dSELECT 1\0Z\0\0\0\x05I",
        });
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_statement_allocates_nothing() {
    let log = Arc::new(log(
        "{ slow_statement: 1, statements_per_checkout: 1000000 }",
    ));
    let observer = Arc::new(Observer::default());
    let stream = ObservedStream::new(Peer(Vec::with_capacity(1000)), Arc::clone(&observer), None);
    let mut stream = stream.reporting_to(log.session("h", 1));
    let mut room = [0; 1000];
    let mut exchange = |request: &[u8]| {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(
            Pin::new(&mut stream)
                .poll_write(&mut cx, request)
                .is_ready()
        );
        let mut buf = ReadBuf::new(&mut room);
        assert!(
            Pin::new(&mut stream)
                .poll_read(&mut cx, &mut buf)
                .is_ready()
        );
    };
    exchange(b"\0\0\0\x10\0\x03\0\0user\0u\0\0");
    observer.acquired_at(std::panic::Location::caller());
    // `s1`, which is only prepared.
    exchange(b"P\0\0\0\x12s1\0SELECT 1\0\0\0S\0\0\0\x04");
    let bind = b"B\0\0\0\x0e\0s1\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04";
    let mut run = |times: u32| {
        for _ in 0..times {
            exchange(bind);
            exchange(b"Q\0\0\0\x0dSELECT 2\0");
        }
    };
    // The first runs of the texts.
    run(1);
    let info = allocation_counter::measure(|| run(100));
    assert_eq!(info.count_total, 0, "{info:?}");
    assert_eq!(log.all().count, 202);
}
