//! Transactions of tasks through PgBouncer in transaction mode, where the server session of a
//! transaction is chosen when its `BEGIN` arrives, together with its first statement.

use std::time::Instant;

use pgmonkey::aio;
use pgmonkey_tests::{Fixture, LONG, Outcome};
use pgmonkey_testserver::{Cluster, Endpoint, Pgbouncer};

use crate::pgbouncer::config;
use crate::round_trips::Canceler;

/// A PgBouncer with few sessions of the server; `None`, with the reason printed, if it is not
/// available.
fn in_front(server: &Endpoint, sessions: &str) -> anyhow::Result<Option<Pgbouncer>> {
    let Some(program) = Pgbouncer::find() else {
        println!("skipped: no pgbouncer on this machine (`apt-get install pgbouncer`)");
        return Ok(None);
    };
    let settings = [
        ("pool_mode", "transaction"),
        ("default_pool_size", sessions),
    ];
    Pgbouncer::start(&program, server, &settings).map(Some)
}

fn pools(size: u32) -> String {
    format!("async_pool_settings: {{ max_size: {size}, statement_cache: 0 }}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deferred_begin_holds_its_transaction_together() -> Outcome {
    let on = Fixture::new();
    let Some(pooler) = in_front(on.server(), "2")? else {
        return Ok(());
    };
    let pool = aio::Pool::new(&config(pooler.endpoint(), &pools(8))).await?;
    let insert = format!("INSERT INTO {} VALUES ($1)", on.name);
    let id = "SELECT pg_current_xact_id()::text, pg_backend_pid()";
    let callers: Vec<_> = (0..8)
        .map(|caller: i32| {
            let (pool, insert) = (pool.clone(), insert.clone());
            tokio::spawn(async move {
                for round in 0..12 {
                    let tx = pool.begin().await?;
                    tx.execute(&insert, &[&caller]).await?;
                    let first = tx.query_one(id, &[]).await?;
                    let (xact, pid): (String, i32) = (first.get(0), first.get(1));
                    let second = tx.query_one(id, &[]).await?;
                    assert_eq!((xact.as_str(), pid), (second.get(0), second.get(1)));
                    match round % 3 {
                        0 => tx.commit().await?,
                        1 => tx.rollback().await?,
                        _ => {
                            let changed = tx.execute_and_commit(&insert, &[&caller]).await?;
                            assert_eq!(changed, 1);
                        }
                    }
                }
                Ok::<_, pgmonkey::Error>(())
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("no panic")?;
    }
    assert_eq!(on.rows(), 8 * (4 + 4 * 2));
    Ok(())
}

/// Another session cancels without a pause, so that each statement is hit at some time, also those that
/// are sent with `BEGIN`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_begin_executes_nothing_of_its_statement() -> Outcome {
    let cluster = Cluster::builder().start()?;
    let on = Fixture::on((*cluster).clone());
    let Some(pooler) = in_front(on.server(), "1")? else {
        return Ok(());
    };
    let pool = aio::Pool::new(&config(pooler.endpoint(), &pools(1))).await?;
    let insert = format!("INSERT INTO {} VALUES ($1)", on.name);
    let pid: i32 = pool.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    pool.execute(&insert, &[&0]).await?;
    let canceler = Canceler::start(&on, pid);
    let (mut committed, mut cancelled) = (1, 0);
    let end = Instant::now() + LONG;
    let texts = ["BEGIN", "SET LOCAL"].map(|text| format!("STATEMENT:  {text}"));
    let was_hit = || {
        let log = on.server().log();
        texts.iter().any(|text| log.contains(text))
    };
    // Longer than a `BEGIN` alone, so that it is hit sooner.
    let builder = (0..50).fold(pool.build_transaction(), |builder, number| {
        builder.set_local(&format!("app.n{number}"), "1")
    });
    for number in 1.. {
        if number % 20 == 0 && (was_hit() || Instant::now() > end) {
            break;
        }
        let tx = builder.clone().begin().await?;
        let first = tx.execute(&insert, &[&number]).await;
        let second = tx.execute(&insert, &[&number]).await;
        assert!(
            first.is_ok() || second.is_err(),
            "{second:?} after {first:?}"
        );
        cancelled += u32::from(first.is_err());
        committed += 2 * i64::from(tx.commit().await.is_ok());
        let tx = builder.clone().begin().await?;
        let last = tx.execute_and_commit(&insert, &[&number]).await;
        cancelled += u32::from(last.is_err());
        committed += i64::from(last.is_ok());
    }
    drop(canceler);
    assert!(cancelled > 0);
    assert!(was_hit(), "no text of a BEGIN was cancelled");
    assert_eq!(on.rows(), committed);
    Ok(())
}
