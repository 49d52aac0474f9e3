//! Poolers and proxies when they cannot start, and what they leave; the workspace's tests cover them
//! when they work.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use pgmonkey_testserver::{Endpoint, Haproxy, Pgbouncer, Pgpool};

mod needs;

const LIMIT: Duration = Duration::from_secs(20);

fn away() -> Endpoint {
    Endpoint::from_url("postgres://app:secret@127.0.0.1:1024/app").unwrap()
}

#[test]
fn a_pooler_that_does_not_start_shows_its_log() {
    let Some(program) = Pgbouncer::find() else {
        eprintln!("SKIPPED, nothing was tested: pgbouncer is not installed");
        return;
    };
    let start = |settings: &[_]| Pgbouncer::start(&program, &away(), settings).unwrap_err();
    let begin = Instant::now();
    let error = start(&[("pool_mode", "no-such-mode")]).to_string();
    assert!(
        error.contains("no-such-mode") && begin.elapsed() < LIMIT,
        "{error}"
    );

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = start(&[("listen_port", port.as_str())]).to_string();
    assert!(error.contains(&port), "{error}");
}

#[test]
fn a_pgpool_that_does_not_start_shows_its_log() {
    let Some(program) = Pgpool::find() else {
        eprintln!("SKIPPED, nothing was tested: pgpool2 is not installed");
        return;
    };
    let wrong = [("backend_clustering_mode", "no-such-mode")];
    let error = Pgpool::start(&program, &[&away()], &wrong).unwrap_err();
    assert!(error.to_string().contains("no-such-mode"), "{error}");
}

#[test]
fn a_proxy_that_does_not_start_shows_its_output() {
    let Some(program) = Haproxy::find() else {
        eprintln!("SKIPPED, nothing was tested: haproxy is not installed");
        return;
    };
    let wrong = Endpoint::from_url("postgres://app:secret@no.such.host.invalid:1/app").unwrap();
    let error = Haproxy::start(&program, &[&wrong]).unwrap_err();
    assert!(
        error.to_string().contains("no.such.host.invalid"),
        "{error}"
    );
    let none = Haproxy::start(&program, &[]).unwrap_err();
    assert!(none.to_string().contains("no server"), "{none}");
}

/// A killed Pgpool-II would leave its children and its shared memory.
#[test]
fn a_dropped_pgpool_ends_with_its_children() {
    let (Some(binaries), Some(program)) = (needs::binaries(), Pgpool::find()) else {
        eprintln!("SKIPPED, nothing was tested: pgpool2 is not installed");
        return;
    };
    let cluster = pgmonkey_testserver::Cluster::builder().binaries(binaries);
    let cluster = cluster.start().unwrap();
    let pooler = Pgpool::start(&program, &[&cluster], &[]).unwrap();
    let output = pooler.endpoint().log_file().unwrap().to_owned();
    let dir = output.parent().unwrap();
    if cfg!(target_os = "linux") {
        assert!(running_in(dir) > 10);
    }
    drop(pooler);
    assert_eq!(running_in(dir), 0);
    assert!(!dir.exists());
}

/// How many processes have this working directory.
fn running_in(dir: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let links = processes.filter_map(|process| process.path().join("cwd").read_link().ok());
    let dir = dir.display().to_string();
    // Of a directory that was removed, the system says so.
    let inside = links.filter(|link| link.display().to_string().starts_with(&dir));
    inside.count()
}
