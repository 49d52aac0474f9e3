//! Many tenants: the pools of a manager keep to a number of sessions at one server.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pgmonkey::{Config, ConnectionManager, Error};
use pgmonkey_tests::{Fixture, LONG, Outcome, load, twin};
use pgmonkey_testserver::{Cluster, Kind};

/// The configuration of one tenant.
fn tenant(on: &Fixture, number: u32, timeout: u32) -> Config {
    let pools = format!("{{ min_size: 1, max_size: 4, timeout: {timeout} }}");
    let settings = format!("{{ app.tenant: '{number}' }}");
    load(&on.yaml(&format!(
        "pool_settings: {pools}\nasync_pool_settings: {pools}\n\
         sync_settings: {settings}\nasync_settings: {settings}\n"
    )))
}

twin! {
    fn a_pool_takes_the_place_of_the_longest_idle_session(on, driver, go, work) {
        let manager = driver::ConnectionManager::builder().max_sessions_per_server(2).build()?;
        let one = go!(manager.pool(&tenant(&on, 1, 20)))?;
        let two = go!(manager.pool(&tenant(&on, 2, 20)))?;
        assert_eq!((one.status().idle, two.status().idle), (1, 1));
        let three = go!(manager.pool(&tenant(&on, 3, 20)))?;
        assert_eq!(go!(three.query_one("SELECT current_setting('app.tenant')", &[]))?.get::<_, &str>(0), "3");
        assert_eq!((one.status().idle, one.status().closed.budget), (0, 1), "idle for longer");
        assert_eq!(two.status().idle, 1);
        on.until("two sessions", || on.sessions() == 2);
        // min_size takes no other pool's place, but a caller does.
        go!(one.query_one("SELECT 1", &[]))?;
        assert_eq!(two.status().closed.budget, 1);
        Ok(())
    }
}

twin! {
    fn a_caller_that_gets_no_place_is_told_who_has_them(on, driver, go, work) {
        let manager = driver::ConnectionManager::builder().max_sessions_per_server(2).build()?;
        let one = go!(manager.pool(&tenant(&on, 1, 20)))?;
        let held = [go!(one.acquire())?, go!(one.acquire())?];
        let error = go!(manager.pool(&tenant(&on, 2, 1))).expect_err("no place");
        assert!(error.is_timeout() && error.is_transient(), "{error}");
        let expected = format!(
            "all 2 sessions that the manager may have at {}:{} are taken: 2 by {}",
            on.server().host(), on.server().port(), one.target()
        );
        assert!(error.to_string().contains(&expected), "{error}");
        drop(held);
        let two = go!(manager.pool(&tenant(&on, 2, 20)))?;
        go!(two.query_one("SELECT 1", &[]))?;
        // Without a place for it, the first pool lives on without min_size.
        assert!(one.status().size + two.status().size <= 2);
        Ok(())
    }
}

#[test]
fn a_busy_pool_leaves_turns_to_others() -> Outcome {
    let on = Fixture::new();
    let manager = ConnectionManager::builder()
        .max_sessions_per_server(1)
        .build()?;
    let one = manager.pool(&tenant(&on, 1, 20))?;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    one.query_one("SELECT 1", &[]).expect("a session in turn");
                }
            });
        }
        on.until("callers wait", || one.status().waiting > 0);
        let two = manager.pool(&tenant(&on, 2, 20));
        let answer = two.and_then(|two| two.query_one("SELECT 1", &[]));
        over.store(true, Ordering::SeqCst);
        answer.map(drop)
    })?;
    assert!(
        one.status().closed.budget > 0,
        "callers waited for what it gave up"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_async_pool_leaves_turns_to_others() -> Outcome {
    let on = Fixture::new();
    let manager = ConnectionManager::builder()
        .max_sessions_per_server(1)
        .build()?;
    let one = manager.async_pool(&tenant(&on, 1, 20)).await?;
    let over = Arc::new(AtomicBool::new(false));
    let mut busy = Vec::new();
    for _ in 0..3 {
        let (one, over) = (one.clone(), Arc::clone(&over));
        busy.push(tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                one.query_one("SELECT 1", &[])
                    .await
                    .expect("a session in turn");
            }
        }));
    }
    on.until("callers wait", || one.status().waiting > 0);
    let two = manager.async_pool(&tenant(&on, 2, 20)).await?;
    two.query_one("SELECT 1", &[]).await?;
    over.store(true, Ordering::SeqCst);
    for busy in busy {
        busy.await?;
    }
    assert!(
        one.status().closed.budget > 0,
        "callers waited for what it gave up"
    );
    Ok(())
}

/// What a number of tenants do together.
struct Tenancy {
    tenants: u32,
    budget: u32,
    tasks: u32,
    threads: u32,
    span: Duration,
    restarts: bool,
}

/// The results.
#[derive(Debug, Default)]
struct Tally {
    answers: AtomicU64,
    time_outs: AtomicU64,
    /// Sessions that ended while the server restarted.
    ended: AtomicU64,
    /// The most sessions that the server has had.
    most: AtomicU64,
    /// Memory in KiB and threads, after half of the time and at the end.
    usage: Mutex<Vec<(u64, u64)>>,
}

impl Tally {
    fn count(&self, outcome: Result<(), Error>, restarts: bool) {
        match outcome {
            Ok(()) => self.answers.fetch_add(1, Ordering::Relaxed),
            Err(error) if error.is_timeout() => {
                assert!(error.to_string().contains("are taken"), "{error}");
                self.time_outs.fetch_add(1, Ordering::Relaxed)
            }
            Err(error) if restarts && error.is_transient() => {
                self.ended.fetch_add(1, Ordering::Relaxed)
            }
            Err(error) => panic!("{error}"),
        };
    }

    fn note_usage(&self) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let mut usage = self.usage.lock().expect("no panic");
        usage.push((number("VmRSS:"), number("Threads:")));
    }
}

impl Tenancy {
    /// Random tenants, from tasks and threads, on a server of their own.
    fn run(&self) -> anyhow::Result<Tally> {
        let cluster = Cluster::builder()
            .kind(Kind::Plain)
            .setting("max_connections", &(self.budget + 10).to_string())
            .start()?;
        let on = Fixture::on((*cluster).clone());
        let tenants: Vec<_> = (0..self.tenants).map(|n| tenant(&on, n, 20)).collect();
        let manager = ConnectionManager::builder()
            .max_sessions_per_server(self.budget)
            .build()?;
        let (tally, end) = (Tally::default(), Instant::now() + self.span);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        std::thread::scope(|scope| {
            for seed in 0..self.threads {
                let (tenants, manager, tally) = (&tenants, &manager, &tally);
                scope.spawn(move || {
                    let mut next = seed;
                    while Instant::now() < end {
                        let config = &tenants[pick(&mut next) % tenants.len()];
                        let answer = manager
                            .pool(config)
                            .and_then(|pool| pool.query_one("SELECT 1", &[]));
                        tally.count(answer.map(drop), self.restarts);
                    }
                });
            }
            let watch = || {
                let (url, mut client) = (on.server().url(), None);
                let half = end - self.span / 2;
                while Instant::now() < end {
                    if Instant::now() >= half && tally.usage.lock().expect("no panic").is_empty() {
                        tally.note_usage();
                    }
                    let Some(watcher) = &mut client else {
                        // The server restarts.
                        client = postgres::Client::connect(&url, postgres::NoTls).ok();
                        continue;
                    };
                    match watcher.query_one(COUNT, &[&on.name]) {
                        Ok(row) => {
                            let sessions = u64::try_from(row.get::<_, i64>(0)).expect("few");
                            tally.most.fetch_max(sessions, Ordering::Relaxed);
                        }
                        Err(_) => client = None,
                    }
                }
            };
            scope.spawn(watch);
            if self.restarts {
                scope.spawn(|| {
                    std::thread::sleep(self.span / 3);
                    cluster.restart().expect("it starts again");
                });
            }
            runtime.block_on(async {
                let work = (0..self.tasks).map(|seed| {
                    let (tenants, manager, tally) = (&tenants, &manager, &tally);
                    async move {
                        let mut next = 1000 + seed;
                        while Instant::now() < end {
                            let config = &tenants[pick(&mut next) % tenants.len()];
                            let answer = async {
                                manager
                                    .async_pool(config)
                                    .await?
                                    .query_one("SELECT 1", &[])
                                    .await
                            };
                            tally.count(answer.await.map(drop), self.restarts);
                        }
                    }
                });
                futures_util::future::join_all(work).await;
            });
        });
        tally.note_usage();
        drop(manager);
        let mut client = postgres::Client::connect(&on.server().url(), postgres::NoTls)?;
        let end = Instant::now() + LONG;
        while client.query_one(COUNT, &[&on.name])?.get::<_, i64>(0) > 0 {
            anyhow::ensure!(Instant::now() < end, "sessions are left");
        }
        Ok(tally)
    }
}

const COUNT: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";

/// A random number.
fn pick(seed: &mut u32) -> usize {
    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    (*seed >> 8) as usize
}

#[test]
fn many_tenants_share_the_sessions_of_a_server() -> Outcome {
    let tenancy = Tenancy {
        tenants: 60,
        budget: 12,
        tasks: 16,
        threads: 4,
        span: Duration::from_secs(4),
        restarts: false,
    };
    let tally = tenancy.run()?;
    // A server process outlives its socket for a moment.
    assert!(tally.most.load(Ordering::Relaxed) <= 12 + 4, "{tally:?}");
    assert!(tally.answers.load(Ordering::Relaxed) > 16 + 4, "{tally:?}");
    assert_eq!(tally.time_outs.load(Ordering::Relaxed), 0, "{tally:?}");
    Ok(())
}

#[test]
#[ignore = "takes a minute; CONTRIBUTING.md says how to run it"]
fn two_thousand_tenants_share_a_server_that_restarts() -> Outcome {
    let tenancy = Tenancy {
        tenants: 2000,
        budget: 90,
        tasks: 64,
        threads: 16,
        span: Duration::from_secs(60),
        restarts: true,
    };
    let tally = tenancy.run()?;
    println!("{tally:?}");
    assert!(tally.most.load(Ordering::Relaxed) <= 90 + 8, "{tally:?}");
    let usage = tally.usage.lock().expect("no panic");
    let [(memory, threads), (memory_later, threads_later)] = usage[..] else {
        panic!("{usage:?}");
    };
    assert!(memory_later <= memory + memory / 4, "{usage:?}");
    assert!(threads_later <= threads + 4, "{usage:?}");
    Ok(())
}
