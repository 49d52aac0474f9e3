//! Sizes, timeouts and ages.

use std::time::{Duration, Instant};

use pgmonkey::Error;
use pgmonkey_tests::{LONG, load, twin};

twin! {
    fn an_exhausted_pool_says_who_has_the_sessions(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 1, timeout: 200ms }")))?;
        let held = go!(pool.acquire())?;
        let line = line!() - 1;
        let began = Instant::now();
        let error = go!(pool.acquire()).expect_err("none is free");
        let waited = began.elapsed();
        assert!(error.is_timeout() && error.is_transient());
        assert!(waited >= Duration::from_millis(150) && waited < LONG, "{waited:?}");
        let text = error.to_string();
        assert!(text.contains("1 of 1 in use"), "{text}");
        assert!(text.contains(&format!("limits.rs:{line}")), "{text}");
        drop(held);
        assert_eq!((pool.status().timeouts, pool.status().waiting), (1, 0));
        assert!(go!(pool.acquire()).is_ok());
        Ok(())
    }
}

twin! {
    /// The timer of such a wait is set when its end is near.
    fn a_wait_of_several_seconds_times_out(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1, timeout: 4 }")))?;
        let held = go!(pool.acquire())?;
        let began = Instant::now();
        let waiter = waits_on_a_thread(&pool);
        on.until("the waiter gives up", || pool.status().timeouts == 1);
        assert!(began.elapsed() >= Duration::from_millis(3900));
        assert!(!waiter.join().expect("no panic"));
        assert_eq!(pool.status().waiting, 0);
        drop(held);
        Ok(())
    }
}

twin! {
    fn a_time_out_of_zero_does_not_wait_but_opens(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 1, timeout: 0 }")))?;
        let held = go!(pool.acquire())?;
        let began = Instant::now();
        assert!(go!(pool.acquire()).is_err_and(|error| error.is_timeout()));
        assert!(began.elapsed() < LONG);
        drop(held);
        Ok(())
    }
}

twin! {
    fn one_waiter_too_many_is_refused_at_once(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1, timeout: 60, max_waiting: 1 }")))?;
        let held = go!(pool.acquire())?;
        let waiter = waits_on_a_thread(&pool);
        on.until("one waits", || pool.status().waiting == 1);
        let began = Instant::now();
        let error = go!(pool.acquire()).expect_err("the queue is full");
        assert!(matches!(error, Error::QueueFull { .. }), "{error}");
        assert!(began.elapsed() < LONG);
        drop(held);
        assert!(waiter.join().expect("no panic"));
        Ok(())
    }
}

pub(crate) trait Waits: Clone + Send + 'static {
    fn wait(&self, runtime: &tokio::runtime::Runtime) -> bool;
}

impl Waits for pgmonkey::Pool {
    fn wait(&self, _: &tokio::runtime::Runtime) -> bool {
        self.acquire().is_ok()
    }
}

impl Waits for pgmonkey::AsyncPool {
    fn wait(&self, runtime: &tokio::runtime::Runtime) -> bool {
        runtime.block_on(async { self.acquire().await.is_ok() })
    }
}

/// Waits for a session on a thread, and returns whether it got one.
pub(crate) fn waits_on_a_thread(pool: &impl Waits) -> std::thread::JoinHandle<bool> {
    let pool = pool.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        pool.wait(&runtime.expect("a runtime"))
    })
}

twin! {
    fn a_session_past_its_lifetime_is_replaced(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1, max_lifetime: 300ms }")))?;
        let pid = "SELECT pg_backend_pid()";
        let first: i32 = go!(pool.query_one(pid, &[]))?.get(0);
        // However often it is used.
        let end = Instant::now() + LONG;
        while go!(pool.query_one(pid, &[]))?.get::<_, i32>(0) == first {
            assert!(Instant::now() < end, "the session is not replaced");
        }
        assert_eq!(pool.status().closed.lifetime, 1);
        // A session that is never idle for long also ends: when it is released.
        let guard = go!(pool.acquire())?;
        let before = pool.status().closed.lifetime;
        std::thread::sleep(Duration::from_millis(400));
        drop(guard);
        assert_eq!(pool.status().closed.lifetime, before + 1);
        Ok(())
    }
}

twin! {
    fn no_more_than_max_size_sessions_are_opened(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 3 }")))?;
        assert_eq!(on.sessions(), 0);
        let held = [go!(pool.acquire())?, go!(pool.acquire())?, go!(pool.acquire())?];
        assert_eq!(on.sessions(), 3);
        let status = pool.status();
        assert_eq!((status.size, status.in_use, status.idle), (3, 3, 0));
        drop(held);
        on.until("all are back", || pool.status().idle == 3);
        Ok(())
    }
}

twin! {
    fn check_on_checkout_asks_the_server(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1, check_on_checkout: true }")))?;
        go!(pool.batch_execute("SELECT 'the last statement'"))?;
        let mut guard = go!(pool.acquire())?;
        let asked = on.number(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND query = ''",
            &[&on.name],
        );
        assert_eq!(asked, 1, "an empty query was the last");
        assert_eq!(go!(guard.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        Ok(())
    }
}

// Over TCP: the ranges are those that the operating system accepts.
twin! {
    fn the_largest_numbers_that_load_connect(on, driver, go, work) {
        let pools = "{ min_size: 1, max_size: 262143, num_workers: 256, timeout: 4294967295, max_idle: 4294967295, \
                       max_lifetime: 4294967295, reconnect_timeout: 4294967295, leak_warning: 4294967295, \
                       max_waiting: 2147483647, statement_cache: 2147483647 }";
        let connection = "connect_timeout: 4294967295, keepalives_idle: 32767, keepalives_interval: 32767, \
                          keepalives_count: 127, tcp_user_timeout: 2147483647";
        let yaml = on.yaml(&format!("pool_settings: {pools}\nasync_pool_settings: {pools}\n"));
        let config = load(&yaml.replace("connect_timeout: 5", connection));
        assert_eq!(config.connection_settings.keepalives_count, Some(127));
        let pool = go!(driver::Pool::new(&config))?;
        assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        Ok(())
    }
}
