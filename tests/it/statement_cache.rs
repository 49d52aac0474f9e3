//! Statements by text are prepared once per session, and again when they have become stale. Over
//! TCP.

use pgmonkey_tests::twin;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

/// How many statements a session has prepared, queried without preparing one.
const PREPARED: &str = "SELECT count(*) FROM pg_prepared_statements";

twin! {
    fn a_text_is_prepared_once_for_a_session(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        for n in 0..5_i32 {
            let text = "SELECT $1::int + 1";
            assert_eq!(go!(pool.query_one(text, &[&n]))?.get::<_, i32>(0), n + 1);
            assert_eq!(go!(pool.query(&text.to_owned(), &[&n]))?.len(), 1);
            assert!(go!(pool.query_opt(text, &[&n]))?.is_some());
            go!(pool.execute(text, &[&n]))?;
        }
        let kept = pool.status().statement_cache;
        assert_eq!((kept.misses, kept.hits, kept.evictions, kept.stale), (1, 19, 0, 0));
        let mut guard = go!(pool.acquire())?;
        assert_eq!(go!(guard.query_typed_one(PREPARED, &[]))?.get::<_, i64>(0), 1);
        Ok(())
    }
}

twin! {
    fn guards_and_transactions_use_the_sessions_cache(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let text = format!("SELECT count(*) FROM {}", on.name);
        go!(pool.query_one(&text, &[]))?;
        let mut guard = go!(pool.acquire())?;
        let statement = go!(guard.prepare_cached(&text))?;
        go!(guard.query_one(&statement, &[]))?;
        {
            let mut outer = go!(guard.transaction())?;
            go!(outer.prepare_cached(&text))?;
            let mut inner = go!(outer.transaction())?;
            let statement = go!(inner.prepare_cached(&text))?;
            go!(inner.query_one(&statement, &[]))?;
        }
        drop(guard);
        let mut transaction = go!(pool.begin())?;
        go!(transaction.prepare_cached(&text))?;
        go!(transaction.rollback())?;
        let kept = pool.status().statement_cache;
        assert_eq!((kept.misses, kept.hits), (1, 4));
        Ok(())
    }
}

twin! {
    fn types_that_were_asked_for_are_kept_apart(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        for (kind, expected) in [(Type::INT8, "bigint"), (Type::TEXT, "text"), (Type::INT8, "bigint")] {
            let text = "SELECT pg_typeof($1)::text";
            let statement = go!(guard.prepare_typed_cached(text, std::slice::from_ref(&kind)))?;
            assert_eq!(statement.params(), std::slice::from_ref(&kind));
            let row = match expected {
                "text" => go!(guard.query_one(&statement, &[&"1"]))?,
                _ => go!(guard.query_one(&statement, &[&1_i64]))?,
            };
            assert_eq!(row.get::<_, &str>(0), expected);
        }
        drop(guard);
        assert_eq!(pool.status().statement_cache.misses, 2);
        Ok(())
    }
}

twin! {
    fn the_least_recently_used_is_closed_on_the_server(on, driver, go, work) {
        let settings = "{ min_size: 1, max_size: 1, statement_cache: 2 }";
        let pool = go!(driver::Pool::new(&on.pools(settings)))?;
        for text in ["SELECT 1", "SELECT 2", "SELECT 1", "SELECT 3", "SELECT 1"] {
            go!(pool.query(text, &[]))?;
        }
        let kept = pool.status().statement_cache;
        assert_eq!((kept.misses, kept.hits, kept.evictions), (3, 2, 1));
        let mut guard = go!(pool.acquire())?;
        let ask = "SELECT string_agg(statement, ',' ORDER BY statement) FROM pg_prepared_statements";
        let row = go!(guard.query_typed_one(ask, &[]))?;
        assert_eq!(row.get::<_, &str>(0), "SELECT 1,SELECT 3");
        Ok(())
    }
}

twin! {
    fn a_result_that_changed_with_the_schema_is_prepared_anew(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let text = format!("SELECT * FROM {}", on.name);
        on.run(&format!("INSERT INTO {} VALUES (1)", on.name));
        for columns in 1..4 {
            for _ in 0..2 {
                assert_eq!(go!(pool.query_one(&text, &[]))?.len(), columns);
            }
            on.run(&format!("ALTER TABLE {} ADD COLUMN c{columns} int", on.name));
        }
        let status = pool.status();
        assert_eq!((status.statement_cache.stale, status.opened), (2, 1));
        Ok(())
    }
}

twin! {
    fn a_parameter_that_changed_with_the_schema_is_prepared_anew(on, driver, go, work) {
        for cache in [256, 0] {
            let settings = format!("{{ min_size: 1, max_size: 1, statement_cache: {cache} }}");
            let pool = go!(driver::Pool::new(&on.pools(&settings)))?;
            let text = format!("INSERT INTO {} VALUES ($1)", on.name);
            assert_eq!(go!(pool.execute(&text, &[&1_i32]))?, 1);
            on.run(&format!("ALTER TABLE {} ALTER n TYPE text", on.name));
            assert_eq!(go!(pool.execute(&text, &[&"two"]))?, 1);
            on.run(&format!("TRUNCATE {0}; ALTER TABLE {0} ALTER n TYPE int USING 0", on.name));
            // A value of the wrong type is still an error.
            assert!(go!(pool.execute(&text, &[&1.5_f64])).is_err());
            assert_eq!(go!(pool.execute(&text, &[&1_i32]))?, 1);
        }
        Ok(())
    }
}

twin! {
    fn in_a_transaction_the_error_is_returned_and_the_statement_forgotten(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let text = format!("SELECT * FROM {}", on.name);
        go!(pool.query(&text, &[]))?;
        on.run(&format!("ALTER TABLE {} ADD COLUMN more int", on.name));
        let mut transaction = go!(pool.begin())?;
        let statement = go!(transaction.prepare_cached(&text))?;
        let error = go!(transaction.query(&statement, &[])).expect_err("it is stale");
        assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED), "{error}");
        go!(transaction.rollback())?;
        drop(statement);
        let mut transaction = go!(pool.begin())?;
        let statement = go!(transaction.prepare_cached(&text))?;
        assert_eq!(statement.columns().len(), 2);
        go!(transaction.query(&statement, &[]))?;
        go!(transaction.commit())?;
        assert_eq!(pool.status().statement_cache.misses, 2);
        Ok(())
    }
}

twin! {
    fn a_statement_is_not_run_twice_inside_a_transaction(on, driver, go, work) {
        let settings = "{ min_size: 1, max_size: 1, reset: none }";
        let pool = go!(driver::Pool::new(&on.pools(settings)))?;
        let text = format!("SELECT * FROM {}", on.name);
        go!(pool.query(&text, &[]))?;
        on.run(&format!("ALTER TABLE {} ADD COLUMN more int", on.name));
        go!(pool.batch_execute("BEGIN"))?;
        let error = go!(pool.query(&text, &[])).expect_err("the transaction has failed");
        assert_eq!(error.code(), Some(&SqlState::FEATURE_NOT_SUPPORTED), "{error}");
        go!(pool.batch_execute("ROLLBACK"))?;
        assert!(go!(pool.query(&text, &[])).is_ok());
        Ok(())
    }
}

twin! {
    fn what_a_borrower_deallocated_is_prepared_anew(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        for statement in ["DEALLOCATE ALL", "DISCARD ALL"] {
            for text in ["SELECT 1", "SELECT 2"] {
                go!(pool.query(text, &[]))?;
            }
            go!(pool.batch_execute(statement))?;
            // Twice, because the blocking driver prepares what another session knows in the second
            // run.
            for text in ["SELECT 1", "SELECT 2", "SELECT 1", "SELECT 2"] {
                assert_eq!(go!(pool.query(text, &[]))?.len(), 1, "after {statement}");
            }
            // Through a guard the caller gets the error, once.
            let mut guard = go!(pool.acquire())?;
            go!(guard.batch_execute(statement))?;
            let lost = go!(guard.prepare_cached("SELECT 1"))?;
            let error = go!(guard.query(&lost, &[])).expect_err("it was deallocated");
            assert_eq!(error.code(), Some(&SqlState::INVALID_SQL_STATEMENT_NAME), "{error}");
            let found = go!(guard.prepare_cached("SELECT 1"))?;
            assert_eq!(go!(guard.query(&found, &[]))?.len(), 1);
        }
        // The driver's own statements are gone as well, so such sessions are replaced.
        on.until("four sessions are replaced", || pool.status().closed.dirty == 4);
        Ok(())
    }
}

twin! {
    fn an_error_of_the_statement_itself_is_returned_once(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        on.run(&format!("ALTER TABLE {} ADD UNIQUE (n)", on.name));
        let text = format!("INSERT INTO {} VALUES ($1)", on.name);
        go!(pool.execute(&text, &[&1_i32]))?;
        for _ in 0..2 {
            let error = go!(pool.execute(&text, &[&1_i32])).expect_err("not unique");
            assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION), "{error}");
        }
        let kept = pool.status().statement_cache;
        assert_eq!((kept.misses, kept.stale), (1, 0), "the statement is as good as before");
        assert!(go!(pool.query("SELECT no_such_column", &[])).is_err());
        assert!(go!(pool.query("SELECT $1::int", &[&1_i32, &2_i32])).is_err());
        assert!(go!(pool.query("SELECT $1::int", &[])).is_err());
        assert_eq!(go!(pool.query_one("SELECT $1::int", &[&3_i32]))?.get::<_, i32>(0), 3);
        Ok(())
    }
}

twin! {
    fn a_prepared_statement_goes_as_it_is(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let statement = {
            let mut guard = go!(pool.acquire())?;
            go!(guard.prepare("SELECT $1::int"))?
        };
        assert_eq!(go!(pool.query_one(&statement, &[&5_i32]))?.get::<_, i32>(0), 5);
        assert_eq!(pool.status().statement_cache.misses, 0);
        Ok(())
    }
}

twin! {
    fn switched_off_nothing_is_prepared(on, driver, go, work) {
        let settings = "{ min_size: 1, max_size: 1, statement_cache: 0 }";
        let pool = go!(driver::Pool::new(&on.pools(settings)))?;
        let text = format!("INSERT INTO {} SELECT generate_series(1, $1)", on.name);
        for _ in 0..3 {
            assert_eq!(go!(pool.execute(&text, &[&2_i32]))?, 2);
            assert_eq!(go!(pool.query("SELECT $1::text, now()", &[&"x"]))?.len(), 1);
            assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
            assert!(go!(pool.query_opt("SELECT 1 WHERE $1", &[&false]))?.is_none());
        }
        assert_eq!(on.rows(), 6);
        assert!(go!(pool.query("SELECT $1::int", &[&1_i32, &2_i32])).is_err());
        assert!(go!(pool.query("SELECT $1::int", &[])).is_err());
        assert!(go!(pool.query("SELECT no_such_column, $1::int", &[&1_i32])).is_err());
        let mut guard = go!(pool.acquire())?;
        assert_eq!(go!(guard.query_typed_one(PREPARED, &[]))?.get::<_, i64>(0), 0);
        let first = go!(guard.prepare_cached("SELECT 1"))?;
        let second = go!(guard.prepare_cached("SELECT 1"))?;
        assert_eq!(go!(guard.query_typed_one(PREPARED, &[]))?.get::<_, i64>(0), 2);
        drop((first, second, guard));
        let kept = pool.status().statement_cache;
        assert_eq!((kept.misses, kept.hits), (0, 0));
        Ok(())
    }
}

twin! {
    fn a_single_connection_follows_the_pools_setting(on, driver, go, work) {
        for (cache, expected) in [(256, 1), (0, 0)] {
            let config = on.pools(&format!("{{ statement_cache: {cache} }}"));
            let connection = go!(driver::Connection::new(&config))?;
            go!(connection.query("SELECT 1", &[]))?;
            let row = {
                let mut guard = go!(connection.acquire())?;
                go!(guard.query_typed_one(PREPARED, &[]))?
            };
            assert_eq!(row.get::<_, i64>(0), expected);
        }
        Ok(())
    }
}
