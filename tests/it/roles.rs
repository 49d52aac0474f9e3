//! A primary and its standby: which one a session uses, and what happens when they change roles
//! during a pool's lifetime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgmonkey::{Config, Role, aio, sync};
use pgmonkey_tests::{LONG, Outcome, load};
use pgmonkey_testserver::{Cluster, Endpoint, StopMode};

use crate::tls::psql;

fn hosts(servers: [&Endpoint; 2], more: &str) -> String {
    let [a, b] = servers;
    format!(
        "connection_settings: {{ host: '{},{}', port: '{},{}', user: {}, password: '{}', dbname: {}, sslmode: disable, connect_timeout: 5{more} }}\n",
        a.host(),
        b.host(),
        a.port(),
        b.port(),
        a.user(),
        a.password(),
        a.dbname(),
    )
}

/// The port that each type reaches, or the words of the refusal.
fn reached(config: &Config) -> Vec<Result<u16, String>> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let reports = [
        sync::Connection::new(config).and_then(|connection| connection.ping()),
        sync::Pool::new(config).and_then(|pool| pool.ping()),
        runtime.block_on(async { aio::Connection::new(config).await?.ping().await }),
        runtime.block_on(async { aio::Pool::new(config).await?.ping().await }),
    ];
    let port = |address: String| {
        let digits = address.rsplit([':', '.']).next().map(str::to_owned);
        digits
            .and_then(|digits| digits.parse().ok())
            .expect("a port")
    };
    let told = |report: Result<pgmonkey::Report, pgmonkey::Error>| {
        report
            .map(|report| port(report.address))
            .map_err(|error| error.to_string())
    };
    reports.into_iter().map(told).collect()
}

fn with_psql(cluster: &Cluster, servers: [&Endpoint; 2], attrs: &str) -> Option<Option<u16>> {
    let [a, b] = servers;
    let conninfo = format!(
        "host={},{} port={},{} user={} password={} dbname={} sslmode=disable target_session_attrs={attrs}",
        a.host(),
        b.host(),
        a.port(),
        b.port(),
        a.user(),
        a.password(),
        a.dbname()
    );
    let output = std::process::Command::new(psql(cluster)?)
        .args([
            "-X",
            "-w",
            "-A",
            "-t",
            "-c",
            "SELECT inet_server_port()",
            "-d",
            &conninfo,
        ])
        .env_clear()
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().parse().ok())
}

#[test]
fn each_value_finds_the_server_that_psql_finds() -> Outcome {
    let primary = Cluster::builder().start()?;
    let standby = primary.standby()?;
    let (p, s) = (primary.port(), standby.port());
    let both = [primary.endpoint(), standby.endpoint()];
    let other_way = [standby.endpoint(), primary.endpoint()];
    let only_primary = [primary.endpoint(), primary.endpoint()];
    let rows: [(&str, [&Endpoint; 2], Option<u16>); 15] = [
        ("any", both, Some(p)),
        ("any", other_way, Some(s)),
        ("read-write", both, Some(p)),
        ("read-write", other_way, Some(p)),
        ("read-only", both, Some(s)),
        ("read-only", other_way, Some(s)),
        ("primary", both, Some(p)),
        ("primary", other_way, Some(p)),
        ("standby", both, Some(s)),
        ("standby", other_way, Some(s)),
        ("prefer-standby", both, Some(s)),
        ("prefer-standby", other_way, Some(s)),
        ("prefer-standby", only_primary, Some(p)),
        ("standby", only_primary, None),
        ("read-only", only_primary, None),
    ];
    for (attrs, servers, expected) in rows {
        let config = load(&hosts(servers, &format!(", target_session_attrs: {attrs}")));
        let ours = reached(&config);
        println!("{attrs:15} {:?} -> {ours:?}", servers.map(Endpoint::port));
        for one in &ours {
            match (one, expected) {
                (Ok(port), Some(expected)) => assert_eq!(*port, expected, "{attrs}"),
                (Err(text), None) => assert!(text.contains("target_session_attrs"), "{text}"),
                other => panic!("{attrs}: {other:?}"),
            }
        }
        if let Some(theirs) = with_psql(&primary, servers, attrs) {
            assert_eq!(theirs, expected, "psql, {attrs}");
        }
    }
    Ok(())
}

#[test]
fn a_primary_whose_sessions_are_read_only_takes_no_writes() -> Outcome {
    let primary = Cluster::builder().start()?;
    primary.set("default_transaction_read_only", "on")?;
    primary.reload()?;
    let servers = [primary.endpoint(), primary.endpoint()];
    for (attrs, fits) in [
        ("read-write", false),
        ("read-only", true),
        ("primary", true),
    ] {
        let config = load(&hosts(servers, &format!(", target_session_attrs: {attrs}")));
        let ours = reached(&config);
        assert!(
            ours.iter().all(|one| one.is_ok() == fits),
            "{attrs}: {ours:?}"
        );
    }
    Ok(())
}

/// Over a Unix socket the blocking driver's login cannot be observed, so the server is queried, as
/// with a server before PostgreSQL 14.
#[test]
fn a_server_that_announces_nothing_is_asked() -> Outcome {
    let primary = Cluster::builder().start()?;
    let standby = primary.standby()?;
    let directory = |server: &Cluster| {
        server
            .socket_dir()
            .expect("it runs here")
            .display()
            .to_string()
    };
    for (attrs, expected) in [
        ("primary", &primary),
        ("read-write", &primary),
        ("standby", &standby),
        ("read-only", &standby),
        ("prefer-standby", &standby),
    ] {
        let text = hosts(
            [primary.endpoint(), standby.endpoint()],
            &format!(", target_session_attrs: {attrs}"),
        );
        let there = format!("host: '{},{}'", directory(&primary), directory(&standby));
        let from = format!("host: '{},{}'", primary.host(), standby.host());
        for port in reached(&load(&text.replace(&from, &there))) {
            assert_eq!(port?, expected.port(), "{attrs}");
        }
    }
    Ok(())
}

#[test]
fn a_standby_that_was_promoted_is_no_standby_any_more() -> Outcome {
    let primary = Cluster::builder().start()?;
    let standby = primary.standby()?;
    let servers = [primary.endpoint(), standby.endpoint()];
    let mut text = hosts(servers, ", target_session_attrs: standby");
    text.push_str("pool_settings: { min_size: 1, timeout: 1 }\nasync_pool_settings: { min_size: 1, timeout: 1 }\n");
    let config = load(&text);
    let pool = sync::Pool::new(&config)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let async_pool = runtime.block_on(aio::Pool::new(&config))?;
    assert_eq!(pool.ping()?.role, Role::Standby);
    standby.promote()?;
    let end = Instant::now() + LONG;
    // The session reports it unprompted, a moment later.
    while let Ok(report) = pool.ping() {
        assert!(Instant::now() < end, "still handed out: {report}");
    }
    while let Ok(report) = runtime.block_on(async_pool.ping()) {
        assert!(Instant::now() < end, "still handed out: {report}");
    }
    let error = pool.acquire().expect_err("there is no standby");
    assert!(error.is_transient(), "one may come: {error}");
    assert!(error.to_string().contains("is not a standby"), "{error}");
    assert_eq!(
        (pool.status().closed.role, async_pool.status().closed.role),
        (1, 1)
    );
    Ok(())
}

/// What callers count while the servers change roles.
#[derive(Default)]
struct Tally {
    moved: AtomicBool,
    stop: AtomicBool,
    errors: AtomicU64,
    done: AtomicU64,
    after: AtomicU64,
}

impl Tally {
    /// Counts the outcome of one use: acquiring must not fail, the statement may.
    fn note(&self, acquired: Result<Result<i32, String>, pgmonkey::Error>, new: u16, moved: bool) {
        match acquired {
            Err(error) => panic!("a caller was refused: {error}"),
            Ok(Err(_)) => {
                self.errors.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Ok(port)) => {
                self.done.fetch_add(1, Ordering::Relaxed);
                if moved {
                    assert_eq!(port, i32::from(new), "after the move");
                    self.after.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn moved(&self) -> bool {
        self.moved.load(Ordering::SeqCst)
    }
}

const ASK: &str = "SELECT inet_server_port() FROM (SELECT pg_sleep(0.002)) AS s";

#[test]
fn a_failover_costs_no_borrower_more_than_the_statement_in_flight() -> Outcome {
    const TASKS: u64 = 200;
    const THREADS: u64 = 16;
    let primary = Cluster::builder().start()?;
    let standby = primary.standby()?;
    let new = standby.port();
    let mut text = hosts(
        [primary.endpoint(), standby.endpoint()],
        ", target_session_attrs: read-write",
    );
    text.push_str("pool_settings: { min_size: 4, max_size: 8, timeout: 30 }\nasync_pool_settings: { min_size: 4, max_size: 20, timeout: 30 }\n");
    let config = load(&text);
    let (tasks, threads) = (Arc::new(Tally::default()), Arc::new(Tally::default()));
    let runtime = tokio::runtime::Runtime::new()?;
    let async_pool = runtime.block_on(aio::Pool::new(&config))?;
    let borrowers: Vec<_> = (0..TASKS)
        .map(|_| {
            let (pool, tally) = (async_pool.clone(), Arc::clone(&tasks));
            runtime.spawn(async move {
                while !tally.stop.load(Ordering::Relaxed) {
                    let moved = tally.moved();
                    let asked = match pool.acquire().await {
                        Ok(guard) => Ok(guard
                            .query_one(ASK, &[])
                            .await
                            .map(|row| row.get(0))
                            .map_err(|e| e.to_string())),
                        Err(error) => Err(error),
                    };
                    tally.note(asked, new, moved);
                }
            })
        })
        .collect();
    let pool = sync::Pool::new(&config)?;
    let callers: Vec<_> = (0..THREADS)
        .map(|_| {
            let (pool, tally) = (pool.clone(), Arc::clone(&threads));
            std::thread::spawn(move || {
                while !tally.stop.load(Ordering::Relaxed) {
                    let moved = tally.moved();
                    let asked = pool.acquire().map(|mut guard| {
                        guard
                            .query_one(ASK, &[])
                            .map(|row| row.get(0))
                            .map_err(|e| e.to_string())
                    });
                    tally.note(asked, new, moved);
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    standby.promote()?;
    primary.stop(StopMode::Fast)?;
    for tally in [&tasks, &threads] {
        assert!(tally.done.load(Ordering::Relaxed) > 100, "they had begun");
        tally.moved.store(true, Ordering::SeqCst);
    }
    let end = Instant::now() + LONG;
    while tasks.after.load(Ordering::Relaxed) < 2 * TASKS
        || threads.after.load(Ordering::Relaxed) < 2 * THREADS
    {
        assert!(Instant::now() < end, "the pools do not come back");
        std::thread::sleep(Duration::from_millis(10));
    }
    for tally in [&tasks, &threads] {
        tally.stop.store(true, Ordering::Relaxed);
    }
    for borrower in borrowers {
        runtime.block_on(borrower)?;
    }
    for caller in callers {
        caller.join().map_err(|_| "a thread panicked")?;
    }
    println!(
        "statements in flight that failed: {} of 20 sessions (tasks), {} of 8 (threads)",
        tasks.errors.load(Ordering::Relaxed),
        threads.errors.load(Ordering::Relaxed)
    );
    assert!(tasks.errors.load(Ordering::Relaxed) <= 20);
    assert!(threads.errors.load(Ordering::Relaxed) <= 8);
    Ok(())
}

/// A refused write ends the session if a new one may reach a primary, and only then.
#[test]
fn a_session_that_turned_out_to_be_read_only_is_not_lent_again() -> Outcome {
    let primary = Cluster::builder().start()?;
    let standby = primary.standby()?;
    let write = "CREATE TABLE t (n int)";
    let inside = "BEGIN READ ONLY; CREATE TABLE t (n int)";
    let rows = [
        // As after a failover behind a name that still resolves to the old server.
        (&standby, "any", write, 1),
        (&standby, "prefer-standby", write, 0),
        (&standby, "standby", write, 0),
        (&standby, "read-only", write, 0),
        // By its own setting: another session would do the same.
        (&primary, "any", inside, 0),
        (&primary, "read-write", inside, 0),
        (
            &primary,
            "read-write",
            "BEGIN; SET LOCAL default_transaction_read_only = on; SET transaction_read_only = on; CREATE TABLE t (n int)",
            0,
        ),
        // A session setting that its caller has left behind.
        (
            &primary,
            "read-write",
            "SET default_transaction_read_only = on; COMMIT; CREATE TABLE t (n int)",
            1,
        ),
    ];
    let runtime = tokio::runtime::Runtime::new()?;
    for (server, attrs, statement, ended) in rows {
        let servers = [server.endpoint(), server.endpoint()];
        let mut text = hosts(servers, &format!(", target_session_attrs: {attrs}"));
        // What a caller has set must stay.
        let sizes = "{ max_size: 1, reset: transaction }";
        text.push_str(&format!(
            "pool_settings: {sizes}\nasync_pool_settings: {sizes}\n"
        ));
        let config = load(&text);
        let pool = sync::Pool::new(&config)?;
        let async_pool = runtime.block_on(aio::Pool::new(&config))?;
        let refusals = [
            pool.batch_execute(statement).expect_err("read-only"),
            runtime
                .block_on(async_pool.batch_execute(statement))
                .expect_err("read-only"),
        ];
        for refused in refusals {
            let code = refused.code().map(|code| code.code().to_owned());
            assert_eq!(code.as_deref(), Some("25006"), "{attrs}: {refused}");
        }
        pool.query("SELECT 1", &[])?;
        runtime.block_on(async_pool.query("SELECT 1", &[]))?;
        let closed = (pool.status().closed, async_pool.status().closed);
        assert_eq!(
            (closed.0.role, closed.1.role),
            (ended, ended),
            "{attrs}: {statement}"
        );
        assert_eq!(closed.0.total(), ended, "{attrs}: {statement}");
    }
    Ok(())
}
