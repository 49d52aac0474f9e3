//! The programs of the chapter about other crates, run against a real server.

#![forbid(unsafe_code)]

use std::process::Output;

use pgmonkey_tests::kitchen::{Kitchen, Running, ask, said};
use pgmonkey_tests::{Fixture, Outcome};
use pgmonkey_testserver::{Binaries, Cluster, Proxy};

const ACCOUNTS: &str = "CREATE TABLE accounts (name text, money int); \
                        INSERT INTO accounts VALUES ('alice', 100), ('bob', 50), ('carol', 7)";

#[test]
fn migrations_are_applied_once_by_whichever_program_is_first() -> Outcome {
    let kitchen = Kitchen::new("SELECT");
    let run = |program: &str| said(&kitchen.cook(program, &[]));
    let (blocking, tasks) = (
        env!("CARGO_BIN_EXE_migrations"),
        env!("CARGO_BIN_EXE_migrations_async"),
    );
    let mut printed: Vec<String> = std::thread::scope(|scope| {
        let both = [blocking, tasks].map(|program| scope.spawn(move || run(program)));
        both.map(|one| one.join().expect("no panic")).into()
    });
    printed.sort();
    assert_eq!(printed, ["0 applied\n", "2 applied\n"]);
    assert_eq!(kitchen.number("SELECT count(*) FROM $schema.accounts"), 3);
    assert_eq!(run(tasks), "0 applied\n");
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 7305801";
    assert_eq!(kitchen.number(locks), 0);
    Ok(())
}

#[test]
fn built_queries_return_rows_as_structs() -> Outcome {
    let kitchen = Kitchen::new(ACCOUNTS);
    let output = kitchen.cook(env!("CARGO_BIN_EXE_queries"), &[]);
    assert_eq!(said(&output), "alice: 100\n1 left\n");
    let bob = "SELECT money::bigint FROM $schema.accounts WHERE name = 'bob'";
    assert_eq!(kitchen.number(bob), 5);
    Ok(())
}

#[test]
fn functions_of_the_drivers_client_take_sessions_and_transactions() -> Outcome {
    let kitchen = Kitchen::new(ACCOUNTS);
    let output = kitchen.cook(env!("CARGO_BIN_EXE_generated"), &[]);
    let expected = "[\"alice\", \"bob\", \"carol\"]\n[\"alice\", \"bob\", \"dave\"]\n";
    assert_eq!(said(&output), expected);
    Ok(())
}

#[test]
fn threads_of_rayon_share_the_sessions_of_one_pool() -> Outcome {
    let kitchen = Kitchen::new("SELECT");
    let output = kitchen.cook(env!("CARGO_BIN_EXE_parallel"), &[]);
    assert_eq!(said(&output), "338350 true\n");
    Ok(())
}

#[test]
fn other_pools_are_kept() -> Outcome {
    let kitchen = Kitchen::new(ACCOUNTS);
    let threads = kitchen.cook(env!("CARGO_BIN_EXE_keep_r2d2"), &[]);
    assert_eq!(said(&threads), "3 accounts\n3 of r2d2_postgres\n");
    let tasks = kitchen.cook(env!("CARGO_BIN_EXE_keep_deadpool"), &[]);
    assert_eq!(said(&tasks), "3 accounts\n3 accounts\n3 accounts\n");
    Ok(())
}

#[test]
fn vectors_are_the_same_when_read() -> Outcome {
    let there = "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'";
    let mut on = Fixture::new();
    let cluster;
    if on.number(there, &[]) == 0 {
        let Some(programs) = std::env::var_os("PGMONKEY_TEST_PGVECTOR_BIN") else {
            eprintln!("skipped: no server with pgvector (PGMONKEY_TEST_PGVECTOR_BIN)");
            return Ok(());
        };
        let programs = Binaries::at(programs)?;
        cluster = Cluster::builder().binaries(programs).start()?;
        on = Fixture::on(cluster.endpoint().clone());
    }
    let kitchen = Kitchen::with(on, "SELECT");
    let schema = &kitchen.schema;
    kitchen.on.run(&format!(
        "CREATE EXTENSION IF NOT EXISTS vector SCHEMA public; \
         CREATE TABLE {schema}.items (name text, embedding public.vector(3))"
    ));
    let settings = format!("{{ search_path: '{schema},public' }}");
    kitchen.write(&kitchen.on.yaml(&format!("async_settings: {settings}\n")));
    let output = kitchen.cook(env!("CARGO_BIN_EXE_vectors"), &[]);
    assert_eq!(said(&output), "cat: [1.0, 0.0, 0.2]\n");
    Ok(())
}

#[test]
fn the_program_for_a_container_takes_its_address() -> Outcome {
    let kitchen = Kitchen::new("SELECT");
    let server = kitchen.on.server();
    let (host, port) = (server.host(), server.port().to_string());
    kitchen.write(&kitchen.on.yaml_at("elsewhere.invalid", 1, ""));
    let output: Output = kitchen.cook(env!("CARGO_BIN_EXE_container"), &[host, &port]);
    assert_eq!(said(&output).trim(), server.user());
    Ok(())
}

fn address(running: &Running) -> String {
    let address = running.line.trim().strip_prefix("listening on ");
    address.expect("it says where it listens").to_owned()
}

#[test]
fn an_extractor_gives_a_session_and_the_endpoints_tell_outages_apart() -> Outcome {
    let kitchen = Kitchen::new("SELECT");
    let server = kitchen.on.server();
    let proxy = Proxy::to((server.host(), server.port()))?;
    let pool = "async_pool_settings: { min_size: 1, max_size: 4 }";
    kitchen.write(&kitchen.on.yaml_at("127.0.0.1", proxy.port(), pool));
    let program = env!("CARGO_BIN_EXE_web_extractors");
    let running = Running::start(kitchen.command(program).arg("127.0.0.1:0"));
    let address = address(&running);
    let (status, pid) = ask(&address, "GET", "/backend")?;
    assert_eq!(status, 200);
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND pid = $2";
    let pid: i32 = pid.trim().parse()?;
    assert_eq!(kitchen.on.number(ours, &[&kitchen.on.name, &pid]), 1);
    let (status, text) = ask(&address, "GET", "/ready")?;
    assert!(
        status == 200 && text.contains("of 4 in use"),
        "{status} {text}"
    );
    assert_eq!(ask(&address, "GET", "/live")?, (200, "alive\n".to_owned()));

    // The server answers nothing: the process lives, and is not ready.
    proxy.stall();
    assert_eq!(ask(&address, "GET", "/ready")?.0, 503);
    assert_eq!(ask(&address, "GET", "/live")?, (200, "alive\n".to_owned()));
    proxy.resume();
    kitchen.on.until("it is ready again", || {
        ask(&address, "GET", "/ready").is_ok_and(|(status, _)| status == 200)
    });
    running.terminate();
    running.ended_well();
    Ok(())
}
