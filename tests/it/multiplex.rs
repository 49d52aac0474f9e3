//! Standalone statements share sessions by pipelining, without a visible effect.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use pgmonkey::{AsyncPool, Error};
use pgmonkey_tests::{Fixture, LONG, Outcome};
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

async fn pool(on: &Fixture, settings: &str) -> Result<AsyncPool, Error> {
    AsyncPool::new(&on.pools_async(&format!("{{ multiplex: true, {settings} }}"))).await
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Statements that wait for a lock on the test's table.
struct Jam {
    /// Holds the lock.
    locker: tokio_postgres::Client,
    callers: Vec<JoinHandle<Result<i64, Error>>>,
}

impl Jam {
    /// Starts this many callers, all of them waiting for their results.
    async fn begin(on: &Fixture, pool: &AsyncPool, callers: i64) -> Result<Self, BoxError> {
        open_all(pool).await?;
        let (locker, connection) =
            tokio_postgres::connect(&on.server().url(), tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let lock = format!("BEGIN; LOCK TABLE {}", on.name);
        locker.batch_execute(&lock).await?;
        let ask = format!("SELECT count(*) + $1 FROM {}", on.name);
        let begun = Arc::<AtomicU64>::default();
        let wanted = callers as u64;
        let callers = (0..callers)
            .map(|n| {
                let (pool, ask, begun) = (pool.clone(), ask.clone(), Arc::clone(&begun));
                tokio::spawn(async move {
                    let params: [&(dyn ToSql + Sync); 1] = [&n];
                    let mut answer = pin!(pool.query_one(&ask, &params));
                    let first = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
                    // From here on the caller is in the queue or on a session.
                    begun.fetch_add(1, Ordering::Relaxed);
                    let row = match first {
                        Poll::Ready(answer) => answer?,
                        Poll::Pending => answer.await?,
                    };
                    Ok(row.get(0))
                })
            })
            .collect();
        until("all have begun", || begun.load(Ordering::Relaxed) == wanted).await;
        let jam = Self { locker, callers };
        until("sessions wait for the lock", || {
            on.number(
                "SELECT count(*) FROM pg_stat_activity \
                 WHERE application_name = $1 AND wait_event_type = 'Lock'",
                &[&on.name],
            ) == i64::from(pool.status().max_size)
        })
        .await;
        Ok(jam)
    }

    async fn release(&self) -> Result<(), tokio_postgres::Error> {
        self.locker.batch_execute("COMMIT").await
    }
}

/// Opens the sessions of a pool, so that the first callers find one each: callers that have joined a
/// session by the time another is open leave that one idle.
async fn open_all(pool: &AsyncPool) -> Result<(), Error> {
    let max_size = pool.status().max_size;
    let mut guards = Vec::new();
    for _ in 0..max_size {
        guards.push(pool.acquire().await?);
    }
    drop(guards);
    until("all are idle", || pool.status().idle == max_size).await;
    Ok(())
}

/// Like [`Fixture::until`], but lets the tasks of a single thread run.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "not within {LONG:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_find_no_idle_session_share() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, "max_size: 2").await?;
    let jam = Jam::begin(&on, &pool, 20).await?;
    let status = pool.status();
    assert_eq!((status.waiting, status.in_use, status.size), (0, 2, 2));
    jam.release().await?;
    for (n, caller) in jam.callers.into_iter().enumerate() {
        assert_eq!(caller.await??, n as i64, "each has its own answer");
    }
    until("the sessions are back", || pool.status().idle == 2).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_setting_they_wait() -> Outcome {
    let on = Fixture::new();
    let pool = AsyncPool::new(&on.pools("{ max_size: 2 }")).await?;
    let jam = Jam::begin(&on, &pool, 20).await?;
    until("the others wait", || pool.status().waiting == 18).await;
    jam.release().await?;
    for caller in jam.callers {
        caller.await??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_the_session_takes_one_of_its_own() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, "max_size: 1").await?;
    let jam = Jam::begin(&on, &pool, 3).await?;
    let statements = [
        "SET work_mem = '1MB'",
        "SELECT set_config('work_mem', '1MB', false)",
        "SELECT pg_advisory_lock(1), pg_advisory_unlock(1)",
        "CREATE TEMP TABLE t (n int)",
    ];
    let alone: Vec<_> = statements
        .into_iter()
        .map(|text| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.execute(text, &[]).await })
        })
        .collect();
    until("they wait", || pool.status().waiting == 4).await;
    jam.release().await?;
    for caller in jam.callers {
        caller.await??;
    }
    for caller in alone {
        caller.await??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_stay_with_their_caller() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, "max_size: 2").await?;
    let callers: Vec<_> = (0..400_i32)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                match n % 4 {
                    0 => pool.query_one("SELECT 100 / $1::int", &[&0]).await,
                    1 => pool.query_one("SELECT no_such_column", &[]).await,
                    2 => pool.query_one("SELECT $1::int WHERE false", &[&n]).await,
                    _ => pool.query_one("SELECT $1::int", &[&n]).await,
                }
            })
        })
        .collect();
    for (n, caller) in callers.into_iter().enumerate() {
        let answer = caller.await?;
        let code = answer.as_ref().err().map(|error| error.code().cloned());
        match n % 4 {
            0 => assert_eq!(code, Some(Some(SqlState::DIVISION_BY_ZERO))),
            1 => assert_eq!(code, Some(Some(SqlState::UNDEFINED_COLUMN))),
            2 => assert_eq!(code, Some(None), "not one row"),
            _ => assert_eq!(answer?.get::<_, i32>(0), n as i32),
        }
    }
    assert_eq!(pool.status().closed.total(), 0);
    Ok(())
}

async fn who_goes_disturbs_nobody() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, "max_size: 1").await?;
    let jam = Jam::begin(&on, &pool, 12).await?;
    for caller in jam.callers.iter().step_by(2) {
        caller.abort();
    }
    until("they are gone", || {
        jam.callers.iter().step_by(2).all(JoinHandle::is_finished)
    })
    .await;
    // No caller joins a session with an abandoned statement in front.
    let (late, text) = (pool.clone(), "SELECT 1".to_owned());
    let late = tokio::spawn(async move { late.query_one(&text, &[]).await });
    until("it waits", || pool.status().waiting == 1).await;
    jam.release().await?;
    for (n, caller) in jam.callers.into_iter().enumerate() {
        match caller.await {
            Ok(answer) => assert_eq!(answer?, n as i64),
            Err(gone) => assert!(gone.is_cancelled() && n % 2 == 0),
        }
    }
    assert_eq!(late.await??.get::<_, i32>(0), 1);
    assert_eq!(pool.status().opened, 1, "the session was kept");
    Ok(())
}

#[tokio::test]
async fn who_goes_disturbs_nobody_on_one_thread() -> Outcome {
    who_goes_disturbs_nobody().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_disturbs_nobody_on_two_threads() -> Outcome {
    who_goes_disturbs_nobody().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_statement_is_stopped_when_nobody_else_is_there() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, "max_size: 1").await?;
    let slept = tokio::time::timeout(
        Duration::from_millis(50),
        pool.query("SELECT pg_sleep(30)", &[]),
    );
    assert!(slept.await.is_err());
    let began = Instant::now();
    pool.query_one("SELECT 1", &[]).await?;
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(on.sessions_in("active"), 0);
    Ok(())
}

/// Callers that run until they are stopped.
struct Crowd {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    callers: Vec<JoinHandle<Result<BTreeSet<i32>, Error>>>,
}

impl Crowd {
    /// Each queries the process of its session, which is never that of `taken`.
    fn begin(pool: &AsyncPool, callers: usize, taken: &Arc<AtomicI32>) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let callers = (0..callers)
            .map(|_| {
                let (pool, stop, done) = (pool.clone(), Arc::clone(&stop), Arc::clone(&done));
                let taken = Arc::clone(taken);
                tokio::spawn(async move {
                    let mut seen = BTreeSet::new();
                    while !stop.load(Ordering::Relaxed) {
                        let before = taken.load(Ordering::SeqCst);
                        let ask = "SELECT pg_backend_pid(), $1::int";
                        let row = pool.query_one(ask, &[&before]).await?;
                        assert_eq!(row.get::<_, i32>(1), before);
                        let pid = row.get(0);
                        if before == taken.load(Ordering::SeqCst) {
                            assert_ne!(pid, before, "the session is held exclusively");
                        }
                        seen.insert(pid);
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(seen)
                })
            })
            .collect();
        Self {
            stop,
            done,
            callers,
        }
    }

    async fn end(self) -> Result<BTreeSet<i32>, BoxError> {
        self.stop.store(true, Ordering::Relaxed);
        let mut seen = BTreeSet::new();
        for caller in self.callers {
            seen.extend(caller.await??);
        }
        Ok(seen)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_ones_own_is_to_be_had_among_those_who_share() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, "max_size: 3").await?;
    let taken = Arc::<AtomicI32>::default();
    let crowd = Crowd::begin(&pool, 32, &taken);
    for n in 1..=50 {
        let began = Instant::now();
        let transaction = pool.begin().await?;
        let waited = began.elapsed();
        assert!(waited < LONG, "{waited:?}");
        let ask = "SELECT pg_backend_pid()";
        let pid = transaction.query_one(ask, &[]).await?.get(0);
        taken.store(pid, Ordering::SeqCst);
        let before = crowd.done.load(Ordering::Relaxed);
        transaction
            .execute(&format!("INSERT INTO {} VALUES ($1)", on.name), &[&n])
            .await?;
        until("the others go on", || {
            crowd.done.load(Ordering::Relaxed) >= before + 20
        })
        .await;
        taken.store(-1, Ordering::SeqCst);
        if n % 2 == 0 {
            transaction.commit().await?;
        } else {
            drop(transaction);
        }
    }
    let seen = crowd.end().await?;
    assert!(seen.len() <= 3, "{seen:?}");
    assert_eq!((on.rows(), on.sessions()), (25, 3));
    until("all are back", || pool.status().idle == 3).await;
    assert_eq!(pool.status().closed.total(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_shared_without_a_pause_still_ends_at_its_age() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, "max_size: 2, max_lifetime: 300ms").await?;
    let crowd = Crowd::begin(&pool, 16, &Arc::new(AtomicI32::new(-1)));
    until("sessions grew too old", || {
        pool.status().closed.lifetime >= 4
    })
    .await;
    crowd.end().await?;
    assert!(on.sessions() <= 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_is_made_smaller_takes_sessions_from_those_who_share() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, "max_size: 4").await?;
    let crowd = Crowd::begin(&pool, 32, &Arc::new(AtomicI32::new(-1)));
    until("it is full", || pool.status().size == 4).await;
    pool.resize(1, 2)?;
    until("it is smaller", || pool.status().size <= 2).await;
    until("the server knows it", || on.sessions() <= 2).await;
    crowd.end().await?;
    assert!(pool.status().size <= 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_dies_gives_each_an_error_and_the_next_another() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, "max_size: 1").await?;
    let mut jam = Jam::begin(&on, &pool, 8).await?;
    assert_eq!(on.kill(), 1);
    for caller in std::mem::take(&mut jam.callers) {
        let error = caller.await?.expect_err("its session is gone");
        assert!(error.is_transient(), "{error}");
    }
    jam.release().await?;
    assert_eq!(pool.query_one("SELECT 1", &[]).await?.get::<_, i32>(0), 1);
    let status = pool.status();
    assert_eq!((status.closed.dead, status.opened), (1, 2));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_lets_those_who_share_finish_and_nobody_in() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, "max_size: 2").await?;
    let jam = Jam::begin(&on, &pool, 10).await?;
    pool.close();
    let error = pool.query("SELECT 1", &[]).await.expect_err("closed");
    assert!(error.is_closed(), "{error}");
    jam.release().await?;
    for caller in jam.callers {
        caller.await??;
    }
    until("the sessions end", || on.sessions() == 0).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_of_the_session_hold_for_all() -> Outcome {
    let on = Fixture::new();
    let config = on.config(
        "async_pool_settings: { multiplex: true, max_size: 1 }\nasync_settings: { statement_timeout: '150' }\n",
    );
    let pool = AsyncPool::new(&config).await?;
    let callers: Vec<_> = (0..9_i32)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                match n % 3 {
                    0 => pool.query_one("SELECT 1 FROM pg_sleep(20)", &[]).await,
                    _ => pool.query_one("SELECT $1::int", &[&n]).await,
                }
            })
        })
        .collect();
    for (n, caller) in callers.into_iter().enumerate() {
        match caller.await? {
            Ok(row) => assert_eq!(row.get::<_, i32>(0), n as i32),
            Err(error) => {
                assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED), "{error}");
                assert_eq!(n % 3, 0);
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_text_is_prepared_once_for_all_who_share() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, "max_size: 1").await?;
    let jam = Jam::begin(&on, &pool, 40).await?;
    jam.release().await?;
    for caller in jam.callers {
        caller.await??;
    }
    let prepared =
        "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'SELECT count%'";
    let row = pool.acquire().await?.query_typed_one(prepared, &[]).await?;
    assert_eq!(row.get::<_, i64>(0), 1);
    assert_eq!(pool.status().statement_cache.misses, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_schema_costs_those_who_share_no_error() -> Outcome {
    let on = Fixture::new();
    for cache in [256, 0] {
        let pool = pool(&on, &format!("max_size: 2, statement_cache: {cache}")).await?;
        let stop = Arc::<AtomicBool>::default();
        let text = format!("SELECT * FROM {} WHERE $1::int > 0", on.name);
        let done: [Arc<AtomicU64>; 16] = Default::default();
        let callers = done.each_ref().map(|done| {
            let (pool, text) = (pool.clone(), text.clone());
            let (stop, done) = (Arc::clone(&stop), Arc::clone(done));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    pool.query(&text, &[&1]).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, Error>(())
            })
        });
        for change in 0..20 {
            let alter = format!("ALTER TABLE {} ADD c{cache}_{change} int", on.name);
            on.run(&alter);
            let before = done.each_ref().map(|done| done.load(Ordering::Relaxed));
            // One change at a time: a statement is retried once, not forever.
            until("all go on", || {
                callers.iter().any(JoinHandle::is_finished)
                    || done
                        .iter()
                        .zip(before)
                        .all(|(done, before)| done.load(Ordering::Relaxed) >= before + 3)
            })
            .await;
        }
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.await??;
        }
        assert_eq!(pool.status().closed.total(), 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_left_inside_a_transaction_is_not_shared() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, "max_size: 1, reset: none").await?;
    pool.batch_execute("BEGIN").await?;
    let insert = format!("INSERT INTO {} VALUES (1)", on.name);
    pool.execute(&insert, &[]).await?;
    pool.batch_execute("ROLLBACK").await?;
    assert_eq!(on.rows(), 0);
    pool.execute(&insert, &[]).await?;
    assert_eq!(on.rows(), 1);

    pool.batch_execute("BEGIN").await?;
    let jam = Jam::begin(&on, &pool, 3).await?;
    until("the others wait", || pool.status().waiting == 2).await;
    jam.release().await?;
    for (n, caller) in jam.callers.into_iter().enumerate() {
        assert_eq!(caller.await??, n as i64 + 1);
    }
    pool.batch_execute("ROLLBACK").await?;
    Ok(())
}
