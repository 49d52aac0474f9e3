//! Handles in the wrong runtime, and runtimes that start and end.

use pgmonkey::{AsyncPool, ConnectionManager, Error};
use pgmonkey_tests::{Fixture, Outcome};
use tokio::task::block_in_place;

#[test]
fn an_async_handle_outlives_the_runtime_that_made_it() -> Outcome {
    let on = Fixture::new();
    let config = on.pools("{ min_size: 2, max_size: 2 }");
    let manager = ConnectionManager::new();
    let mut opened = Vec::new();
    for round in 1..=3_u64 {
        // Each `#[tokio::test]` has a runtime like this one.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let pool = runtime.block_on(async {
            let pool = manager.async_pool(&config).await?;
            let row = pool.query_one("SELECT 1", &[]).await?;
            assert_eq!(row.get::<_, i32>(0), 1);
            let row = manager
                .async_connection(&config)
                .await?
                .query_one("SELECT 2", &[])
                .await?;
            assert_eq!(row.get::<_, i32>(0), 2);
            Ok::<_, Error>(pool)
        })?;
        opened.push(pool);
        assert!(
            opened.iter().all(|pool| pool.is_same(&opened[0])),
            "round {round}"
        );
    }
    Ok(())
}

#[test]
fn two_runtimes_at_once_share_a_pool() -> Outcome {
    let on = Fixture::new();
    let pool_config = on.pools("{ min_size: 0, max_size: 2 }");
    let manager = ConnectionManager::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Builder::new_multi_thread()
                        .worker_threads(1)
                        .enable_all()
                        .build()
                        .expect("a runtime");
                    runtime.block_on(async {
                        for _ in 0..200 {
                            let pool = manager.async_pool(&pool_config).await?;
                            pool.query_one("SELECT 1", &[]).await?;
                        }
                        let pool = manager.async_pool(&pool_config).await?;
                        pool.acquire().await.map(drop)
                    })
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic")?;
        }
        Ok::<_, Error>(())
    })?;
    Ok(())
}

/// A worker of a server with one single-threaded runtime per thread.
fn worker() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn a_worker_that_computes_holds_up_no_other_workers_query() -> Outcome {
    for multiplex in [false, true] {
        let on = Fixture::new();
        let config = on.pools_async(&format!(
            "{{ min_size: 2, max_size: 6, multiplex: {multiplex} }}"
        ));
        let (first, pool) = (worker(), worker().block_on(AsyncPool::new(&config))?);
        // Its sessions belong to this runtime: the others must work without them.
        first.block_on(pool.query_one("SELECT 1", &[]))?;
        let (done, answers) = std::sync::mpsc::channel();
        let query = format!("INSERT INTO {} VALUES (1)", on.name);
        let others: Vec<_> = (0..3)
            .map(|_| {
                let (pool, done, query) = (pool.clone(), done.clone(), query.clone());
                std::thread::spawn(move || {
                    worker().block_on(async {
                        for _ in 0..50 {
                            pool.execute(&query, &[]).await?;
                        }
                        done.send(()).expect("the first worker listens");
                        Ok::<_, Error>(())
                    })
                })
            })
            .collect();
        // It computes until all others have their results: in another order the test would never
        // end.
        let computed = first.block_on(async {
            (0..3).try_for_each(|_| answers.recv_timeout(std::time::Duration::from_secs(30)))
        });
        computed.expect("the others' queries are answered while this one computes");
        for other in others {
            other.join().expect("no panic")?;
        }
        first.block_on(pool.query_one("SELECT 1", &[]))?;
        assert_eq!(on.rows(), 150);
        assert!(pool.status().opened <= 8, "{:?}", pool.status());
    }
    Ok(())
}

#[test]
fn a_runtime_that_ends_takes_no_other_runtimes_query_with_it() -> Outcome {
    let on = Fixture::new();
    for settings in [
        "{ min_size: 1, max_size: 2 }",
        "{ min_size: 1, max_size: 2, multiplex: true }",
    ] {
        let config = on.pools_async(settings);
        let first = worker();
        let pool = first.block_on(async {
            let pool = AsyncPool::new(&config).await?;
            pool.query_one("SELECT 1", &[]).await?;
            Ok::<_, Error>(pool)
        })?;
        let begun = std::sync::Arc::new(std::sync::Barrier::new(2));
        let other = std::thread::spawn({
            let (pool, begun) = (pool.clone(), std::sync::Arc::clone(&begun));
            move || {
                worker().block_on(async {
                    pool.query_one("SELECT 2", &[]).await?;
                    begun.wait();
                    for _ in 0..20 {
                        pool.query_one("SELECT 3 FROM pg_sleep(0.01)", &[]).await?;
                    }
                    Ok::<_, Error>(())
                })
            }
        });
        begun.wait();
        drop(first);
        other.join().expect("no panic")?;
    }
    Ok(())
}

#[test]
fn a_listener_hears_after_the_runtime_that_opened_it_ended() -> Outcome {
    let on = Fixture::new();
    let config = on.config("");
    let mut listener = worker().block_on(async {
        let mut listener = pgmonkey::aio::Listener::connect(&config).await?;
        listener.listen("jobs").await?;
        Ok::<_, Error>(listener)
    })?;
    on.run("NOTIFY jobs, 'one'");
    let heard = worker().block_on(listener.recv())?;
    let pgmonkey::ListenEvent::Notification(heard) = heard else {
        panic!("{heard:?}");
    };
    assert_eq!(heard.payload(), "one");
    Ok(())
}

#[tokio::test]
async fn a_blocking_handle_in_a_task_answers_with_the_twins_name() -> Outcome {
    let on = Fixture::new();
    let config = on.pools("{ min_size: 1, max_size: 1 }");
    let manager = ConnectionManager::new();
    let error = manager.pool(&config).expect_err("blocks in a task");
    assert!(matches!(error, Error::InsideAsync { .. }), "{error}");
    assert!(error.to_string().contains("async"), "{error}");

    let open = {
        let (manager, config) = (manager.clone(), config.clone());
        move || Ok::<_, Error>((manager.pool(&config)?, manager.connection(&config)?))
    };
    let (pool, connection) = tokio::task::spawn_blocking(open).await??;
    for error in [
        pool.acquire().err(),
        pool.query("SELECT 1", &[]).err(),
        pool.begin().err(),
        pool.ping().err(),
        connection.acquire().err(),
    ] {
        let error = error.expect("blocks in a task");
        assert!(matches!(error, Error::InsideAsync { .. }), "{error}");
        assert!(error.to_string().contains("pgmonkey_async"), "{error}");
    }
    assert_eq!(pool.status().idle, 1, "what does not block works");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_values_may_be_dropped_in_a_task() -> Outcome {
    let on = Fixture::new();
    let config = on.pools("{ min_size: 1, max_size: 3 }");
    let build = {
        let config = config.clone();
        move || {
            let manager = ConnectionManager::new();
            let pool = manager.pool(&config)?;
            let clean = pool.acquire()?;
            let mut dirty = pool.acquire()?;
            dirty.batch_execute("BEGIN")?;
            let transaction = pool.begin()?;
            Ok::<_, Error>((clean, dirty, transaction, pool, manager))
        }
    };
    let (clean, dirty, transaction, pool, manager) = tokio::task::spawn_blocking(build).await??;
    // Also while a panic unwinds, when a second panic would abort the process.
    let panicked = tokio::spawn(async move {
        let _transaction = transaction;
        std::panic::resume_unwind(Box::new("a task's panic"));
    });
    assert!(panicked.await.expect_err("it panicked").is_panic());
    drop(clean);
    drop(dirty);
    on.until("nothing is in a transaction", || {
        on.sessions_in("idle in transaction") == 0
    });
    on.until("all are back", || pool.status().in_use == 0);
    drop(manager);
    drop(pool);
    on.until("no session is left", || on.sessions() == 0);
    Ok(())
}

/// A blocking transaction that is dropped inside a task cannot be rolled back there.
#[test]
fn a_transaction_dropped_inside_a_task_is_never_left_open() -> Outcome {
    let on = Fixture::new();
    let pool = pgmonkey::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }"))?;
    let insert = format!("INSERT INTO {} VALUES (1)", on.name);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let inside = pool.clone();
    let task = runtime.spawn(async move {
        let mut guard = block_in_place(|| inside.acquire())?;
        let mut tx = block_in_place(|| guard.transaction())?;
        block_in_place(|| tx.batch_execute(&insert))?;
        drop(tx);
        // Every later call on the surviving guard reports the reason.
        let errors = block_in_place(|| {
            [
                guard.batch_execute(&insert),
                guard.simple_query(&insert).map(drop).map_err(Error::from),
                guard.begin(),
                guard.commit(),
                guard.transaction().map(drop),
                guard.prepare_cached("SELECT 1").map(drop),
                guard.ping().map(drop),
            ]
        });
        for (number, outcome) in errors.into_iter().enumerate() {
            let error = outcome.expect_err("nothing runs on it");
            let text = error.to_string();
            assert!(
                text.contains("dropped inside an async task"),
                "{number}: {text}"
            );
        }
        drop(guard);
        Ok::<_, Error>(())
    });
    runtime.block_on(task)??;
    assert_eq!(pool.query_one("SELECT 1", &[])?.get::<_, i32>(0), 1);
    assert_eq!(on.rows(), 0);
    assert_eq!(pool.status().opened, 2, "the session was replaced");
    Ok(())
}

/// A future that is polled without a budget is not recognised; a drop there must not panic.
#[test]
fn what_is_dropped_inside_an_unconstrained_task_does_not_panic() -> Outcome {
    let on = Fixture::new();
    let pool = pgmonkey::Pool::new(&on.pools("{ min_size: 2, max_size: 2 }"))?;
    let mut guard = pool.acquire()?;
    let mut open = pool.begin()?;
    open.batch_execute(&format!("INSERT INTO {} VALUES (1)", on.name))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let table = on.name.clone();
    let task = runtime.spawn(tokio::task::unconstrained(async move {
        let mut tx = block_in_place(|| guard.transaction())?;
        block_in_place(|| tx.batch_execute(&format!("INSERT INTO {table} VALUES (1)")))?;
        drop(tx);
        drop(guard);
        drop(open);
        Ok::<_, Error>(())
    }));
    runtime.block_on(task)??;
    assert_eq!(on.rows(), 0);
    drop((pool.acquire()?, pool.acquire()?));
    assert_eq!(pool.status().opened, 2);
    Ok(())
}
