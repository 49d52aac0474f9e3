//! A server that stops responding: nothing that a pool does by itself waits for it without a limit.
//! Over TCP: on a Unix socket the blocking driver has no timeouts.

use pgmonkey::Error;
use pgmonkey_tests::twin;

twin! {
    fn a_check_gives_a_silent_session_up_and_tries_the_next(on, driver, go, work) {
        let settings = "{ min_size: 0, max_size: 2, check_on_checkout: true }";
        let pool = go!(driver::Pool::new(&on.pools(settings)))?;
        let mut both = (go!(pool.acquire())?, go!(pool.acquire())?);
        let pids = [go!(both.0.ping())?.backend_pid, go!(both.1.ping())?.backend_pid];
        drop(both);
        let Some(stopped) = on.stop() else {
            return Ok(());
        };
        let mut guard = go!(pool.acquire())?;
        assert!(!pids.contains(&go!(guard.ping())?.backend_pid) && stopped.still());
        drop(guard);
        assert_eq!(pool.status().closed.dead, 2);
        Ok(())
    }
}

twin! {
    fn a_check_stays_within_the_callers_time_out(on, driver, go, work) {
        let settings = "{ max_size: 1, timeout: 2, check_on_checkout: true }";
        let pool = go!(driver::Pool::new(&on.pools(settings)))?;
        let Some(stopped) = on.stop() else {
            return Ok(());
        };
        // There is time left to open another session.
        drop(go!(pool.acquire())?);
        assert!(stopped.still());
        Ok(())
    }
}

twin! {
    everywhere fn a_silent_session_with_work_open_comes_back_as_lost(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.batch_execute("BEGIN"))?;
        let Some(stopped) = on.stop() else {
            return Ok(());
        };
        drop(guard);
        on.until("its place is free", || pool.status().in_use == 0);
        assert_eq!(pool.status().closed.dead, 1);
        go!(pool.query_one("SELECT 1", &[]))?;
        on.until("its socket is closed", || stopped.connections() == 0);
        assert!(stopped.still());
        Ok(())
    }
}

twin! {
    fn a_silent_session_is_not_waited_for_to_put_it_back(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1 }")))?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.batch_execute("SET work_mem = '1MB'"))?;
        let Some(stopped) = on.stop() else {
            return Ok(());
        };
        drop(guard);
        on.until("its place is free", || pool.status().in_use == 0);
        go!(pool.query_one("SELECT 1", &[]))?;
        assert!(stopped.still());
        Ok(())
    }
}

twin! {
    fn a_ping_says_that_nobody_answers(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ max_size: 1, timeout: 200ms }")))?;
        let mut guard = go!(pool.acquire())?;
        let Some(stopped) = on.stop() else {
            return Ok(());
        };
        let error = go!(guard.ping()).expect_err("no answer");
        assert!(matches!(error, Error::Unanswered { .. }) && error.is_transient(), "{error}");
        drop(guard);
        on.until("its place is free", || pool.status().in_use == 0);
        assert_eq!(pool.status().closed.dead, 1);
        go!(pool.ping())?;
        assert!(stopped.still());
        Ok(())
    }
}

/// Between the release of a session and the moment the waiting task resumes, the session may be
/// lost.
#[tokio::test]
async fn a_session_that_was_waited_for_is_looked_at() -> pgmonkey_tests::Outcome {
    let on = pgmonkey_tests::Fixture::new();
    let pool = pgmonkey::aio::Pool::new(&on.pools_async("{ max_size: 1 }")).await?;
    let guard = pool.acquire().await?;
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await?.query_one("SELECT 1", &[]).await }
    });
    while pool.status().waiting == 0 {
        tokio::task::yield_now().await;
    }
    drop(guard);
    // The runtime's only thread does nothing else in the meantime.
    assert_eq!(on.kill(), 1);
    waiter.await??;
    Ok(())
}
