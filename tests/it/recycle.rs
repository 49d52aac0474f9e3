//! What a caller left open never reaches the next one. Over TCP.

use pgmonkey_tests::{LONG, twin};

twin! {
    everywhere fn an_open_transaction_is_rolled_back(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.batch_execute(&format!("BEGIN; INSERT INTO {} VALUES (1)", on.name)))?;
        drop(guard);
        let mut guard = go!(pool.acquire())?;
        assert_eq!(on.sessions_in("idle in transaction"), 0);
        go!(guard.batch_execute(&format!("INSERT INTO {} VALUES (2)", on.name)))?;
        drop(guard);
        assert_eq!(on.rows(), 1, "the first was rolled back, the second is no part of it");
        assert_eq!(pool.status().opened, 1, "the session was cleaned, not replaced");
        Ok(())
    }
}

twin! {
    everywhere fn a_transaction_is_not_left_open_while_the_session_idles(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let guard = {
            let mut guard = go!(pool.acquire())?;
            go!(guard.batch_execute("BEGIN"))?;
            guard
        };
        drop(guard);
        on.until("no session idles in a transaction", || on.sessions_in("idle in transaction") == 0);
        Ok(())
    }
}

twin! {
    everywhere fn a_failed_transaction_is_rolled_back(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.batch_execute("BEGIN"))?;
        assert!(go!(guard.batch_execute("nonsense")).is_err());
        drop(guard);
        assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

twin! {
    everywhere fn a_panicked_borrower_loses_no_slot_and_leaves_no_transaction(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 2 }")))?;
        for _ in 0..6 {
            let mut guard = go!(pool.acquire())?;
            go!(guard.batch_execute("BEGIN"))?;
            let panicked = std::thread::spawn(move || {
                let _guard = guard;
                std::panic::resume_unwind(Box::new("a caller's panic"));
            })
            .join();
            assert!(panicked.is_err());
        }
        let (first, second) = (go!(pool.acquire())?, go!(pool.acquire())?);
        assert_eq!(on.sessions_in("idle in transaction"), 0);
        drop((first, second));
        on.until("both are back", || pool.status().in_use == 0);
        assert_eq!(pool.status().size, 2);
        Ok(())
    }
}

twin! {
    everywhere fn a_session_that_the_server_ends_during_a_statement_is_not_lent_again(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let suicide = "SELECT pg_terminate_backend(pg_backend_pid())";
        for ended in 1..4 {
            let error = go!(pool.query(suicide, &[])).expect_err("it ends itself");
            // It may have been executed to its end, and so may whatever it calls.
            assert!(error.is_outcome_unknown() && !error.is_transient(), "{error}");
            assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
            assert_eq!(pool.status().closed.dead, ended);
        }
        Ok(())
    }
}

twin! {
    everywhere fn a_half_done_copy_does_not_reach_the_next_borrower(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        // The simple protocol leaves the server waiting for data that the driver cannot send.
        assert!(go!(guard.batch_execute(&format!("COPY {} FROM STDIN", on.name))).is_err());
        drop(guard);
        assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        Ok(())
    }
}

#[test]
fn a_refused_copy_does_not_reach_the_next_borrower() -> pgmonkey_tests::Outcome {
    let on = pgmonkey_tests::Fixture::new();
    let pool = pgmonkey::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }"))?;
    for _ in 0..3 {
        let mut guard = pool.acquire()?;
        assert!(guard.copy_in("COPY no_such_table FROM STDIN").is_err());
        drop(guard);
        assert_eq!(pool.query_one("SELECT 1", &[])?.get::<_, i32>(0), 1);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_query_is_cancelled_on_the_server() -> pgmonkey_tests::Outcome {
    use std::time::{Duration, Instant};
    let on = pgmonkey_tests::Fixture::new();
    let pool = pgmonkey::AsyncPool::new(&on.pools("{ min_size: 1, max_size: 1 }")).await?;
    let guard = pool.acquire().await?;
    guard.batch_execute("BEGIN").await?;
    let slept = tokio::time::timeout(
        Duration::from_millis(50),
        guard.batch_execute("SELECT pg_sleep(30)"),
    );
    assert!(slept.await.is_err());
    let began = Instant::now();
    drop(guard);
    let row = pool.query_one("SELECT 1", &[]).await?;
    assert_eq!(row.get::<_, i32>(0), 1);
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    assert_eq!(on.sessions_in("active"), 0);
    assert_eq!(pool.status().opened, 1, "the session was kept");
    Ok(())
}

/// Polls a future once and drops it: its request is in the driver's queue, not on the wire.
async fn abandon(future: impl Future) {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        // On two threads the result may already be there.
        let _ = future.as_mut().poll(cx);
        std::task::Poll::Ready(())
    })
    .await;
}

async fn abandoned_statements_do_not_reach_the_next_borrower() -> pgmonkey_tests::Outcome {
    let on = pgmonkey_tests::Fixture::new();
    let pool = pgmonkey::AsyncPool::new(&on.pools("{ min_size: 1, max_size: 1 }")).await?;
    let insert = format!("BEGIN; INSERT INTO {} VALUES (1)", on.name);
    for statement in ["SELECT pg_sleep(30)", "BEGIN", insert.as_str(), "nonsense"] {
        let guard = pool.acquire().await?;
        abandon(guard.batch_execute(statement)).await;
        drop(guard);
        let began = std::time::Instant::now();
        let guard = pool.acquire().await?;
        guard.batch_execute("SELECT 1").await?;
        assert_eq!(
            on.sessions_in("idle"),
            1,
            "not inside a transaction, after {statement}"
        );
        let waited = began.elapsed();
        assert!(waited < LONG, "{statement}: {waited:?}");
    }
    let guard = pool.acquire().await?;
    let refused: Result<pgmonkey::aio::CopyInSink<&[u8]>, _> =
        guard.copy_in("COPY no_such_table FROM STDIN").await;
    assert!(refused.is_err());
    drop(refused);
    drop(guard);
    for number in 1..4 {
        let row = pool.query_one("SELECT $1::int", &[&number]).await?;
        assert_eq!(row.get::<_, i32>(0), number);
    }
    assert_eq!((on.rows(), on.sessions_in("active")), (0, 0));
    Ok(())
}

#[tokio::test]
async fn abandoned_statements_on_one_thread() -> pgmonkey_tests::Outcome {
    abandoned_statements_do_not_reach_the_next_borrower().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_statements_on_two_threads() -> pgmonkey_tests::Outcome {
    abandoned_statements_do_not_reach_the_next_borrower().await
}

#[tokio::test]
async fn statements_by_text_need_no_second_session() -> pgmonkey_tests::Outcome {
    let on = pgmonkey_tests::Fixture::new();
    let pool = pgmonkey::AsyncPool::new(&on.pools("{ min_size: 1, max_size: 4 }")).await?;
    for _ in 0..50 {
        pool.query("SELECT 1", &[]).await?;
    }
    assert_eq!(pool.status().opened, 1);
    Ok(())
}

#[tokio::test]
async fn an_async_guard_may_be_dropped_outside_a_runtime() -> pgmonkey_tests::Outcome {
    let on = pgmonkey_tests::Fixture::new();
    let pool = pgmonkey::AsyncPool::new(&on.pools("{ min_size: 1, max_size: 1 }")).await?;
    let guard = pool.acquire().await?;
    let dirty = {
        std::thread::spawn(move || drop(guard))
            .join()
            .expect("no panic");
        let guard = pool.acquire().await?;
        guard.batch_execute("BEGIN").await?;
        guard
    };
    std::thread::spawn(move || drop(dirty))
        .join()
        .expect("no panic");
    let row = pool.query_one("SELECT 1", &[]).await?;
    assert_eq!(row.get::<_, i32>(0), 1);
    assert_eq!(pool.status().opened, 1);
    Ok(())
}

/// State that a caller can leave behind besides a transaction, and the query by which the next one
/// would see it: every column is false once the session is reset.
const LEFT: &str = "SET work_mem = '7MB'; SET ROLE pg_read_all_data; CREATE TEMP TABLE left_over (n int); \
     LISTEN left_over; SELECT pg_advisory_lock(4711); \
     DECLARE left_over CURSOR WITH HOLD FOR SELECT 1; PREPARE mine AS SELECT 1";
const SEEN: &str = "SELECT current_setting('work_mem') = '7MB', current_user = 'pg_read_all_data', \
     to_regclass('pg_temp.left_over') IS NOT NULL, \
     EXISTS (SELECT FROM pg_listening_channels()), \
     EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
     EXISTS (SELECT FROM pg_cursors WHERE name = 'left_over'), \
     EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'mine'), \
     current_setting('statement_timeout')";

twin! {
    everywhere fn reset_session_puts_back_what_a_borrower_changed(on, driver, go, work) {
        let pools = "{ min_size: 1, max_size: 1, reset: session }";
        let settings = "{ statement_timeout: '7s' }";
        let config = on.config(&format!(
            "pool_settings: {pools}\nasync_pool_settings: {pools}\nsync_settings: {settings}\nasync_settings: {settings}\n"
        ));
        let pool = go!(driver::Pool::new(&config))?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.batch_execute(&format!("{LEFT}; SET statement_timeout = '1s'")))?;
        drop(guard);
        let row = go!(pool.query_one(SEEN, &[]))?;
        let seen: Vec<bool> = (0..7).map(|column| row.get(column)).collect();
        assert_eq!(seen, [false, false, false, false, false, false, true], "prepared statements stay");
        assert_eq!(row.get::<_, &str>(7), "7s", "the file's own settings stay");
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

twin! {
    everywhere fn reset_session_sends_nothing_after_a_borrower_who_did_nothing(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1, reset: session }")))?;
        go!(pool.batch_execute("SELECT 'a caller was here'"))?;
        let changed = || on.number(
            "SELECT (extract(epoch FROM max(state_change)) * 1000000)::int8 \
             FROM pg_stat_activity WHERE application_name = $1 AND query LIKE '%DISCARD TEMP%'",
            &[&on.name],
        );
        drop(go!(pool.acquire())?);
        let before = changed();
        drop(go!(pool.acquire())?);
        drop(go!(pool.acquire())?);
        assert_eq!(changed(), before, "nothing was sent");
        Ok(())
    }
}

twin! {
    everywhere fn reset_transaction_leaves_the_rest_of_the_session(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1, reset: transaction }")))?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.batch_execute("SET work_mem = '7MB'"))?;
        drop(guard);
        let row = go!(pool.query_one("SHOW work_mem", &[]))?;
        assert_eq!(row.get::<_, &str>(0), "7MB");
        Ok(())
    }
}

twin! {
    everywhere fn reset_none_leaves_everything(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1, reset: none }")))?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.batch_execute(&format!("BEGIN; INSERT INTO {} VALUES (1)", on.name)))?;
        drop(guard);
        let mut guard = go!(pool.acquire())?;
        go!(guard.commit())?;
        assert_eq!(on.rows(), 1);
        Ok(())
    }
}

twin! {
    everywhere fn reset_auto_puts_back_what_a_borrower_changed(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        let undoable = LEFT.replace("; PREPARE mine AS SELECT 1", "");
        go!(guard.batch_execute(&undoable))?;
        drop(guard);
        let row = go!(pool.query_one(SEEN, &[]))?;
        let seen: Vec<bool> = (0..7).map(|column| row.get(column)).collect();
        assert_eq!(seen, [false; 7]);
        assert_eq!(pool.status().opened, 1, "put back");
        let mut guard = go!(pool.acquire())?;
        go!(guard.batch_execute(LEFT))?;
        drop(guard);
        let row = go!(pool.query_one(SEEN, &[]))?;
        let seen: Vec<bool> = (0..7).map(|column| row.get(column)).collect();
        assert_eq!(seen, [false; 7]);
        assert_eq!(pool.status().opened, 2, "a prepared statement cannot be put back: replaced");
        Ok(())
    }
}

twin! {
    everywhere fn a_session_that_lost_its_prepared_statements_is_replaced(on, driver, go, work) {
        for (reset, opened) in [("auto", 2), ("transaction", 2), ("none", 2), ("session", 2)] {
            let pools = format!("{{ min_size: 1, max_size: 1, reset: {reset} }}");
            let pool = go!(driver::Pool::new(&on.pools(&pools)))?;
            go!(pool.batch_execute("DISCARD ALL"))?;
            assert_eq!(go!(pool.query_one("SELECT $1::int", &[&1]))?.get::<_, i32>(0), 1);
            assert_eq!(pool.status().opened, opened, "{reset}");
        }
        Ok(())
    }
}

twin! {
    everywhere fn a_connection_keeps_what_its_borrower_set(on, driver, go, work) {
        let connection = go!(driver::Connection::new(&on.config("")))?;
        go!(connection.batch_execute("SET work_mem = '7MB'"))?;
        let row = go!(connection.query_one("SHOW work_mem", &[]))?;
        assert_eq!(row.get::<_, &str>(0), "7MB");
        Ok(())
    }
}
