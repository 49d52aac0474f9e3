//! Closing, idle and under load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgmonkey_tests::{Fixture, LONG, Outcome, twin};

twin! {
    fn idle_sessions_end_now_and_borrowed_ones_on_return(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 3, max_size: 3 }")))?;
        let mut borrowed = go!(pool.acquire())?;
        pool.close();
        pool.close();
        on.until("the idle ones ended", || on.sessions() == 1);
        assert_eq!(go!(borrowed.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        assert!(go!(pool.acquire()).is_err_and(|error| error.is_closed()));
        drop(borrowed);
        on.until("the last one ended", || on.sessions() == 0);
        assert_eq!(pool.status().closed.shutdown, 3);
        Ok(())
    }
}

twin! {
    fn a_guard_may_outlive_its_pool(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 2 }")))?;
        let mut guard = go!(pool.acquire())?;
        drop(pool);
        assert_eq!(go!(guard.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        drop(guard);
        on.until("its session ended with it", || on.sessions() == 0);
        Ok(())
    }
}

/// A call that takes a moment: callers that never pause would leave no processor to the logins.
const CALL: &str = "SELECT pg_sleep(0.002)";

#[test]
fn reloading_under_load_fails_no_caller() -> Outcome {
    let on = Fixture::new();
    let config = on.pools("{ min_size: 1, max_size: 4 }");
    let manager = pgmonkey::sync::ConnectionManager::new();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = 0;
                    while !stop.load(Ordering::Relaxed) {
                        manager.pool(&config)?.query_one(CALL, &[])?;
                        served += 1;
                    }
                    Ok::<u32, pgmonkey::Error>(served)
                })
            })
            .collect();
        let reloaded = (0..20).try_for_each(|_| {
            std::thread::sleep(Duration::from_millis(10));
            manager.reload_pool(&config).map(drop)
        });
        // Also after a failure: the scope waits for the threads.
        stop.store(true, Ordering::Relaxed);
        reloaded?;
        for thread in threads {
            assert!(thread.join().expect("no panic")? > 0);
        }
        Ok::<_, pgmonkey::Error>(())
    })?;
    manager.clear_cache();
    on.until("no session is left", || on.sessions() == 0);
    Ok(())
}

#[test]
fn closing_beside_an_acquire_keeps_nobody_waiting() -> Outcome {
    let on = Fixture::new();
    let config = on.pools("{ min_size: 1, max_size: 1, timeout: 20 }");
    for _ in 0..150 {
        let pool = pgmonkey::Pool::new(&config)?;
        let began = std::time::Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| match pool.acquire() {
                    Ok(_) => {}
                    Err(error) => assert!(error.is_closed(), "{error}"),
                });
            }
            scope.spawn(|| pool.close());
        });
        assert!(began.elapsed() < LONG);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloading_under_load_fails_no_caller_async() -> Outcome {
    let on = Fixture::new();
    let config = on.pools("{ min_size: 1, max_size: 4 }");
    let manager = pgmonkey::aio::ConnectionManager::new();
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (manager, config, stop) = (manager.clone(), config.clone(), stop.clone());
        tasks.spawn(async move {
            let mut served = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let pool = manager.pool(&config).await?;
                pool.query_one(CALL, &[]).await?;
                served += 1;
            }
            Ok::<_, pgmonkey::Error>(served)
        });
    }
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        manager.reload_pool(&config).await?;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(served) = tasks.join_next().await {
        assert!(served?? > 0);
    }
    manager.clear_cache_async().await;
    on.until("no session is left", || on.sessions() == 0);
    Ok(())
}

twin! {
    fn close_timeout_waits_for_what_is_borrowed(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 2, max_size: 2 }")))?;
        let guard = go!(pool.acquire())?;
        let began = std::time::Instant::now();
        assert!(!go!(pool.close_timeout(Duration::from_millis(100))), "one is out");
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(90) && waited < LONG, "{waited:?}");
        let giver = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            drop(guard);
        });
        assert!(go!(pool.close_timeout(Duration::from_secs(60))));
        assert!(began.elapsed() < LONG);
        giver.join().expect("no panic");
        on.until("all have ended", || on.sessions() == 0);
        Ok(())
    }
}
