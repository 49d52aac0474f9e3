use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;

/// More than any of it takes.
const LONG: Duration = Duration::from_secs(20);

fn address(name: &str) -> Address {
    Address::Unix(PathBuf::from(name), 5432)
}

fn count(address: &Address) -> u32 {
    left().get(address).copied().unwrap_or_default()
}

#[test]
fn a_call_that_ends_in_time_has_its_result() {
    let (at, end) = (address("/in/time"), Instant::now() + LONG);
    for n in 0..3 * MOST_LEFT {
        let done = on_thread("test", &at, end, move || n).expect("a thread");
        assert_eq!(done, Some(n));
    }
    assert_eq!(count(&at), 0);
}

#[test]
fn no_more_threads_are_left_at_a_server_than_allowed() {
    let (at, other) = (address("/still"), address("/moves"));
    let (begun, begins) = channel();
    let mut servers = Vec::new();
    for _ in 0..2 * MOST_LEFT {
        let (server, answer) = channel::<()>();
        let begun = begun.clone();
        let work = move || {
            begun.send(()).expect("the test listens");
            let _ = answer.recv();
        };
        let done = on_thread("test", &at, Instant::now(), work).expect("a thread");
        assert_eq!(done, None);
        servers.push(server);
    }
    for _ in 0..MOST_LEFT {
        begins.recv_timeout(LONG).expect("a call has begun");
    }
    drop(begun);
    assert_eq!(count(&at), MOST_LEFT);
    // Another server is not affected.
    let end = Instant::now() + LONG;
    assert_eq!(
        on_thread("test", &other, end, || 1).expect("a thread"),
        Some(1)
    );
    // It moves again: all calls end, and there are new ones.
    drop(servers);
    while count(&at) > 0 {
        assert!(Instant::now() < end, "{} are left", count(&at));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(begins.try_recv().is_err(), "more calls have begun");
    assert_eq!(
        on_thread("test", &at, end, || 2).expect("a thread"),
        Some(2)
    );
}

#[test]
fn a_call_that_panics_keeps_no_thread() {
    let (at, end) = (address("/panics"), Instant::now() + LONG);
    let panics = || -> u32 { panic!("inside the driver") };
    assert_eq!(on_thread("test", &at, end, panics).expect("a thread"), None);
    let (server, answer) = channel::<()>();
    let late = move || -> u32 {
        let _ = answer.recv();
        panic!("after its caller has given up")
    };
    let done = on_thread("test", &at, Instant::now(), late).expect("a thread");
    assert_eq!((done, count(&at)), (None, 1));
    drop(server);
    while count(&at) > 0 {
        assert!(Instant::now() < end, "its thread is left");
        std::thread::sleep(Duration::from_millis(5));
    }
}
