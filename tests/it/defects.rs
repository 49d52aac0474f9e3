//! Defects of the Python tool's connections, one test per defect, by number.

use std::sync::{Arc, Barrier};
use std::time::Instant;

use pgmonkey::{ConnectionManager, ConnectionType, Error};
use pgmonkey_tests::{Fixture, LONG, Outcome, twin};

mod bugs;

/// Clearing the cache stopped the whole event loop as soon as another task used it.
#[tokio::test]
async fn d03_clearing_the_cache_blocks_nobody() -> Outcome {
    let on = Fixture::new();
    let manager = ConnectionManager::new();
    let config = on.pools("{ max_size: 2 }");
    // One thread runs all tasks: a lock held across an await would block it forever.
    let work = async {
        let uses = (0..20).map(|_| async {
            let pool = manager.async_pool(&config).await?;
            match pool.query_one("SELECT 1", &[]).await {
                Err(Error::Closed { .. }) | Ok(_) => Ok::<(), Error>(()),
                Err(error) => Err(error),
            }
        });
        let clears = async {
            for _ in 0..5 {
                manager.clear_cache_async().await;
                tokio::task::yield_now().await;
            }
        };
        let (uses, ()) = tokio::join!(futures_util::future::join_all(uses), clears);
        uses.into_iter().collect::<Result<Vec<()>, Error>>()
    };
    tokio::time::timeout(LONG, work).await??;
    Ok(())
}

twin! {
    /// The cache returned handles that were closed or dead.
    fn d04_the_cache_gives_out_nothing_dead(on, driver, go, work) {
        let manager = driver::ConnectionManager::new();
        let config = on.config("");
        let first = go!(manager.connection(&config))?;
        assert_eq!(on.kill(), 1);
        assert_eq!(go!(go!(manager.connection(&config))?.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        first.close();
        assert_eq!(go!(go!(manager.connection(&config))?.query_one("SELECT 2", &[]))?.get::<_, i32>(0), 2);
        Ok(())
    }
}

/// A pool whose event loop had ended hung the process or its next user.
#[test]
fn d05_a_pool_outlives_its_runtime() -> Outcome {
    let on = Fixture::new();
    let manager = ConnectionManager::new();
    let config = on.pools("{ min_size: 2, max_size: 3 }");
    for _ in 0..5 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let pool = manager.async_pool(&config).await?;
            let work = pool.query_one("SELECT 1", &[]);
            tokio::time::timeout(LONG, work).await.expect("in time")
        })?;
    }
    Ok(())
}

/// Clearing the cache inside a loop left the sessions open on the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d06_clearing_inside_a_runtime_ends_the_sessions() -> Outcome {
    let on = Fixture::new();
    let manager = ConnectionManager::new();
    manager
        .async_pool(&on.pools("{ min_size: 3, max_size: 3 }"))
        .await?;
    assert_eq!(on.sessions(), 3);
    assert_eq!(manager.clear_cache_async().await, 1);
    on.until("they are gone", || on.sessions() == 0);
    assert!(manager.cache_info().is_empty());
    Ok(())
}

twin! {
    /// A wrong password took 30 seconds and was not reported.
    fn d07_opening_a_pool_opens_a_session(on, driver, go, work) {
        let wrong = pgmonkey_tests::load(&on.yaml("").replace(on.server().password(), "wrong"));
        let began = Instant::now();
        let error = go!(driver::Pool::new(&wrong)).map(drop).expect_err("the password is wrong");
        assert!(error.is_authentication(), "{error}");
        assert!(began.elapsed() < LONG);
        Ok(())
    }
}

twin! {
    /// Pools ignored autocommit, so some statements could not be run through a pool.
    fn d09_a_pool_can_run_what_takes_no_transaction(on, driver, go, work) {
        let text = on.yaml("connection_type: TYPE\n").replace("sslmode", "autocommit: true, sslmode");
        for kind in ["normal", "pool", "async", "async_pool"] {
            // A family opens only its own types.
            let own = std::any::type_name::<driver::Pool>().contains("async");
            if kind.starts_with("async") != own {
                continue;
            }
            let database = go!(driver::Database::new(&pgmonkey_tests::load(&text.replace("TYPE", kind))))?;
            go!(database.scope(work!(|s| { go!(s.batch_execute("VACUUM pg_class")) })))?;
        }
        Ok(())
    }
}

twin! {
    /// A block inside a block on the same pool silently rolled the outer one back.
    fn d11_blocks_inside_blocks_are_separate(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 2 }")))?;
        let insert = format!("INSERT INTO {} VALUES (1)", on.name);
        go!(pool.transaction(work!(|outer| {
            go!(outer.execute(&insert, &[]))?;
            go!(pool.transaction(work!(|inner| { go!(inner.execute(&insert, &[])) })))?;
            go!(outer.execute(&insert, &[]))
        })))?;
        assert_eq!(on.rows(), 3);
        Ok(())
    }
}

twin! {
    /// The check at checkout left the session in a transaction.
    fn d12_a_checked_session_is_idle(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1, check_on_checkout: true }")))?;
        for _ in 0..3 {
            let guard = go!(pool.acquire())?;
            assert_eq!((on.sessions_in("idle"), on.sessions()), (1, 1));
            drop(guard);
        }
        Ok(())
    }
}

twin! {
    /// Two schemas became one whose name contained a comma.
    fn d18_a_search_path_is_a_list(on, driver, go, work) {
        let both = "{ search_path: 'public, pg_catalog' }";
        let config = on.config(&format!("sync_settings: {both}\nasync_settings: {both}\n"));
        let connection = go!(driver::Connection::new(&config))?;
        let row = go!(connection.query_one("SELECT current_schemas(false)::text", &[]))?;
        assert_eq!(row.get::<_, &str>(0), "{public,pg_catalog}");
        let sql = format!("SELECT count(*) FROM {}", on.name);
        assert_eq!(go!(connection.query_one(&sql, &[]))?.get::<_, i64>(0), 0);
        Ok(())
    }
}

twin! {
    /// An inner failure rolled back the outer work, and the outer block "committed" nothing.
    fn d19_an_inner_failure_is_the_inner_ones(on, driver, go, work) {
        let connection = go!(driver::Connection::new(&on.config("")))?;
        let insert = format!("INSERT INTO {} VALUES (1)", on.name);
        let mut outer = go!(connection.begin())?;
        go!(outer.execute(&insert, &[]))?;
        {
            let mut inner = go!(outer.transaction())?;
            assert!(go!(inner.execute("nonsense", &[])).is_err());
            go!(inner.rollback())?;
        }
        go!(outer.execute(&insert, &[]))?;
        go!(outer.commit())?;
        assert_eq!(on.rows(), 2);
        Ok(())
    }
}

/// Two types of one file shared one cache entry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d20_b13_every_type_has_its_line() -> Outcome {
    let on = Fixture::new();
    let manager = ConnectionManager::new();
    let config = on.config("");
    manager.async_pool(&config).await?;
    manager.async_connection(&config).await?;
    let other = manager.clone();
    let own = config.clone();
    tokio::task::spawn_blocking(move || -> Result<(), Error> {
        other.pool(&own)?;
        other.connection(&own).map(drop)
    })
    .await??;
    let mut kinds: Vec<ConnectionType> = manager
        .cache_info()
        .iter()
        .map(|entry| entry.connection_type)
        .collect();
    kinds.sort_by_key(|kind| kind.as_str());
    assert_eq!(kinds.len(), 4);
    kinds.dedup();
    assert_eq!(kinds.len(), 4);
    manager.clear_cache_async().await;
    Ok(())
}

/// Sixteen concurrent threads built fifteen pools; a failed reload had already closed the old pool.
#[test]
fn d21_one_pool_is_built_however_many_ask() -> Outcome {
    let on = Fixture::new();
    let manager = ConnectionManager::new();
    let config = on.pools("{ min_size: 2, max_size: 3 }");
    let start = Arc::new(Barrier::new(16));
    let threads: Vec<_> = (0..16)
        .map(|_| {
            let (manager, config, start) = (manager.clone(), config.clone(), Arc::clone(&start));
            std::thread::spawn(move || {
                start.wait();
                manager.pool(&config)
            })
        })
        .collect();
    let pools: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().expect("no panic"))
        .collect::<Result<_, _>>()?;
    assert!(pools.iter().all(|pool| pool.is_same(&pools[0])));
    assert_eq!(pools[0].status().opened, 2);
    assert_eq!(on.sessions(), 2);
    Ok(())
}

twin! {
    /// Session settings were part of the first transaction: lost with its rollback, and a new
    /// session was idle in a transaction.
    fn d39_settings_are_no_part_of_a_transaction(on, driver, go, work) {
        let both = "{ work_mem: 7MB, idle_in_transaction_session_timeout: 200 }";
        let config = on.config(&format!("sync_settings: {both}\nasync_settings: {both}\n"));
        let connection = go!(driver::Connection::new(&config))?;
        assert_eq!((on.sessions_in("idle"), on.sessions()), (1, 1));
        let mut first = go!(connection.begin())?;
        go!(first.execute(&format!("INSERT INTO {} VALUES (1)", on.name), &[]))?;
        go!(first.rollback())?;
        assert_eq!(go!(connection.query_one("SHOW work_mem", &[]))?.get::<_, &str>(0), "7MB");
        let insert = format!("INSERT INTO {} VALUES (2)", on.name);
        go!(connection.transaction(work!(|tx| { go!(tx.execute(&insert, &[])) })))?;
        assert_eq!(on.rows(), 1);
        Ok(())
    }
}
