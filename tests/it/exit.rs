//! The end of a process.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pgmonkey_tests::{Fixture, LONG, Outcome};
use pgmonkey_testserver::{Cluster, Proxy};

/// A process that has opened its sessions.
fn open(on: &Fixture, host: &str, port: u16, how: &str) -> (Child, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pgmonkey.yaml");
    let pools = "pool_settings: { min_size: 3, max_size: 3 }\nasync_pool_settings: { min_size: 2, max_size: 2 }\n";
    std::fs::write(&path, on.yaml_at(host, port, pools)).expect("written");
    let mut child = Command::new(env!("CARGO_BIN_EXE_exits"))
        .arg(&path)
        .arg(how)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut line = String::new();
    let stdout = child.stdout.as_mut().expect("piped");
    BufReader::new(stdout)
        .read_line(&mut line)
        .expect("it says something");
    assert_eq!(line, "open\n");
    (child, folder)
}

/// Lets the process end and returns how long that took.
fn end(mut child: Child) -> Duration {
    let began = Instant::now();
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(b"\n")
        .expect("it listens");
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{status}");
    began.elapsed()
}

#[test]
fn cached_sessions_end_in_order() -> Outcome {
    // Only at this log level does the server distinguish a lost session from an orderly end.
    let cluster = Cluster::builder()
        .setting("log_min_messages", "debug1")
        .start()?;
    let on = Fixture::on((*cluster).clone());
    for how in ["return", "exit", "panic", "hang"] {
        let before = cluster.log().len();
        let (child, _folder) = open(&on, on.server().host(), on.server().port(), how);
        assert_eq!(on.sessions(), 4);
        let took = end(child);
        assert!(took < Duration::from_secs(1), "{took:?}");
        on.until("the sessions are gone", || on.sessions() == 0);
        on.until("the log has their ends", || {
            cluster.log()[before..]
                .matches("disconnection: session time")
                .count()
                >= 4
        });
        let log = &cluster.log()[before..];
        assert!(
            !log.contains("unexpected EOF on client connection"),
            "{how}: {log}"
        );
        assert!(!log.contains("Connection reset by peer"), "{how}: {log}");
    }
    Ok(())
}

#[test]
fn a_process_ends_within_a_second_whatever_hangs() -> Outcome {
    let on = Fixture::new();
    for (how, limit) in [
        ("lock", Duration::from_millis(1_200)),
        ("hang", Duration::from_secs(1)),
    ] {
        let (child, _folder) = open(&on, on.server().host(), on.server().port(), how);
        let took = end(child);
        // The first caller lets its statement start, for a tenth of a second.
        assert!(took < limit, "{how}: {took:?}");
    }

    let proxy = Proxy::to((on.server().host(), on.server().port()))?;
    let (child, _folder) = open(&on, "127.0.0.1", proxy.port(), "async");
    proxy.stall();
    let took = end(child);
    assert!(
        took < Duration::from_secs(1),
        "a server that hangs: {took:?}"
    );
    assert!(LONG > took);
    on.kill();
    Ok(())
}
