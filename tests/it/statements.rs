//! A statement means the same on a handle, a guard, a transaction, a savepoint and in a closure.
//! Over TCP.

use pgmonkey::Error;
use pgmonkey_tests::{Fixture, Outcome, twin};
use pgmonkey_testserver::Cluster;

/// A server that logs every message that parses a statement.
fn talkative() -> (Cluster, Fixture) {
    let cluster = Cluster::builder().setting("log_min_duration_statement", "0");
    let cluster = cluster.start().expect("a server");
    let on = Fixture::on((*cluster).clone());
    (cluster, on)
}

/// How often this text was parsed.
fn parsed(on: &Fixture, text: &str) -> usize {
    let log = on.server().log();
    let lines = log.lines().filter(|line| line.contains(" parse "));
    lines.filter(|line| line.ends_with(text)).count()
}

/// Runs the text ten times with each of the calls.
macro_rules! ten_times {
    ($on:expr, $text:expr, $go:ident) => {
        for n in 0..2_i32 {
            assert_eq!($go!($on.query($text, &[&n]))?.len(), 1);
            assert_eq!($go!($on.query_one(&$text.to_owned(), &[&n]))?.len(), 1);
            assert!($go!($on.query_opt($text, &[&n]))?.is_some());
            assert_eq!($go!($on.execute($text, &[&n]))?, 1);
            assert_eq!($go!($on.query_one($text, &[&n]))?.get::<_, i32>(0), n + 1);
        }
    };
}

twin! {
    fn a_text_is_parsed_once_wherever_it_is_run(on, driver, go, work) {
        drop(on);
        let (_cluster, on) = talkative();
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        ten_times!(pool, "SELECT $1::int + 1 AS pool", go);
        let mut guard = go!(pool.acquire())?;
        ten_times!(guard, "SELECT $1::int + 1 AS guard", go);
        {
            let mut outer = go!(guard.transaction())?;
            ten_times!(outer, "SELECT $1::int + 1 AS nested", go);
            let mut inner = go!(outer.transaction())?;
            ten_times!(inner, "SELECT $1::int + 1 AS savepoint", go);
        }
        drop(guard);
        let mut owned = go!(pool.begin())?;
        ten_times!(owned, "SELECT $1::int + 1 AS owned", go);
        go!(owned.commit())?;
        go!(pool.transaction(work!(|tx| {
            ten_times!(tx, "SELECT $1::int + 1 AS closure", go);
            Ok(())
        })))?;
        for place in ["pool", "guard", "nested", "savepoint", "owned", "closure"] {
            let text = format!("SELECT $1::int + 1 AS {place}");
            assert_eq!(parsed(&on, &text), 1, "{text}");
        }
        // The driver's own methods are still there, with their own behaviour.
        let mut guard = go!(pool.acquire())?;
        for _ in 0..3 {
            go!((*guard).query("SELECT 1 AS driver", &[]))?;
        }
        assert_eq!(parsed(&on, "SELECT 1 AS driver"), 3);
        Ok(())
    }
}

twin! {
    fn one_error_type_everywhere(on, driver, go, work) {
        fn code(error: &Error) -> Option<&str> {
            error.code().map(|code| code.code())
        }
        for cache in [256, 0] {
            let settings = format!("{{ max_size: 1, statement_cache: {cache} }}");
            let pool = go!(driver::Pool::new(&on.pools(&settings)))?;
            let mut guard = go!(pool.acquire())?;
            let error = go!(guard.execute("nonsense", &[])).expect_err("not a statement");
            assert_eq!(code(&error), Some("42601"), "{error}");
            let error = go!(guard.query_one("SELECT 1 WHERE $1", &[&false])).expect_err("none");
            assert!(error.is_no_row(), "{error}");
            let mut outer = go!(guard.transaction())?;
            let mut inner = go!(outer.transaction())?;
            let error = go!(inner.batch_execute("SELECT 1/0")).expect_err("division by zero");
            assert_eq!(code(&error), Some("22012"), "{error}");
            go!(inner.rollback())?;
            let error = go!(outer.query_opt("SELECT generate_series(1, 2)", &[])).expect_err("two");
            assert!(!error.is_no_row(), "{error}");
            go!(outer.commit())?;
        }
        Ok(())
    }
}

twin! {
    fn a_guard_heals_a_statement_as_the_pool_does(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let text = format!("SELECT * FROM {}", on.name);
        let mut guard = go!(pool.acquire())?;
        for columns in 1..4 {
            on.run(&format!("TRUNCATE {0}; INSERT INTO {0} VALUES (1)", on.name));
            assert_eq!(go!(guard.query_one(&text, &[]))?.len(), columns);
            on.run(&format!("ALTER TABLE {} ADD COLUMN c{columns} int", on.name));
        }
        // A failed transaction cannot continue, but the next one finds the statement newly
        // prepared.
        let mut inside = go!(guard.transaction())?;
        assert!(go!(inside.query(&text, &[])).is_err());
        go!(inside.rollback())?;
        let mut inside = go!(guard.transaction())?;
        assert_eq!(go!(inside.query_one(&text, &[]))?.len(), 4);
        go!(inside.commit())?;
        Ok(())
    }
}

twin! {
    fn what_is_prepared_goes_as_it_is(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let mut owned = go!(pool.begin())?;
        let statement = go!(owned.prepare("SELECT $1::int"))?;
        assert_eq!(go!(owned.query_one(&statement, &[&5_i32]))?.get::<_, i32>(0), 5);
        let mut savepoint = go!(owned.transaction())?;
        assert_eq!(go!(savepoint.execute(&statement, &[&5_i32]))?, 1);
        go!(savepoint.commit())?;
        go!(owned.commit())?;
        assert_eq!(pool.status().statement_cache.misses, 0);
        Ok(())
    }
}

#[tokio::test]
async fn statements_of_one_transaction_are_pipelined() -> Outcome {
    let on = Fixture::new();
    let pool = pgmonkey::AsyncPool::new(&on.pools("{ max_size: 1 }")).await?;
    let tx = pool.begin().await?;
    let text = "SELECT $1::int + 1";
    tx.query_one(text, &[&0_i32]).await?;
    let (first, second, third) = tokio::try_join!(
        tx.query_one(text, &[&1_i32]),
        tx.query_one(text, &[&2_i32]),
        tx.query(text, &[&3_i32]),
    )?;
    assert_eq!((first.get::<_, i32>(0), second.get::<_, i32>(0)), (2, 3));
    assert_eq!(third[0].get::<_, i32>(0), 4);
    tx.commit().await?;
    Ok(())
}
