//! Through PgBouncer in transaction mode: the documented guarantees hold.

use std::collections::BTreeSet;
use std::sync::Mutex;

use pgmonkey::{Config, aio, sync};
use pgmonkey_tests::{Outcome, load};
use pgmonkey_testserver::{Certificates, Endpoint, Pgbouncer, ScratchDir, plain_or_start};

/// A PgBouncer in front of the plain server; `None`, with the reason printed, if it is not
/// available.
fn in_front(settings: &[(&str, &str)]) -> anyhow::Result<Option<Pgbouncer>> {
    let Some(program) = Pgbouncer::find() else {
        println!("skipped: no pgbouncer on this machine (`apt-get install pgbouncer`)");
        return Ok(None);
    };
    Pgbouncer::start(&program, plain_or_start()?, settings).map(Some)
}

pub(crate) fn config(server: &Endpoint, sections: &str) -> Config {
    config_with(server, "prefer", sections)
}

fn config_with(server: &Endpoint, sslmode: &str, sections: &str) -> Config {
    load(&format!(
        "connection_settings: {{ host: {}, port: {}, user: {}, password: '{}', dbname: {}, \
         sslmode: {sslmode}, connect_timeout: 5 }}\n{sections}",
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

/// A prepared statement exists in one server session only, and the pooler runs each statement in
/// another one.
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
    // Statements that were prepared to look up types do not stay on the server. PgBouncer keeps its
    // own, since 1.21.
    let left = "SELECT count(*) FILTER (WHERE name NOT LIKE 'PGBOUNCER%') \
                FROM pg_prepared_statements, pg_sleep(0.05)";
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

/// PgBouncer rejects the startup option that carries session settings.
#[test]
fn session_settings_arrive_by_statement() -> Outcome {
    let Some(pooler) = in_front(&[("pool_mode", "session")])? else {
        return Ok(());
    };
    let settings = "{ statement_timeout: '12345', search_path: 'pg_catalog, public' }";
    let config = config_with(
        pooler.endpoint(),
        "prefer, pooler: session",
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

/// A dropped query is cancelled. PgBouncer 1.18 exits when the client that sent the cancel request
/// closes its end first, and every application behind it loses its sessions.
#[test]
fn dropped_queries_leave_the_pooler_running() -> Outcome {
    let Some(program) = Pgbouncer::find() else {
        println!("skipped: no pgbouncer on this machine (`apt-get install pgbouncer`)");
        return Ok(());
    };
    let scratch = ScratchDir::new()?;
    let server = plain_or_start()?;
    let certificates = Certificates::generate(scratch.path(), server.user())?;
    for mode in ["session", "transaction"] {
        let settings = [("pool_mode", mode)];
        let plain = Pgbouncer::start(&program, server, &settings)?;
        drop_queries_through(&plain, "disable").map_err(|e| format!("{mode}, plain: {e}"))?;
        let tls = Pgbouncer::start_tls(&program, server, &settings, &certificates, "server")?;
        drop_queries_through(&tls, "require").map_err(|e| format!("{mode}, TLS: {e}"))?;
    }
    Ok(())
}

fn drop_queries_through(pooler: &Pgbouncer, sslmode: &str) -> Outcome {
    const PIDS: &str = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' \
                        AND query LIKE '%dropped on purpose%' AND pid <> pg_backend_pid()";
    let sizes = "{ max_size: 2, statement_cache: 0 }";
    let sections = format!("pool_settings: {sizes}\nasync_pool_settings: {sizes}\n");
    let config = config_with(pooler.endpoint(), sslmode, &sections);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let pool = aio::Pool::new(&config).await?;
        for _ in 0..3 {
            let query = pool.batch_execute("/* dropped on purpose */ SELECT pg_sleep(60)");
            let mut query = std::pin::pin!(query);
            while pool.query_one(PIDS, &[]).await?.get::<_, i64>(0) == 0 {
                let turn = tokio::time::timeout(std::time::Duration::from_millis(5), &mut query);
                assert!(turn.await.is_err(), "it sleeps");
            }
        }
        while pool.query_one(PIDS, &[]).await?.get::<_, i64>(0) > 0 {}
        Ok::<_, pgmonkey::Error>(())
    })?;
    let pool = sync::Pool::new(&config)?;
    for _ in 0..3 {
        let mut guard = pool.acquire()?;
        let many =
            "SELECT repeat('x', 1000) /* dropped on purpose */ FROM generate_series(1, 10000000)";
        let mut rows = guard.query_raw(many, &[])?;
        assert!(rows.next().transpose()?.is_some());
    }
    let row = pool.query_one(PIDS, &[])?;
    assert_eq!(row.get::<_, i64>(0), 0, "they were cancelled");
    // Whether it still accepts new clients.
    sync::Connection::new(&config)?.ping()?;
    Ok(())
}

/// With one server session for all clients, a reset would undo another client's settings.
#[test]
fn a_reset_never_reaches_another_clients_session() -> Outcome {
    let Some(pooler) = in_front(&[("default_pool_size", "1")])? else {
        return Ok(());
    };
    let mut stranger = postgres::Client::connect(&pooler.endpoint().url(), postgres::NoTls)?;
    let runtime = tokio::runtime::Runtime::new()?;
    for key in ["", ", pooler: transaction"] {
        let sizes = "{ max_size: 1, statement_cache: 0 }";
        let sections = format!("pool_settings: {sizes}\nasync_pool_settings: {sizes}\n");
        let config = config_with(pooler.endpoint(), &format!("prefer{key}"), &sections);
        stranger.batch_execute("SET work_mem = '9MB'")?;
        let change = "SET statement_timeout = '1h'";
        let pool = sync::Pool::new(&config)?;
        pool.batch_execute(change)?;
        pool.batch_execute("SELECT 1")?;
        runtime.block_on(async {
            let pool = aio::Pool::new(&config).await?;
            pool.batch_execute(change).await?;
            pool.batch_execute("SELECT 1").await
        })?;
        let row = stranger.query_typed_one("SELECT current_setting('work_mem')", &[])?;
        assert_eq!(row.get::<_, &str>(0), "9MB", "{key}");
        let replaced = pool.status().opened > 1;
        assert_eq!(replaced, key.is_empty(), "{key}: {}", pool.status());
    }
    Ok(())
}

/// A reset restores the settings that a pooler takes by statement, and the drivers log none of
/// them.
#[test]
fn a_reset_goes_back_to_the_settings_that_went_by_statement() -> Outcome {
    let Some(pooler) = in_front(&[("pool_mode", "session")])? else {
        return Ok(());
    };
    let settings = "{ statement_timeout: '12345', my.token: 'S3cret' }";
    let sizes = "{ max_size: 1, statement_cache: 0 }";
    let config = config_with(
        pooler.endpoint(),
        "prefer, pooler: session",
        &format!(
            "sync_settings: {settings}\nasync_settings: {settings}\npool_settings: {sizes}\nasync_pool_settings: {sizes}\n"
        ),
    );
    let change = "SET statement_timeout = '1h'; SET my.token = 'x'";
    let ask = "SELECT current_setting('statement_timeout') || current_setting('my.token')";
    let pool = sync::Pool::new(&config)?;
    pool.batch_execute(change)?;
    assert_eq!(pool.query_one(ask, &[])?.get::<_, &str>(0), "12345msS3cret");
    assert_eq!(pool.status().opened, 1);
    tokio::runtime::Runtime::new()?.block_on(async {
        let pool = aio::Pool::new(&config).await?;
        pool.batch_execute(change).await?;
        let row = pool.query_one(ask, &[]).await?;
        assert_eq!(row.get::<_, &str>(0), "12345msS3cret");
        assert_eq!(pool.status().opened, 1);
        Ok::<_, pgmonkey::Error>(())
    })?;
    Ok(())
}
