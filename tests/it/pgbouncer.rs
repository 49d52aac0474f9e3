//! Through PgBouncer in transaction mode: what is promised there, and that it holds.

use std::collections::BTreeSet;
use std::sync::Mutex;

use pgmonkey::{Config, aio, sync};
use pgmonkey_tests::{Outcome, load};
use pgmonkey_testserver::{Endpoint, Pgbouncer, plain_or_start};

/// One in front of the plain server; `None`, and the reason printed, where there is none.
fn in_front(settings: &[(&str, &str)]) -> anyhow::Result<Option<Pgbouncer>> {
    let Some(program) = Pgbouncer::find() else {
        println!("skipped: no pgbouncer on this machine (`apt-get install pgbouncer`)");
        return Ok(None);
    };
    Pgbouncer::start(&program, plain_or_start()?, settings).map(Some)
}

fn config(server: &Endpoint, sections: &str) -> Config {
    load(&format!(
        "connection_settings: {{ host: {}, port: {}, user: {}, password: '{}', dbname: {}, connect_timeout: 5 }}\n{sections}",
        server.host(),
        server.port(),
        server.user(),
        server.password(),
        server.dbname(),
    ))
}

#[test]
fn both_pools_work_and_share_few_sessions_of_the_server() -> Outcome {
    let Some(pooler) = in_front(&[])? else {
        return Ok(());
    };
    let pools = "pool_settings: { max_size: 20 }\nasync_pool_settings: { max_size: 20 }\n";
    let config = config(pooler.endpoint(), pools);
    let backends = Mutex::new(BTreeSet::new());
    let note = |pid: i32| backends.lock().expect("no panic").insert(pid);
    let pool = sync::Pool::new(&config)?;
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..20 {
                        pool.transaction(|tx| {
                            tx.batch_execute("CREATE TEMP TABLE t (n int) ON COMMIT DROP; INSERT INTO t VALUES (1)")?;
                            let row = tx.query_typed_one("SELECT pg_backend_pid(), count(*) FROM t", &[])?;
                            assert_eq!(row.get::<_, i64>(1), 1);
                            note(row.get(0));
                            Ok(())
                        })?;
                    }
                    Ok::<_, pgmonkey::Error>(())
                })
            })
            .collect();
        callers
            .into_iter()
            .try_for_each(|caller| caller.join().expect("no panic"))
    })?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let pool = aio::Pool::new(&config).await?;
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    let mut seen = Vec::new();
                    for _ in 0..20 {
                        let guard = pool.acquire().await?;
                        let row = guard
                            .query_typed_one("SELECT pg_backend_pid()", &[])
                            .await?;
                        seen.push(row.get(0));
                    }
                    Ok::<_, pgmonkey::Error>(seen)
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic")?.into_iter().for_each(|pid| {
                note(pid);
            });
        }
        Ok::<_, pgmonkey::Error>(())
    })?;
    let backends = backends.into_inner().expect("no panic");
    assert!(!backends.is_empty() && backends.len() <= 5, "{backends:?}");
    Ok(())
}

/// A statement that was prepared is known to one server session only, and the pooler gives each
/// statement another one.
#[test]
fn standalone_statements_work_with_the_cache_switched_off() -> Outcome {
    let Some(pooler) = in_front(&[])? else {
        return Ok(());
    };
    let pools = "pool_settings: { max_size: 20, statement_cache: 0 }\nasync_pool_settings: { max_size: 20, statement_cache: 0 }\n";
    let config = config(pooler.endpoint(), pools);
    let check = |n: i32, text: &str, row: &tokio_postgres::Row| {
        let found = (row.get(0), row.get::<_, &str>(1));
        assert_eq!(found, (n * 2, text), "answers are not mixed up");
    };
    let ask = |n: i32| format!("SELECT $1::int * 2, $2::text, {}::int", n % 7);
    let pool = sync::Pool::new(&config)?;
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..20)
            .map(|caller| {
                let (pool, check, ask) = (&pool, &check, &ask);
                scope.spawn(move || {
                    for n in 0..30 {
                        let text = format!("{caller}/{n}");
                        check(n, &text, &pool.query_one(&ask(n), &[&n, &text])?);
                        pool.query("SELECT 1", &[])?;
                    }
                    Ok::<_, pgmonkey::Error>(())
                })
            })
            .collect();
        callers
            .into_iter()
            .try_for_each(|caller| caller.join().expect("no panic"))
    })?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let pool = aio::Pool::new(&config).await?;
        let tasks: Vec<_> = (0..20)
            .map(|caller| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    for n in 0..30 {
                        let text = format!("{caller}/{n}");
                        check(n, &text, &pool.query_one(&ask(n), &[&n, &text]).await?);
                        pool.query("SELECT 1", &[]).await?;
                    }
                    Ok::<_, pgmonkey::Error>(())
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic")?;
        }
        Ok::<_, pgmonkey::Error>(())
    })?;
    // Nothing that was prepared to learn types stays behind on the server.
    let left = "SELECT count(*) FROM pg_prepared_statements, pg_sleep(0.05)";
    std::thread::scope(|scope| {
        let askers: Vec<_> = (0..5)
            .map(|_| scope.spawn(|| pool.query_one(left, &[]).map(|row| row.get::<_, i64>(0))))
            .collect();
        askers.into_iter().try_for_each(|asker| {
            assert_eq!(asker.join().expect("no panic")?, 0);
            Ok::<_, pgmonkey::Error>(())
        })
    })?;
    Ok(())
}

/// It refuses the startup option that session settings travel in.
#[test]
fn session_settings_arrive_by_statement() -> Outcome {
    let Some(pooler) = in_front(&[("pool_mode", "session")])? else {
        return Ok(());
    };
    let settings = "{ statement_timeout: '12345', search_path: 'pg_catalog, public' }";
    let config = config(
        pooler.endpoint(),
        &format!("sync_settings: {settings}\nasync_settings: {settings}\n"),
    );
    let ask = "SELECT current_setting('statement_timeout'), current_setting('search_path')";
    let pool = sync::Pool::new(&config)?;
    let row = pool.acquire()?.query_typed_one(ask, &[])?;
    assert_eq!((row.get(0), row.get(1)), ("12345ms", "pg_catalog, public"));
    let runtime = tokio::runtime::Runtime::new()?;
    let row = runtime.block_on(async {
        let pool = aio::Pool::new(&config).await?;
        let row = pool.acquire().await?.query_typed_one(ask, &[]).await?;
        Ok::<_, pgmonkey::Error>(row)
    })?;
    assert_eq!((row.get(0), row.get(1)), ("12345ms", "pg_catalog, public"));
    Ok(())
}

#[test]
fn a_pooler_that_is_gone_is_away_for_a_while() -> Outcome {
    let Some(pooler) = in_front(&[])? else {
        return Ok(());
    };
    let config = config(pooler.endpoint(), "");
    assert!(sync::Connection::new(&config)?.ping()?.tls.is_none());
    drop(pooler);
    let error = sync::Connection::new(&config).expect_err("it is gone");
    assert!(error.is_transient(), "{error}");
    Ok(())
}
