//! Why a session ended: the next error of the session contains the server's reason, whatever was
//! called. Over plain TCP; on a Unix socket the blocking driver reports only its own error.

use std::io::{Read, Write};

use bytes::Bytes;
use pgmonkey::{Error, aio, sync};
use pgmonkey_tests::{Fixture, Outcome, twin};
use pgmonkey_testserver::Cluster;

/// Rows that arrive, and then one to wait for.
const SLOW: &str = "SELECT repeat('x', 10000) FROM generate_series(1, 5) \
                    UNION ALL SELECT pg_sleep(600)::text";

/// Checks that the call failed with this SQLSTATE and these words.
#[track_caller]
fn says(error: &Error, code: &str, words: &str) {
    let text = error.to_string();
    let found = error.code().map(|code| code.code());
    assert!(found == Some(code), "{code} expected: {text}");
    assert!(text.contains(words) && text.contains(code), "{text}");
}

#[track_caller]
fn says_killed(error: &Error) {
    says(error, "57P01", "due to administrator command");
    assert!(error.is_transient());
}

/// The same for the end of a copy, which may have been sent before the reason arrived.
#[track_caller]
fn says_killed_at_its_end(error: &Error) {
    says(error, "57P01", "due to administrator command");
    assert!(error.is_transient() || error.is_outcome_unknown());
}

/// Checks that every call of a guard fails with the reason.
macro_rules! all_calls {
    ($guard:ident, $go:ident, $says:expr) => {{
        let says = $says;
        for _ in 0..2 {
            says(&$go!($guard.query("SELECT 1", &[])).expect_err("query"));
            says(&$go!($guard.query_one("SELECT 1", &[])).expect_err("query_one"));
            says(&$go!($guard.query_opt("SELECT $1::int", &[&1_i32])).expect_err("query_opt"));
            says(&$go!($guard.execute("SELECT 1", &[])).expect_err("execute"));
            says(&$go!($guard.batch_execute("SELECT 1")).expect_err("batch_execute"));
            says(
                &$go!($guard.query_raw("SELECT 2", &[]))
                    .map(drop)
                    .expect_err("query_raw"),
            );
            says(
                &$go!($guard.prepare_cached("SELECT 3"))
                    .map(drop)
                    .expect_err("prepare_cached"),
            );
            says(&$go!($guard.ping()).map(drop).expect_err("ping"));
            says(&$go!($guard.begin()).expect_err("begin"));
            says(&$go!($guard.commit()).expect_err("commit"));
            says(&$go!($guard.rollback()).expect_err("rollback"));
            says(
                &$go!($guard.transaction())
                    .map(drop)
                    .expect_err("transaction"),
            );
        }
    }};
}

twin! {
    fn a_session_that_was_killed_while_idle_says_so_at_every_call(on, driver, go, work) {
        for cache in [256, 0] {
            let settings = format!("{{ min_size: 0, max_size: 1, statement_cache: {cache} }}");
            let pool = go!(driver::Pool::new(&on.pools(&settings)))?;
            let mut guard = go!(pool.acquire())?;
            let statement = go!(guard.prepare_cached("SELECT 1"))?;
            assert_eq!(on.kill(), 1);
            all_calls!(guard, go, says_killed);
            says_killed(&go!(guard.query(&statement, &[])).expect_err("prepared"));
            drop(guard);
            assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
            drop(pool);
        }
        Ok(())
    }
}

twin! {
    fn a_session_that_was_killed_within_a_transaction_says_so_at_its_end(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 1 }")))?;
        let insert = format!("INSERT INTO {} VALUES (1)", on.name);
        for commits in [true, false] {
            let mut transaction = go!(pool.begin())?;
            go!(transaction.execute(&insert, &[]))?;
            assert_eq!(on.kill(), 1);
            let ended = match commits {
                true => go!(transaction.commit()),
                false => go!(transaction.rollback()),
            };
            says_killed(&ended.expect_err("killed"));
        }
        let mut transaction = go!(pool.begin())?;
        let mut savepoint = go!(transaction.transaction())?;
        go!(savepoint.execute(&insert, &[]))?;
        assert_eq!(on.kill(), 1);
        says_killed(&go!(savepoint.execute(&insert, &[])).expect_err("killed"));
        says_killed(&go!(savepoint.commit()).expect_err("killed"));
        says_killed(&go!(transaction.commit()).expect_err("killed"));
        let (on, insert) = (&on, &insert);
        let ended = go!(pool.transaction(work!(|tx| {
            go!(tx.execute(insert, &[]))?;
            on.kill();
            Ok(())
        })));
        says_killed(&ended.expect_err("killed"));
        assert_eq!(on.rows(), 0);
        Ok(())
    }
}

twin! {
    fn rows_that_were_half_read_end_with_the_reason(on, driver, go, work) {
        for cache in [256, 0] {
            let settings = format!("{{ min_size: 0, max_size: 1, statement_cache: {cache} }}");
            let pool = go!(driver::Pool::new(&on.pools(&settings)))?;
            let mut rows = go!(pool.query_raw(SLOW, &[]))?;
            assert!(go!(rows.next()).expect("one").is_ok());
            assert_eq!(on.kill(), 1);
            let error = loop {
                match go!(rows.next()) {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break error,
                    None => panic!("the last row never came"),
                }
            };
            says_killed(&error);
        }
        Ok(())
    }
}

#[test]
fn copies_on_threads_end_with_the_reason() -> Outcome {
    let on = Fixture::new();
    let pool = sync::Pool::new(&on.pools("{ min_size: 0, max_size: 1 }"))?;
    // Data is written until a write fails, or the copy is finished at once.
    for pieces in [10, 0] {
        let mut writer = pool.copy_in(&format!("COPY {} FROM STDIN", on.name))?;
        writer.write_all(b"1\n")?;
        writer.flush()?;
        assert_eq!(on.kill(), 1);
        for _ in 0..pieces {
            let written = writer.write_all(b"2\n").and_then(|()| writer.flush());
            if let Err(error) = written {
                assert!(error.to_string().contains("SQLSTATE 57P01"), "{error}");
            }
        }
        says_killed_at_its_end(&writer.finish().expect_err("killed"));
    }
    let mut reader = pool.copy_out(&format!("COPY ({SLOW}) TO STDOUT"))?;
    reader.read_exact(&mut [0; 10])?;
    assert_eq!(on.kill(), 1);
    let error = reader.read_to_end(&mut Vec::new()).expect_err("killed");
    assert!(error.to_string().contains("SQLSTATE 57P01"), "{error}");
    let error = error.downcast::<Error>().expect("our error");
    says_killed(&error);
    assert_eq!(on.rows(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_in_tasks_end_with_the_reason() -> Outcome {
    let on = Fixture::new();
    let pool = aio::Pool::new(&on.pools("{ min_size: 0, max_size: 1 }")).await?;
    for pieces in [10, 0] {
        let copy = format!("COPY {} FROM STDIN", on.name);
        let mut sink = pool.copy_in::<_, Bytes>(&copy).await?;
        sink.send(Bytes::from_static(b"1\n")).await?;
        assert_eq!(on.kill(), 1);
        for _ in 0..pieces {
            if let Err(error) = sink.send(Bytes::from_static(b"2\n")).await {
                says_killed(&error);
            }
        }
        says_killed_at_its_end(&sink.finish().await.expect_err("killed"));
    }
    let mut data = pool.copy_out(&format!("COPY ({SLOW}) TO STDOUT")).await?;
    assert!(data.next().await.expect("one").is_ok());
    assert_eq!(on.kill(), 1);
    let error = loop {
        match data.next().await {
            Some(Ok(_)) => {}
            other => break other.and_then(Result::err),
        }
    };
    says_killed(&error.expect("killed"));
    assert_eq!(on.rows(), 0);
    Ok(())
}

/// The sections that set this for the sessions of both families.
fn setting(name: &str, value: &str) -> String {
    let settings = format!("{{ {name}: '{value}' }}");
    let size = "{ min_size: 0, max_size: 1 }";
    format!(
        "sync_settings: {settings}\nasync_settings: {settings}\n\
         pool_settings: {size}\nasync_pool_settings: {size}\n"
    )
}

twin! {
    fn a_transaction_that_was_idle_for_too_long_says_so(on, driver, go, work) {
        let timeout = setting("idle_in_transaction_session_timeout", "100ms");
        let pool = go!(driver::Pool::new(&on.config(&timeout)))?;
        for commits in [true, false] {
            let mut transaction = go!(pool.begin())?;
            go!(transaction.execute(&format!("INSERT INTO {} VALUES (1)", on.name), &[]))?;
            on.until("it ends", || on.sessions() == 0);
            let error = match commits {
                true => go!(transaction.commit()),
                false => go!(transaction.execute("SELECT 1", &[])).map(drop),
            };
            let error = error.expect_err("too late");
            says(&error, "25P03", "due to idle-in-transaction timeout");
            assert!(!error.is_transient());
        }
        assert_eq!(on.rows(), 0);
        Ok(())
    }
}

twin! {
    fn a_session_that_was_idle_for_too_long_says_so(on, driver, go, work) {
        let timeout = setting("idle_session_timeout", "100ms");
        let pool = go!(driver::Pool::new(&on.config(&timeout)))?;
        let mut guard = go!(pool.acquire())?;
        on.until("it ends", || on.sessions() == 0);
        let says_idle = |error: &Error| {
            says(error, "57P05", "due to idle-session timeout");
            assert!(error.is_transient());
        };
        all_calls!(guard, go, says_idle);
        Ok(())
    }
}

twin! {
    fn a_transaction_that_took_too_long_says_so(on, driver, go, work) {
        // PostgreSQL 17 has this setting; earlier versions reject it.
        if on.number("SELECT current_setting('server_version_num')::bigint", &[]) < 170_000 {
            return Ok(());
        }
        let pool = go!(driver::Pool::new(&on.config(&setting("transaction_timeout", "100ms"))))?;
        let mut transaction = go!(pool.begin())?;
        // A task's BEGIN goes with the first statement.
        go!(transaction.execute("SELECT 1", &[]))?;
        on.until("it ends", || on.sessions() == 0);
        let error = go!(transaction.commit()).expect_err("too late");
        says(&error, "25P04", "due to transaction timeout");
        assert!(!error.is_transient());
        Ok(())
    }
}

twin! {
    fn a_server_that_crashed_says_so(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start()?;
        let on = Fixture::on(cluster.endpoint().clone());
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 2 }")))?;
        let (mut guard, mut other) = (go!(pool.acquire())?, go!(pool.acquire())?);
        let victim: i32 = go!(other.query_one("SELECT pg_backend_pid()", &[]))?.get(0);
        let bystander: i32 = go!(guard.query_one("SELECT pg_backend_pid()", &[]))?.get(0);
        let kill = |signal: &str, pid: i32| {
            let kill = std::process::Command::new("kill").args([signal, &pid.to_string()]).output();
            kill.expect("a program of every system").status.success()
        };
        assert!(kill("-9", victim));
        assert!(go!(other.query("SELECT 1", &[])).is_err());
        // Only while idle: a server process that is ended while it responds sends no reason.
        on.until("the server has ended all", || !kill("-0", bystander));
        let says_crashed = |error: &Error| {
            says(error, "57P02", "because of crash of another server process");
            assert!(error.is_transient());
        };
        all_calls!(guard, go, says_crashed);
        Ok(())
    }
}
