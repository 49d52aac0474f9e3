//! PgBouncer when it cannot start; the workspace's tests cover it when it works.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pgmonkey_testserver::{Endpoint, Pgbouncer};

#[test]
fn a_pooler_that_does_not_start_shows_its_log() {
    let Some(program) = Pgbouncer::find() else {
        eprintln!("SKIPPED, nothing was tested: pgbouncer is not installed");
        return;
    };
    let nobody = Endpoint::from_url("postgres://app:secret@127.0.0.1:1/app").unwrap();
    let start = |settings: &[_]| Pgbouncer::start(&program, &nobody, settings).unwrap_err();
    let begin = Instant::now();
    let error = start(&[("pool_mode", "no-such-mode")]).to_string();
    assert!(
        error.contains("no-such-mode") && begin.elapsed() < Duration::from_secs(5),
        "{error}"
    );

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = start(&[("listen_port", port.as_str())]).to_string();
    assert!(error.contains(&port), "{error}");
}
