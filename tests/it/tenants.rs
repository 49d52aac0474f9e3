//! Many tenants: unused handles sleep, and the cache has a limit.

use std::collections::HashSet;
use std::time::Duration;

use pgmonkey::{Config, Status};
use pgmonkey_tests::{Fixture, Outcome, twin};
use pgmonkey_testserver::{Cluster, StopMode};

/// Soon enough for a test, and longer than a test takes between two uses.
const SOON: Duration = Duration::from_millis(400);
/// Never in a test.
const LATE: Duration = Duration::from_secs(3600);

/// The configuration of tenant `n`.
fn tenant(on: &Fixture, n: usize, settings: &str) -> Config {
    let session = format!("{{ my.tenant: '{n}' }}");
    let pools = format!("pool_settings: {settings}\nasync_pool_settings: {settings}\n");
    on.config(&format!(
        "{pools}sync_settings: {session}\nasync_settings: {session}\n"
    ))
}

fn sleeps(status: &Status) -> bool {
    status.asleep && status.size == 0 && status.opening == 0
}

twin! {
    fn an_unused_pool_sleeps_and_its_next_use_wakes_it(on, driver, go, work) {
        let manager = driver::ConnectionManager::builder().idle_handle_timeout(SOON).build()?;
        let pool = go!(manager.pool(&on.pools("{ min_size: 2, max_size: 4 }")))?;
        for round in 1..4 {
            go!(pool.query_one("SELECT 1", &[]))?;
            assert!(!pool.status().asleep);
            on.until("min_size is back", || on.sessions() == 2 && pool.status().idle == 2);
            on.until("it sleeps", || sleeps(&pool.status()) && on.sessions() == 0);
            let status = pool.status();
            assert_eq!((status.opened, status.closed.idle), (2 * round, 2 * round), "{status:?}");
            assert!(pool.is_same(&go!(manager.pool(&on.pools("{ min_size: 2, max_size: 4 }")))?));
            assert!(pool.status().asleep, "a look is no use");
            assert!(manager.cache_info()[0].to_string().contains("asleep"));
        }
        pool.close();
        assert!(!pool.status().asleep && go!(pool.ping()).is_err_and(|error| error.is_closed()));
        Ok(())
    }
}

twin! {
    fn maintenance_runs_again_after_a_sleep(on, driver, go, work) {
        let manager = driver::ConnectionManager::builder().max_handles(1).build()?;
        let first = go!(manager.pool(&tenant(&on, 1, "{ min_size: 1, max_size: 2, max_lifetime: 400ms }")))?;
        let second = go!(manager.pool(&tenant(&on, 2, "{ min_size: 0, max_size: 2 }")))?;
        assert!(sleeps(&first.status()), "asleep at once: {:?}", first.status());
        // Longer than the pause of its maintenance.
        on.until("it has no session", || on.sessions() == 0);
        go!(first.ping())?;
        on.until("sessions reach their lifetime again", || first.status().closed.lifetime >= 2);
        on.until("and min_size is kept", || first.status().size == 1);
        drop(second);
        Ok(())
    }
}

twin! {
    fn a_session_in_use_keeps_its_pool_awake(on, driver, go, work) {
        let manager = driver::ConnectionManager::builder()
            .idle_handle_timeout(Duration::from_millis(100))
            .build()?;
        let pool = go!(manager.pool(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let other = go!(manager.pool(&tenant(&on, 1, "{ min_size: 1, max_size: 1 }")))?;
        let guard = go!(pool.acquire())?;
        on.until("the other one sleeps", || sleeps(&other.status()));
        go!(other.ping())?;
        on.until("and once more", || sleeps(&other.status()));
        let status = pool.status();
        assert_eq!((status.asleep, status.in_use), (false, 1));
        drop(guard);
        on.until("it sleeps too", || sleeps(&pool.status()));
        Ok(())
    }
}

twin! {
    fn a_connection_sleeps_too(on, driver, go, work) {
        let manager = driver::ConnectionManager::builder().idle_handle_timeout(SOON).build()?;
        let connection = go!(manager.connection(&on.config("")))?;
        for _ in 0..2 {
            go!(connection.query_one("SELECT 1", &[]))?;
            on.until("it sleeps", || connection.status().asleep && on.sessions() == 0);
        }
        go!(connection.query_one("SELECT 1", &[]))?;
        assert_eq!(on.sessions(), 1);
        Ok(())
    }
}

twin! {
    fn a_pool_sleeps_while_its_server_is_away(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let manager = driver::ConnectionManager::builder().idle_handle_timeout(SOON).build()?;
        let pool = go!(manager.pool(&on.pools("{ min_size: 2, max_size: 4, timeout: 20, reconnect_timeout: 10 }")))?;
        cluster.stop(StopMode::Immediate).expect("stops");
        on.until("it sleeps, and its connect tasks have ended", || sleeps(&pool.status()));
        cluster.start_again().expect("starts");
        go!(pool.query_one("SELECT 1", &[]))?;
        on.until("min_size is back", || pool.status().idle == 2);
        drop(on);
        Ok(())
    }
}

#[test]
fn a_caller_that_waits_keeps_its_pool_awake() -> Outcome {
    let on = Fixture::new();
    let manager = pgmonkey::sync::ConnectionManager::builder()
        .idle_handle_timeout(Duration::from_millis(100))
        .build()?;
    let pool = manager.pool(&on.pools("{ min_size: 1, max_size: 1, timeout: 20 }"))?;
    let other = manager.pool(&tenant(&on, 1, "{ min_size: 1, max_size: 1 }"))?;
    let guard = pool.acquire()?;
    let waiter = std::thread::spawn({
        let pool = pool.clone();
        move || pool.acquire().map(drop)
    });
    on.until("it waits", || pool.status().waiting == 1);
    on.until("the other one sleeps", || sleeps(&other.status()));
    assert!(!pool.status().asleep);
    drop(guard);
    waiter.join().expect("no panic")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_statement_wakes_its_pool() -> Outcome {
    let on = Fixture::new();
    let manager = pgmonkey::aio::ConnectionManager::builder()
        .idle_handle_timeout(Duration::from_millis(100))
        .build()?;
    let config = on.pools_async("{ multiplex: true, min_size: 1, max_size: 2 }");
    let pool = manager.pool(&config).await?;
    for n in 0..3_i64 {
        on.until("it sleeps", || sleeps(&pool.status()));
        let row = pool.query_one("SELECT $1::int8", &[&n]).await?;
        assert_eq!(row.get::<_, i64>(0), n);
        on.until("min_size is back or it sleeps", || {
            pool.status().idle == 1 || pool.status().asleep
        });
    }
    // A statement that runs is a use, however long it takes.
    pool.query("SELECT pg_sleep(0.5)", &[]).await?;
    assert_eq!(pool.status().closed.dirty, 0);
    Ok(())
}

twin! {
    fn two_hundred_configurations_share_a_cache_of_twenty(on, driver, go, work) {
        const TENANTS: usize = 200;
        let manager = driver::ConnectionManager::builder()
            .max_handles(20)
            .idle_handle_timeout(LATE)
            .build()?;
        let mut held = Vec::new();
        for n in 0..TENANTS {
            let pool = go!(manager.pool(&tenant(&on, n, "{ min_size: 1, max_size: 2 }")))?;
            go!(pool.query_one("SELECT 1", &[]))?;
            if n % 50 == 0 {
                held.push((n, pool));
            }
            assert!(manager.cache_info().len() <= 20);
        }
        on.until("the others have no session", || on.sessions() == 20);
        // The most recently used stay.
        let cached = manager.cache_info();
        assert_eq!(cached.len(), 20);
        let all: HashSet<_> = cached.iter().map(|entry| entry.number).collect();
        for n in TENANTS - 20..TENANTS {
            go!(manager.pool(&tenant(&on, n, "{ min_size: 1, max_size: 2 }")))?;
        }
        let again: HashSet<_> = manager.cache_info().iter().map(|entry| entry.number).collect();
        assert_eq!(all, again);
        for (n, pool) in &held {
            assert!(sleeps(&pool.status()), "{:?}", pool.status());
            let row = go!(pool.query_one("SELECT current_setting('my.tenant')", &[]))?;
            assert_eq!(row.get::<_, String>(0), n.to_string());
        }
        Ok(())
    }
}

twin! {
    fn the_least_recently_used_handle_leaves_first(on, driver, go, work) {
        let manager = driver::ConnectionManager::builder().max_handles(3).build()?;
        let open = |n| tenant(&on, n, "{ min_size: 0, max_size: 2 }");
        let first = go!(manager.pool(&open(0)))?;
        let second = go!(manager.pool(&open(1)))?;
        let third = go!(manager.pool(&open(2)))?;
        go!(second.ping())?;
        go!(first.ping())?;
        let _fourth = go!(manager.pool(&open(3)))?;
        assert!(third.status().asleep && !second.status().asleep && !first.status().asleep);
        let _fifth = go!(manager.pool(&open(4)))?;
        assert!(second.status().asleep && !first.status().asleep);
        // It has left the cache: another handle takes its place.
        assert!(!go!(manager.pool(&open(1)))?.is_same(&second));
        assert_eq!(manager.cache_info().len(), 3);
        Ok(())
    }
}

twin! {
    fn handles_in_use_stay_and_the_surplus_leaves_later(on, driver, go, work) {
        let manager = driver::ConnectionManager::builder().max_handles(2).build()?;
        let (mut pools, mut guards) = (Vec::new(), Vec::new());
        for n in 0..4 {
            let pool = go!(manager.pool(&tenant(&on, n, "{ min_size: 1, max_size: 1 }")))?;
            guards.push(go!(pool.acquire())?);
            pools.push(pool);
        }
        assert_eq!(manager.cache_info().len(), 4, "all are in use");
        drop(guards);
        on.until("the surplus has left", || manager.cache_info().len() == 2);
        let asleep = || pools.iter().filter(|pool| pool.status().asleep).count();
        on.until("and sleeps", || asleep() == 2);
        for pool in &pools {
            go!(pool.query_one("SELECT 1", &[]))?;
        }
        Ok(())
    }
}

twin! {
    fn handles_that_left_the_cache_sleep_too(on, driver, go, work) {
        let manager = driver::ConnectionManager::builder()
            .max_handles(1)
            .idle_handle_timeout(SOON)
            .build()?;
        let first = go!(manager.pool(&tenant(&on, 0, "{ min_size: 1, max_size: 1 }")))?;
        let second = go!(manager.pool(&tenant(&on, 1, "{ min_size: 1, max_size: 1 }")))?;
        go!(first.ping())?;
        assert!(!first.status().asleep);
        on.until("both sleep", || sleeps(&first.status()) && sleeps(&second.status()));
        // The sweep ends with the manager, and its handles go on.
        drop(manager);
        go!(first.ping())?;
        go!(second.ping())?;
        Ok(())
    }
}

twin! {
    fn a_handle_from_a_file_is_found_again_after_it_left(on, driver, go, work) {
        let folder = tempfile::tempdir()?;
        let manager = driver::ConnectionManager::builder().max_handles(1).build()?;
        let paths = [1, 2].map(|n| folder.path().join(format!("{n}.yaml")));
        for (n, path) in paths.iter().enumerate() {
            let sizes = format!("{{ min_size: 0, max_size: {} }}", n + 1);
            let sections = format!("pool_settings: {sizes}\nasync_pool_settings: {sizes}\n");
            std::fs::write(path, on.yaml(&sections))?;
        }
        let first = go!(manager.pool_from_file(&paths[0]))?;
        for _ in 0..3 {
            for (n, path) in paths.iter().enumerate() {
                let pool = go!(manager.pool_from_file(path))?;
                assert_eq!(pool.status().max_size as usize, n + 1);
                go!(pool.ping())?;
                on.until("the other one has left", || manager.cache_info().len() == 1);
            }
        }
        go!(first.ping())?;
        Ok(())
    }
}

twin! {
    fn limits_of_zero_are_errors(on, driver, go, work) {
        let builder = driver::ConnectionManager::builder;
        let error = builder().max_handles(0).build().expect_err("it is zero");
        assert!(error.to_string().starts_with("invalid max_handles: 0 "), "{error}");
        let error = builder().idle_handle_timeout(Duration::ZERO).build().expect_err("it is zero");
        assert!(error.to_string().starts_with("invalid idle_handle_timeout: "), "{error}");
        drop(on);
        Ok(())
    }
}

#[test]
fn the_builder_of_both_crates_passes_its_limits_on() -> Outcome {
    let on = Fixture::new();
    let builder = pgmonkey::ConnectionManager::builder();
    let manager = builder.max_handles(1).idle_handle_timeout(SOON).build()?;
    let (one, two) = (
        tenant(&on, 1, "{ min_size: 1 }"),
        tenant(&on, 2, "{ min_size: 1 }"),
    );
    let runtime = tokio::runtime::Runtime::new()?;
    let (sync, aio) = (
        manager.pool(&one)?,
        runtime.block_on(manager.async_pool(&one))?,
    );
    on.until("both sleep", || {
        sleeps(&sync.status()) && sleeps(&aio.status())
    });
    manager.pool(&two)?;
    runtime.block_on(manager.async_pool(&two))?;
    assert_eq!(manager.cache_info().len(), 2, "one of each kind");
    let builder = pgmonkey::ConnectionManager::builder();
    assert!(builder.max_handles(0).build().is_err());
    Ok(())
}
