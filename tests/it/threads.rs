//! The threads of blocking pools: a few per process, and one server never delays another.

use std::net::TcpListener;

use pgmonkey::{AsyncPool, Pool};
use pgmonkey_tests::{Fixture, Outcome};
use pgmonkey_testserver::Cluster;

/// How many threads belong to the library, by their names.
#[cfg(target_os = "linux")]
fn threads() -> std::io::Result<usize> {
    let mut ours = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        // A thread that has ended in the meantime has no name.
        let name = std::fs::read_to_string(thread?.path().join("comm")).unwrap_or_default();
        ours += usize::from(name.starts_with("pgmonkey"));
    }
    Ok(ours)
}

#[test]
#[cfg(target_os = "linux")]
fn hundreds_of_pools_live_with_a_few_threads() -> Outcome {
    const POOLS: usize = 300;
    let cluster = Cluster::builder()
        .setting("max_connections", "400")
        .start()?;
    let on = Fixture::on((*cluster).clone());
    let config = on.pools("{ min_size: 1, max_size: 2 }");
    let pools = (0..POOLS).map(|_| Pool::new(&config));
    let pools = pools.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(on.sessions(), POOLS as i64);
    assert!(threads()? <= 16, "{} threads", threads()?);
    assert_eq!(on.kill(), POOLS as i64);
    // Each pool still does its own maintenance and opens its own sessions.
    on.until("all pools have a session again", || {
        pools
            .iter()
            .all(|pool| pool.status().opened >= 2 && pool.status().idle == 1)
    });
    assert!(threads()? <= 16, "{} threads", threads()?);
    let runtime = tokio::runtime::Runtime::new()?;
    let tasks = runtime.block_on(async {
        let config = on.pools_async("{ min_size: 0 }");
        let mut tasks = Vec::new();
        for _ in 0..POOLS {
            tasks.push(AsyncPool::new(&config).await?);
        }
        Ok::<_, pgmonkey::Error>(tasks)
    })?;
    assert!(threads()? <= 18, "{} threads", threads()?);
    drop((pools, tasks));
    on.until("the threads end with the last pool", || {
        // The threads of the async twin stay for the lifetime of the process.
        threads().is_ok_and(|threads| threads <= 2)
    });
    Ok(())
}

#[test]
fn servers_that_never_answer_hold_up_no_other_pool() -> Outcome {
    let on = Fixture::new();
    let healthy = Pool::new(&on.pools("{ min_size: 1, max_size: 2, timeout: 20 }"))?;
    // It accepts connections and sends nothing.
    let holes: Vec<_> = (0..50)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let pools = holes.iter().map(|hole| {
        let port = hole.local_addr().expect("bound").port();
        let settings = "pool_settings: { min_size: 0, timeout: 120 }\n";
        Pool::new(&pgmonkey_tests::load(&on.yaml_at(
            "127.0.0.1",
            port,
            settings,
        )))
    });
    let pools = pools.collect::<Result<Vec<_>, _>>()?;
    let waiters = pools.iter().cloned();
    let waiters: Vec<_> = waiters
        .map(|pool| std::thread::spawn(move || pool.acquire().map(drop)))
        .collect();
    on.until("all of them wait", || {
        pools.iter().all(|pool| pool.status().waiting == 1)
    });
    for _ in 0..20 {
        // Each time a session has to be opened.
        assert!(on.kill() >= 1);
        healthy.query_one("SELECT 1", &[])?;
    }
    for pool in &pools {
        assert_eq!(pool.status().waiting, 1, "no server has answered");
        pool.close();
    }
    for waiter in waiters {
        let acquired = waiter.join().expect("no panic");
        assert!(acquired.is_err_and(|error| error.is_closed()));
    }
    Ok(())
}
