//! The observer's state is the server's state.

use std::time::{Duration, Instant};

use pgmonkey_connect::Connector;
use pgmonkey_connect::wire::WireState;
use pgmonkey_tests::{Fixture, LONG, Outcome};
use tokio_postgres::config::{SslMode, SslNegotiation};

mod traffic;
mod workload;

/// Waits until a condition is seen that holds as long as statements run.
async fn sent(condition: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn driver_config(on: &Fixture) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .host(on.server().host())
        .port(on.server().port())
        .user(on.server().user())
        .password(on.server().password())
        .dbname(on.server().dbname())
        .application_name(&on.name)
        .ssl_mode(SslMode::Require)
        .ssl_negotiation(SslNegotiation::Direct);
    config
}

/// The server's word for the state of a quiet session.
fn expected(state: WireState) -> &'static str {
    match state {
        WireState::Idle => "idle",
        WireState::InTransaction => "idle in transaction",
        WireState::Failed => "idle in transaction (aborted)",
        other => panic!("not at rest: {other:?}"),
    }
}

/// Statements in a pseudo-random order.
fn workload(on: &Fixture, seed: u64) -> Vec<String> {
    let table = &on.name;
    let choices = [
        "BEGIN".to_owned(),
        "COMMIT".to_owned(),
        "ROLLBACK".to_owned(),
        "SELECT 1".to_owned(),
        "nonsense".to_owned(),
        "SELECT 1/0".to_owned(),
        format!("INSERT INTO {table} VALUES (1)"),
        "SELECT repeat('x', 200000) FROM generate_series(1, 5)".to_owned(),
        "DO $$ BEGIN RAISE NOTICE 'noted'; END $$".to_owned(),
        "SET search_path = public".to_owned(),
        "SELECT 1; SELECT 2; SELECT 3".to_owned(),
        "BEGIN; SELECT 1".to_owned(),
        String::new(),
    ];
    let mut state = seed;
    (0..80)
        .map(|_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            choices[(state >> 33) as usize % choices.len()].clone()
        })
        .collect()
}

#[test]
fn the_blocking_driver_agrees_with_the_server() -> Outcome {
    let on = Fixture::new();
    let connector = Connector::new(None);
    let observer = connector.observer().clone();
    assert_eq!(observer.state(), WireState::Starting);
    let mut client = postgres::Config::from(driver_config(&on)).connect(connector)?;
    assert_eq!(observer.state(), WireState::Idle);
    assert!(observer.parameter("server_version").is_some());
    for seed in 1..=3 {
        for statement in workload(&on, seed) {
            // After an error the driver returns before the server is ready again.
            if client.batch_execute(&statement).is_err() {
                client.batch_execute("")?;
            }
            assert_eq!(
                on.sessions_in(expected(observer.state())),
                1,
                "after {statement}"
            );
        }
    }
    client.batch_execute("ROLLBACK")?;

    let copy_in = format!("COPY {} FROM STDIN", on.name);
    let mut writer = client.copy_in(&copy_in)?;
    assert!(matches!(observer.state(), WireState::Busy(_)));
    std::io::Write::write_all(&mut writer, b"1\n2\n")?;
    writer.finish()?;
    assert_eq!(observer.state(), WireState::Idle);
    // A copy that is abandoned.
    drop(client.copy_in(&copy_in)?);
    client.batch_execute("")?;
    assert_eq!(observer.state(), WireState::Idle);
    let mut reader = client.copy_out("COPY (SELECT generate_series(1, 100000)) TO STDOUT")?;
    std::io::copy(&mut reader, &mut std::io::sink())?;
    drop(reader);
    client.batch_execute("")?;
    assert_eq!(observer.state(), WireState::Idle);
    client.close()?;
    assert_eq!(observer.state(), WireState::Closed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_async_driver_agrees_with_the_server() -> Outcome {
    let on = Fixture::new();
    let connector = Connector::new(None);
    let observer = connector.observer().clone();
    let (client, connection) = driver_config(&on).connect(connector).await?;
    tokio::spawn(connection);
    assert_eq!(observer.state(), WireState::Idle);
    for seed in 4..=6 {
        for statement in workload(&on, seed) {
            if statement.contains(';') || statement.is_empty() {
                let _ = client.batch_execute(&statement).await;
                client.batch_execute("").await?;
            } else {
                // The extended protocol: a statement is prepared, run and closed.
                let _ = client.query(&statement, &[]).await;
                let _ = client.batch_execute("").await;
            }
            assert_eq!(
                on.sessions_in(expected(observer.state())),
                1,
                "after {statement}"
            );
        }
    }
    client.batch_execute("ROLLBACK").await?;

    // Pipelined: the count falls as the responses arrive.
    let answers = tokio::join!(
        client.batch_execute("SELECT pg_sleep(0.3)"),
        client.batch_execute("SELECT pg_sleep(0.3)"),
        async {
            sent(|| observer.state() == WireState::Busy(2)).await;
            observer.state()
        }
    );
    assert_eq!(answers.2, WireState::Busy(2));
    assert_eq!(observer.state(), WireState::Idle);

    // A cancelled statement.
    let token = client.cancel_token();
    let (cancelled, sent) = tokio::join!(client.batch_execute("SELECT pg_sleep(30)"), async {
        sent(|| on.sessions_in("active") == 1).await;
        token.cancel_query(Connector::new(None)).await
    });
    assert!(cancelled.is_err() && sent.is_ok());
    client.batch_execute("").await?;
    assert_eq!(observer.state(), WireState::Idle);

    drop(client);
    on.until("the end is seen", || observer.state() == WireState::Closed);
    Ok(())
}
