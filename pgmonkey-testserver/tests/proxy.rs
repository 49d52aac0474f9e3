//! The proxy's effects on the connections through it.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use pgmonkey_testserver::{At, Cut, Proxy};

const SOON: Duration = Duration::from_millis(150);
const LIMIT: Duration = Duration::from_secs(10);

/// A proxy, a client's end and a server's end of a connection through it.
fn connected() -> (Proxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap()).unwrap();
    let client = TcpStream::connect(proxy.addr()).unwrap();
    let (server, _) = listener.accept().unwrap();
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(LIMIT)).unwrap();
    }
    (proxy, client, server)
}

fn send(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) {
    from.write_all(text).unwrap();
    let mut found = vec![0; text.len()];
    to.read_exact(&mut found).unwrap();
    assert_eq!(found, text);
}

fn silent(socket: &mut TcpStream) -> bool {
    socket.set_read_timeout(Some(SOON)).unwrap();
    let answer = socket.read(&mut [0]);
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    matches!(answer, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

#[test]
fn what_a_client_sends_before_an_answer_is_one_round_trip() {
    let (proxy, mut client, mut server) = connected();
    assert_eq!(proxy.round_trips(), 0);
    send(&mut client, &mut server, b"one");
    send(&mut client, &mut server, b"two");
    send(&mut server, &mut client, b"first answer");
    send(&mut server, &mut client, b"second answer");
    assert_eq!(proxy.round_trips(), 1);
    send(&mut client, &mut server, b"three");
    assert_eq!(proxy.round_trips(), 2);
}

#[test]
fn data_passes_both_ways_and_connections_are_counted() {
    let (proxy, mut client, mut server) = connected();
    send(&mut client, &mut server, b"question");
    send(&mut server, &mut client, &[7; 100_000]);
    assert_eq!((proxy.accepted(), proxy.connections()), (1, 1));

    drop((client, server));
    assert!(eventually(|| proxy.connections() == 0));
    assert_eq!(proxy.accepted(), 1);
}

#[test]
fn one_direction_may_end_before_the_other() {
    let (_proxy, mut client, mut server) = connected();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    send(&mut server, &mut client, b"late answer");
}

#[test]
fn a_stalled_proxy_holds_back_and_passes_on_later() {
    let (proxy, mut client, mut server) = connected();
    proxy.stall();
    client.write_all(b"held").unwrap();
    assert!(silent(&mut server));
    proxy.resume();
    let mut found = [0; 4];
    server.read_exact(&mut found).unwrap();
    assert_eq!(&found, b"held");
}

#[test]
fn a_stalled_proxy_accepts_and_never_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap()).unwrap();
    proxy.stall();
    let mut client = TcpStream::connect(proxy.addr()).unwrap();
    client.write_all(b"anyone there?").unwrap();
    assert!(silent(&mut client));
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_fin_ends_both_sides_in_order() {
    let (proxy, mut client, mut server) = connected();
    proxy.cut(Cut::Fin);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    assert!(eventually(|| proxy.connections() == 0));
}

#[test]
fn a_cut_ends_stalled_connections_too() {
    let (proxy, mut client, mut server) = connected();
    proxy.stall();
    client.write_all(b"held").unwrap();
    assert!(silent(&mut server));
    proxy.cut(Cut::Rst);
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_reset_comes_when_an_idle_client_sends() {
    let (proxy, mut client, mut server) = connected();
    proxy.cut(Cut::Rst);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    assert!(silent(&mut client));
    client.write_all(b"still there?").unwrap();
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn new_connections_pass_after_a_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::to(listener.local_addr().unwrap()).unwrap();
    for _ in 0..2 {
        let mut client = TcpStream::connect(proxy.addr()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        send(&mut client, &mut server, b"hello");
        proxy.cut(Cut::Fin);
    }
    assert_eq!(proxy.accepted(), 2);
}

#[test]
fn a_delay_holds_each_piece() {
    let (proxy, mut client, mut server) = connected();
    proxy.delay(SOON);
    let begin = Instant::now();
    send(&mut client, &mut server, b"slow");
    assert!(begin.elapsed() >= SOON);
    proxy.delay(Duration::ZERO);
    send(&mut client, &mut server, b"quick");
}

#[test]
fn a_server_that_refuses_hangs_up() {
    let port = pgmonkey_testserver::free_port().unwrap();
    let proxy = Proxy::to(("127.0.0.1", port)).unwrap();
    let mut client = TcpStream::connect(proxy.addr()).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_dropped_proxy_cuts_and_no_longer_listens() {
    let (proxy, mut client, _server) = connected();
    let addr = proxy.addr();
    drop(proxy);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
fn a_text_from_the_client_cuts_its_connection() {
    for at in [At::Before, At::After] {
        let (proxy, mut client, mut server) = connected();
        proxy.on_text(b"COMMIT", at, || Some(Cut::Fin));
        send(&mut server, &mut client, b"COMMIT");
        send(&mut client, &mut server, b"BEGIN");
        client.write_all(b"COMMIT").unwrap();
        let mut seen = Vec::new();
        server.read_to_end(&mut seen).unwrap();
        let expected: &[u8] = if at == At::After { b"COMMIT" } else { b"" };
        assert_eq!(seen, expected, "{at:?}");
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_text_without_a_cut_passes() {
    let (proxy, mut client, mut server) = connected();
    let (told, tells) = std::sync::mpsc::channel();
    proxy.on_text(b"COMMIT", At::After, move || told.send(()).err().and(None));
    send(&mut client, &mut server, b"COMMIT");
    tells.recv_timeout(LIMIT).unwrap();
    proxy.forget_text();
    send(&mut client, &mut server, b"COMMIT");
    assert!(tells.recv().is_err(), "called once, and dropped");
}
