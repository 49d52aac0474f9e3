//! A pool for tests: one session in a transaction that is never committed. Over TCP.

use pgmonkey::Error;
use pgmonkey_tests::{Fixture, Outcome, twin};

const ONE_EACH: [&str; 2] = ["{ max_size: 9 }", "{ max_size: 9, statement_cache: 0 }"];

fn insert(on: &Fixture) -> String {
    format!("INSERT INTO {} VALUES ($1)", on.name)
}

/// How many rows the pool sees.
macro_rules! seen {
    ($pool:expr, $on:ident, $go:ident) => {{
        let text = format!("SELECT count(*) FROM {}", $on.name);
        $go!($pool.query_one(&text, &[]))?.get::<_, i64>(0)
    }};
}

twin! {
    everywhere fn nothing_of_a_test_stays_and_a_failure_undoes_no_more_than_itself(on, driver, go, work) {
        on.run(&format!("ALTER TABLE {} ADD UNIQUE (n)", on.name));
        let insert = insert(&on);
        for settings in ONE_EACH {
            let pool = go!(driver::Pool::test_transaction(&on.pools(settings)))?;
            go!(pool.execute(&insert, &[&1_i32]))?;
            for _ in 0..2 {
                let error = go!(pool.execute(&insert, &[&1_i32])).expect_err("there already");
                assert!(error.is_unique_violation(), "{error}");
                assert!(go!(pool.batch_execute("nonsense")).is_err());
                assert!(go!(pool.query_one("SELECT 1 WHERE $1", &[&false])).is_err());
            }
            // All of a batch, or nothing.
            let half = format!("INSERT INTO {0} VALUES (5); INSERT INTO {0} VALUES (1)", on.name);
            assert!(go!(pool.batch_execute(&half)).is_err());
            assert_eq!(seen!(pool, on, go), 1);
            // On a guard as well.
            let mut guard = go!(pool.acquire())?;
            go!(guard.execute(&insert, &[&2_i32]))?;
            assert!(go!(guard.execute(&insert, &[&2_i32])).is_err());
            assert_eq!(seen!(guard, on, go), 2);
            drop(guard);
            // A stream that fails halfway undoes what it wrote.
            let mut rows = go!(pool.query_raw("SELECT 1 / (3 - n) FROM generate_series(1, 5) n", &[]))?;
            while let Some(Ok(_)) = go!(rows.next()) {}
            drop(rows);
            assert_eq!(seen!(pool, on, go), 2);
            assert_eq!((on.rows(), pool.status().opened), (0, 1));
            pool.close();
            on.until("the session has ended", || on.sessions() == 0);
            assert_eq!(on.rows(), 0);
        }
        Ok(())
    }
}

twin! {
    everywhere fn transactions_of_a_test_are_savepoints(on, driver, go, work) {
        let insert = insert(&on);
        let pool = go!(driver::Pool::test_transaction(&on.pools("{ max_size: 1 }")))?;
        let kept: Result<(), Error> = go!(pool.transaction(work!(|tx| {
            go!(tx.execute(&insert, &[&1_i32]))?;
            let mut inner = go!(tx.transaction())?;
            go!(inner.execute(&insert, &[&2_i32]))?;
            go!(inner.rollback())?;
            Ok(())
        })));
        kept?;
        let undone: Result<(), Error> = go!(pool.transaction(work!(|tx| {
            go!(tx.execute(&insert, &[&3_i32]))?;
            Err(Error::other("on purpose"))
        })));
        assert!(undone.is_err());
        let swallowed = go!(pool.transaction(work!(|tx| {
            let _ = go!(tx.batch_execute("nonsense"));
            Ok(())
        })));
        assert!(matches!(swallowed, Err(Error::RolledBack)), "{swallowed:?}");
        assert_eq!(seen!(pool, on, go), 1);

        let mut owned = go!(pool.begin())?;
        go!(owned.execute(&insert, &[&4_i32]))?;
        go!(owned.commit())?;
        let mut dropped = go!(pool.begin())?;
        go!(dropped.execute(&insert, &[&5_i32]))?;
        drop(dropped);
        assert_eq!(seen!(pool, on, go), 2);

        let mut guard = go!(pool.acquire())?;
        assert!(matches!(go!(guard.commit()), Err(Error::NoTransaction { .. })));
        go!(guard.begin())?;
        go!(guard.execute(&insert, &[&6_i32]))?;
        let mut savepoint = go!(guard.transaction())?;
        go!(savepoint.execute(&insert, &[&7_i32]))?;
        drop(savepoint);
        go!(guard.commit())?;
        go!(guard.begin())?;
        go!(guard.execute(&insert, &[&8_i32]))?;
        go!(guard.rollback())?;
        let mut nested = go!(guard.transaction())?;
        go!(nested.execute(&insert, &[&9_i32]))?;
        go!(nested.commit())?;
        assert_eq!(seen!(guard, on, go), 4);
        // What is left open is rolled back.
        go!(guard.begin())?;
        go!(guard.execute(&insert, &[&10_i32]))?;
        drop(guard);
        assert_eq!(seen!(pool, on, go), 4);
        assert_eq!((on.rows(), pool.status().opened), (0, 1));
        Ok(())
    }
}

twin! {
    everywhere fn a_second_session_is_refused_at_once_to_its_holder(on, driver, go, work) {
        let pool = go!(driver::Pool::test_transaction(&on.pools("{ max_size: 5, timeout: 3600 }")))?;
        let guard = go!(pool.acquire())?;
        for refused in [
            go!(pool.acquire()).map(drop),
            go!(pool.query("SELECT 1", &[])).map(drop),
            go!(pool.begin()).map(drop),
            go!(pool.query_raw("SELECT 1", &[])).map(drop),
        ] {
            let error = refused.expect_err("it would wait for itself");
            assert!(matches!(error, Error::TestSessionHeld { .. }), "{error}");
            assert!(error.to_string().contains("test_transaction.rs"), "{error}");
        }
        drop(guard);
        go!(pool.transaction(work!(|_tx| {
            assert!(matches!(go!(pool.ping()), Err(Error::TestSessionHeld { .. })));
            Ok(())
        })))?;
        go!(pool.ping())?;
        Ok(())
    }
}

twin! {
    everywhere fn a_commit_in_a_text_is_an_error_and_the_end_of_the_test(on, driver, go, work) {
        for text in ["COMMIT", "ROLLBACK", "COMMIT; BEGIN", "ROLLBACK AND CHAIN"] {
            let pool = go!(driver::Pool::test_transaction(&on.pools("{ max_size: 1 }")))?;
            let error = go!(pool.batch_execute(text)).expect_err("it ends everything");
            assert!(matches!(error, Error::TransactionEnded { .. }), "{text}: {error}");
            let error = go!(pool.query("SELECT 1", &[])).expect_err("it is over");
            assert!(matches!(error, Error::TestTransactionOver), "{text}: {error}");
            let pool = go!(driver::Pool::test_transaction(&on.pools("{ max_size: 1 }")))?;
            let failed = go!(pool.transaction(work!(|tx| { go!(tx.batch_execute(text)) })));
            let error = failed.expect_err("it ends everything");
            assert!(matches!(error, Error::TransactionEnded { .. }), "{text}: {error}");
            let error = go!(pool.query("SELECT 1", &[])).expect_err("it is over");
            assert!(matches!(error, Error::TestTransactionOver), "{text}: {error}");
        }
        // A lost session is not replaced by an empty one.
        let pool = go!(driver::Pool::test_transaction(&on.pools("{ max_size: 1 }")))?;
        on.kill();
        let error = go!(pool.query("SELECT 1", &[])).expect_err("it is gone");
        assert!(matches!(error, Error::TestTransactionOver), "{error}");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_take_turns_and_statements_of_one_task_do() -> Outcome {
    let on = Fixture::new();
    let pool = pgmonkey::AsyncPool::test_transaction(&on.pools("{ max_size: 1 }")).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8_i32 {
        let (pool, insert) = (pool.clone(), insert(&on));
        tasks.spawn(async move {
            pool.transaction(async |tx| tx.execute(&insert, &[&n]).await)
                .await?;
            let failed = pool.execute("SELECT 1/0", &[]).await;
            assert!(failed.is_err());
            pool.execute(&insert, &[&n]).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done??, 1);
    }
    // Concurrently on the pool and on a guard.
    let text = insert(&on);
    let (one, two) = tokio::join!(
        pool.execute(&text, &[&1_i32]),
        pool.execute(&text, &[&2_i32])
    );
    assert_eq!((one?, two?), (1, 1));
    let guard = pool.acquire().await?;
    let (one, failed, two) = tokio::join!(
        guard.execute(&text, &[&1_i32]),
        guard.execute("SELECT 1/0", &[]),
        guard.execute(&text, &[&2_i32]),
    );
    assert!(failed.is_err());
    assert_eq!((one?, two?), (1, 1));
    assert_eq!(seen!(guard, on, go_on), 20);
    drop(guard);
    // A statement whose caller is dropped.
    for statement in ["SELECT pg_sleep(30)", "SELECT pg_sleep(0.01)"] {
        let query = pool.query(statement, &[]);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(10), query).await;
        assert_eq!(seen!(pool, on, go_on), 20);
    }
    assert_eq!((on.rows(), pool.status().opened), (0, 1));
    Ok(())
}

/// The call, awaited.
macro_rules! go_on {
    ($e:expr) => {
        $e.await
    };
}
use go_on;
