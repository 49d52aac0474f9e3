//! Committed on `Ok`, rolled back on everything else.

use pgmonkey::Error;
use pgmonkey_tests::{Fixture, Outcome, twin};

fn insert(on: &Fixture) -> String {
    format!("INSERT INTO {} VALUES (1)", on.name)
}

twin! {
    fn b03_ok_commits(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 2 }")))?;
        let insert = insert(&on);
        let changed = go!(pool.transaction(work!(|tx| { Ok(go!(tx.execute(&insert, &[]))?) })))?;
        assert_eq!((changed, on.rows()), (1, 1));
        Ok(())
    }
}

twin! {
    fn b03_err_rolls_back_and_the_pool_stays_open(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let insert = insert(&on);
        let failed: Result<(), Error> = go!(pool.transaction(work!(|tx| {
            go!(tx.execute(&insert, &[]))?;
            Err(Error::other("the caller's own"))
        })));
        assert_eq!(failed.expect_err("it said so").to_string(), "the caller's own");
        assert_eq!(on.rows(), 0);
        assert!(!pool.is_closed());
        assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        Ok(())
    }
}

twin! {
    fn an_error_that_was_swallowed_is_not_taken_for_a_commit(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let insert = insert(&on);
        let failed = go!(pool.transaction(work!(|tx| {
            go!(tx.execute(&insert, &[]))?;
            let _ = go!(tx.batch_execute("nonsense"));
            Ok(())
        })));
        assert!(matches!(failed, Err(Error::RolledBack)), "{failed:?}");
        assert_eq!(on.rows(), 0);
        Ok(())
    }
}

twin! {
    fn begin_takes_a_session_of_its_own_and_gives_it_back(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 2 }")))?;
        let insert = insert(&on);
        let mut kept = go!(pool.begin())?;
        go!(kept.execute(&insert, &[]))?;
        assert_eq!(pool.status().in_use, 1);
        assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1, "beside it");
        go!(kept.commit())?;
        assert_eq!(on.rows(), 1);
        let mut dropped = go!(pool.begin())?;
        go!(dropped.execute(&insert, &[]))?;
        drop(dropped);
        let mut undone = go!(pool.begin())?;
        go!(undone.execute(&insert, &[]))?;
        go!(undone.rollback())?;
        on.until("all sessions are back", || pool.status().in_use == 0);
        assert_eq!(on.rows(), 1);
        Ok(())
    }
}

twin! {
    fn a_nested_transaction_is_a_savepoint(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let insert = insert(&on);
        go!(pool.transaction(work!(|tx| {
            go!(tx.execute(&insert, &[]))?;
            let mut kept = go!(tx.transaction())?;
            go!(kept.execute(&insert, &[]))?;
            go!(kept.commit())?;
            let mut dropped = go!(tx.transaction())?;
            go!(dropped.execute(&insert, &[]))?;
            assert!(go!(dropped.batch_execute("nonsense")).is_err());
            drop(dropped);
            let mut outer = go!(tx.transaction())?;
            let mut inner = go!(outer.transaction())?;
            go!(inner.execute(&insert, &[]))?;
            go!(inner.commit())?;
            go!(outer.rollback())?;
            Ok(())
        })))?;
        assert_eq!(on.rows(), 2);
        Ok(())
    }
}

twin! {
    fn ending_a_transaction_that_is_not_open_is_an_error(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        let error = go!(guard.commit()).expect_err("nothing to commit");
        assert!(matches!(error, Error::NoTransaction { action: "commit", .. }), "{error}");
        let error = go!(guard.rollback()).expect_err("nothing to roll back");
        assert!(matches!(error, Error::NoTransaction { action: "rollback", .. }), "{error}");
        go!(guard.begin())?;
        go!(guard.execute(&insert(&on), &[]))?;
        go!(guard.commit())?;
        assert_eq!(on.rows(), 1);
        go!(guard.begin())?;
        let mut nested = go!(guard.transaction())?;
        go!(nested.execute(&insert(&on), &[]))?;
        drop(nested);
        go!(guard.commit())?;
        assert_eq!(on.rows(), 1, "transaction() inside one is a savepoint");
        Ok(())
    }
}

twin! {
    fn a_scope_follows_the_files_autocommit(on, driver, go, work) {
        let insert = insert(&on);
        for (autocommit, rows) in [("false", 0), ("true", 1)] {
            let yaml = on.yaml("").replacen("sslmode", &format!("autocommit: {autocommit}, sslmode"), 1);
            let mut database = None;
            for kind in [pgmonkey::ConnectionType::Pool, pgmonkey::ConnectionType::AsyncPool] {
                let config = pgmonkey_tests::load(&yaml).with_connection_type(kind);
                if let Ok(opened) = go!(driver::Database::new(&config)) {
                    database = Some(opened);
                }
            }
            let database = database.expect("one of the two types fits");
            let failed: Result<(), Error> = go!(database.scope(work!(|client| {
                go!(client.execute(&insert, &[]))?;
                Err(Error::other("after the insert"))
            })));
            assert!(failed.is_err());
            assert_eq!(on.rows(), rows, "autocommit: {autocommit}");
        }
        Ok(())
    }
}

#[test]
fn a_panic_rolls_back_and_the_pool_stays_open() -> Outcome {
    let on = Fixture::new();
    let pool = pgmonkey::Pool::new(&on.pools("{ max_size: 1 }"))?;
    let insert = insert(&on);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        pool.transaction::<()>(|tx| {
            tx.execute(&insert, &[])?;
            std::panic::resume_unwind(Box::new("the caller's panic"))
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(on.rows(), 0);
    assert_eq!(on.sessions_in("idle in transaction"), 0);
    assert_eq!(pool.query_one("SELECT 1", &[])?.get::<_, i32>(0), 1);
    assert_eq!(pool.status().opened, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_task_rolls_back_and_the_pool_stays_open() -> Outcome {
    let on = Fixture::new();
    let pool = pgmonkey::AsyncPool::new(&on.pools("{ max_size: 1 }")).await?;
    let task = {
        let (pool, insert) = (pool.clone(), insert(&on));
        // A task must be `Send`: this line also proves that the future is.
        tokio::spawn(async move {
            pool.transaction::<(), _>(async |tx| {
                tx.execute(&insert, &[]).await?;
                std::panic::resume_unwind(Box::new("the caller's panic"))
            })
            .await
        })
    };
    assert!(task.await.expect_err("it panicked").is_panic());
    assert_eq!(pool.query_one("SELECT 1", &[]).await?.get::<_, i32>(0), 1);
    assert_eq!((on.rows(), pool.status().opened), (0, 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_future_rolls_back_and_the_pool_stays_open() -> Outcome {
    let on = Fixture::new();
    let pool = pgmonkey::AsyncPool::new(&on.pools("{ max_size: 1 }")).await?;
    let insert = insert(&on);
    for statement in ["SELECT pg_sleep(30)", "SELECT 1"] {
        let work = pool.transaction(async |tx| {
            tx.execute(&insert, &[]).await?;
            tx.batch_execute(statement).await?;
            std::future::pending::<()>().await;
            Ok(())
        });
        let dropped = tokio::time::timeout(std::time::Duration::from_millis(100), work).await;
        assert!(dropped.is_err());
        let row = pool.query_one("SELECT 1", &[]).await?;
        assert_eq!(row.get::<_, i32>(0), 1);
        assert_eq!((on.rows(), on.sessions_in("idle in transaction")), (0, 0));
    }
    assert_eq!(pool.status().opened, 1);
    Ok(())
}
