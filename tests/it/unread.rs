//! Streams that are dropped before their end while their session is used on, and streams that have
//! nothing to leave: those of a transaction's `stream`. Over TCP: on a Unix socket the blocking
//! driver reads the rest.

use std::io::Read;

use pgmonkey::{Error, aio, sync};
use pgmonkey_tests::{Fixture, Outcome, twin};

/// Far more than anything would read: a hundred gigabytes, sent from the first row on.
const ENDLESS: &str = "SELECT generate_series(1, 100000000), repeat('x', 1000)";
/// More than is read before a cancel, less than the bound inside a transaction.
const SOME: &str = "SELECT n, repeat('x', 1000) FROM generate_series(1, 2000) n";
const FEW: &str = "SELECT n FROM generate_series(1, 9) n";

/// How many statements of this fixture are running.
fn active(on: &Fixture) -> i64 {
    on.sessions_in("active")
}

twin! {
    everywhere fn outside_a_transaction_the_rest_is_cancelled(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        for text in [ENDLESS, SOME, FEW] {
            for _ in 0..3 {
                let mut rows = go!(guard.query_raw(text, &[]))?;
                let row = go!(rows.next()).expect("many")?;
                assert_eq!(row.get::<_, i32>(0), 1);
                drop(rows);
                let next: i32 = go!(guard.query_one("SELECT 7", &[]))?.get(0);
                assert_eq!(next, 7);
            }
        }
        // And before each other kind of call.
        drop(go!(guard.query_raw(ENDLESS, &[]))?);
        go!(guard.batch_execute("SET work_mem = '1MB'"))?;
        drop(go!(guard.query_raw(ENDLESS, &[]))?);
        go!(guard.prepare_cached("SELECT 8"))?;
        drop(go!(guard.query_raw(ENDLESS, &[]))?);
        go!(guard.ping())?;
        drop(go!(guard.query_raw(ENDLESS, &[]))?);
        go!(guard.begin())?;
        go!(guard.execute(&format!("INSERT INTO {} VALUES (1)", on.name), &[]))?;
        go!(guard.commit())?;
        drop(go!(guard.query_raw(ENDLESS, &[]))?);
        assert_eq!(on.rows(), 1);
        drop(guard);
        on.until("it is back", || pool.status().in_use == 0);
        assert_eq!(active(&on), 0);
        go!(pool.query("SELECT 1", &[]))?;
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

twin! {
    fn inside_a_transaction_the_rest_is_read_up_to_a_bound(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let insert = format!("INSERT INTO {} VALUES (1)", on.name);
        go!(pool.transaction(work!(|tx| {
            for text in [SOME, FEW] {
                let mut rows = go!(tx.query_raw(text, &[]))?;
                go!(rows.next()).expect("many")?;
                drop(rows);
                go!(tx.execute(&insert, &[]))?;
            }
            Ok(())
        })))?;
        assert_eq!(on.rows(), 2);
        let mut tx = go!(pool.begin())?;
        go!(tx.execute(&insert, &[]))?;
        let mut rows = go!(tx.query_raw(ENDLESS, &[]))?;
        go!(rows.next()).expect("many")?;
        drop(rows);
        for _ in 0..2 {
            let error = go!(tx.execute(&insert, &[])).expect_err("too much is left");
            assert!(matches!(error, Error::StreamUnread) && !error.is_transient(), "{error}");
        }
        go!(tx.rollback())?;
        on.until("it is back", || pool.status().in_use == 0);
        assert_eq!((on.rows(), active(&on)), (2, 0));
        // A savepoint can be rolled back as well, and the transaction goes on.
        let mut tx = go!(pool.begin())?;
        go!(tx.execute(&insert, &[]))?;
        let mut inner = go!(tx.transaction())?;
        let rows = go!(inner.query_raw(ENDLESS, &[]))?;
        drop(rows);
        go!(inner.rollback())?;
        go!(tx.commit())?;
        assert_eq!(on.rows(), 3);
        // Dropped with its transaction, nothing of it is left.
        let mut tx = go!(pool.begin())?;
        drop(go!(tx.query_raw(ENDLESS, &[]))?);
        drop(tx);
        on.until("it is back", || pool.status().in_use == 0);
        go!(pool.query("SELECT 1", &[]))?;
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

#[test]
fn the_rest_of_a_copy_is_cancelled_on_threads() -> Outcome {
    let on = Fixture::new();
    let pool = sync::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }"))?;
    let mut guard = pool.acquire()?;
    for _ in 0..3 {
        let mut copy = guard.copy_out(&format!("COPY ({ENDLESS}) TO STDOUT"))?;
        copy.read_exact(&mut [0; 100])?;
        drop(copy);
        guard.query("SELECT 1", &[])?;
    }
    assert_eq!(pool.status().opened, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_of_a_copy_is_cancelled_in_tasks() -> Outcome {
    let on = Fixture::new();
    let pool = aio::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")).await?;
    let guard = pool.acquire().await?;
    for _ in 0..3 {
        let copy = format!("COPY ({ENDLESS}) TO STDOUT");
        let mut copy = guard.copy_out(&copy).await?;
        copy.next().await.expect("much")?;
        drop(copy);
        guard.query("SELECT 1", &[]).await?;
    }
    assert_eq!(pool.status().opened, 1);
    Ok(())
}

/// A stream may outlive its guard; the next caller's work must not depend on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_outlives_its_guard_is_no_part_of_the_next_use() -> Outcome {
    let on = Fixture::new();
    let pool = aio::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")).await?;
    let guard = pool.acquire().await?;
    let mut rows = guard.query_raw(FEW, &[]).await?;
    rows.next().await.expect("some")?;
    drop(guard);
    let tx = pool.begin().await?;
    drop(rows);
    tx.execute(&format!("INSERT INTO {} VALUES (1)", on.name), &[])
        .await?;
    tx.commit().await?;
    assert_eq!(on.rows(), 1);
    Ok(())
}

twin! {
    fn chunks_come_in_order_and_can_be_dropped_at_any_time(on, driver, go, work) {
        for cache in [256, 0] {
            let settings = format!("{{ min_size: 1, max_size: 1, statement_cache: {cache} }}");
            let pool = go!(driver::Pool::new(&on.pools(&settings)))?;
            let numbers = "SELECT n, repeat('x', 100) FROM generate_series(1, $1) n; ";
            let mut tx = go!(pool.begin())?;
            for (count, chunk) in [(10_i32, 3), (9, 3), (1, 1), (0, 5), (7, 0)] {
                let mut rows = go!(tx.stream(numbers, &[&count], chunk))?;
                for number in 1..=count {
                    let row = go!(rows.next()).expect("one more")?;
                    assert_eq!(row.get::<_, i32>(0), number);
                }
                for _ in 0..2 {
                    assert!(go!(rows.next()).is_none(), "the end stays the end");
                }
            }
            let mut rows = go!(tx.stream(ENDLESS, &[], 10))?;
            for _ in 0..15 {
                go!(rows.next()).expect("many")?;
            }
            drop(rows);
            // Nothing was cancelled: the transaction goes on, and its cursor is closed.
            go!(tx.execute(&format!("INSERT INTO {} VALUES (1)", on.name), &[]))?;
            let open: i64 = go!(tx.query_one("SELECT count(*) FROM pg_cursors WHERE name LIKE 'pgmonkey%'", &[]))?.get(0);
            assert_eq!(open, 0);
            let mut inner = go!(tx.transaction())?;
            drop(go!(inner.stream(FEW, &[], 2))?);
            go!(inner.commit())?;
            let error = go!(tx.stream("SELECT $1::int", &[], 2)).expect_err("a parameter is missing");
            drop(error);
            go!(tx.rollback())?;
            let mut tx = go!(pool.begin())?;
            let mut rows = go!(tx.stream("SELECT 1 / (n - $1) FROM generate_series(1, 9) n", &[&5_i32], 2))?;
            let failed = loop {
                if let Err(error) = go!(rows.next()).expect("an error before the end") {
                    break error;
                }
            };
            drop(rows);
            assert_eq!(failed.code().map(|code| code.code()), Some("22012"), "{failed}");
            go!(tx.rollback())?;
            on.until("it is back", || pool.status().in_use == 0);
            assert_eq!((pool.status().opened, on.rows()), (1, 0));
        }
        Ok(())
    }
}
