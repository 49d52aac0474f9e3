//! Pgpool-II in front of a server, and in front of a primary and its standby.

use std::io::{Read, Write};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::TryStreamExt;
use pgmonkey::{Config, Error, aio, sync};
use pgmonkey_tests::{Fixture, LONG, Outcome, kinds_of, load, twin};
use pgmonkey_testserver::{Cluster, Endpoint, Pgpool, StopMode};

use crate::poolers::{CRASH, in_doubt, runs_again};

/// A Pgpool-II in front of the servers; `None`, with the reason printed, if it is not installed.
fn in_front(servers: &[&Endpoint], settings: &[(&str, &str)]) -> Option<Pgpool> {
    let Some(program) = Pgpool::find() else {
        println!("skipped: no pgpool on this machine (`apt-get install pgpool2`)");
        return None;
    };
    Some(Pgpool::start(&program, servers, settings).expect("it starts"))
}

fn config(on: &Fixture, pooler: &Pgpool, sections: &str) -> Config {
    let to = pooler.endpoint();
    load(&on.yaml_at(to.host(), to.port(), sections))
}

fn pools(settings: &str) -> String {
    format!("pool_settings: {settings}\nasync_pool_settings: {settings}\n")
}

twin! {
    fn every_type_works_with_prepared_statements_and_settings(on, driver, go, work) {
        let Some(pooler) = in_front(&[on.server()], &[]) else { return Ok(()) };
        let insert = format!("INSERT INTO {} VALUES ($1)", on.name);
        let settings = "{ statement_timeout: '31000' }";
        let settings = format!("sync_settings: {settings}\nasync_settings: {settings}\n");
        for kind in kinds_of::<driver::Pool>() {
            let sections = format!("connection_type: {kind}\n{settings}");
            let database = go!(driver::Database::new(&config(&on, &pooler, &sections)))?;
            go!(database.ping())?;
            // Often enough to be prepared.
            for n in 0..5 {
                let row = go!(database.query_one("SELECT $1::int + 1, $2::text", &[&n, &"a"]))?;
                assert_eq!((row.get(0), row.get(1)), (n + 1, "a"), "{kind}");
            }
            let hits = database.status().statement_cache.hits;
            assert!(hits > 0, "{kind}: nothing was prepared");
            let row = go!(database.query_one("SHOW statement_timeout", &[]))?;
            assert_eq!(row.get::<_, &str>(0), "31s", "{kind}");
            go!(database.transaction(work!(|tx| {
                go!(tx.execute(&insert, &[&1]))?;
                let mut savepoint = go!(tx.transaction())?;
                go!(savepoint.execute(&insert, &[&2]))?;
                go!(savepoint.rollback())?;
                let statement = go!(tx.prepare_cached(&insert))?;
                go!(tx.execute(&statement, &[&3]))
            })))?;
            let error = go!(database.query_one("SELECT 1 / $1::int", &[&0])).expect_err("by zero");
            assert_eq!(error.code().map(|code| code.code()), Some("22012"), "{kind}: {error}");
            database.close();
        }
        assert_eq!(on.rows(), 4);
        Ok(())
    }
}

twin! {
    fn an_outage_behind_pgpool_is_transient(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let Some(pooler) = in_front(&[on.server()], &[]) else { return Ok(()) };
        let config = config(&on, &pooler, &pools("{ min_size: 1, max_size: 2, timeout: 1 }"));
        let pool = go!(driver::Pool::new(&config))?;
        let mut held = go!(pool.acquire())?;
        cluster.stop(StopMode::Fast).expect("stops");
        let error = go!(held.query("SELECT $1::int", &[&1])).expect_err("the server is away");
        assert!(error.is_transient() || error.is_outcome_unknown(), "{error}");
        drop(held);
        for _ in 0..3 {
            let error = go!(pool.query("SELECT $1::int", &[&1])).expect_err("the server is away");
            assert!(error.is_transient(), "{error}");
        }
        cluster.start_again().expect("starts");
        let end = Instant::now() + LONG;
        let mut answer = go!(pool.query_one("SELECT $1::int", &[&1]));
        while let Err(error) = &answer {
            assert!(error.is_transient() && Instant::now() < end, "{error}");
            answer = go!(pool.query_one("SELECT $1::int", &[&1]));
        }
        Ok(())
    }
}

twin! {
    fn what_a_server_had_that_crashed_behind_pgpool_is_in_doubt(on, driver, go, work) {
        drop(on);
        for statement in ["simple", "extended", "inside", "commit", "transaction"] {
            let cluster = Cluster::builder().start().expect("a server");
            let on = Fixture::on((*cluster).clone());
            let Some(pooler) = in_front(&[on.server()], &[]) else { return Ok(()) };
            let config = config(&on, &pooler, &pools("{ min_size: 1, max_size: 2, timeout: 5 }"));
            let pool = go!(driver::Pool::new(&config))?;
            let done = match statement {
                "simple" => go!(pool.batch_execute(CRASH)),
                "extended" => go!(pool.execute(CRASH, &[])).map(drop),
                "inside" => {
                    let inside = go!(pool.transaction(work!(|tx| {
                        go!(tx.execute(CRASH, &[])).map(drop)
                    })));
                    let error = inside.expect_err("its server process is killed");
                    assert!(error.is_transient(), "{error:?}");
                    continue;
                }
                "transaction" => {
                    runs_again!(pool, on, go, work);
                    continue;
                }
                _ => {
                    in_doubt!(pool, on, go, work);
                    continue;
                }
            };
            let error = done.expect_err("its server process is killed");
            assert!(error.is_outcome_unknown() && !error.is_transient(), "{statement}: {error:?}");
        }
        Ok(())
    }
}

/// Whether this version takes the Sync after a `COPY … FROM STDIN` for the end of the copy, and so
/// never ends it. Its process for the client crashes at the end of a `COPY … TO STDOUT`.
fn never_ends_a_copy() -> bool {
    let program = Pgpool::find().expect("it was started");
    let output = Command::new(program).arg("--version").output();
    let output = output.expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let version = text.split_whitespace().find(|word| word.contains('.'));
    let mut parts = version.into_iter().flat_map(|version| version.split('.'));
    let mut next = || parts.next().and_then(|part| part.parse::<u32>().ok());
    let version = (next(), next(), next());
    let fixed = [(1, 23), (2, 20), (3, 13), (4, 10), (5, 5)];
    match version {
        (Some(4), Some(minor), Some(patch)) => fixed
            .iter()
            .any(|(series, since)| minor == *series && patch < *since),
        (Some(_), ..) => false,
        _ => panic!("no version in {text}"),
    }
}

/// What comes of a copy that some versions never end: the deadline ends it.
fn is_as_the_version_says(on: &Fixture, copied: Result<u64, Error>) {
    match copied {
        Ok(rows) => {
            assert!(!never_ends_a_copy(), "documented to hang");
            assert_eq!((rows, on.rows()), (2, 2));
        }
        Err(error) => {
            assert!(never_ends_a_copy(), "{error}");
            assert!(error.is_deadline(), "{error}");
            assert_eq!(on.rows(), 0);
        }
    }
}

/// Compares what was copied out; where the process crashes, the client is told.
fn is_read_as_the_version_says(copied: Result<String, String>) {
    match copied {
        Ok(text) => assert_eq!(text, "1\n2\n"),
        Err(error) => assert!(never_ends_a_copy() && error.contains("closed"), "{error}"),
    }
}

/// Ends the server session of a copy that was given up: no cancel request ends one that waits for
/// data. Pgpool-II may only notice at the next statement.
fn stop_copies(on: &Fixture) {
    on.run(&format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE application_name = '{}' AND query LIKE 'COPY%'",
        on.name
    ));
}

const OUT: &str = "COPY (VALUES (1), (2)) TO STDOUT";
const SOON: Duration = Duration::from_secs(2);

#[test]
fn a_copy_ends_at_the_latest_by_its_deadline_on_threads() -> Outcome {
    let on = Fixture::new();
    let Some(pooler) = in_front(&[on.server()], &[]) else {
        return Ok(());
    };
    let pool = sync::Pool::new(&config(&on, &pooler, &pools("{ max_size: 2 }")))?;
    let read = || {
        let mut text = String::new();
        let mut reader = pool.copy_out(OUT).map_err(|error| error.to_string())?;
        let read = reader.read_to_string(&mut text);
        read.map(|_| text).map_err(|error| error.to_string())
    };
    is_read_as_the_version_says(read());
    let copy = || {
        let limited = pool.timeout(SOON);
        let mut writer = limited.copy_in(&format!("COPY {} FROM STDIN", on.name))?;
        writer.write_all(b"1\n2\n").expect("into its buffer");
        writer.finish()
    };
    is_as_the_version_says(&on, copy());
    stop_copies(&on);
    let end = Instant::now() + LONG;
    while let Err(error) = pool.query("SELECT 1", &[]) {
        assert!(error.is_transient() && Instant::now() < end, "{error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_ends_at_the_latest_by_its_deadline_in_tasks() -> Outcome {
    let on = Fixture::new();
    let Some(pooler) = in_front(&[on.server()], &[]) else {
        return Ok(());
    };
    let pool = aio::Pool::new(&config(&on, &pooler, &pools("{ max_size: 2 }"))).await?;
    let read = async {
        let parts: Vec<Bytes> = pool.copy_out(OUT).await?.try_collect().await?;
        Ok::<_, Error>(String::from_utf8_lossy(&parts.concat()).into_owned())
    };
    is_read_as_the_version_says(read.await.map_err(|error| error.to_string()));
    let copy = async {
        let limited = pool.timeout(SOON);
        let mut sink = limited
            .copy_in::<_, Bytes>(&format!("COPY {} FROM STDIN", on.name))
            .await?;
        sink.send(Bytes::from_static(b"1\n2\n")).await?;
        sink.finish().await
    };
    is_as_the_version_says(&on, copy.await);
    stop_copies(&on);
    let end = Instant::now() + LONG;
    while let Err(error) = pool.query("SELECT 1", &[]).await {
        assert!(error.is_transient() && Instant::now() < end, "{error}");
    }
    Ok(())
}

// Reads may go to the standby; a transaction that has written stays on the primary.
twin! {
    fn a_transaction_reads_its_writes_beside_a_standby(on, driver, go, work) {
        drop(on);
        let primary = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*primary).clone());
        let standby = primary.standby().expect("a standby");
        let servers = [on.server(), standby.endpoint()];
        // Every session reads from the standby.
        let Some(pooler) = in_front(&servers, &[("backend_weight0", "0")]) else { return Ok(()) };
        let pool = go!(driver::Pool::new(&config(&on, &pooler, &pools("{ max_size: 2 }"))))?;
        let server = "SELECT inet_server_port()";
        let on_standby = go!(pool.query_one(server, &[]))?.get::<_, i32>(0);
        assert_eq!(on_standby, i32::from(standby.port()), "no load is balanced");
        let insert = format!("INSERT INTO {} VALUES ($1)", on.name);
        let count = format!("SELECT count(*), inet_server_port() FROM {}", on.name);
        for n in 1..=5 {
            let row = go!(pool.transaction(work!(|tx| {
                go!(tx.execute(&insert, &[&1]))?;
                go!(tx.query_one(&count, &[]))
            })))?;
            assert_eq!((row.get::<_, i64>(0), row.get(1)), (n, i32::from(primary.port())));
        }
        Ok(())
    }
}
