//! Calls with a deadline: what ends them, what the error says, and that nothing is left over. Over
//! TCP: on a Unix socket the blocking driver waits for a server that does not react.

use std::time::{Duration, Instant};

use pgmonkey::{Deadline, DeadlineStage, Error, StatementEnd};
use pgmonkey_tests::{Fixture, LONG, twin};

/// Short enough for a test, long enough for a statement that is to succeed.
const SOON: Duration = Duration::from_millis(300);
/// Longer than any test waits.
const SLEEP: &str = "SELECT pg_sleep(60)";

/// What the call was doing at its deadline.
fn stage(error: &Error) -> DeadlineStage {
    match error {
        Error::DeadlineExceeded(exceeded) => exceeded.stage,
        other => panic!("another error: {other}"),
    }
}

const CANCELLED: DeadlineStage = DeadlineStage::Running(StatementEnd::Cancelled);

/// How many statements of this fixture are running.
fn running(on: &Fixture) -> i64 {
    on.sessions_in("active")
}

twin! {
    everywhere fn a_statement_is_cancelled_at_its_deadline_and_its_session_kept(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let pid = go!(pool.ping())?.backend_pid;
        let began = Instant::now();
        let error = go!(pool.timeout(SOON).query(SLEEP, &[])).expect_err("too slow");
        assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
        assert_eq!(stage(&error), CANCELLED, "{error}");
        assert!(error.is_deadline() && !error.is_transient() && !error.is_timeout(), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("deadline exceeded after "), "{text}");
        assert!(text.ends_with("the server was running the statement and cancelled it"), "{text}");
        // The error arrives a moment before the session is reported as idle.
        on.until("nothing runs", || running(&on) == 0);
        // The other methods, and a query that has parameters.
        let timed = pool.timeout(SOON);
        assert_eq!(stage(&go!(timed.execute(SLEEP, &[])).expect_err("too slow")), CANCELLED);
        assert_eq!(stage(&go!(timed.query_one(SLEEP, &[])).expect_err("too slow")), CANCELLED);
        let nap = "SELECT pg_sleep($1)";
        assert_eq!(stage(&go!(timed.query_opt(nap, &[&60_f64])).expect_err("too slow")), CANCELLED);
        assert_eq!(stage(&go!(timed.batch_execute(SLEEP)).expect_err("too slow")), CANCELLED);
        // Within the limit all is as without.
        let ok: i32 = go!(pool.timeout(LONG).query_one("SELECT 7", &[]))?.get(0);
        assert_eq!(ok, 7);
        assert_eq!(go!(pool.ping())?.backend_pid, pid);
        assert_eq!((pool.status().opened, pool.status().size), (1, 1));
        Ok(())
    }
}

twin! {
    fn nothing_of_it_reaches_the_next_statement(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        // Statements that end about when their deadline passes.
        for number in 0..150_u64 {
            let limit = Duration::from_micros(1500 + number % 50 * 40);
            let slept = go!(pool.timeout(limit).query_one("SELECT pg_sleep(0.002)", &[]));
            if let Err(error) = slept {
                assert!(error.is_deadline(), "{error}");
            }
            let next: i32 = go!(pool.query_one("SELECT 1", &[]))?.get(0);
            assert_eq!(next, 1);
        }
        on.until("it is back", || pool.status().in_use == 0);
        Ok(())
    }
}

twin! {
    fn a_deadline_counts_the_wait_for_a_session(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1, timeout: 60 }")))?;
        let guard = go!(pool.acquire())?;
        let line = line!() - 1;
        let error = go!(pool.timeout(SOON).query("SELECT 1", &[])).expect_err("no session");
        assert_eq!(stage(&error), DeadlineStage::Waiting, "{error}");
        assert!(error.is_transient() && error.is_deadline(), "{error}");
        let text = error.to_string();
        assert!(text.starts_with("deadline exceeded while waiting for a session: "), "{text}");
        assert!(text.contains(&format!("deadline.rs:{line}")), "{text}");
        let error = go!(pool.timeout(SOON).acquire()).expect_err("no session");
        assert_eq!(stage(&error), DeadlineStage::Waiting, "{error}");
        let error = go!(pool.timeout(SOON).begin()).expect_err("no session");
        assert_eq!(stage(&error), DeadlineStage::Waiting, "{error}");
        assert_eq!(pool.status().waiting, 0);
        drop(guard);
        on.until("it is back", || pool.status().in_use == 0);
        // The guard of a view with a time for each call has no limit.
        let mut guard = go!(pool.timeout(SOON).acquire())?;
        go!(guard.query("SELECT pg_sleep(0.5)", &[]))?;
        Ok(())
    }
}

twin! {
    fn the_pools_own_timeout_keeps_its_error(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1, timeout: 200ms }")))?;
        let _guard = go!(pool.acquire())?;
        let error = go!(pool.timeout(LONG).query("SELECT 1", &[])).expect_err("no session");
        assert!(error.is_timeout() && !error.is_deadline(), "{error}");
        Ok(())
    }
}

twin! {
    fn a_deadline_that_has_passed_sends_nothing(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 1 }")))?;
        let over = Deadline::at(Instant::now());
        let insert = format!("INSERT INTO {} VALUES (1)", on.name);
        let error = go!(pool.deadline(over).execute(&insert, &[])).expect_err("over");
        assert_eq!(stage(&error), DeadlineStage::Passed, "{error}");
        assert!(!error.is_transient(), "{error}");
        assert_eq!(pool.status().opened, 0);
        let mut guard = go!(pool.acquire())?;
        let error = go!(guard.deadline(over).execute(&insert, &[])).expect_err("over");
        assert_eq!(stage(&error), DeadlineStage::Passed, "{error}");
        go!(guard.execute(&insert, &[]))?;
        assert_eq!(on.rows(), 1);
        Ok(())
    }
}

twin! {
    fn a_deadline_while_a_session_is_opened_says_so(on, driver, go, work) {
        // It accepts connections and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
        let port = silent.local_addr()?.port();
        let settings = "pool_settings: { min_size: 0, timeout: 60 }\nasync_pool_settings: { min_size: 0, timeout: 60 }\n";
        let config = pgmonkey_tests::load(&on.yaml_at("127.0.0.1", port, settings));
        let pool = go!(driver::Pool::new(&config))?;
        let error = go!(pool.timeout(SOON).query("SELECT 1", &[])).expect_err("no answer");
        assert_eq!(stage(&error), DeadlineStage::Connecting, "{error}");
        assert!(error.is_transient(), "{error}");
        Ok(())
    }
}

twin! {
    fn a_guards_and_a_transactions_statements_can_have_deadlines(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        let error = go!(guard.timeout(SOON).query(SLEEP, &[])).expect_err("too slow");
        assert_eq!(stage(&error), CANCELLED, "{error}");
        go!(guard.query("SELECT 1", &[]))?;
        let mut tx = go!(guard.transaction())?;
        let mut inner = go!(tx.transaction())?;
        let error = go!(inner.timeout(SOON).execute(SLEEP, &[])).expect_err("too slow");
        assert_eq!(stage(&error), CANCELLED, "{error}");
        // The cancel made the savepoint fail, not the transaction around it.
        go!(inner.rollback())?;
        go!(tx.execute(&format!("INSERT INTO {} VALUES (1)", on.name), &[]))?;
        go!(tx.commit())?;
        assert_eq!(on.rows(), 1);
        drop(guard);
        on.until("it is back", || pool.status().in_use == 0);
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

twin! {
    fn a_transaction_ends_by_its_deadline_and_keeps_nothing(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let insert = format!("INSERT INTO {} VALUES (1)", on.name);
        let deadline = Deadline::after(SOON);
        let ended = go!(pool.deadline(deadline).transaction(work!(|tx| {
            go!(tx.execute(&insert, &[]))?;
            let error = go!(tx.query(SLEEP, &[])).expect_err("too slow");
            assert_eq!(stage(&error), CANCELLED, "{error}");
            let error = go!(tx.query("SELECT 1", &[])).expect_err("too late");
            assert_eq!(stage(&error), DeadlineStage::Passed, "{error}");
            // It does not commit, even if the closure says so.
            Ok(())
        })));
        assert!(ended.expect_err("too late").is_deadline());
        on.until("it is back", || pool.status().in_use == 0);
        assert_eq!((on.rows(), pool.status().opened), (0, 1));
        // Begun with a deadline that is passed on, a transaction keeps to it.
        let deadline = Deadline::after(SOON);
        let mut tx = go!(pool.deadline(deadline).begin())?;
        go!(tx.execute(&insert, &[]))?;
        let error = go!(tx.query(SLEEP, &[])).expect_err("too slow");
        assert_eq!(stage(&error), CANCELLED, "{error}");
        assert!(go!(tx.commit()).expect_err("too late").is_deadline());
        on.until("it is back", || pool.status().in_use == 0);
        assert_eq!(on.rows(), 0);
        // The next one has no deadline.
        go!(pool.transaction(work!(|tx| {
            go!(tx.query("SELECT pg_sleep(0.5)", &[]))?;
            go!(tx.execute(&insert, &[])).map(drop)
        })))?;
        assert_eq!(on.rows(), 1);
        Ok(())
    }
}

twin! {
    fn a_server_that_does_not_react_is_given_up(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 2, timeout: 60 }")))?;
        for held in [false, true] {
            let mut guard = go!(pool.acquire())?;
            go!(guard.query("SELECT 1", &[]))?;
            let error = if held {
                let Some(stopped) = on.stop() else {
                    return Ok(());
                };
                let error = go!(guard.timeout(SOON).query("SELECT 1", &[])).expect_err("frozen");
                assert!(stopped.still(), "it was waited for");
                on.until("its socket is closed", || stopped.connections() == 0);
                assert!(go!(guard.query("SELECT 1", &[])).is_err());
                drop(guard);
                error
            } else {
                drop(guard);
                on.until("it is back", || pool.status().in_use == 0);
                let Some(stopped) = on.stop() else {
                    return Ok(());
                };
                let error = go!(pool.timeout(SOON).query("SELECT 1", &[])).expect_err("frozen");
                assert!(stopped.still(), "it was waited for");
                on.until("its socket is closed", || stopped.connections() == 0);
                error
            };
            let unanswered = DeadlineStage::Running(StatementEnd::Unanswered);
            assert_eq!(stage(&error), unanswered, "{error}");
            let text = error.to_string();
            assert!(text.contains("did not answer the cancel request within 1s"), "{text}");
            on.until("its permit is free", || pool.status().in_use == 0);
            go!(pool.query_one("SELECT 1", &[]))?;
        }
        assert_eq!(pool.status().closed.dead, 2);
        Ok(())
    }
}

twin! {
    fn a_stream_ends_by_its_deadline(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let slow = "SELECT n, pg_sleep(CASE n WHEN 3 THEN 60 ELSE 0 END), repeat('x', 20000) \
                    FROM generate_series(1, 5) n";
        let mut rows = go!(pool.timeout(SOON).query_raw(slow, &[]))?;
        let error = loop {
            match go!(rows.next()) {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("it has ended before its deadline"),
            }
        };
        assert!(error.is_deadline(), "{error}");
        assert!(go!(rows.next()).is_none());
        drop(rows);
        on.until("it is back", || pool.status().in_use == 0);
        on.until("nothing runs", || running(&on) == 0);
        go!(pool.query("SELECT 1", &[]))?;
        let mut guard = go!(pool.acquire())?;
        let mut timed = guard.timeout(SOON);
        let mut rows = go!(timed.query_raw(slow, &[]))?;
        while let Some(Ok(_)) = go!(rows.next()) {}
        drop(rows);
        go!(guard.query("SELECT 1", &[]))?;
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

twin! {
    fn nothing_is_sent_for_a_deadline(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        go!(pool.query("SELECT 1", &[]))?;
        // The statements of the session as the server counts them: none of the library's.
        let log = "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()";
        for _ in 0..3 {
            let row = go!(pool.timeout(LONG).query_one(log, &[]))?;
            assert_eq!(row.get::<_, &str>(0), log);
        }
        let timeout = go!(pool.query_one("SHOW statement_timeout", &[]))?;
        assert_eq!(timeout.get::<_, &str>(0), "0");
        Ok(())
    }
}
