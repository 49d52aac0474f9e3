//! Calls with a deadline whose packets are dropped: not even the cancel request arrives, so that the
//! socket is closed a second after the deadline.

use std::io::{Read, Write};
use std::time::Duration;

use bytes::Bytes;
use pgmonkey::{AsyncPool, Deadline, DeadlineStage, Error, Pool, StatementEnd};
use pgmonkey_config::Config;
use pgmonkey_tests::{Fixture, LONG, Outcome, load, twin};
use pgmonkey_testserver::FarServer;

use crate::network::{far, pools_at};
use crate::outcome::is_commit_unknown;

const SOON: Duration = Duration::from_millis(300);

fn config(on: &Fixture, far: &FarServer) -> Config {
    let pools = "{ min_size: 0, max_size: 4, timeout: 60 }";
    pools_at(on, &far.host(), far.port(), pools, "connect_timeout: 30")
}

#[track_caller]
fn is_unanswered(error: &Error) {
    let Error::DeadlineExceeded(exceeded) = error else {
        panic!("another error: {error}");
    };
    let unanswered = DeadlineStage::Running(StatementEnd::Unanswered);
    assert_eq!(exceeded.stage, unanswered, "{error}");
}

twin! {
    fn the_calls_of_every_handle_end(on, driver, go, work) {
        let Some(far) = far(&on) else { return Ok(()) };
        let config = config(&on, &far);
        let pool = go!(driver::Pool::new(&config))?;
        let kind = std::any::type_name::<driver::Pool>();
        let kind = if kind.starts_with("pgmonkey_async") { "async" } else { "normal" };
        let yaml = on.yaml_at(&far.host(), far.port(), &format!("connection_type: {kind}\n"));
        let connection = go!(driver::Connection::new(&load(&yaml)))?;
        let database = go!(driver::Database::new(&load(&yaml)))?;
        go!(connection.ping())?;
        go!(database.ping())?;
        let mut guard = go!(pool.acquire())?;
        let mut tx = go!(pool.begin())?;
        go!(tx.query("SELECT 1", &[]))?;
        drop((go!(pool.acquire())?, go!(pool.acquire())?));
        on.until("two are back", || pool.status().in_use == 2);
        let silence = far.drop_packets()?;
        is_unanswered(&go!(pool.timeout(SOON).query("SELECT 1", &[])).expect_err("silent"));
        is_unanswered(&go!(pool.timeout(SOON).ping()).expect_err("silent"));
        is_unanswered(&go!(connection.timeout(SOON).execute("SELECT 1", &[])).expect_err("silent"));
        is_unanswered(&go!(database.timeout(SOON).batch_execute("SELECT 1")).expect_err("silent"));
        is_unanswered(&go!(guard.timeout(SOON).ping()).expect_err("silent"));
        is_unanswered(&go!(tx.deadline(Deadline::after(SOON)).query("SELECT 1", &[])).expect_err("silent"));
        drop((guard, tx));
        on.until("their permits are free", || pool.status().in_use == 0);
        assert_eq!((pool.status().size, pool.status().closed.dead), (0, 4));
        drop(silence);
        go!(pool.ping())?;
        go!(connection.ping())?;
        go!(database.ping())?;
        Ok(())
    }
}

twin! {
    fn a_commit_is_unknown(on, driver, go, work) {
        let Some(far) = far(&on) else { return Ok(()) };
        let pool = go!(driver::Pool::new(&config(&on, &far)))?;
        let insert = format!("INSERT INTO {} VALUES (1)", on.name);
        let mut tx = go!(pool.deadline(Deadline::after(LONG / 5)).begin())?;
        go!(tx.execute(&insert, &[]))?;
        let _silence = far.drop_packets()?;
        is_commit_unknown(&go!(tx.commit()).expect_err("silent"));
        // It has arrived: only the answer is lost.
        on.until("it is committed", || on.rows() == 1);
        Ok(())
    }
}

fn copies(on: &Fixture) -> (String, String) {
    let from = format!("COPY {} FROM STDIN", on.name);
    let endless =
        "COPY (SELECT repeat('x', 9000), pg_sleep(0.01) FROM generate_series(1, 100000)) TO STDOUT";
    (from, endless.to_owned())
}

#[test]
fn copies_end_on_threads() -> Outcome {
    let on = Fixture::new();
    let Some(far) = far(&on) else { return Ok(()) };
    let pool = Pool::new(&config(&on, &far))?;
    let (from, to) = copies(&on);
    let limit = LONG / 5;
    let mut writer = pool.timeout(limit).copy_in(&from)?;
    writer.write_all(b"1\n")?;
    writer.flush()?;
    let mut reader = pool.timeout(limit).copy_out(&to)?;
    let mut byte = [0];
    reader.read_exact(&mut byte)?;
    drop((pool.acquire()?, pool.acquire()?));
    let silence = far.drop_packets()?;
    is_unanswered(
        &pool
            .timeout(SOON)
            .copy_in(&from)
            .map(drop)
            .expect_err("silent"),
    );
    is_unanswered(
        &pool
            .timeout(SOON)
            .copy_out(&to)
            .map(drop)
            .expect_err("silent"),
    );
    // The answer to the whole copy does not arrive, and its work may have been kept.
    let error = writer.finish().expect_err("silent");
    assert!(error.is_deadline() || error.is_outcome_unknown(), "{error}");
    let error = reader.read_to_end(&mut Vec::new()).expect_err("silent");
    let error = error.downcast::<Error>().expect("one of ours");
    assert!(error.is_deadline(), "{error}");
    drop(reader);
    on.until("their permits are free", || pool.status().in_use == 0);
    assert_eq!(pool.status().size, 0);
    drop(silence);
    pool.ping()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_end_in_tasks() -> Outcome {
    let on = Fixture::new();
    let Some(far) = far(&on) else { return Ok(()) };
    let pool = AsyncPool::new(&config(&on, &far)).await?;
    let (from, to) = copies(&on);
    let limit = LONG / 5;
    let mut sink = pool.timeout(limit).copy_in::<_, Bytes>(&from).await?;
    sink.send(Bytes::from_static(b"1\n")).await?;
    let mut data = pool.timeout(limit).copy_out(&to).await?;
    data.next().await.expect("a line")?;
    drop((pool.acquire().await?, pool.acquire().await?));
    on.until("two are back", || pool.status().in_use == 2);
    let silence = far.drop_packets()?;
    let timed = pool.timeout(SOON);
    let copy = timed.copy_in::<_, Bytes>(&from).await;
    is_unanswered(&copy.map(drop).expect_err("silent"));
    is_unanswered(&timed.copy_out(&to).await.map(drop).expect_err("silent"));
    let error = sink.finish().await.expect_err("silent");
    assert!(error.is_deadline(), "{error}");
    drop(sink);
    while let Some(line) = data.next().await {
        if let Err(error) = line {
            assert!(error.is_deadline(), "{error}");
        }
    }
    on.until("their permits are free", || pool.status().in_use == 0);
    assert_eq!(pool.status().size, 0);
    drop(silence);
    pool.ping().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_on_a_shared_session_end() -> Outcome {
    let on = Fixture::new();
    let Some(far) = far(&on) else { return Ok(()) };
    let pools = "{ min_size: 1, max_size: 1, timeout: 60, multiplex: true }";
    let yaml = on.yaml_at(
        &far.host(),
        far.port(),
        &format!("async_pool_settings: {pools}\n"),
    );
    let pool = AsyncPool::new(&load(&yaml)).await?;
    let silence = far.drop_packets()?;
    let timed = pool.timeout(SOON);
    let (one, two) = tokio::join!(timed.query("SELECT 1", &[]), timed.query("SELECT 2", &[]));
    for answer in [one, two] {
        let error = answer.expect_err("silent");
        assert!(error.is_deadline(), "{error}");
    }
    on.until("the silent session is closed", || {
        pool.status().closed.total() == 1
    });
    drop(silence);
    pool.query_one("SELECT 1", &[]).await?;
    Ok(())
}
