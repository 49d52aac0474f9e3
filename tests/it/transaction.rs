//! Committed on `Ok`, rolled back on anything else. Over TCP; over a Unix socket if the name says
//! so.

use pgmonkey::Error;
use pgmonkey_tests::{Fixture, Outcome, twin};

fn insert(on: &Fixture) -> String {
    format!("INSERT INTO {} VALUES (1)", on.name)
}

twin! {
    everywhere fn b03_ok_commits(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 2 }")))?;
        let insert = insert(&on);
        let changed = go!(pool.transaction(work!(|tx| { go!(tx.execute(&insert, &[])) })))?;
        assert_eq!((changed, on.rows()), (1, 1));
        Ok(())
    }
}

twin! {
    everywhere fn b03_err_rolls_back_and_the_pool_stays_open(on, driver, go, work) {
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
    everywhere fn an_error_that_was_swallowed_is_not_taken_for_a_commit(on, driver, go, work) {
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
    everywhere fn begin_takes_a_session_of_its_own_and_gives_it_back(on, driver, go, work) {
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
    everywhere fn a_nested_transaction_is_a_savepoint(on, driver, go, work) {
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
    everywhere fn ending_a_transaction_that_is_not_open_is_an_error(on, driver, go, work) {
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
    everywhere fn a_scope_follows_the_files_autocommit(on, driver, go, work) {
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

/// An error type of the program's own.
#[derive(Debug)]
enum Refused {
    Poor(i32),
    Database(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

/// Runs a transaction whose closure returns its own error type.
macro_rules! refuse {
    ($on:ident, $handle:ident, $go:ident, $work:ident) => {{
        let insert = insert(&$on);
        let before = $on.rows();
        let refused: Result<(), Refused> = $go!($handle.try_transaction($work!(|tx| {
            $go!(tx.execute(&insert, &[]))?;
            Err(Refused::Poor(5))
        })));
        assert!(matches!(refused, Err(Refused::Poor(5))), "{refused:?}");
        let failed = $go!($handle.try_transaction($work!(|tx| {
            $go!(tx.execute(&insert, &[]))?;
            $go!(tx.execute("SELECT 1/0", &[]))?;
            Ok::<_, Refused>(())
        })));
        assert!(matches!(failed, Err(Refused::Database(_))), "{failed:?}");
        let swallowed = $go!($handle.try_transaction($work!(|tx| {
            let _ = $go!(tx.execute("SELECT 1/0", &[]));
            Ok::<_, Refused>(())
        })));
        assert!(
            matches!(swallowed, Err(Refused::Database(Error::RolledBack))),
            "{swallowed:?}"
        );
        assert_eq!($on.rows(), before);
        $go!($handle.try_transaction($work!(|tx| {
            $go!(tx.execute(&insert, &[]))?;
            Ok::<_, Refused>(())
        })))
        .expect("it is not refused");
        assert_eq!($on.rows(), before + 1);
    }};
}

twin! {
    fn a_closure_may_have_an_error_of_its_own(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        refuse!(on, pool, go, work);
        let connection = go!(driver::Connection::new(&on.config("")))?;
        refuse!(on, connection, go, work);
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

/// Texts that end a transaction, and the server's word for each.
const ENDINGS: [(&str, &str); 7] = [
    ("ROLLBACK", "ROLLBACK"),
    ("COMMIT", "COMMIT"),
    ("ROLLBACK AND CHAIN", "ROLLBACK"),
    ("COMMIT AND CHAIN", "COMMIT"),
    ("COMMIT; BEGIN", "COMMIT"),
    ("ROLLBACK; BEGIN", "ROLLBACK"),
    // A migration with its own transaction control.
    ("BEGIN; SELECT 1; COMMIT", "COMMIT"),
];

/// What remains of a row written before, if the text is `ending`.
fn stays(ending: &str) -> i64 {
    i64::from(ending.contains("COMMIT"))
}

fn check_ended(error: &Error, action: &str, by: &str) {
    let text = error.to_string();
    assert!(
        matches!(error, Error::TransactionEnded { .. })
            && text.contains(by)
            && text.contains(action),
        "{action} after {by}: {text}"
    );
}

twin! {
    everywhere fn a_transaction_that_a_text_ended_is_not_taken_for_committed(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let insert = insert(&on);
        let mut rows = 0;
        for (ending, by) in ENDINGS {
            let ended = go!(pool.transaction(work!(|tx| {
                go!(tx.execute(&insert, &[]))?;
                go!(tx.batch_execute(ending))?;
                Ok(())
            })));
            check_ended(&ended.expect_err(ending), "commit", by);
            rows += stays(ending);
            assert_eq!(on.rows(), rows, "{ending}");
            let mut tx = go!(pool.begin())?;
            go!(tx.execute(&insert, &[]))?;
            go!(tx.batch_execute(ending))?;
            check_ended(&go!(tx.rollback()).expect_err(ending), "rollback", by);
            rows += stays(ending);
            assert_eq!(on.rows(), rows, "{ending}");
        }
        assert_eq!(pool.status().opened, 1, "what a text left open was rolled back");
        Ok(())
    }
}

twin! {
    everywhere fn a_text_that_ends_the_transaction_around_a_savepoint_is_told(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let insert = insert(&on);
        for (ending, by) in ENDINGS {
            let mut tx = go!(pool.begin())?;
            let mut savepoint = go!(tx.transaction())?;
            go!(savepoint.execute(&insert, &[]))?;
            go!(savepoint.batch_execute(ending))?;
            check_ended(&go!(savepoint.commit()).expect_err(ending), "commit", by);
            check_ended(&go!(tx.commit()).expect_err(ending), "commit", by);
            let mut guard = go!(pool.acquire())?;
            go!(guard.begin())?;
            go!(guard.batch_execute(ending))?;
            check_ended(&go!(guard.commit()).expect_err(ending), "commit", by);
            let mut nested = go!(guard.transaction())?;
            go!(nested.batch_execute(ending))?;
            check_ended(&go!(nested.rollback()).expect_err(ending), "rollback", by);
            assert!(matches!(go!(guard.commit()), Err(Error::NoTransaction { .. })), "{ending}");
        }
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

twin! {
    everywhere fn going_back_to_a_savepoint_by_text_ends_nothing(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let insert = insert(&on);
        go!(pool.transaction(work!(|tx| {
            go!(tx.execute(&insert, &[]))?;
            go!(tx.batch_execute("SAVEPOINT mine"))?;
            go!(tx.execute(&insert, &[]))?;
            go!(tx.batch_execute("ROLLBACK TO mine"))?;
            let back = go!(tx.prepare("ROLLBACK /* not all */ WORK TO SAVEPOINT mine"))?;
            go!(tx.execute(&back, &[]))?;
            go!(tx.batch_execute("-- ROLLBACK\nSELECT 'ROLLBACK'"))?;
            Ok(())
        })))?;
        assert_eq!(on.rows(), 1);
        Ok(())
    }
}

twin! {
    everywhere fn a_prepared_statement_that_ends_the_transaction_is_told(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let mut tx = go!(pool.begin())?;
        let rollback = go!(tx.prepare("ROLLBACK"))?;
        go!(tx.execute(&rollback, &[]))?;
        go!(tx.batch_execute("BEGIN"))?;
        check_ended(&go!(tx.commit()).expect_err("it was rolled back"), "commit", "ROLLBACK");
        Ok(())
    }
}

twin! {
    everywhere fn a_commit_that_the_server_refuses_is_none(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let deferred = format!("ALTER TABLE {} ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED", on.name);
        go!(pool.batch_execute(&deferred))?;
        let insert = insert(&on);
        let mut tx = go!(pool.begin())?;
        go!(tx.execute(&insert, &[]))?;
        go!(tx.execute(&insert, &[]))?;
        let error = go!(tx.commit()).expect_err("two of one");
        assert_eq!(error.code().map(|code| code.code()), Some("23505"), "{error}");
        assert_eq!(on.rows(), 0);
        Ok(())
    }
}

twin! {
    everywhere fn a_dropped_savepoint_undoes_its_own_work_and_no_more(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let table = on.name.clone();
        let insert = |n: i32| format!("INSERT INTO {table} VALUES ({n})");
        go!(pool.transaction(work!(|tx| {
            let mut savepoint = go!(tx.transaction())?;
            go!(savepoint.batch_execute(&insert(1)))?;
            drop(savepoint);
            let mut failed = go!(tx.transaction())?;
            assert!(go!(failed.batch_execute("nonsense")).is_err());
            drop(failed);
            go!(tx.batch_execute(&insert(2)))?;
            Ok(())
        })))?;
        let mut guard = go!(pool.acquire())?;
        let mut tx = go!(guard.transaction())?;
        go!(tx.batch_execute(&insert(4)))?;
        drop(tx);
        go!(guard.batch_execute(&insert(8)))?;
        drop(guard);
        let sum = on.number(&format!("SELECT sum(n) FROM {table}"), &[]);
        assert_eq!(sum, 2 + 8, "what was committed, and the statement behind the dropped transaction");
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

twin! {
    everywhere fn failures_of_statements_cost_no_session(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1, reset: session }")))?;
        go!(pool.batch_execute(&format!("ALTER TABLE {} ADD UNIQUE (n)", on.name)))?;
        let insert = insert(&on);
        go!(pool.execute(&insert, &[]))?;
        for _ in 0..5 {
            assert!(go!(pool.execute(&insert, &[])).is_err());
            let failed: Result<(), Error> = go!(pool.transaction(work!(|tx| {
                go!(tx.batch_execute("SET work_mem = '7MB'"))?;
                Err(Error::other("the caller's own"))
            })));
            assert!(failed.is_err());
        }
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

/// On a Unix socket the wire is not observed: the server is queried, with one more statement.
#[test]
fn a_transaction_that_a_text_ended_is_told_on_a_unix_socket() -> Outcome {
    let on = Fixture::new();
    let Some(socket) = on.server().socket_dir() else {
        println!("skipped: the server has no Unix socket");
        return Ok(());
    };
    let socket = socket.display().to_string();
    let sizes = "pool_settings: { max_size: 1 }\n";
    let config = pgmonkey_tests::load(&on.yaml_at(&socket, on.server().port(), sizes));
    let pool = pgmonkey::Pool::new(&config)?;
    let insert = insert(&on);
    let mut rows = 0;
    for (ending, _) in ENDINGS {
        let ended = pool.transaction(|tx| {
            tx.execute(&insert, &[])?;
            tx.batch_execute(ending)
        });
        check_ended(&ended.expect_err(ending), "commit", "a statement");
        rows += stays(ending);
        assert_eq!(on.rows(), rows, "{ending}");
        let mut guard = pool.acquire()?;
        guard.begin()?;
        guard.batch_execute(ending)?;
        check_ended(
            &guard.rollback().expect_err(ending),
            "rollback",
            "a statement",
        );
    }
    pool.transaction(|tx| {
        tx.batch_execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")?;
        let mut savepoint = tx.transaction()?;
        savepoint.execute(&insert, &[])?;
        savepoint.commit()
    })?;
    assert_eq!(on.rows(), rows + 1);
    let failed = pool.transaction(|tx| {
        let _ = tx.batch_execute("nonsense");
        Ok(())
    });
    assert!(matches!(failed, Err(Error::RolledBack)), "{failed:?}");
    Ok(())
}
