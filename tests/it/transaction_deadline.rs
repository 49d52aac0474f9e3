//! Transactions with a time limit: what it covers, and what the caller learns at its end. Over TCP:
//! on a Unix socket the blocking driver waits for a server that does not react.

use std::time::{Duration, Instant};

use pgmonkey::{AsyncPool, Deadline, DeadlineStage, Error, Pool, Retry, StatementEnd};
use pgmonkey_tests::{Fixture, LONG, Outcome, load, twin};
use pgmonkey_testserver::{At, Cut};

use crate::outcome::{COMMIT, is_commit_unknown, proxy, through};

const SOON: Duration = Duration::from_millis(300);
const SLEEP: &str = "SELECT pg_sleep(60)";

#[track_caller]
fn is_at(error: &Error, stage: DeadlineStage) {
    match error {
        Error::DeadlineExceeded(exceeded) => assert_eq!(exceeded.stage, stage, "{error}"),
        other => panic!("another error: {other}"),
    }
}

const CANCELLED: DeadlineStage = DeadlineStage::Running(StatementEnd::Cancelled);
const UNANSWERED: DeadlineStage = DeadlineStage::Running(StatementEnd::Unanswered);

fn insert(on: &Fixture) -> String {
    format!("INSERT INTO {} VALUES (1)", on.name)
}

/// Has each commit of a row wait for a lock that the fixture holds.
fn hold_commits(on: &Fixture) {
    let name = &on.name;
    on.run(&format!(
        "CREATE SCHEMA s_{name}; \
         CREATE FUNCTION s_{name}.wait() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_advisory_xact_lock(hashtext(''{name}'')); RETURN NULL; END'; \
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON {name} DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION s_{name}.wait(); \
         SELECT pg_advisory_lock(hashtext('{name}'))"
    ));
}

twin! {
    fn its_timeout_counts_the_wait_for_a_session(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1, timeout: 60 }")))?;
        let guard = go!(pool.acquire())?;
        let waited = go!(pool.build_transaction().timeout(SOON).run(work!(|_tx| { Ok(()) })));
        is_at(&waited.expect_err("no session"), DeadlineStage::Waiting);
        let waited = go!(pool.build_transaction().timeout(SOON).begin());
        is_at(&waited.map(drop).expect_err("no session"), DeadlineStage::Waiting);
        // So does that of a view, also if the transaction's own is longer.
        let view = pool.timeout(SOON);
        let waited = go!(view.build_transaction().timeout(LONG).run(work!(|_tx| { Ok(()) })));
        is_at(&waited.expect_err("no session"), DeadlineStage::Waiting);
        drop(guard);
        assert_eq!(pool.status().waiting, 0);
        Ok(())
    }
}

twin! {
    fn its_timeout_never_raises_the_sessions_own_limit(on, driver, go, work) {
        let own = "sync_settings: { statement_timeout: '150ms' }\n\
                   async_settings: { statement_timeout: '150ms' }\n";
        let pool = go!(driver::Pool::new(&on.config(own)))?;
        let ended = go!(pool.build_transaction().timeout(LONG * 2).run(work!(|tx| {
            let limit = go!(tx.query_one("SHOW statement_timeout", &[]))?;
            assert_eq!(limit.get::<_, &str>(0), "150ms");
            go!(tx.query(SLEEP, &[])).map(drop)
        })));
        let ended = ended.expect_err("too slow");
        assert!(matches!(ended, Error::Database(_)), "{ended}");
        assert_eq!(ended.code().map(|code| code.code()), Some("57014"), "{ended}");
        Ok(())
    }
}

twin! {
    fn a_guards_transaction_keeps_to_its_timeout_and_the_guard_does_not(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        for ends in [false, true] {
            let mut tx = go!(guard.build_transaction().timeout(SOON).begin())?;
            go!(tx.execute(&insert(&on), &[]))?;
            is_at(&go!(tx.query(SLEEP, &[])).expect_err("too slow"), CANCELLED);
            if ends {
                let late = go!(tx.commit()).expect_err("too late");
                is_at(&late, DeadlineStage::Passed);
            } else {
                // A rollback has time left.
                go!(tx.rollback())?;
            }
            // Outside of the transaction, and without its limit.
            go!(guard.query("SELECT pg_sleep(0.4)", &[]))?;
            go!(guard.execute(&insert(&on), &[]))?;
        }
        drop(guard);
        on.until("it is back", || pool.status().in_use == 0);
        assert_eq!((on.rows(), pool.status().opened), (2, 1));
        Ok(())
    }
}

twin! {
    fn a_view_limits_what_it_begins_as_it_says(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        // A time for each call: that of `begin` only.
        let mut tx = go!(pool.timeout(SOON).build_transaction().begin())?;
        go!(tx.query("SELECT pg_sleep(0.4)", &[]))?;
        drop(tx);
        let mut tx = go!(pool.timeout(LONG).build_transaction().timeout(SOON).begin())?;
        is_at(&go!(tx.query(SLEEP, &[])).expect_err("too slow"), CANCELLED);
        drop(tx);
        // One deadline for all calls, of `run` too.
        let ended = go!(pool.timeout(SOON).build_transaction().run(work!(|tx| {
            go!(tx.query(SLEEP, &[])).map(drop)
        })));
        is_at(&ended.expect_err("too slow"), CANCELLED);
        let mut tx = go!(pool.deadline(Deadline::after(SOON)).build_transaction().begin())?;
        is_at(&go!(tx.query(SLEEP, &[])).expect_err("too slow"), CANCELLED);
        drop(tx);
        let mut guard = go!(pool.acquire())?;
        let mut each = guard.timeout(SOON);
        let mut tx = go!(each.transaction())?;
        go!(tx.query("SELECT pg_sleep(0.4)", &[]))?;
        drop(tx);
        let mut one = guard.deadline(Deadline::after(SOON));
        let mut tx = go!(one.transaction())?;
        is_at(&go!(tx.query(SLEEP, &[])).expect_err("too slow"), CANCELLED);
        drop(tx);
        go!(guard.query("SELECT pg_sleep(0.4)", &[]))?;
        Ok(())
    }
}

twin! {
    fn a_commit_ends_by_the_deadline_and_says_what_became_of_it(on, driver, go, work) {
        hold_commits(&on);
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        for confirms in [false, true] {
            let built = pool.build_transaction().timeout(SOON).confirm_commit(confirms);
            let ended = go!(built.run(work!(|tx| { go!(tx.execute(&insert(&on), &[])) })));
            is_at(&ended.expect_err("it waits"), CANCELLED);
            let mut tx = go!(pool.build_transaction().timeout(SOON).confirm_commit(confirms).begin())?;
            go!(tx.query("SELECT 1", &[]))?;
            let ended = go!(tx.execute_and_commit(&insert(&on), &[]));
            is_at(&ended.expect_err("it waits"), CANCELLED);
        }
        on.until("it is back", || pool.status().in_use == 0);
        assert_eq!((on.rows(), pool.status().opened), (0, 1));
        Ok(())
    }
}

twin! {
    fn a_commit_that_a_frozen_server_does_not_answer_is_unknown(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 1 }")))?;
        for held in [false, true] {
            let error = if held {
                let mut guard = go!(pool.acquire())?;
                let mut tx = go!(guard.build_transaction().timeout(SOON).begin())?;
                go!(tx.execute(&insert(&on), &[]))?;
                let Some(stopped) = on.stop() else {
                    return Ok(());
                };
                let error = go!(tx.commit()).expect_err("frozen");
                assert!(stopped.still(), "it was waited for");
                error
            } else {
                let mut tx = go!(pool.deadline(Deadline::after(SOON)).begin())?;
                go!(tx.execute(&insert(&on), &[]))?;
                let Some(stopped) = on.stop() else {
                    return Ok(());
                };
                let error = go!(tx.commit()).expect_err("frozen");
                assert!(stopped.still(), "it was waited for");
                error
            };
            is_commit_unknown(&error);
        }
        Ok(())
    }
}

twin! {
    fn the_search_for_an_outcome_ends_with_the_timeout(on, driver, go, work) {
        hold_commits(&on);
        let proxy = proxy(&on);
        let pools = "{ min_size: 0, max_size: 1, timeout: 600 }";
        let pool = go!(driver::Pool::new(&through(&proxy, &on, pools)))?;
        proxy.on_text(COMMIT, At::After, || Some(Cut::Fin));
        let limit = SOON * 3;
        let began = Instant::now();
        let built = pool.build_transaction().timeout(limit).confirm_commit(true);
        let error = go!(built.run(work!(|tx| { go!(tx.execute(&insert(&on), &[])) })));
        let error = error.expect_err("it is still in progress");
        is_commit_unknown(&error);
        assert!(error.to_string().contains("still in progress, and the time is over"), "{error}");
        // The guard keeps the only session, so the question is never asked.
        let mut guard = go!(pool.acquire())?;
        let built = guard.build_transaction().timeout(limit).confirm_commit(true);
        let mut tx = go!(built.begin())?;
        go!(tx.execute(&insert(&on), &[]))?;
        let error = go!(tx.commit()).expect_err("no session");
        is_commit_unknown(&error);
        assert!(error.to_string().contains("time is over"), "{error}");
        assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
        Ok(())
    }
}

twin! {
    fn a_hook_has_no_more_time_than_the_call(on, driver, go, work) {
        let pools = "pool_settings: { min_size: 0, max_size: 1 }\n\
                     async_pool_settings: { min_size: 0, max_size: 1 }\n";
        let config = load(&on.yaml(pools));
        let hooks = driver::Hooks::new("slow").before_acquire(crate::hooks::Script::sleeping());
        let pool = go!(driver::Builder::new(&config).hooks(hooks).pool())?;
        let error = go!(pool.timeout(SOON).query("SELECT 1", &[])).expect_err("it sleeps");
        assert!(error.is_deadline(), "{error}");
        on.until("its permit is free", || pool.status().in_use == 0);
        Ok(())
    }
}

twin! {
    fn a_retry_keeps_to_the_deadline_of_its_view(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 2 }")))?;
        let raise = "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$";
        let hour = Duration::from_secs(3600);
        let retry = Retry::attempts(9).backoff(hour, hour);
        let failed = go!(pool.timeout(LONG).build_transaction().retry(retry).run(work!(|tx| {
            go!(tx.batch_execute(raise))
        })));
        let failed = failed.expect_err("the pause would be too long").to_string();
        assert!(failed.contains("leaves no time for another"), "{failed}");
        Ok(())
    }
}

twin! {
    fn a_ping_ends_by_the_deadline(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 2, timeout: 60 }")))?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.timeout(LONG).ping())?;
        let Some(stopped) = on.stop() else {
            return Ok(());
        };
        is_at(&go!(guard.timeout(SOON).ping()).expect_err("frozen"), UNANSWERED);
        assert!(stopped.still(), "it was waited for");
        Ok(())
    }
}

/// Code that does not know of deadlines.
async fn add_twice(db: &mut impl pgmonkey::AsyncExecute, insert: &str) -> Result<(), Error> {
    use pgmonkey::{AsyncExecute as _, AsyncOpenTransaction as _};
    let both = db.begin().await?;
    both.execute(insert, &[]).await?;
    both.execute(insert, &[]).await?;
    both.commit().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generic_code_runs_on_views_in_tasks() -> Outcome {
    let on = Fixture::new();
    let pool = AsyncPool::new(&on.pools("{ max_size: 1 }")).await?;
    let insert = insert(&on);
    add_twice(&mut pool.timeout(LONG), &insert).await?;
    let mut guard = pool.acquire().await?;
    add_twice(&mut guard.timeout(LONG), &insert).await?;
    let mut tx = guard.transaction().await?;
    add_twice(&mut tx.deadline(Deadline::after(LONG)), &insert).await?;
    let over = add_twice(&mut tx.deadline(Deadline::at(Instant::now())), &insert).await;
    is_at(&over.expect_err("too late"), DeadlineStage::Passed);
    tx.commit().await?;
    drop(guard);
    assert_eq!(on.rows(), 6);
    Ok(())
}

/// Code that does not know of deadlines.
fn add_two(db: &mut impl pgmonkey::Execute, insert: &str) -> Result<(), Error> {
    use pgmonkey::{Execute as _, OpenTransaction as _};
    let mut both = db.begin()?;
    both.execute(insert, &[])?;
    both.execute(insert, &[])?;
    both.commit()
}

#[test]
fn generic_code_runs_on_views_on_threads() -> Outcome {
    let on = Fixture::new();
    let pool = Pool::new(&on.pools("{ max_size: 1 }"))?;
    let insert = insert(&on);
    add_two(&mut pool.timeout(LONG), &insert)?;
    let mut guard = pool.acquire()?;
    add_two(&mut guard.timeout(LONG), &insert)?;
    let mut tx = guard.transaction()?;
    add_two(&mut tx.deadline(Deadline::after(LONG)), &insert)?;
    let over = add_two(&mut tx.deadline(Deadline::at(Instant::now())), &insert);
    is_at(&over.expect_err("too late"), DeadlineStage::Passed);
    tx.commit()?;
    drop(guard);
    assert_eq!(on.rows(), 6);
    Ok(())
}

twin! {
    fn every_other_method_of_a_view_keeps_to_its_deadline(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        let mut timed = guard.timeout(LONG);
        let prepared = go!(timed.prepare_cached("SELECT 1"))?;
        go!(timed.query(&prepared, &[]))?;
        let mut tx = go!(guard.transaction())?;
        let numbers = "SELECT n FROM generate_series(1, 5) n";
        let mut timed = tx.timeout(LONG);
        let mut rows = go!(timed.stream(numbers, &[], 2))?;
        let mut sum = 0;
        for _ in 1..=5 {
            sum += go!(rows.next()).expect("a row")?.get::<_, i32>(0);
        }
        assert!(go!(rows.next()).is_none());
        assert_eq!(sum, 15);
        drop(rows);
        // The time is that of the whole stream.
        let slow = "SELECT n, pg_sleep(CASE n WHEN 4 THEN 60 ELSE 0 END) FROM generate_series(1, 9) n";
        let mut timed = tx.timeout(SOON);
        let mut rows = go!(timed.stream(slow, &[], 2))?;
        let error = loop {
            match go!(rows.next()) {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("it has ended before its deadline"),
            }
        };
        is_at(&error, CANCELLED);
        drop(rows);
        go!(tx.rollback())?;
        drop(guard);
        let kind = std::any::type_name::<driver::Pool>();
        let kind = if kind.starts_with("pgmonkey_async") { "async_pool" } else { "pool" };
        let yaml = on.yaml(&format!("connection_type: {kind}\n"));
        let database = go!(driver::Database::new(&load(&yaml)))?;
        let ended = go!(database.timeout(SOON).scope(work!(|client| {
            go!(client.execute(&insert(&on), &[]))?;
            go!(client.query(SLEEP, &[])).map(drop)
        })));
        is_at(&ended.expect_err("too slow"), CANCELLED);
        assert_eq!(on.rows(), 0);
        go!(database.timeout(LONG).scope(work!(|client| { go!(client.execute(&insert(&on), &[])) })))?;
        assert_eq!(on.rows(), 1);
        Ok(())
    }
}
