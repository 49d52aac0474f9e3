//! Networks that drop packets, end one direction, or forward a byte now and then.

use std::time::Duration;

use pgmonkey::Error;
use pgmonkey_config::Config;
use pgmonkey_tests::{Fixture, load, twin};
#[cfg(target_os = "linux")]
use pgmonkey_testserver::FarServer;
use pgmonkey_testserver::{Cut, Proxy};

/// The pool section for both families, at this address.
pub(crate) fn pools_at(
    on: &Fixture,
    host: &str,
    port: u16,
    settings: &str,
    connection: &str,
) -> Config {
    let sections = format!("pool_settings: {settings}\nasync_pool_settings: {settings}\n");
    let yaml = on.yaml_at(host, port, &sections);
    load(&yaml.replacen("connect_timeout: 5", connection, 1))
}

fn proxied(on: &Fixture, proxy: &Proxy, settings: &str) -> Config {
    pools_at(
        on,
        "127.0.0.1",
        proxy.port(),
        settings,
        "connect_timeout: 5",
    )
}

/// `None` with a message if no network can be created.
#[cfg(target_os = "linux")]
pub(crate) fn far(on: &Fixture) -> Option<FarServer> {
    FarServer::to((on.server().host(), on.server().port()))
        .inspect_err(|error| eprintln!("skipped: {error}"))
        .ok()
}

#[cfg(target_os = "linux")]
twin! {
    fn a_check_on_checkout_gives_up_sessions_whose_packets_are_dropped(on, driver, go, work) {
        let Some(far) = far(&on) else { return Ok(()) };
        let settings = "{ min_size: 0, max_size: 2, timeout: 4, check_on_checkout: true }";
        let config = pools_at(&on, &far.host(), far.port(), settings, "connect_timeout: 1");
        let pool = go!(driver::Pool::new(&config))?;
        drop((go!(pool.acquire())?, go!(pool.acquire())?));
        on.until("both are back", || pool.status().idle == 2);
        let silence = far.drop_packets()?;
        let error = go!(pool.acquire()).expect_err("nothing comes through");
        assert!(error.is_timeout() && error.is_transient(), "{error}");
        assert_eq!(pool.status().closed.dead, 2, "{error}");
        drop(silence);
        go!(pool.query_one("SELECT 1", &[]))?;
        Ok(())
    }
}

#[cfg(target_os = "linux")]
twin! {
    fn a_guard_with_work_open_comes_back_though_packets_are_dropped(on, driver, go, work) {
        let Some(far) = far(&on) else { return Ok(()) };
        let config = pools_at(&on, &far.host(), far.port(), "{ max_size: 1 }", "connect_timeout: 1");
        let pool = go!(driver::Pool::new(&config))?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.batch_execute("BEGIN"))?;
        let silence = far.drop_packets()?;
        drop(guard);
        on.until("its permit is free", || pool.status().in_use == 0);
        assert_eq!(pool.status().closed.dead, 1);
        drop(silence);
        go!(pool.query_one("SELECT 1", &[]))?;
        Ok(())
    }
}

#[cfg(target_os = "linux")]
twin! {
    fn tcp_user_timeout_ends_a_statement_whose_packets_are_dropped(on, driver, go, work) {
        let Some(far) = far(&on) else { return Ok(()) };
        let connection = "connect_timeout: 1, tcp_user_timeout: 1000";
        let config = pools_at(&on, &far.host(), far.port(), "{ max_size: 1 }", connection);
        let pool = go!(driver::Pool::new(&config))?;
        let mut guard = go!(pool.acquire())?;
        let silence = far.drop_packets()?;
        let error = go!(guard.query_one("SELECT 1", &[])).expect_err("nothing comes through");
        assert!(error.is_transient(), "{error}");
        drop(guard);
        on.until("its permit is free", || pool.status().in_use == 0);
        assert_eq!(pool.status().closed.dead, 1);
        drop(silence);
        go!(pool.query_one("SELECT 1", &[]))?;
        Ok(())
    }
}

#[cfg(target_os = "linux")]
twin! {
    fn a_ping_ends_though_packets_are_dropped(on, driver, go, work) {
        let Some(far) = far(&on) else { return Ok(()) };
        let settings = "{ min_size: 0, max_size: 1, timeout: 2 }";
        let config = pools_at(&on, &far.host(), far.port(), settings, "connect_timeout: 1");
        let pool = go!(driver::Pool::new(&config))?;
        let mut guard = go!(pool.acquire())?;
        let silence = far.drop_packets()?;
        let error = go!(guard.ping()).expect_err("nothing comes through");
        assert!(matches!(error, Error::Unanswered { .. }) && error.is_transient(), "{error}");
        drop((silence, guard));
        on.until("its permit is free", || pool.status().in_use == 0);
        go!(pool.ping())?;
        Ok(())
    }
}

twin! {
    fn an_idle_session_that_was_half_closed_is_replaced_and_closed(on, driver, go, work) {
        let proxy = Proxy::to((on.server().host(), on.server().port()))?;
        let pool = go!(driver::Pool::new(&proxied(&on, &proxy, "{ max_size: 1 }")))?;
        let before = go!(pool.ping())?.backend_pid;
        proxy.cut(Cut::HalfClose);
        // A session that was released less than a millisecond ago is handed out without a look at
        // its socket.
        std::thread::sleep(Duration::from_millis(20));
        let after = go!(pool.ping())?.backend_pid;
        assert_ne!(before, after);
        assert_eq!(pool.status().closed.dead, 1);
        on.until("our side of the old one is closed too", || proxy.connections() == 1);
        on.until("and the server's session has ended", || on.sessions() == 1);
        Ok(())
    }
}

twin! {
    fn a_statement_whose_answer_ends_in_a_half_close_fails(on, driver, go, work) {
        let proxy = Proxy::to((on.server().host(), on.server().port()))?;
        let pool = go!(driver::Pool::new(&proxied(&on, &proxy, "{ max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.batch_execute("SET work_mem = '1MB'"))?;
        proxy.cut(Cut::HalfClose);
        let error = go!(guard.query_one("SELECT 1", &[])).expect_err("nothing more is sent");
        assert!(error.is_transient(), "{error}");
        drop(guard);
        on.until("its permit is free", || pool.status().in_use == 0);
        go!(pool.query_one("SELECT 1", &[]))?;
        on.until("our side of the old one is closed too", || proxy.connections() == 1);
        Ok(())
    }
}

twin! {
    fn a_check_on_checkout_is_one_limit_for_all_bytes_of_an_answer(on, driver, go, work) {
        let proxy = Proxy::to((on.server().host(), on.server().port()))?;
        let settings = "{ max_size: 1, check_on_checkout: true }";
        let pool = go!(driver::Pool::new(&proxied(&on, &proxy, settings)))?;
        let before = go!(pool.ping())?.backend_pid;
        proxy.trickle(Duration::from_millis(400));
        let after = go!(pool.ping())?.backend_pid;
        assert_ne!(before, after);
        assert_eq!(pool.status().closed.dead, 1);
        on.until("the slow one is closed", || proxy.connections() == 1);
        Ok(())
    }
}

twin! {
    fn a_session_is_made_clean_within_one_limit(on, driver, go, work) {
        let proxy = Proxy::to((on.server().host(), on.server().port()))?;
        let pool = go!(driver::Pool::new(&proxied(&on, &proxy, "{ max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.batch_execute("BEGIN"))?;
        // The response to ROLLBACK has 20 bytes.
        proxy.trickle(Duration::from_millis(800));
        drop(guard);
        on.until("its permit is free", || pool.status().in_use == 0);
        assert_eq!(pool.status().closed.dead, 1);
        go!(pool.query_one("SELECT 1", &[]))?;
        Ok(())
    }
}
