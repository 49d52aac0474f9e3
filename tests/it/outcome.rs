//! Statements and commits whose answer is lost: whether the error says that they may have been
//! executed. A proxy cuts the session before or right after it forwards them.

use std::io::Write;

use pgmonkey::{Config, Error, aio, sync};
use pgmonkey_tests::{Fixture, Outcome, load, twin};
use pgmonkey_testserver::{At, Cut, Proxy};

/// In the parameters or the text of the statements that are cut off.
const MARK: &str = "cut here";

/// The end of a simple query that commits.
pub(crate) const COMMIT: &[u8] = b"COMMIT\0";

const SIDES: [At; 2] = [At::Before, At::After];

pub(crate) fn proxy(on: &Fixture) -> Proxy {
    Proxy::to((on.server().host(), on.server().port())).expect("a proxy")
}

/// The fixture's configuration, through the proxy.
pub(crate) fn through(proxy: &Proxy, on: &Fixture, settings: &str) -> Config {
    load(&on.yaml_at(
        "127.0.0.1",
        proxy.port(),
        &format!("pool_settings: {settings}\nasync_pool_settings: {settings}\n"),
    ))
}

/// Waits until the server has ended the sessions that were cut off, and the others do nothing, so
/// that everything is decided. A session that is idle may have a statement that it has not read yet.
pub(crate) fn decided(on: &Fixture, proxy: &Proxy) {
    let busy = "SELECT count(*) FROM pg_stat_activity \
                WHERE application_name = $1 AND state IS DISTINCT FROM 'idle'";
    on.until("the server has noticed", || {
        on.sessions() <= proxy.connections() as i64 && on.number(busy, &[&on.name]) == 0
    });
}

#[track_caller]
pub(crate) fn is_commit_unknown(error: &Error) {
    assert!(matches!(error, Error::CommitUnknown(_)), "{error}");
    assert!(
        error.is_outcome_unknown() && !error.is_transient(),
        "{error}"
    );
    assert!(
        error.to_string().contains("may have been committed"),
        "{error}"
    );
}

#[track_caller]
pub(crate) fn is_outcome_unknown(error: &Error) {
    assert!(matches!(error, Error::OutcomeUnknown(_)), "{error}");
    assert!(
        error.is_outcome_unknown() && !error.is_transient(),
        "{error}"
    );
    assert!(
        error.to_string().contains("may have been executed"),
        "{error}"
    );
}

#[track_caller]
pub(crate) fn is_undone(error: &Error) {
    assert!(
        error.is_transient() && !error.is_outcome_unknown(),
        "{error}"
    );
}

twin! {
    fn a_commit_that_was_cut_off_is_unknown_on_every_way_to_it(on, driver, go, work) {
        let proxy = proxy(&on);
        let config = through(&proxy, &on, "{ min_size: 0, max_size: 2 }");
        let pool = go!(driver::Pool::new(&config))?;
        let insert = format!("INSERT INTO {} VALUES (1)", on.name);
        let insert = &insert;
        for at in SIDES {
            proxy.on_text(COMMIT, at, || Some(Cut::Fin));
            let mut transaction = go!(pool.begin())?;
            go!(transaction.execute(insert, &[]))?;
            is_commit_unknown(&go!(transaction.commit()).expect_err("cut"));

            let done = go!(pool.transaction(work!(|tx| {
                go!(tx.execute(insert, &[])).map(drop)
            })));
            is_commit_unknown(&done.expect_err("cut"));

            let mut guard = go!(pool.acquire())?;
            go!(guard.begin())?;
            go!(guard.execute(insert, &[]))?;
            is_commit_unknown(&go!(guard.commit()).expect_err("cut"));
            drop(guard);

            let mut guard = go!(pool.acquire())?;
            go!(guard.batch_execute("BEGIN"))?;
            go!(guard.execute(insert, &[]))?;
            is_commit_unknown(&go!(guard.commit()).expect_err("cut"));
            drop(guard);

            let mut guard = go!(pool.acquire())?;
            let mut outer = go!(guard.transaction())?;
            let mut inner = go!(outer.transaction())?;
            go!(inner.execute(insert, &[]))?;
            go!(inner.commit())?;
            is_commit_unknown(&go!(outer.commit()).expect_err("cut"));
            drop(guard);

            let kind = std::any::type_name::<driver::Pool>();
            let kind = if kind.starts_with("pgmonkey_async") { "async_pool" } else { "pool" };
            let settings = format!("connection_type: {kind}\n");
            let yaml = on.yaml_at("127.0.0.1", proxy.port(), &settings);
            let database = go!(driver::Database::new(&load(&yaml)))?;
            let done = go!(database.scope(work!(|client| {
                go!(client.execute(insert, &[])).map(drop)
            })));
            is_commit_unknown(&done.expect_err("cut"));
            drop(database);

            proxy.forget_text();
            decided(&on, &proxy);
            let expected = if at == At::After { 6 } else { 0 };
            assert_eq!(on.rows(), expected, "{at:?}");
        }
        Ok(())
    }
}

twin! {
    fn a_release_of_a_savepoint_that_was_cut_off_is_undone(on, driver, go, work) {
        let proxy = proxy(&on);
        let config = through(&proxy, &on, "{ min_size: 0, max_size: 2 }");
        let pool = go!(driver::Pool::new(&config))?;
        proxy.on_text(b"RELEASE SAVEPOINT", At::After, || Some(Cut::Fin));
        let mut transaction = go!(pool.begin())?;
        let mut savepoint = go!(transaction.transaction())?;
        go!(savepoint.execute(&format!("INSERT INTO {} VALUES (1)", on.name), &[]))?;
        is_undone(&go!(savepoint.commit()).expect_err("cut"));
        // Nothing was sent.
        is_undone(&go!(transaction.commit()).expect_err("lost"));
        decided(&on, &proxy);
        assert_eq!(on.rows(), 0);
        Ok(())
    }
}

twin! {
    fn a_statement_that_was_cut_off_is_unknown_if_it_may_have_written(on, driver, go, work) {
        let proxy = proxy(&on);
        for (cache, at) in [(256, At::After), (0, At::After), (256, At::Before)] {
            let settings = format!("{{ min_size: 0, max_size: 3, statement_cache: {cache} }}");
            let pool = go!(driver::Pool::new(&through(&proxy, &on, &settings)))?;
            let insert = format!("INSERT INTO {} SELECT length($1) RETURNING n", on.name);
            let batch = format!("INSERT INTO {} VALUES (1) -- {MARK}", on.name);
            proxy.on_text(MARK.as_bytes(), at, || Some(Cut::Fin));

            is_outcome_unknown(&go!(pool.execute(&insert, &[&MARK])).expect_err("cut"));
            is_outcome_unknown(&go!(pool.query(&insert, &[&MARK])).expect_err("cut"));
            is_outcome_unknown(&go!(pool.query_one(&insert, &[&MARK])).expect_err("cut"));
            is_outcome_unknown(&go!(pool.query_opt(&insert, &[&MARK])).expect_err("cut"));
            is_outcome_unknown(&go!(pool.batch_execute(&batch)).expect_err("cut"));
            let mut guard = go!(pool.acquire())?;
            let prepared = go!(guard.prepare_cached(&insert))?;
            is_outcome_unknown(&go!(guard.query(&prepared, &[&MARK])).expect_err("cut"));
            // Now nothing is sent any more.
            is_undone(&go!(guard.execute(&insert, &[&MARK])).expect_err("lost"));
            is_undone(&go!(guard.batch_execute(&batch)).expect_err("lost"));
            drop(guard);
            let error = match go!(pool.query_raw(&insert, &[&MARK])) {
                Err(error) => error,
                Ok(mut rows) => loop {
                    if let Err(error) = go!(rows.next()).expect("it was cut") {
                        break error;
                    }
                },
            };
            is_outcome_unknown(&error);
            proxy.forget_text();
            decided(&on, &proxy);
            let expected = if at == At::After { 7 } else { 0 };
            assert_eq!(on.rows(), expected, "{cache} {at:?}");
            on.run(&format!("TRUNCATE {}", on.name));
        }
        Ok(())
    }
}

twin! {
    fn a_statement_that_was_cut_off_may_be_repeated_if_it_only_reads(on, driver, go, work) {
        let proxy = proxy(&on);
        for cache in [256, 0] {
            let settings = format!("{{ min_size: 0, max_size: 3, statement_cache: {cache} }}");
            let pool = go!(driver::Pool::new(&through(&proxy, &on, &settings)))?;
            proxy.on_text(MARK.as_bytes(), At::After, || Some(Cut::Fin));
            let select = format!("SELECT n FROM {} WHERE n > length($1)", on.name);
            is_undone(&go!(pool.query(&select, &[&MARK])).expect_err("cut"));
            is_undone(&go!(pool.batch_execute(&format!("SELECT 1 -- {MARK}"))).expect_err("cut"));
            let create = "SELECT lo_creat(length($1))";
            is_outcome_unknown(&go!(pool.query(create, &[&MARK])).expect_err("cut"));
            if cache > 0 {
                let mut guard = go!(pool.acquire())?;
                let prepared = go!(guard.prepare_cached(&select))?;
                is_undone(&go!(guard.query(&prepared, &[&MARK])).expect_err("cut"));
            }
            proxy.forget_text();
        }
        Ok(())
    }
}

twin! {
    fn a_statement_in_a_transaction_that_was_cut_off_is_undone(on, driver, go, work) {
        let proxy = proxy(&on);
        for cache in [256, 0] {
            let settings = format!("{{ min_size: 0, max_size: 3, statement_cache: {cache} }}");
            let pool = go!(driver::Pool::new(&through(&proxy, &on, &settings)))?;
            proxy.on_text(MARK.as_bytes(), At::After, || Some(Cut::Fin));
            let insert = format!("INSERT INTO {} SELECT length($1)", on.name);
            let batch = format!("INSERT INTO {} VALUES (1) -- {MARK}", on.name);
            let mut transaction = go!(pool.begin())?;
            is_undone(&go!(transaction.execute(&insert, &[&MARK])).expect_err("cut"));
            is_undone(&go!(transaction.commit()).expect_err("lost"));
            let mut transaction = go!(pool.begin())?;
            go!(transaction.execute("SELECT 1", &[]))?;
            is_undone(&go!(transaction.batch_execute(&batch)).expect_err("cut"));
            drop(transaction);
            let mut guard = go!(pool.acquire())?;
            go!(guard.batch_execute("BEGIN"))?;
            is_undone(&go!(guard.execute(&insert, &[&MARK])).expect_err("cut"));
            drop(guard);
            // A text that commits by itself.
            let mut transaction = go!(pool.begin())?;
            let commits = format!("{batch}\n; COMMIT");
            is_outcome_unknown(&go!(transaction.batch_execute(&commits)).expect_err("cut"));
            drop(transaction);
            proxy.forget_text();
            decided(&on, &proxy);
            assert_eq!(on.rows(), 1);
            on.run(&format!("TRUNCATE {}", on.name));
        }
        Ok(())
    }
}

/// The messages that end a copy: `CopyDone` and `Sync`.
const COPY_END: &[u8] = b"c\0\0\0\x04S\0\0\0\x04";

#[test]
fn a_copy_on_a_thread_is_unknown_once_its_end_was_sent() -> Outcome {
    let on = Fixture::new();
    let proxy = proxy(&on);
    let config = through(&proxy, &on, "{ min_size: 0, max_size: 2 }");
    let pool = sync::Pool::new(&config)?;
    let copy = format!("COPY {} FROM STDIN", on.name);
    proxy.on_text(COPY_END, At::After, || Some(Cut::Fin));
    let mut writer = pool.copy_in(&copy)?;
    writer.write_all(b"1\n")?;
    is_outcome_unknown(&writer.finish().expect_err("cut"));
    decided(&on, &proxy);
    assert_eq!(on.rows(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_in_a_task_is_unknown_once_its_end_was_sent() -> Outcome {
    let on = Fixture::new();
    let proxy = proxy(&on);
    let config = through(&proxy, &on, "{ min_size: 0, max_size: 2 }");
    let pool = aio::Pool::new(&config).await?;
    let copy = format!("COPY {} FROM STDIN", on.name);
    proxy.on_text(COPY_END, At::After, || Some(Cut::Fin));
    let mut sink = pool.copy_in::<_, &[u8]>(&copy).await?;
    sink.send(b"1\n").await?;
    is_outcome_unknown(&sink.finish().await.expect_err("cut"));
    decided(&on, &proxy);
    assert_eq!(on.rows(), 1);
    proxy.on_text(b"2\n", At::After, || Some(Cut::Fin));
    let mut sink = pool.copy_in::<_, &[u8]>(&copy).await?;
    let sent = sink.send(b"2\n").await;
    // The copy has not been ended, so nothing of it is kept.
    let Err(error) = (match sent {
        Ok(()) => loop {
            if let Err(error) = sink.send(b"3\n").await {
                break Err(error);
            }
        },
        sent => sent,
    }) else {
        panic!("it was cut");
    };
    is_undone(&error);
    Ok(())
}

/// How many transfers a test makes. For longer tests, `PGMONKEY_TEST_COMMITS` is the number.
pub(crate) fn commits() -> i64 {
    match std::env::var("PGMONKEY_TEST_COMMITS") {
        Ok(number) => number.parse().expect("a number"),
        Err(_) => 100,
    }
}

/// The reported outcomes of transfers, each of which adds the rows `n` and `-n`.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) committed: Vec<i64>,
    pub(crate) undone: Vec<i64>,
    pub(crate) unknown: Vec<i64>,
}

impl Books {
    pub(crate) fn note(&mut self, number: i64, told: Result<(), Error>) {
        let list = match told {
            Ok(()) => &mut self.committed,
            Err(error) if error.is_outcome_unknown() => {
                eprintln!("{number} is unknown: {error}");
                &mut self.unknown
            }
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                eprintln!("{number} is undone: {error}");
                &mut self.undone
            }
        };
        list.push(number);
    }

    /// Checks that the database agrees with the reported outcomes.
    pub(crate) fn check(&self, on: &Fixture, table: &str) {
        let count = |list: &[i64]| {
            let made = format!("SELECT count(*) FROM {table} WHERE n = ANY($1) OR -n = ANY($1)");
            let list: Vec<i32> = list.iter().map(|number| *number as i32).collect();
            on.number(&made, &[&list])
        };
        let twice = |list: &[i64]| 2 * i64::try_from(list.len()).expect("not so many");
        assert_eq!(count(&self.committed), twice(&self.committed), "lost");
        assert_eq!(count(&self.undone), 0, "made although undone");
        let doubled = format!("SELECT count(*) - count(DISTINCT n) FROM {table}");
        assert_eq!(on.number(&doubled, &[]), 0, "made twice");
        let half = format!("SELECT coalesce(sum(n), 0)::bigint FROM {table}");
        assert_eq!(on.number(&half, &[]), 0, "half a transfer");
    }
}

/// Makes transfers whose `COMMIT` is cut off: the first half before it is forwarded, the other half
/// after.
macro_rules! transfers {
    ($pool:ident, $on:ident, $proxy:ident, $go:ident, $work:ident) => {{
        let mut books = Books::default();
        let insert = format!("INSERT INTO {} VALUES ($1), (-$1)", $on.name);
        let insert = &insert;
        for number in 1..=commits() {
            let at = if 2 * number <= commits() {
                At::Before
            } else {
                At::After
            };
            $proxy.on_text(COMMIT, at, || Some(Cut::Fin));
            let value = number as i32;
            let told = $go!($pool.transaction($work!(|tx| {
                $go!(tx.execute(insert, &[&value])).map(drop)
            })));
            books.note(number, told);
            // A session that is released clean: otherwise the pool would wait before it opens one.
            $go!($pool.query_one("SELECT 1", &[]))?;
        }
        $proxy.forget_text();
        books
    }};
}

twin! {
    fn the_books_agree_with_commits_that_were_cut_off(on, driver, go, work) {
        let proxy = proxy(&on);
        let config = through(&proxy, &on, "{ min_size: 0, max_size: 2 }");
        let pool = go!(driver::Pool::new(&config))?;
        let books = transfers!(pool, on, proxy, go, work);
        decided(&on, &proxy);
        books.check(&on, &on.name);
        assert_eq!(books.unknown.len() as i64, commits());
        assert_eq!(on.rows(), 2 * (commits() - commits() / 2));
        Ok(())
    }
}
