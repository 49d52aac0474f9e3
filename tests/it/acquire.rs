//! All four types provide a working session.

use pgmonkey::ConnectionType;
use pgmonkey_tests::{Outcome, twin};

twin! {
    fn a_connection_works(on, driver, go, work) {
        let connection = go!(driver::Connection::new(&on.config("")))?;
        let row = go!(connection.query_one("SELECT 1 + 1", &[]))?;
        assert_eq!(row.get::<_, i32>(0), 2);
        assert_eq!(on.sessions(), 1);
        Ok(())
    }
}

twin! {
    fn a_pool_works(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 2, max_size: 4 }")))?;
        assert_eq!(on.sessions(), 2, "min_size sessions are opened at start");
        let mut guard = go!(pool.acquire())?;
        assert_eq!(go!(guard.query("SELECT generate_series(1, 3)", &[]))?.len(), 3);
        let report = go!(guard.ping())?;
        assert_eq!(report.user, on.server().user());
        assert!(report.tls.is_none());
        let status = pool.status();
        assert_eq!((status.size, status.in_use, status.idle), (2, 1, 1));
        drop(guard);
        assert_eq!(go!(pool.execute("SELECT 1", &[]))?, 1);
        assert!(go!(pool.query_opt("SELECT 1 WHERE false", &[]))?.is_none());
        go!(pool.batch_execute("SELECT 1; SELECT 2"))?;
        Ok(())
    }
}

twin! {
    fn a_single_connection_is_lent_to_one_borrower_at_a_time(on, driver, go, work) {
        let connection = go!(driver::Connection::new(&on.config("")))?;
        let first = go!(go!(connection.acquire())?.query_one("SELECT pg_backend_pid()", &[]))?;
        let second = go!(connection.query_one("SELECT pg_backend_pid()", &[]))?;
        assert_eq!(first.get::<_, i32>(0), second.get::<_, i32>(0));
        assert_eq!(connection.status().max_size, 1);
        Ok(())
    }
}

twin! {
    fn a_killed_connection_is_opened_anew(on, driver, go, work) {
        let connection = go!(driver::Connection::new(&on.config("")))?;
        assert_eq!(on.kill(), 1);
        let row = go!(connection.query_one("SELECT 7", &[]))?;
        assert_eq!(row.get::<_, i32>(0), 7);
        assert_eq!(connection.status().closed.dead, 1);
        Ok(())
    }
}

twin! {
    fn a_healthy_acquire_sends_nothing(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        // The server keeps the text of the last statement it received.
        go!(pool.batch_execute("SELECT 'the last statement'"))?;
        for _ in 0..5 {
            drop(go!(pool.acquire())?);
        }
        let last = on.number(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 \
             AND query = 'SELECT ''the last statement'''",
            &[&on.name],
        );
        assert_eq!(last, 1);
        Ok(())
    }
}

twin! {
    fn a_database_is_what_the_file_says(on, driver, go, work) {
        let config = on.config("");
        let mut opened = 0;
        for kind in [ConnectionType::Normal, ConnectionType::Pool, ConnectionType::Async, ConnectionType::AsyncPool] {
            match go!(driver::Database::new(&config.with_connection_type(kind))) {
                Ok(database) => {
                    opened += 1;
                    assert_eq!(database.as_pool().is_some(), kind.is_pool());
                    assert_eq!(database.as_connection().is_some(), !kind.is_pool());
                    let row = go!(database.query_one("SELECT 3", &[]))?;
                    assert_eq!(row.get::<_, i32>(0), 3);
                }
                Err(error) => {
                    assert!(error.to_string().contains("twin"), "{error}");
                }
            }
        }
        assert_eq!(opened, 2);
        Ok(())
    }
}

twin! {
    fn over_a_unix_socket_everything_works_as_well(on, driver, go, work) {
        let Some(directory) = on.server().socket_dir().map(|path| path.display().to_string()) else {
            eprintln!("skipped: this server has no Unix socket that is reachable from here");
            return Ok(());
        };
        let config = pgmonkey_tests::load(&on.yaml_at(&directory, on.server().port(), ""));
        let connection = go!(driver::Connection::new(&config))?;
        let mut guard = go!(connection.acquire())?;
        go!(guard.begin())?;
        go!(guard.execute(&format!("INSERT INTO {} VALUES (1)", on.name), &[]))?;
        drop(guard);
        assert_eq!(go!(connection.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        assert_eq!(on.rows(), 0);
        assert_eq!(connection.status().opened, 1, "rolled back, not replaced");
        on.kill();
        assert_eq!(go!(connection.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        Ok(())
    }
}

#[test]
fn four_types_from_one_file() -> Outcome {
    let on = pgmonkey_tests::Fixture::new();
    let config = on.config("");
    let manager = pgmonkey::ConnectionManager::new();
    let answer = "SELECT 42";
    assert_eq!(
        manager
            .connection(&config)?
            .query_one(answer, &[])?
            .get::<_, i32>(0),
        42
    );
    assert_eq!(
        manager
            .pool(&config)?
            .query_one(answer, &[])?
            .get::<_, i32>(0),
        42
    );
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let row = manager
            .async_connection(&config)
            .await?
            .query_one(answer, &[])
            .await?;
        assert_eq!(row.get::<_, i32>(0), 42);
        let row = manager
            .async_pool(&config)
            .await?
            .query_one(answer, &[])
            .await?;
        assert_eq!(row.get::<_, i32>(0), 42);
        Ok::<_, pgmonkey::Error>(())
    })?;
    assert_eq!(manager.cache_info().len(), 4);
    Ok(())
}
