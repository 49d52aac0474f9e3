//! Transactions that run again after a conflict, a deadlock or a lost session.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pgmonkey::{Error, IsolationLevel, Retry};
use pgmonkey_tests::{Fixture, Outcome, twin};

/// A table with two accounts, and a statement that another session runs in between.
fn accounts(on: &Fixture) -> String {
    let name = &on.name;
    on.run(&format!(
        "ALTER TABLE {name} ADD COLUMN money int NOT NULL DEFAULT 100; INSERT INTO {name} VALUES (1), (2)"
    ));
    name.clone()
}

fn money(on: &Fixture, account: i32) -> i64 {
    let sum = format!("SELECT sum(money) FROM {} WHERE n = $1", on.name);
    on.number(&sum, &[&account])
}

/// A policy without long pauses.
fn soon(attempts: u32) -> Retry {
    let millis = Duration::from_millis;
    Retry::attempts(attempts).backoff(millis(1), millis(5))
}

/// An error type of the program's own, which hides everything.
#[derive(Debug)]
enum Own {
    Ours(Error),
    Failed,
}

impl From<Error> for Own {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

twin! {
    everywhere fn a_conflict_is_followed_by_another_attempt(on, driver, go, work) {
        let table = accounts(&on);
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 2 }")))?;
        let (read, write) = (
            format!("SELECT money FROM {table} WHERE n = 1"),
            format!("UPDATE {table} SET money = $1 WHERE n = 1"),
        );
        let between = format!("UPDATE {table} SET money = money + 1 WHERE n = 1");
        let runs = AtomicU32::new(0);
        let left = go!(pool
            .build_transaction()
            .isolation_level(IsolationLevel::Serializable)
            .retry(soon(3))
            .run(work!(|tx| {
                let money: i32 = go!(tx.query_one(&read, &[]))?.get(0);
                if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                    on.run(&between);
                }
                go!(tx.execute(&write, &[&(money - 10)]))?;
                Ok(money - 10)
            })))?;
        assert_eq!((left, runs.into_inner()), (91, 2));
        assert_eq!(money(&on, 1), 91, "both have happened");
        on.until("the sessions are back", || pool.status().in_use == 0);
        Ok(())
    }
}

twin! {
    fn a_conflict_that_the_closure_hides_is_seen(on, driver, go, work) {
        let table = accounts(&on);
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 2 }")))?;
        let (read, write) = (
            format!("SELECT money FROM {table} WHERE n = 1"),
            format!("UPDATE {table} SET money = money - 10 WHERE n = 1"),
        );
        let runs = AtomicU32::new(0);
        // Another session changes the row in the first attempt, after the snapshot is taken.
        macro_rules! conflicting {
            ($tx:ident) => {{
                go!($tx.query_one(&read, &[]))?;
                if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                    on.run(&write);
                }
                go!($tx.execute(&write, &[]))
            }};
        }
        // It returns `Ok`.
        go!(pool
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .retry(soon(3))
            .run(work!(|tx| {
                let _ = conflicting!(tx);
                let _ = go!(tx.execute(&write, &[])); // fails with 25P02 after the conflict
                Ok(())
            })))?;
        assert_eq!((runs.swap(0, Ordering::Relaxed), money(&on, 1)), (2, 70));
        // It returns an error of its own.
        let failed = go!(pool
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .retry(soon(3))
            .try_run(work!(|tx| {
                conflicting!(tx).map_err(|_| Own::Failed)
            })));
        assert!(matches!(failed, Ok(1)), "{failed:?}");
        assert_eq!((runs.into_inner(), money(&on, 1)), (2, 50));
        Ok(())
    }
}

twin! {
    everywhere fn the_last_error_says_how_many_attempts_there_were(on, driver, go, work) {
        let table = accounts(&on);
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 2 }")))?;
        let (read, write) = (
            format!("SELECT money FROM {table} WHERE n = 1"),
            format!("UPDATE {table} SET money = money - 10 WHERE n = 1"),
        );
        let runs = AtomicU32::new(0);
        let failed = go!(pool
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .retry(soon(3))
            .label("transfer")
            .run(work!(|tx| {
                runs.fetch_add(1, Ordering::Relaxed);
                go!(tx.query_one(&read, &[]))?;
                on.run(&write);
                go!(tx.execute(&write, &[]))
            })));
        let failed = failed.expect_err("it conflicts each time");
        let text = failed.to_string();
        assert!(text.starts_with("the transaction transfer failed after 3 attempts in "), "{text}");
        assert!(text.ends_with("(SQLSTATE 40001)"), "{text}");
        assert!(failed.is_conflict() && failed.is_transient());
        assert!(matches!(failed, Error::RetriesExhausted(_)));
        assert_eq!((runs.swap(0, Ordering::Relaxed), money(&on, 1)), (3, 70));
        // The closure's own error gives way to it.
        let failed = go!(pool
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .retry(soon(2))
            .try_run(work!(|tx| {
                runs.fetch_add(1, Ordering::Relaxed);
                go!(tx.query_one(&read, &[]))?;
                on.run(&write);
                go!(tx.execute(&write, &[])).map_err(|_| Own::Failed)
            })));
        let Err(Own::Ours(failed)) = failed else {
            panic!("{failed:?}");
        };
        assert!(failed.to_string().contains("failed after 2 attempts in "), "{failed}");
        assert_eq!(failed.code().map(|code| code.code()), Some("40001"));
        assert_eq!((runs.into_inner(), money(&on, 1)), (2, 50));
        Ok(())
    }
}

twin! {
    fn other_errors_are_returned_as_they_are(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 2 }")))?;
        let runs = AtomicU32::new(0);
        let failed = go!(pool.build_transaction().retry(soon(3)).try_run(work!(|tx| {
            runs.fetch_add(1, Ordering::Relaxed);
            go!(tx.execute("SELECT 1", &[]))?;
            Err::<(), _>(Own::Failed)
        })));
        assert!(matches!(failed, Err(Own::Failed)), "{failed:?}");
        let failed = go!(pool.build_transaction().retry(soon(3)).run(work!(|tx| {
            runs.fetch_add(1, Ordering::Relaxed);
            go!(tx.execute("SELECT 1/0", &[]))
        })));
        assert!(matches!(failed, Err(Error::Database(_))), "{failed:?}");
        // One that another pool's session had, which this one has not seen.
        let other = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let raise = "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$";
        let failed = go!(pool.build_transaction().retry(soon(3)).run(work!(|_tx| {
            runs.fetch_add(1, Ordering::Relaxed);
            go!(other.batch_execute(raise))
        })));
        assert!(matches!(failed, Err(Error::Database(_))), "{failed:?}");
        assert_eq!(runs.into_inner(), 3, "once each");
        Ok(())
    }
}

twin! {
    fn an_error_that_only_comes_with_commit_is_followed_by_another_attempt(on, driver, go, work) {
        let table = accounts(&on);
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 2 }")))?;
        // A deferred trigger runs in COMMIT.
        on.run(&format!(
            "CREATE SCHEMA s_{table};
             CREATE SEQUENCE s_{table}.runs;
             CREATE FUNCTION s_{table}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF nextval('s_{table}.runs') = 1 THEN RAISE SQLSTATE '40001'; END IF;
                 RETURN NULL;
             END $$;
             CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION s_{table}.refuse()"
        ));
        let write = format!("UPDATE {table} SET money = money - 10 WHERE n = 1");
        go!(pool.build_transaction().retry(soon(2)).run(work!(|tx| {
            go!(tx.execute(&write, &[]))
        })))?;
        assert_eq!(money(&on, 1), 90);
        Ok(())
    }
}

twin! {
    fn no_attempt_begins_after_the_timeout(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 2 }")))?;
        let raise = "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$";
        let began = Instant::now();
        let hour = Duration::from_secs(3600);
        let failed = go!(pool
            .build_transaction()
            .retry(Retry::attempts(9).backoff(hour, hour))
            .timeout(Duration::from_secs(60))
            .run(work!(|tx| { go!(tx.batch_execute(raise)) })));
        let failed = failed.expect_err("the pause would be too long").to_string();
        assert!(failed.contains("after 1 attempt in "), "{failed}");
        assert!(failed.contains("its timeout of 60s leaves no time for another"), "{failed}");
        assert!(began.elapsed() < hour, "it has not paused");
        // A statement does not run beyond it either.
        let ended = go!(pool
            .build_transaction()
            .retry(soon(9))
            .timeout(Duration::from_millis(50))
            .run(work!(|tx| { go!(tx.execute("SELECT pg_sleep(3600)", &[])) })));
        let ended = ended.expect_err("too slow");
        assert!(ended.is_deadline(), "{ended}");
        Ok(())
    }
}

twin! {
    everywhere fn a_lost_session_is_followed_by_another_attempt_on_request(on, driver, go, work) {
        let table = accounts(&on);
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 2 }")))?;
        let write = format!("UPDATE {table} SET money = money - 10 WHERE n = 1");
        for (retries, runs_wanted, left) in [(false, 1, 100), (true, 2, 90)] {
            let runs = AtomicU32::new(0);
            let retry = soon(3).retry_lost_sessions(retries);
            let done = go!(pool.build_transaction().retry(retry).run(work!(|tx| {
                go!(tx.execute(&write, &[]))?;
                if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                    on.kill();
                }
                go!(tx.execute(&write, &[]))?;
                go!(tx.execute(&format!("UPDATE {table} SET money = money + 10 WHERE n = 1"), &[]))
            })));
            assert_eq!(done.is_ok(), retries, "{done:?}");
            assert_eq!((runs.into_inner(), money(&on, 1)), (runs_wanted, left));
        }
        Ok(())
    }
}

twin! {
    fn a_session_that_is_lost_before_commit_is_sent_is_known_to_be(on, driver, go, work) {
        let table = accounts(&on);
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 2 }")))?;
        let write = format!("UPDATE {table} SET money = money - 10 WHERE n = 1");
        let runs = AtomicU32::new(0);
        let retry = soon(3).retry_lost_sessions(true);
        // The statement that would end it is in the closure's text: its outcome is unknown.
        let done = go!(pool.build_transaction().retry(retry).run(work!(|tx| {
            runs.fetch_add(1, Ordering::Relaxed);
            go!(tx.execute(&write, &[]))?;
            go!(tx.batch_execute("COMMIT; SELECT pg_terminate_backend(pg_backend_pid())"))
        })));
        assert!(done.is_err());
        assert_eq!((runs.into_inner(), money(&on, 1)), (1, 90), "never twice");
        Ok(())
    }
}

/// Two transactions that lock two accounts in opposite orders, at the same time.
#[test]
fn a_deadlock_is_followed_by_another_attempt() -> Outcome {
    let on = Fixture::new();
    let table = accounts(&on);
    let pool = pgmonkey::Pool::new(&on.pools("{ max_size: 2 }"))?;
    let both_hold_one = std::sync::Barrier::new(2);
    let runs = AtomicU32::new(0);
    let take = format!("UPDATE {table} SET money = money - 10 WHERE n = $1");
    let transfer = |first: i32, second: i32| {
        pool.build_transaction()
            .retry(soon(50))
            .set_local("deadlock_timeout", "10ms")
            .run(|tx| {
                tx.execute(&take, &[&first])?;
                if runs.fetch_add(1, Ordering::Relaxed) < 2 {
                    both_hold_one.wait();
                }
                tx.execute(&take, &[&second])
            })
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| transfer(2, 1));
        let one = transfer(1, 2);
        other.join().expect("no panic").and(one)
    })?;
    // More often if the one that was ended is faster again than the other one.
    assert!(runs.load(Ordering::Relaxed) >= 3, "one of them ran again");
    assert_eq!((money(&on, 1), money(&on, 2)), (80, 80));
    Ok(())
}

/// As above, for tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_of_tasks_is_followed_by_another_attempt() -> Outcome {
    let on = Fixture::new();
    let table = accounts(&on);
    let pool = pgmonkey::AsyncPool::new(&on.pools("{ max_size: 2 }")).await?;
    let both_hold_one = tokio::sync::Barrier::new(2);
    let runs = AtomicU32::new(0);
    let take = format!("UPDATE {table} SET money = money - 10 WHERE n = $1");
    let transfer = async |first: i32, second: i32| {
        pool.build_transaction()
            .retry(soon(50))
            .set_local("deadlock_timeout", "10ms")
            .run(async |tx| {
                tx.execute(&take, &[&first]).await?;
                if runs.fetch_add(1, Ordering::Relaxed) < 2 {
                    both_hold_one.wait().await;
                }
                tx.execute(&take, &[&second]).await
            })
            .await
    };
    let (one, other) = tokio::join!(transfer(1, 2), transfer(2, 1));
    one.and(other)?;
    // More often if the one that was ended is faster again than the other one.
    assert!(runs.load(Ordering::Relaxed) >= 3, "one of them ran again");
    assert_eq!((money(&on, 1), money(&on, 2)), (80, 80));
    Ok(())
}

/// On a Unix socket, where the wire of a blocking session is not observed.
#[test]
fn a_conflict_on_a_unix_socket_is_followed_by_another_attempt() -> Outcome {
    let on = Fixture::new();
    let table = accounts(&on);
    let Some(socket) = on.server().socket_dir() else {
        println!("skipped: the server has no Unix socket");
        return Ok(());
    };
    let socket = socket.display().to_string();
    let yaml = on.yaml_at(
        &socket,
        on.server().port(),
        "pool_settings: { max_size: 2 }\n",
    );
    let pool = pgmonkey::Pool::new(&pgmonkey_tests::load(&yaml))?;
    let write = format!("UPDATE {table} SET money = money - 10 WHERE n = 1");
    let runs = AtomicU32::new(0);
    pool.build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .retry(soon(3))
        .run(|tx| {
            tx.query_one("SELECT 1", &[])?;
            if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                on.run(&write);
            }
            let _ = tx.execute(&write, &[]);
            Ok(())
        })?;
    assert_eq!((runs.into_inner(), money(&on, 1)), (2, 80));
    Ok(())
}
