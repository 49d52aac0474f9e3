//! Fixed bugs of the Python tool, one test per bug, by number.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier};

use pgmonkey::{ConnectionManager, Error, aio, sync};
use pgmonkey_tests::{Fixture, Outcome, twin};

twin! {
    /// Leaving a block closed the whole pool.
    fn b02_a_pool_outlives_its_blocks(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        for _ in 0..3 {
            go!(pool.transaction(work!(|tx| { go!(tx.execute("SELECT 1", &[])) })))?;
            assert!(go!(pool.transaction(work!(|tx| { go!(tx.execute("nonsense", &[])) }))).is_err());
        }
        assert!(!pool.is_closed());
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

twin! {
    /// The end of a transaction disconnected it and left a dead connection in the cache.
    fn b05_a_connection_outlives_its_transactions(on, driver, go, work) {
        let manager = driver::ConnectionManager::new();
        let config = on.config("");
        let connection = go!(manager.connection(&config))?;
        go!(connection.transaction(work!(|tx| { go!(tx.execute("SELECT 1", &[])) })))?;
        let failed = go!(connection.transaction(work!(|tx| { go!(tx.execute("nonsense", &[])) })));
        assert!(failed.is_err());
        go!(go!(connection.begin())?.commit())?;
        let again = go!(manager.connection(&config))?;
        assert!(again.is_same(&connection));
        assert_eq!(go!(again.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        assert_eq!((connection.status().opened, on.sessions()), (1, 1));
        Ok(())
    }
}

/// The library printed what belongs in a log.
#[test]
fn b08_the_library_prints_nothing() -> Outcome {
    let on = Fixture::new();
    for (yaml, word) in [
        (
            on.yaml("pool_settings: { min_size: 2, max_size: 3 }\n"),
            "ok",
        ),
        (
            on.yaml("sync_settings: { work_mem: lots }\nasync_settings: { work_mem: lots }\n"),
            "no",
        ),
    ] {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("c.yaml");
        std::fs::write(&file, yaml)?;
        let output = Command::new(env!("CARGO_BIN_EXE_connects"))
            .arg("SELECT 'an answer'")
            .stdin(std::fs::File::open(&file)?)
            .output()?;
        let printed = String::from_utf8(output.stdout)?;
        // The output of the program itself, one line per type.
        let lines: Vec<&str> = printed.lines().collect();
        assert_eq!(lines.len(), 4, "{printed}");
        assert!(lines.iter().all(|line| line.starts_with(word)), "{printed}");
        assert_eq!(String::from_utf8(output.stderr)?, "");
    }
    Ok(())
}

twin! {
    /// A failed commit leaked the session.
    fn b11_a_commit_that_fails_costs_no_session(on, driver, go, work) {
        let table = &on.name;
        on.run(&format!("ALTER TABLE {table} ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED"));
        let twice = format!("INSERT INTO {table} VALUES (1), (1)");
        let connection = go!(driver::Connection::new(&on.config("")))?;
        for _ in 0..3 {
            let failed = go!(connection.transaction(work!(|tx| { go!(tx.execute(&twice, &[])) })));
            assert_eq!(failed.expect_err("the commit fails").code().map(|code| code.code()), Some("23505"));
        }
        on.until("nothing is left open", || on.sessions_in("idle") == 1);
        assert_eq!((connection.status().opened, on.sessions(), on.rows()), (1, 1, 0));
        connection.close();
        on.until("it ended", || on.sessions() == 0);
        Ok(())
    }
}

/// Threads shared a session that one of them had acquired.
#[test]
fn b12_threads_share_no_session() -> Outcome {
    let on = Fixture::new();
    let pool = sync::Pool::new(&on.pools("{ min_size: 1, max_size: 4 }"))?;
    let together = Barrier::new(4);
    let insert = format!("INSERT INTO {} VALUES (pg_backend_pid())", on.name);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let (pool, together, insert) = (&pool, &together, &insert);
                scope.spawn(move || {
                    let done: Result<(), Error> = pool.transaction(|tx| {
                        tx.execute(insert, &[])?;
                        together.wait();
                        // The end of one is not the end of another.
                        if number % 2 == 0 {
                            Ok(())
                        } else {
                            Err(Error::other("on purpose"))
                        }
                    });
                    assert_eq!(done.is_ok(), number % 2 == 0);
                })
            })
            .collect();
        threads
            .into_iter()
            .for_each(|thread| thread.join().expect("no panic"));
    });
    let sessions = on.number(&format!("SELECT count(DISTINCT n) FROM {}", on.name), &[]);
    assert_eq!((on.rows(), sessions), (2, 2));
    Ok(())
}

/// All pools of the process shared a session that a task had acquired, and child tasks used it too.
#[tokio::test]
async fn b12_tasks_and_pools_share_no_session() -> Outcome {
    const PROCESS: &str = "SELECT pg_backend_pid()";
    let on = Fixture::new();
    let one = aio::Pool::new(&on.pools_async("{ min_size: 1, max_size: 2 }")).await?;
    let other = aio::Pool::new(&on.pools_async("{ min_size: 1, max_size: 3 }")).await?;
    let child_of = one.clone();
    one.transaction(async |tx| {
        let mine: i32 = tx.query_one(PROCESS, &[]).await?.get(0);
        let others: i32 = other.query_one(PROCESS, &[]).await?.get(0);
        let child = tokio::spawn(async move { child_of.query_one(PROCESS, &[]).await });
        let childs: i32 = child.await.expect("no panic")?.get(0);
        assert!(mine != others && mine != childs && others != childs);
        Ok(())
    })
    .await?;
    Ok(())
}

twin! {
    /// Names and values of settings were pasted into SQL.
    fn b14_settings_are_never_sql(on, driver, go, work) {
        let both = format!(
            "{{ my.value: \"x'; DROP TABLE {}; --\", statement_timeout: 0 }}", on.name
        );
        let config = on.config(&format!("sync_settings: {both}\nasync_settings: {both}\n"));
        let connection = go!(driver::Connection::new(&config))?;
        let row = go!(connection.query_one("SELECT current_setting('my.value')", &[]))?;
        assert!(row.get::<_, &str>(0).starts_with("x'; DROP TABLE"));
        assert_eq!(on.rows(), 0, "the table is there");
        Ok(())
    }
}

twin! {
    /// Using a closed connection failed with a text about the library's internals.
    fn b22_a_closed_handle_says_what_to_do(on, driver, go, work) {
        let connection = go!(driver::Connection::new(&on.config("")))?;
        connection.close();
        let error = go!(connection.query_one("SELECT 1", &[])).expect_err("it is closed");
        assert!(error.is_closed());
        assert_eq!(
            error.to_string(),
            "the connection is closed: ask the connection manager for a new one"
        );
        Ok(())
    }
}

/// All warnings of the process were turned off.
#[test]
fn b28_the_library_leaves_the_process_as_it_is() -> Outcome {
    let seen = Arc::new(AtomicU32::new(0));
    let mine = Arc::clone(&seen);
    std::panic::set_hook(Box::new(move |_| {
        mine.fetch_add(1, Ordering::Relaxed);
    }));
    let logged = tracing::dispatcher::has_been_set();
    let on = Fixture::new();
    let manager = ConnectionManager::new();
    manager.pool(&on.pools("{ max_size: 2 }"))?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(manager.async_pool(&on.pools("{ max_size: 2 }")))?;
    manager.clear_cache();
    let before = seen.load(Ordering::Relaxed);
    assert!(std::panic::catch_unwind(|| panic!("on purpose")).is_err());
    assert!(
        seen.load(Ordering::Relaxed) > before,
        "the program's own hook is in place"
    );
    assert_eq!(tracing::dispatcher::has_been_set(), logged);
    drop(std::panic::take_hook());
    Ok(())
}

twin! {
    /// Settings left new sessions in a transaction, so that the pool discarded them (B34); an async
    /// pool was opened twice (B35).
    fn b34_b35_each_session_is_opened_once_and_is_idle(on, driver, go, work) {
        let pools = "{ min_size: 3, max_size: 3 }";
        let config = on.config(&format!(
            "pool_settings: {pools}\nasync_pool_settings: {pools}\n\
             sync_settings: {{ work_mem: 7MB }}\nasync_settings: {{ work_mem: 7MB }}\n"
        ));
        let manager = driver::ConnectionManager::new();
        let pool = go!(manager.pool(&config))?;
        let status = pool.status();
        assert_eq!((status.opened, status.idle, status.in_use), (3, 3, 0));
        assert_eq!((on.sessions(), on.sessions_in("idle")), (3, 3));
        for _ in 0..6 {
            go!(pool.query_one("SHOW work_mem", &[]))?;
        }
        assert_eq!(pool.status().opened, 3);
        Ok(())
    }
}
