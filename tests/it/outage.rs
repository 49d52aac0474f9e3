//! Servers that restart, kill sessions, hang or refuse.

use std::time::{Duration, Instant};

use pgmonkey::Error;
use pgmonkey::aio;
use pgmonkey_tests::{Fixture, LONG, Outcome, twin};
use pgmonkey_testserver::{Cluster, Proxy, StopMode};

twin! {
    fn killed_sessions_cost_no_borrower_an_error(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 4, max_size: 4 }")))?;
        // First no session is in use; then all of them were in use a moment ago.
        for _ in 0..2 {
            assert_eq!(on.kill(), 4);
            for _ in 0..10 {
                assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
            }
            let held = [go!(pool.acquire())?, go!(pool.acquire())?, go!(pool.acquire())?, go!(pool.acquire())?];
            drop(held);
            on.until("all are back", || pool.status().idle == 4);
        }
        Ok(())
    }
}

/// On one thread, which cannot poll a socket while the sessions are killed.
#[tokio::test]
async fn sessions_killed_while_the_runtime_was_busy_cost_no_borrower_an_error() -> Outcome {
    let on = Fixture::new();
    let pool = aio::Pool::new(&on.pools("{ min_size: 4, max_size: 4 }")).await?;
    for _ in 0..3 {
        assert_eq!(on.kill(), 4);
        for _ in 0..4 {
            pool.query_one("SELECT 1", &[]).await?;
        }
        let all = tokio::try_join!(
            pool.acquire(),
            pool.acquire(),
            pool.acquire(),
            pool.acquire()
        )?;
        drop(all);
    }
    Ok(())
}

twin! {
    fn a_restarted_server_costs_no_borrower_an_error(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 8, max_size: 8 }")))?;
        cluster.restart().expect("restarts");
        for _ in 0..50 {
            assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        }
        Ok(())
    }
}

twin! {
    fn while_the_server_is_away_an_acquire_waits(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 2, timeout: 20 }")))?;
        cluster.stop(StopMode::Fast).expect("stops");
        let starter = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            cluster.start_again().expect("starts");
            cluster
        });
        assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        drop(starter.join().expect("no panic"));
        Ok(())
    }
}

twin! {
    fn a_time_out_during_an_outage_tells_the_last_reason(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 2, timeout: 500ms }")))?;
        cluster.stop(StopMode::Fast).expect("stops");
        let began = Instant::now();
        let error = go!(pool.acquire()).expect_err("no answer");
        assert!(error.is_timeout(), "{error}");
        assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(400) && waited < LONG, "{waited:?}");
        Ok(())
    }
}

twin! {
    fn a_wrong_password_surfaces_at_once(on, driver, go, work) {
        for sections in ["", "pool_settings: { min_size: 0, timeout: 30 }\nasync_pool_settings: { min_size: 0, timeout: 30 }\n"] {
            let yaml = on.yaml(sections).replacen("password: '", "password: 'wr0ng-", 1);
            let config = pgmonkey_tests::load(&yaml);
            let began = Instant::now();
            let error = match go!(driver::Pool::new(&config)) {
                Ok(pool) => go!(pool.acquire()).expect_err("the password is wrong"),
                Err(error) => error,
            };
            assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
            assert_eq!(error.code().map(|code| code.code()), Some("28P01"), "{error}");
            assert!(matches!(error, Error::Connect(_)) && !error.is_transient());
            let text = format!("{error} {error:?}");
            assert!(!text.contains("wr0ng-"), "{text}");
            assert!(text.contains(&format!(":{}", on.server().port())), "{text}");
        }
        Ok(())
    }
}

twin! {
    fn a_pool_that_worked_reports_a_changed_password_at_once(on, driver, go, work) {
        let role = format!("r_{}", on.name);
        on.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'first'"));
        let user = format!("user: '{}'", on.server().user());
        let password = format!("password: '{}'", on.server().password());
        let pools = "pool_settings: { max_size: 1 }\nasync_pool_settings: { max_size: 1 }\n";
        let yaml = on.yaml(pools).replacen(&user, &format!("user: {role}"), 1)
            .replacen(&password, "password: first", 1);
        let pool = go!(driver::Pool::new(&pgmonkey_tests::load(&yaml)))?;
        on.run(&format!("ALTER ROLE {role} PASSWORD 'second'"));
        on.kill();
        let began = Instant::now();
        let error = go!(pool.acquire()).expect_err("the password is wrong now");
        assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
        assert_eq!(error.code().map(|code| code.code()), Some("28P01"), "{error}");
        on.run(&format!("DROP ROLE {role}"));
        Ok(())
    }
}

twin! {
    fn callers_wait_for_working_sessions_while_logins_are_refused(on, driver, go, work) {
        let role = format!("r_{}", on.name);
        on.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'first'"));
        let proxy = Proxy::to((on.server().host(), on.server().port()))?;
        let pools = "{ min_size: 2, max_size: 4, timeout: 1 }";
        let pools = format!("pool_settings: {pools}\nasync_pool_settings: {pools}\n");
        let user = format!("user: '{}'", on.server().user());
        let password = format!("password: '{}'", on.server().password());
        let yaml = on.yaml_at("127.0.0.1", proxy.port(), &pools)
            .replacen(&user, &format!("user: {role}"), 1)
            .replacen(&password, "password: first", 1);
        let pool = go!(driver::Pool::new(&pgmonkey_tests::load(&yaml)))?;
        on.run(&format!("ALTER ROLE {role} PASSWORD 'second'"));
        let held = [go!(pool.acquire())?, go!(pool.acquire())?];
        assert_eq!(proxy.accepted(), 2);
        for _ in 0..2 {
            let error = go!(pool.acquire()).expect_err("both sessions are in use");
            assert!(error.is_timeout(), "{error}");
            assert!(error.to_string().contains("password authentication failed"), "{error}");
        }
        assert_eq!(proxy.accepted(), 3, "one refused login in two seconds");
        drop(held);
        let held = [go!(pool.acquire())?, go!(pool.acquire())?];
        assert_eq!(pool.status().opened, 2);
        // Without a session to wait for, the reason is reported at once.
        on.kill();
        drop(held);
        on.until("the pool notices", || pool.status().size == 0);
        let error = go!(pool.acquire()).expect_err("no session is left");
        assert_eq!(error.code().map(|code| code.code()), Some("28P01"), "{error}");
        drop(pool);
        on.run(&format!("DROP ROLE {role}"));
        Ok(())
    }
}

twin! {
    fn a_server_that_accepts_and_never_answers_ends_with_connect_timeout(on, driver, go, work) {
        let proxy = Proxy::to((on.server().host(), on.server().port()))?;
        proxy.stall();
        let yaml = on.yaml_at("127.0.0.1", proxy.port(), "").replacen("connect_timeout: 5", "connect_timeout: 1", 1);
        let began = Instant::now();
        let error = match go!(driver::Pool::new(&pgmonkey_tests::load(&yaml))) {
            Ok(_) => panic!("unexpected answer"),
            Err(error) => error,
        };
        assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
        assert!(error.to_string().contains("connect_timeout"), "{error}");
        Ok(())
    }
}
