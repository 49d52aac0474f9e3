//! Mistakes of a caller give errors that say how to fix them, and cost no more than the call. Over
//! TCP; over a Unix socket if the name says so.

use std::fmt::Write;

use bytes::Bytes;
use pgmonkey::{Error, aio, sync};
use pgmonkey_tests::{Fixture, Outcome, twin};
use postgres::types::ToSql;

type Value<'a> = &'a (dyn ToSql + Sync);

#[track_caller]
fn says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word} is missing: {text}");
    }
}

/// An INSERT of this many rows, with one parameter each.
fn insert(table: &str, rows: usize) -> String {
    let mut text = format!("INSERT INTO {table} VALUES ($1)");
    for n in 2..=rows {
        write!(text, ",(${n})").expect("a text takes it");
    }
    text
}

twin! {
    fn more_parameters_than_can_be_counted_are_refused_with_a_way_out(on, driver, go, work) {
        let most = 65_535;
        let values: Vec<Value<'_>> = vec![&1_i32; most + 1];
        let (fits, too_long) = (insert(&on.name, most), insert(&on.name, most + 1));
        let says_limit = |error: &Error| says(error, &["65535", "65536", "unnest", "copy_in", "several statements"]);
        for cache in [256, 0] {
            let settings = format!("{{ min_size: 0, max_size: 1, statement_cache: {cache} }}");
            let pool = go!(driver::Pool::new(&on.pools(&settings)))?;
            says_limit(&go!(pool.execute(&too_long, &values)).expect_err("too many"));
            says_limit(&go!(pool.query_raw(&too_long, &values)).map(drop).expect_err("too many"));
            let mut transaction = go!(pool.begin())?;
            says_limit(&go!(transaction.query(&too_long, &values)).expect_err("too many"));
            // Nothing was sent, so the transaction continues.
            assert_eq!(go!(transaction.execute(&fits, &values[..most]))?, 65_535);
            let prepared = go!(transaction.prepare_cached("SELECT 1"))?;
            says_limit(&go!(transaction.query(&prepared, &values)).expect_err("too many"));
            go!(transaction.rollback())?;
            let mut guard = go!(pool.acquire())?;
            let error = go!(guard.prepare_cached(&too_long)).map(drop).expect_err("too many");
            says(&error, &["65535", "unnest", "copy_in", "several statements"]);
            assert_eq!(go!(guard.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        }
        Ok(())
    }
}

twin! {
    fn a_parameter_too_many_or_too_few_is_counted(on, driver, go, work) {
        for cache in [256, 0] {
            let settings = format!("{{ min_size: 0, max_size: 1, statement_cache: {cache} }}");
            let pool = go!(driver::Pool::new(&on.pools(&settings)))?;
            let mut transaction = go!(pool.begin())?;
            for _ in 0..2 {
                let (one, two) = ("SELECT $1::int", "SELECT $1::int + $2::int");
                let wrong = go!(transaction.query(one, &[&1_i32, &2_i32])).expect_err("too many");
                says(&wrong, &["takes 1 parameter ", "given 2"]);
                let wrong = go!(transaction.query_one(two, &[&1_i32])).expect_err("too few");
                says(&wrong, &["takes 2 parameters ", "given 1"]);
                let wrong = go!(transaction.query_raw(two, &[&1_i32])).map(drop);
                says(&wrong.expect_err("too few"), &["takes 2 parameters ", "given 1"]);
            }
            let prepared = go!(transaction.prepare_cached("SELECT $1::int"))?;
            let wrong = go!(transaction.execute(&prepared, &[])).expect_err("too few");
            says(&wrong, &["takes 1 parameter ", "given 0"]);
            // Nothing was sent, so the transaction continues.
            go!(transaction.commit())?;
            let none = go!(pool.query("SELECT $1::int", &[])).expect_err("too few");
            says(&none, if cache == 0 { &["supplies 0", "requires 1"] } else { &["takes 1", "given 0"] });
        }
        Ok(())
    }
}

const ADVICE: [&str; 2] = [
    "copy_in for COPY … FROM STDIN",
    "copy_out for COPY … TO STDOUT",
];

twin! {
    fn a_copy_through_another_call_names_the_right_one(on, driver, go, work) {
        on.run(&format!("INSERT INTO {} VALUES (1)", on.name));
        let (from, to) = (format!("COPY {} FROM STDIN", on.name), format!("COPY {} TO STDOUT", on.name));
        for cache in [256, 0] {
            let settings = format!("{{ min_size: 0, max_size: 1, statement_cache: {cache} }}");
            let pool = go!(driver::Pool::new(&on.pools(&settings)))?;
            for text in [&from, &to] {
                says(&go!(pool.query(text, &[])).expect_err("no rows"), &ADVICE);
                says(&go!(pool.execute(text, &[])).expect_err("no rows"), &ADVICE);
                says(&go!(pool.batch_execute(text)).expect_err("no rows"), &ADVICE);
                let error = match go!(pool.query_raw(text, &[])) {
                    Ok(mut rows) => go!(rows.next()).expect("no end").map(drop).expect_err("no rows"),
                    Err(error) => error,
                };
                says(&error, &ADVICE);
            }
            // Data in transit was skipped: the session is as good as before.
            let mut transaction = go!(pool.begin())?;
            says(&go!(transaction.query(&to, &[])).expect_err("no rows"), &ADVICE);
            assert_eq!(go!(transaction.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
            go!(transaction.commit())?;
            // The server waits for data that never comes: the session can no longer be used.
            for simple in [true, false] {
                let mut guard = go!(pool.acquire())?;
                let wrong = match simple {
                    true => go!(guard.batch_execute(&from)),
                    false => go!(guard.query(&from, &[])).map(drop),
                };
                says(&wrong.expect_err("no rows"), &ADVICE);
                for _ in 0..2 {
                    let after = go!(guard.query("SELECT 1", &[])).expect_err("given up");
                    says(&after, &["discarded", "acquire another"]);
                    let after = go!(guard.batch_execute("SELECT 1")).expect_err("given up");
                    says(&after, &["discarded", "acquire another"]);
                    assert!(go!(guard.simple_query("SELECT 1")).is_err(), "the driver's own");
                }
                drop(guard);
                assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
            }
            assert_eq!(on.rows(), 1);
        }
        Ok(())
    }
}

twin! {
    fn copy_out_of_another_statement_names_the_right_call(on, driver, go, work) {
        let from = format!("COPY {} FROM STDIN", on.name);
        for cache in [256, 0] {
            let settings = format!("{{ min_size: 0, max_size: 1, statement_cache: {cache} }}");
            let pool = go!(driver::Pool::new(&on.pools(&settings)))?;
            for text in ["SELECT 1", &from] {
                let error = go!(pool.copy_out(text)).map(drop).expect_err("no copy");
                says(&error, &["copy_out supports only", "copy_in for"]);
                assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
            }
        }
        Ok(())
    }
}

#[test]
fn copy_in_of_another_statement_names_the_right_call_on_threads() -> Outcome {
    let on = Fixture::new();
    let to = format!("COPY {} TO STDOUT", on.name);
    for cache in [256, 0] {
        let settings = format!("{{ min_size: 0, max_size: 1, statement_cache: {cache} }}");
        let pool = sync::Pool::new(&on.pools(&settings))?;
        for text in ["SELECT 1", &to] {
            let error = pool.copy_in(text).map(drop).expect_err("no copy");
            says(&error, &["copy_in supports only", "copy_out for"]);
            assert_eq!(pool.query_one("SELECT 1", &[])?.get::<_, i32>(0), 1);
            let mut guard = pool.acquire()?;
            assert!(guard.copy_in(text).is_err());
            assert!(guard.query("SELECT 1", &[]).is_err());
            assert!(guard.query("SELECT 1", &[]).is_err());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copy_in_of_another_statement_names_the_right_call_in_tasks() -> Outcome {
    let on = Fixture::new();
    let to = format!("COPY {} TO STDOUT", on.name);
    for cache in [256, 0] {
        let settings = format!("{{ min_size: 0, max_size: 1, statement_cache: {cache} }}");
        let pool = aio::Pool::new(&on.pools(&settings)).await?;
        for text in ["SELECT 1", &to] {
            let copy = pool.copy_in::<_, Bytes>(text).await;
            let error = copy.map(drop).expect_err("no copy");
            says(&error, &["copy_in supports only", "copy_out for"]);
            assert_eq!(pool.query_one("SELECT 1", &[]).await?.get::<_, i32>(0), 1);
            let guard = pool.acquire().await?;
            assert!(guard.copy_in::<_, Bytes>(text).await.is_err());
            assert!(guard.query("SELECT 1", &[]).await.is_err());
            assert!(guard.query("SELECT 1", &[]).await.is_err());
        }
    }
    Ok(())
}

/// Statements that begin no copy into the server, by which the driver's own `copy_in` loses count.
fn no_copies(on: &Fixture) -> [String; 3] {
    let select = "SELECT 1".to_owned();
    let missing = "COPY no_such_table FROM STDIN".to_owned();
    [select, missing, format!("COPY {} TO STDOUT", on.name)]
}

#[track_caller]
fn says_uncounted(error: Error) {
    says(
        &error,
        &["copy_in was called for a statement", "acquire another"],
    );
}

#[test]
fn after_the_drivers_copy_in_of_another_statement_a_guard_answers_nothing_on_threads() -> Outcome {
    let on = Fixture::new();
    let pool = sync::Pool::new(&on.pools("{ min_size: 0, max_size: 1 }"))?;
    for text in no_copies(&on) {
        let mut guard = pool.acquire()?;
        assert!(postgres::Client::copy_in(&mut guard, &*text).is_err());
        says_uncounted(guard.query_one("SELECT 2", &[]).expect_err("discarded"));
        assert!(guard.simple_query("SELECT 3").is_err(), "{text}");
        drop(guard);
        assert_eq!(pool.query_one("SELECT 4", &[])?.get::<_, i32>(0), 4);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_drivers_copy_in_of_another_statement_a_guard_answers_nothing_in_tasks() -> Outcome
{
    let on = Fixture::new();
    let pool = aio::Pool::new(&on.pools("{ min_size: 0, max_size: 1 }")).await?;
    for text in no_copies(&on) {
        let guard = pool.acquire().await?;
        let copy = tokio_postgres::Client::copy_in::<_, Bytes>(&guard, &*text);
        assert!(copy.await.is_err());
        says_uncounted(
            guard
                .query_one("SELECT 2", &[])
                .await
                .expect_err("discarded"),
        );
        assert!(guard.simple_query("SELECT 3").await.is_err(), "{text}");
        drop(guard);
        assert_eq!(pool.query_one("SELECT 4", &[]).await?.get::<_, i32>(0), 4);
    }
    Ok(())
}

#[test]
fn a_copy_through_another_call_on_a_unix_socket_blocks_nobody() -> Outcome {
    let on = Fixture::new();
    let Some(socket) = on.server().socket_dir() else {
        println!("skipped: the server has no Unix socket");
        return Ok(());
    };
    let yaml = on.yaml_at(
        &socket.display().to_string(),
        on.server().port(),
        "pool_settings: { min_size: 0, max_size: 1 }\n",
    );
    let pool = sync::Pool::new(&pgmonkey_tests::load(&yaml))?;
    let from = format!("COPY {} FROM STDIN", on.name);
    for _ in 0..2 {
        says(&pool.query(&from, &[]).expect_err("no rows"), &ADVICE);
        says(&pool.batch_execute(&from).expect_err("no rows"), &ADVICE);
        let error = pool.query_raw(&from, &[]).map(drop);
        says(&error.expect_err("no rows"), &ADVICE);
        says(
            &pool.copy_out(&from).expect_err("no data"),
            &["copy_in for"],
        );
        let mut guard = pool.acquire()?;
        says(&guard.query(&from, &[]).expect_err("no rows"), &ADVICE);
        // It was not sent.
        assert_eq!(guard.query_one("SELECT 1", &[])?.get::<_, i32>(0), 1);
        // The text of a statement prepared by name is not known.
        let prepared = guard.prepare(&from)?;
        says(&guard.query(&prepared, &[]).expect_err("no rows"), &ADVICE);
        says(&guard.query("SELECT 1", &[]).expect_err("no more"), &ADVICE);
        drop(guard);
        assert_eq!(pool.query_one("SELECT 1", &[])?.get::<_, i32>(0), 1);
    }
    Ok(())
}
