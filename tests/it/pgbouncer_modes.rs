//! PgBouncer in each of its modes, the commands of its console under load, and its crash.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pgmonkey::{Config, Error, aio, sync};
use pgmonkey_tests::{Fixture, LONG, Outcome, kinds_of, load, twin};
use pgmonkey_testserver::{Cluster, Endpoint, Kind, Pgbouncer};

use crate::under_load::{self, Tally};

const MODES: [&str; 3] = ["session", "transaction", "statement"];

/// A PgBouncer in front of the server; `None`, with the reason printed, if it is not installed.
fn in_front(server: &Endpoint, settings: &[(&str, &str)]) -> Option<Pgbouncer> {
    let Some(program) = Pgbouncer::find() else {
        println!("skipped: no pgbouncer on this machine (`apt-get install pgbouncer`)");
        return None;
    };
    Some(Pgbouncer::start(&program, server, settings).expect("it starts"))
}

/// Runs a command on the console, on a thread because half of the tests are tasks.
fn command(console: &Endpoint, text: &str) {
    let (url, text) = (console.url(), text.to_owned());
    let run = move || {
        let mut client = postgres::Client::connect(&url, postgres::NoTls)?;
        client.simple_query(&text).map(drop)
    };
    let ran = std::thread::spawn(run).join().expect("no panic");
    ran.expect("the administrator may");
}

/// The sum of these columns, over all pools of the pooler.
fn shown(console: &mut postgres::Client, columns: &[&str]) -> u32 {
    let pools = console.simple_query("SHOW POOLS").expect("it answers");
    let numbers = pools.iter().filter_map(|message| match message {
        postgres::SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let numbers = numbers.flat_map(|row| columns.iter().map(|column| row.get(*column)));
    numbers
        .flatten()
        .filter_map(|number| number.parse::<u32>().ok())
        .sum()
}

fn over_tls(pooler: &Pgbouncer, root: &str, kind: &str, mode: &str) -> Config {
    let server = pooler.endpoint();
    load(&format!(
        "connection_type: {kind}\nconnection_settings: {{ host: localhost, port: {}, user: {}, \
         password: '{}', dbname: {}, sslmode: verify-full, sslrootcert: '{root}', connect_timeout: 5, \
         pooler: {mode} }}\n",
        server.port(),
        server.user(),
        server.password(),
        server.dbname(),
    ))
}

twin! {
    fn every_type_works_in_every_mode_with_tls_on_both_sides(on, driver, go, work) {
        drop(on);
        let Some(program) = Pgbouncer::find() else {
            println!("skipped: no pgbouncer on this machine (`apt-get install pgbouncer`)");
            return Ok(());
        };
        let cluster = Cluster::builder().kind(Kind::Tls).start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let certificates = cluster.certificates().expect("it has TLS");
        let root = certificates.ca().display().to_string();
        let insert = format!("INSERT INTO {} VALUES ($1)", on.name);
        let ask = "SELECT $1::int + 1, (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid())";
        let mut expected = 0;
        for mode in MODES {
            let settings =
                [("pool_mode", mode), ("server_tls_sslmode", "verify-full"), ("server_tls_ca_file", "ca.pem")];
            let pooler = Pgbouncer::start_tls(&program, &cluster, &settings, certificates, "server")
                .expect("it starts");
            for kind in kinds_of::<driver::Pool>() {
                let database = go!(driver::Database::new(&over_tls(&pooler, &root, kind, mode)))?;
                assert!(go!(database.ping())?.tls.is_some(), "{mode}, {kind}: the client's side");
                for n in 0..4 {
                    let row = go!(database.query_one(ask, &[&n]))?;
                    assert_eq!((row.get(0), row.get(1)), (n + 1, true), "{mode}, {kind}");
                }
                assert_eq!(go!(database.execute(&insert, &[&1]))?, 1);
                let ran = go!(database.transaction(work!(|tx| {
                    go!(tx.execute(&insert, &[&2]))?;
                    let mut savepoint = go!(tx.transaction())?;
                    go!(savepoint.execute(&insert, &[&3]))?;
                    go!(savepoint.rollback())?;
                    go!(tx.execute(&insert, &[&4]))
                })));
                match (mode, ran) {
                    ("statement", Err(error)) => {
                        let text = error.to_string();
                        assert!(text.contains("not allowed in statement pooling mode"), "{text}");
                        assert!(!error.is_transient() && !error.is_outcome_unknown(), "{text}");
                        expected += 1;
                    }
                    ("statement", Ok(_)) => panic!("a transaction in statement mode"),
                    (_, ran) => {
                        assert_eq!(ran?, 1, "{mode}, {kind}");
                        expected += 3;
                    }
                }
                assert_eq!(on.rows(), expected, "{mode}, {kind}");
                // What was refused has hurt nothing.
                assert_eq!(go!(database.query_one(ask, &[&1]))?.get::<_, i32>(0), 2);
                database.close();
            }
        }
        Ok(())
    }
}

twin! {
    fn a_listener_hears_in_session_mode_and_is_refused_in_the_others(on, driver, go, work) {
        for mode in MODES {
            let Some(pooler) = in_front(on.server(), &[("pool_mode", mode)]) else { return Ok(()) };
            let yaml = on.yaml_at(pooler.endpoint().host(), pooler.endpoint().port(), "");
            let told = load(&yaml.replace("sslmode:", &format!("pooler: {mode}, sslmode:")));
            let mut listener = match go!(driver::Listener::connect(&told)) {
                Ok(listener) => listener,
                Err(error) => {
                    assert!(mode != "session", "{error}");
                    assert!(matches!(error, Error::Unsupported { .. }), "{mode}: {error}");
                    let text = error.to_string();
                    assert!(text.contains("server session of its own"), "{mode}: {text}");
                    continue;
                }
            };
            assert_eq!(mode, "session", "a listener behind a pooler that switches sessions");
            go!(listener.listen(&on.name))?;
            on.run(&format!("NOTIFY {}, 'heard'", on.name));
            let heard = go!(listener.recv_timeout(LONG))?.expect("in time");
            assert_eq!(heard.notification().expect("one").payload(), "heard");
            go!(listener.close());
        }
        Ok(())
    }
}

/// The pools for the load, whose sessions have the fixture's name.
fn loaded(on: &Fixture, pooler: &Pgbouncer) -> Config {
    let sizes = "{ min_size: 2, max_size: 4, statement_cache: 0 }";
    let sections = format!("pool_settings: {sizes}\nasync_pool_settings: {sizes}\n");
    let to = pooler.endpoint();
    let yaml = on.yaml_at(to.host(), to.port(), &sections);
    load(&yaml.replace("sslmode:", "pooler: transaction, sslmode:"))
}

/// `PAUSE` lets what runs finish and then holds everything back, for example while the server is
/// restarted.
fn pause(cluster: &Cluster, pooler: &Endpoint, load: &Tally) {
    let mut console =
        postgres::Client::connect(&pooler.url(), postgres::NoTls).expect("it answers");
    for _ in 0..2 {
        load.goes_on();
        console
            .simple_query("PAUSE")
            .expect("the administrator may");
        let end = Instant::now() + LONG;
        while shown(&mut console, &["cl_waiting"]) < 4 {
            assert!(Instant::now() < end, "they do not wait");
            std::thread::sleep(Duration::from_millis(5));
        }
        cluster.restart().expect("restarts");
        console
            .simple_query("RESUME")
            .expect("the administrator may");
    }
    load.goes_on();
}

/// PgBouncer opens them all, and then no more.
const SERVER_SESSIONS: u32 = 5;
const SETTLED: [(&str, &str); 2] = [("default_pool_size", "5"), ("min_pool_size", "5")];

/// Waits until no login at the server is under way. One that `RECONNECT` interrupts counts for
/// PgBouncer as a login that failed: it refuses its clients for `server_login_retry`.
fn settle(on: &Fixture, console: &Endpoint) {
    let mut console =
        postgres::Client::connect(&console.url(), postgres::NoTls).expect("it answers");
    let end = Instant::now() + LONG;
    let ready = ["sv_active", "sv_idle", "sv_used", "sv_tested"];
    while shown(&mut console, &ready) < SERVER_SESSIONS {
        assert!(Instant::now() < end, "{} sessions", on.sessions());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// `RECONNECT` replaces each server session when it is free.
fn reconnect(on: &Fixture, console: &Endpoint, load: &Tally) {
    load.goes_on();
    settle(on, console);
    let now = on.number(
        "SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::int8",
        &[],
    );
    command(console, "RECONNECT");
    let old = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 \
               AND (extract(epoch FROM backend_start) * 1e6)::int8 < $2";
    on.until("the sessions are replaced", || {
        on.number(old, &[&on.name, &now]) == 0
    });
    load.goes_on();
}

/// Every client loses its session in the middle of whatever it does.
fn crash(pooler: &mut Pgbouncer, load: &Tally) {
    for _ in 0..3 {
        load.goes_on();
        pooler.kill().expect("it ran");
        pooler.start_again().expect("it starts");
    }
    load.goes_on();
}

#[test]
fn a_pause_for_a_restart_costs_no_thread_an_error() -> Outcome {
    let cluster = Cluster::builder().start()?;
    let on = Fixture::on((*cluster).clone());
    let Some(pooler) = in_front(on.server(), &[]) else {
        return Ok(());
    };
    let pool = sync::Pool::new(&loaded(&on, &pooler))?;
    let console = pooler.console();
    let load = under_load::threads(&pool, &on, |load| pause(&cluster, &console, load));
    load.check(&on);
    assert_eq!(load.failed(), 0, "{}", load.last());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_for_a_restart_costs_no_task_an_error() -> Outcome {
    // Kept until the callers have ended.
    let cluster = Arc::new(Cluster::builder().start()?);
    let on = Fixture::on((**cluster).clone());
    let Some(pooler) = in_front(on.server(), &[]) else {
        return Ok(());
    };
    let pool = aio::Pool::new(&loaded(&on, &pooler)).await?;
    let console = pooler.console();
    let restarted = Arc::clone(&cluster);
    let disturb = move |load: &Tally| pause(&restarted, &console, load);
    let load = under_load::tasks(&pool, &on, disturb).await;
    load.check(&on);
    assert_eq!(load.failed(), 0, "{}", load.last());
    Ok(())
}

#[test]
fn a_reconnect_costs_no_thread_an_error() -> Outcome {
    let on = Fixture::new();
    let Some(pooler) = in_front(on.server(), &SETTLED) else {
        return Ok(());
    };
    let pool = sync::Pool::new(&loaded(&on, &pooler))?;
    let console = pooler.console();
    let load = under_load::threads(&pool, &on, |load| reconnect(&on, &console, load));
    load.check(&on);
    assert_eq!(load.failed(), 0, "{}", load.last());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reconnect_costs_no_task_an_error() -> Outcome {
    let on = Arc::new(Fixture::new());
    let Some(pooler) = in_front(on.server(), &SETTLED) else {
        return Ok(());
    };
    let pool = aio::Pool::new(&loaded(&on, &pooler)).await?;
    let (console, server) = (pooler.console(), Arc::clone(&on));
    let load = under_load::tasks(&pool, &on, move |load| reconnect(&server, &console, load)).await;
    load.check(&on);
    assert_eq!(load.failed(), 0, "{}", load.last());
    Ok(())
}

#[test]
fn a_killed_pooler_misleads_no_thread() -> Outcome {
    let on = Fixture::new();
    let Some(mut pooler) = in_front(on.server(), &[]) else {
        return Ok(());
    };
    let pool = sync::Pool::new(&loaded(&on, &pooler))?;
    let load = under_load::threads(&pool, &on, |load| crash(&mut pooler, load));
    load.check(&on);
    assert!(load.failed() > 0, "nothing ran when it was killed");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_pooler_misleads_no_task() -> Outcome {
    let on = Fixture::new();
    let Some(mut pooler) = in_front(on.server(), &[]) else {
        return Ok(());
    };
    let pool = aio::Pool::new(&loaded(&on, &pooler)).await?;
    let load = under_load::tasks(&pool, &on, move |load| crash(&mut pooler, load)).await;
    load.check(&on);
    assert!(load.failed() > 0, "nothing ran when it was killed");
    Ok(())
}
