//! Server processes that freeze and resume, and sessions that end as soon as they are open. Over
//! TCP: on a Unix socket the blocking driver has no timeouts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgmonkey_tests::{Fixture, twin};
use pgmonkey_testserver::{Cluster, signal};

/// Stops the postmaster until this is dropped: no new session can be opened.
struct StoppedPostmaster(u32);

impl StoppedPostmaster {
    fn of(cluster: &Cluster) -> Self {
        let pid = cluster.pid().expect("it runs");
        signal(pid, "STOP").expect("a process of the test's server");
        Self(pid)
    }
}

impl Drop for StoppedPostmaster {
    fn drop(&mut self) {
        let _ = signal(self.0, "CONT");
    }
}

twin! {
    fn a_session_that_stands_still_and_goes_on_is_not_lost(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 2, timeout: 5 }")))?;
        let mut guard = go!(pool.acquire())?;
        let pid = go!(guard.ping())?.backend_pid;
        let Some(stopped) = on.stop() else {
            return Ok(());
        };
        // Other callers continue.
        go!(pool.query_one("SELECT 1", &[]))?;
        assert!(stopped.still());
        let waker = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(stopped);
        });
        // The statement is sent while the server reads nothing.
        let found: i32 = go!(guard.query_one("SELECT pg_backend_pid()", &[]))?.get(0);
        assert_eq!(found, pid);
        waker.join().expect("no panic");
        drop(guard);
        on.until("all is back", || pool.status().in_use == 0);
        let status = pool.status();
        assert_eq!((status.size, status.idle, status.closed.dead), (2, 2, 0));
        assert_eq!(on.sessions(), 2);
        Ok(())
    }
}

twin! {
    fn without_a_postmaster_only_new_sessions_are_missing(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let yaml = on.yaml("pool_settings: { max_size: 2, timeout: 1 }\nasync_pool_settings: { max_size: 2, timeout: 1 }\n")
            .replacen("connect_timeout: 5", "connect_timeout: 1", 1);
        let pool = go!(driver::Pool::new(&pgmonkey_tests::load(&yaml)))?;
        let stopped = StoppedPostmaster::of(&cluster);
        for _ in 0..5 {
            go!(pool.query_one("SELECT 1", &[]))?;
        }
        let held = go!(pool.acquire())?;
        let error = go!(pool.acquire()).expect_err("no session can be opened");
        assert!(error.is_timeout() && error.is_transient(), "{error}");
        drop(held);
        on.until("it is back", || pool.status().in_use == 0);
        go!(pool.query_one("SELECT 1", &[]))?;
        drop(stopped);
        let held = (go!(pool.acquire())?, go!(pool.acquire())?);
        assert_eq!(pool.status().in_use, 2);
        drop(held);
        on.until("all is back", || pool.status().in_use == 0);
        let status = pool.status();
        assert_eq!((status.size, status.idle, status.waiting), (2, 2, 0));
        on.until("no session is left over", || on.sessions() == 2);
        Ok(())
    }
}

twin! {
    fn sessions_that_are_ended_at_once_are_opened_at_a_pace(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 2, timeout: 2 }")))?;
        let over = AtomicBool::new(false);
        let (on, over) = (std::sync::Arc::new(on), std::sync::Arc::new(over));
        let killer = std::thread::spawn({
            let (on, over) = (std::sync::Arc::clone(&on), std::sync::Arc::clone(&over));
            move || {
                while !over.load(Ordering::Relaxed) {
                    on.run(&format!(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{}'",
                        on.name
                    ));
                }
            }
        });
        let (before, began) = (pool.status().opened, Instant::now());
        let mut answered = 0;
        while began.elapsed() < Duration::from_secs(2) {
            // An error or a result, but no caller hangs.
            answered += u64::from(go!(pool.query_one("SELECT 1", &[])).is_ok());
        }
        let opened = pool.status().opened - before;
        over.store(true, Ordering::Relaxed);
        killer.join().expect("no panic");
        // Waits for those that were told to end and still have to.
        on.kill();
        // A session that was used before it ended may be replaced immediately.
        assert!(opened < 40 + answered, "{opened} logins and {answered} answers in two seconds");
        go!(pool.query_one("SELECT 1", &[]))?;
        Ok(())
    }
}
