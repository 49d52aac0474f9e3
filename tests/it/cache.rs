//! One configuration always gives the same handle.

use std::sync::{Arc, Barrier};

use pgmonkey::{ConnectionManager, ConnectionType};
use pgmonkey_tests::{Fixture, LONG, Outcome, twin};

twin! {
    fn b01_the_same_configuration_is_the_same_handle(on, driver, go, work) {
        let manager = driver::ConnectionManager::new();
        let config = on.config("");
        let pool = go!(manager.pool(&config))?;
        assert!(pool.is_same(&go!(manager.pool(&config))?));
        // Another load of the same text, or another spelling, is the same configuration.
        let again = pgmonkey_tests::load(&on.yaml("").replace("port: ", "port: \"").replacen(", user", "\", user", 1));
        assert!(pool.is_same(&go!(manager.pool(&again))?));
        let other = on.pools("{ max_size: 3 }");
        assert!(!pool.is_same(&go!(manager.pool(&other))?));
        let connection = go!(manager.connection(&config))?;
        assert!(connection.is_same(&go!(manager.connection(&config))?));
        assert_eq!(manager.cache_info().len(), 3);
        Ok(())
    }
}

twin! {
    fn cache_info_tells_what_is_cached(on, driver, go, work) {
        let manager = driver::ConnectionManager::new();
        let config = on.pools("{ min_size: 2, max_size: 4 }");
        for _ in 0..3 {
            go!(manager.pool(&config))?;
        }
        let info = manager.cache_info();
        assert_eq!(info.len(), 1);
        let entry = &info[0];
        assert_eq!((&entry.name, &entry.sources[..]), (&entry.target, &[pgmonkey::ConfigSource::Code][..]));
        assert!(entry.unused_for <= entry.age && entry.last_failure.is_none());
        assert!(entry.connection_type.is_pool());
        let server = on.server();
        let target = format!("{}@{}:{}/{}", server.user(), server.host(), server.port(), server.dbname());
        assert_eq!(entry.target, target);
        assert_eq!((entry.hits, entry.status.size, entry.status.max_size), (2, 2, 4));
        assert!(entry.age < LONG);
        let text = format!("{entry} {entry:?}");
        assert!(!text.contains(server.password()), "{text}");
        Ok(())
    }
}

twin! {
    fn a_failed_open_leaves_nothing_behind(on, driver, go, work) {
        let manager = driver::ConnectionManager::new();
        let wrong = pgmonkey_tests::load(&on.yaml_at("127.0.0.1", 1, ""));
        assert!(go!(manager.pool(&wrong)).is_err());
        assert!(manager.cache_info().is_empty());
        assert!(go!(manager.pool(&on.config(""))).is_ok());
        Ok(())
    }
}

twin! {
    fn a_reload_publishes_the_new_one_and_retires_the_old(on, driver, go, work) {
        let manager = driver::ConnectionManager::new();
        let config = on.pools("{ min_size: 1, max_size: 2 }");
        let old = go!(manager.pool(&config))?;
        let borrowed = go!(old.acquire())?;
        let new = go!(manager.reload_pool(&config))?;
        assert!(new.is_same(&old) && new.is_same(&go!(manager.pool(&config))?));
        assert!(!old.is_closed() && !new.is_closed());
        drop(borrowed);
        on.until("the old session ended when it came back", || on.sessions() == 1);
        drop(go!(old.acquire())?);
        old.close();
        assert!(new.is_closed() && go!(old.acquire()).is_err_and(|error| error.is_closed()));
        Ok(())
    }
}

twin! {
    fn a_reload_that_fails_keeps_the_old_one(on, driver, go, work) {
        let on = {
            // The test stops the server, so it uses its own.
            drop(on);
            let cluster = pgmonkey_testserver::Cluster::builder().start().expect("a server");
            (Fixture::on((*cluster).clone()), cluster)
        };
        let (on, cluster) = on;
        let manager = driver::ConnectionManager::new();
        let config = on.pools("{ min_size: 1, max_size: 2 }");
        let pool = go!(manager.pool(&config))?;
        cluster.stop(pgmonkey_testserver::StopMode::Fast).expect("stops");
        assert!(go!(manager.reload_pool(&config)).is_err());
        assert!(!pool.is_closed());
        assert!(pool.is_same(&go!(manager.pool(&config))?));
        Ok(())
    }
}

twin! {
    fn a_handle_closed_by_hand_is_not_given_out_again(on, driver, go, work) {
        let manager = driver::ConnectionManager::new();
        let config = on.config("");
        let closed = go!(manager.pool(&config))?;
        closed.close();
        let pool = go!(manager.pool(&config))?;
        assert!(!pool.is_same(&closed));
        assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        Ok(())
    }
}

twin! {
    fn dropping_a_manager_closes_what_no_other_holds(on, driver, go, work) {
        let manager = driver::ConnectionManager::new();
        go!(manager.pool(&on.pools("{ min_size: 3, max_size: 3 }")))?;
        let held = go!(manager.pool(&on.pools("{ min_size: 1, max_size: 2 }")))?;
        assert_eq!(on.sessions(), 4);
        drop(manager);
        on.until("the sessions of one ended", || on.sessions() == 1);
        assert!(!held.is_closed());
        go!(held.query_one("SELECT 1", &[]))?;
        drop(held);
        on.until("all sessions ended", || on.sessions() == 0);
        Ok(())
    }
}

twin! {
    fn a_file_is_read_again_when_it_changed(on, driver, go, work) {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("pgmonkey.yaml");
        std::fs::write(&path, on.yaml(""))?;
        let manager = driver::ConnectionManager::new();
        let pool = go!(manager.pool_from_file(&path))?;
        assert!(pool.is_same(&go!(manager.pool_from_file(&path))?));
        std::fs::write(&path, on.yaml("pool_settings: { max_size: 3 }\nasync_pool_settings: { max_size: 3 }\n"))?;
        let changed = go!(manager.pool_from_file(&path))?;
        assert!(pool.is_same(&changed), "it was retired");
        assert_eq!((changed.status().max_size, pool.status().max_size), (3, 3));
        go!(manager.connection_from_file(&path))?;
        Ok(())
    }
}

#[test]
fn b04_a_storm_of_threads_opens_one_pool() -> Outcome {
    const THREADS: usize = 100;
    let on = Fixture::new();
    let config = on.pools("{ min_size: 2, max_size: 5 }");
    let manager = pgmonkey::sync::ConnectionManager::new();
    let barrier = Barrier::new(THREADS);
    let most = std::sync::atomic::AtomicI64::new(0);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    let pool = manager.pool(&config)?;
                    pool.query("SELECT pg_sleep(0.005)", &[])?;
                    Ok::<_, pgmonkey::Error>(pool)
                })
            })
            .collect();
        while !threads
            .iter()
            .all(std::thread::ScopedJoinHandle::is_finished)
        {
            most.fetch_max(on.sessions(), std::sync::atomic::Ordering::Relaxed);
        }
        let pools: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect::<Result<_, _>>()?;
        assert!(pools.iter().all(|pool| pool.is_same(&pools[0])));
        // Whether all five are needed depends on the timing of the threads.
        assert!((2..=5).contains(&pools[0].status().opened));
        Ok::<_, pgmonkey::Error>(())
    })?;
    assert!(most.into_inner() <= 5);
    assert_eq!(manager.cache_info().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_tasks_opens_one_pool() -> Outcome {
    const TASKS: usize = 100;
    let on = Arc::new(Fixture::new());
    let config = on.pools("{ min_size: 2, max_size: 5 }");
    let manager = pgmonkey::aio::ConnectionManager::new();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let (manager, config) = (manager.clone(), config.clone());
        tasks.spawn(async move {
            let pool = manager.pool(&config).await?;
            pool.query("SELECT pg_sleep(0.005)", &[]).await?;
            Ok::<_, pgmonkey::Error>(pool)
        });
    }
    let watcher = {
        let on = Arc::clone(&on);
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let mut most = 0;
            while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                most = most.max(on.sessions());
            }
            most
        });
        (stop, thread)
    };
    let mut pools = Vec::new();
    while let Some(pool) = tasks.join_next().await {
        pools.push(pool??);
    }
    drop(watcher.0);
    assert!(watcher.1.join().expect("no panic") <= 5);
    assert!(pools.iter().all(|pool| pool.is_same(&pools[0])));
    assert!(pools[0].status().opened <= 5);
    assert_eq!(manager.cache_info().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clear_cache_closes_sync_and_clear_cache_async_both() -> Outcome {
    let on = Fixture::new();
    let config = on.config("");
    let manager = ConnectionManager::new();
    let open = {
        let (manager, config) = (manager.clone(), config.clone());
        move || manager.pool(&config)
    };
    let blocking = tokio::task::spawn_blocking(open.clone()).await??;
    let tasks = manager.async_pool(&config).await?;
    assert_eq!(manager.clear_cache(), 1);
    assert!(blocking.is_closed() && !tasks.is_closed());
    let kinds: Vec<_> = manager
        .cache_info()
        .iter()
        .map(|entry| entry.connection_type)
        .collect();
    assert_eq!(kinds, [ConnectionType::AsyncPool]);

    let blocking = tokio::task::spawn_blocking(open).await??;
    assert_eq!(manager.clear_cache_async().await, 2);
    assert!(blocking.is_closed() && tasks.is_closed());
    assert!(manager.cache_info().is_empty());
    on.until("no session is left", || on.sessions() == 0);
    Ok(())
}
