//! How many round trips a transaction takes, counted by a proxy, and that none of its statements is
//! ever executed without it.
//!
//! The tasks run on one thread, so that statements sent together leave in one piece.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use pgmonkey::{AsyncPool, Config, Error, Pool};
use pgmonkey_tests::{Fixture, LONG, Outcome, load, twin};
use pgmonkey_testserver::{Cluster, Proxy};

/// A fixture behind a proxy, with a pool of one session.
struct Counted {
    on: Fixture,
    proxy: Proxy,
    insert: String,
}

impl Counted {
    fn new() -> Self {
        Self::on(Fixture::new())
    }

    fn on(on: Fixture) -> Self {
        let proxy = Proxy::to((on.server().host(), on.server().port())).expect("a proxy");
        let insert = format!("INSERT INTO {} VALUES ($1)", on.name);
        Self { on, proxy, insert }
    }

    fn config(&self, settings: &str) -> Config {
        let pools = format!("pool_settings: {settings}\nasync_pool_settings: {settings}\n");
        load(&self.on.yaml_at("127.0.0.1", self.proxy.port(), &pools))
    }

    fn one(&self) -> Config {
        self.config("{ max_size: 1 }")
    }
}

/// Runs `$work` and returns the number of its round trips.
macro_rules! counting {
    ($counted:expr, $work:expr) => {{
        let before = $counted.proxy.round_trips();
        $work;
        $counted.proxy.round_trips() - before
    }};
}

#[tokio::test]
async fn a_transaction_of_n_statements_takes_one_more_in_a_task() -> Outcome {
    let counted = Counted::new();
    let pool = AsyncPool::new(&counted.one()).await?;
    pool.execute(&counted.insert, &[&0]).await?;
    for statements in 1..4 {
        let trips = counting!(counted, {
            let transaction = pool.begin().await?;
            for number in 0..statements {
                transaction.execute(&counted.insert, &[&number]).await?;
            }
            transaction.commit().await?;
        });
        assert_eq!(trips, statements as usize + 1, "{statements} statements");
        let trips = counting!(counted, {
            pool.transaction(async |tx| {
                for number in 0..statements {
                    tx.execute(&counted.insert, &[&number]).await?;
                }
                Ok(())
            })
            .await?;
        });
        assert_eq!(
            trips,
            statements as usize + 1,
            "{statements} statements in a closure"
        );
    }
    assert_eq!(counted.on.rows(), 1 + 2 * (1 + 2 + 3));
    Ok(())
}

#[tokio::test]
async fn the_last_statement_and_its_commit_take_one_in_a_task() -> Outcome {
    let counted = Counted::new();
    let pool = AsyncPool::new(&counted.one()).await?;
    pool.execute(&counted.insert, &[&0]).await?;
    let select = format!("SELECT n FROM {} WHERE n > $1 ORDER BY n", counted.on.name);
    pool.query(&select, &[&0]).await?;
    for statements in 1..4 {
        let trips = counting!(counted, {
            let transaction = pool.begin().await?;
            for number in 1..statements {
                transaction.execute(&counted.insert, &[&number]).await?;
            }
            let changed = transaction
                .execute_and_commit(&counted.insert, &[&statements])
                .await?;
            assert_eq!(changed, 1);
        });
        assert_eq!(trips, statements as usize, "{statements} statements");
    }
    assert_eq!(counted.on.rows(), 1 + 1 + 2 + 3);
    let trips = counting!(counted, {
        let transaction = pool.begin().await?;
        let rows = transaction.query_and_commit(&select, &[&1]).await?;
        let found: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(found, [2, 2, 3]);
    });
    assert_eq!(trips, 1);
    Ok(())
}

#[tokio::test]
async fn a_commit_to_be_confirmed_takes_one_more_in_a_task() -> Outcome {
    let counted = Counted::new();
    let pool = AsyncPool::new(&counted.one()).await?;
    pool.execute(&counted.insert, &[&0]).await?;
    for statements in 1..4 {
        let trips = counting!(counted, {
            let transaction = pool
                .build_transaction()
                .confirm_commit(true)
                .begin()
                .await?;
            for number in 1..statements {
                transaction.execute(&counted.insert, &[&number]).await?;
            }
            transaction
                .execute_and_commit(&counted.insert, &[&statements])
                .await?;
        });
        assert_eq!(trips, statements as usize + 1, "{statements} statements");
    }
    assert_eq!(counted.on.rows(), 1 + 1 + 2 + 3);
    Ok(())
}

#[test]
fn the_blocking_driver_takes_two_more_and_one_more_without_parameters() -> Outcome {
    let counted = Counted::new();
    let pool = Pool::new(&counted.one())?;
    pool.execute(&counted.insert, &[&0])?;
    let insert = format!("INSERT INTO {} VALUES (1) -- the end", counted.on.name);
    for statements in 1..4 {
        let trips = counting!(counted, {
            let mut transaction = pool.begin()?;
            for number in 0..statements {
                transaction.execute(&counted.insert, &[&number])?;
            }
            transaction.commit()?;
        });
        assert_eq!(trips, statements as usize + 2, "{statements} statements");
        let trips = counting!(counted, {
            let mut transaction = pool.begin()?;
            for number in 1..statements {
                transaction.execute(&counted.insert, &[&number])?;
            }
            assert_eq!(transaction.execute_and_commit(&insert, &[])?, 1);
        });
        assert_eq!(
            trips,
            statements as usize + 1,
            "{statements} statements, the last without"
        );
    }
    assert_eq!(counted.on.rows(), 1 + 2 * (1 + 2 + 3));
    Ok(())
}

#[tokio::test]
async fn a_transaction_without_a_statement_sends_nothing_in_a_task() -> Outcome {
    let counted = Counted::new();
    let pool = AsyncPool::new(&counted.one()).await?;
    pool.execute(&counted.insert, &[&0]).await?;
    let trips = counting!(counted, {
        pool.begin().await?.commit().await?;
        pool.begin().await?.rollback().await?;
        drop(pool.begin().await?);
        let mut guard = pool.acquire().await?;
        guard.begin().await?;
        guard.commit().await?;
        guard.transaction().await?.commit().await?;
        drop(guard.transaction().await?);
        guard.begin().await?;
    });
    assert_eq!(trips, 0);
    assert_eq!(pool.status().in_use, 0, "released as they are");
    pool.execute(&counted.insert, &[&1]).await?;
    assert_eq!((counted.on.rows(), counted.on.sessions_in("idle")), (2, 1));
    assert_eq!(pool.status().opened, 1);
    Ok(())
}

#[tokio::test]
async fn a_simple_query_comes_after_a_begin_of_its_own() -> Outcome {
    let counted = Counted::new();
    let pool = AsyncPool::new(&counted.one()).await?;
    pool.execute(&counted.insert, &[&0]).await?;
    let insert = format!(
        "INSERT INTO {0} VALUES (1); INSERT INTO {0} VALUES (2)",
        counted.on.name
    );
    let trips = counting!(counted, {
        let transaction = pool.begin().await?;
        transaction.batch_execute(&insert).await?;
        assert_eq!(counted.on.rows(), 1, "not committed yet");
        transaction.commit().await?;
    });
    assert_eq!((trips, counted.on.rows()), (3, 3));
    // The driver's own methods, which know nothing of the BEGIN.
    let transaction = pool.begin().await?;
    let driver: &pgmonkey::tokio_postgres::Client = &transaction;
    driver.simple_query(&insert).await?;
    driver.execute(&counted.insert, &[&3]).await?;
    transaction.rollback().await?;
    let transaction = pool.begin().await?;
    let driver: &pgmonkey::tokio_postgres::Client = &transaction;
    driver.execute(&counted.insert, &[&3]).await?;
    driver.simple_query(&insert).await?;
    drop(transaction);
    assert_eq!(counted.on.rows(), 3);
    Ok(())
}

#[tokio::test]
async fn every_other_kind_of_first_statement_is_in_the_transaction() -> Outcome {
    use futures_util::{SinkExt, TryStreamExt};

    let counted = Counted::new();
    let pool = AsyncPool::new(&counted.one()).await?;
    let name = &counted.on.name;
    let copy = format!("COPY {name} FROM STDIN");
    for round in 0..2 {
        // A COPY into the server; prepared only in the first round.
        let transaction = pool.begin().await?;
        let mut sink = std::pin::pin!(transaction.copy_in::<_, bytes::Bytes>(&copy).await?);
        sink.send(bytes::Bytes::from_static(b"1\n2\n")).await?;
        assert_eq!(sink.as_mut().finish().await?, 2);
        assert_eq!(counted.on.rows(), 0, "round {round}");
        transaction.rollback().await?;
        // A stream, a prepared statement, a savepoint, two statements at once.
        let transaction = pool.begin().await?;
        let returning = format!("INSERT INTO {name} VALUES (1), (2) RETURNING n");
        let rows: Vec<_> = transaction
            .query_raw(&returning, &[])
            .await?
            .try_collect()
            .await?;
        assert_eq!((rows.len(), counted.on.rows()), (2, 0));
        transaction.rollback().await?;
        let transaction = pool.begin().await?;
        let statement = transaction.prepare_cached(&counted.insert).await?;
        transaction.execute(&statement, &[&1]).await?;
        assert_eq!(counted.on.rows(), 0);
        transaction.rollback().await?;
        let mut transaction = pool.begin().await?;
        let savepoint = transaction.transaction().await?;
        savepoint.execute(&counted.insert, &[&1]).await?;
        savepoint.commit().await?;
        assert_eq!(counted.on.rows(), 0);
        transaction.rollback().await?;
        let transaction = pool.begin().await?;
        let (one, two) = tokio::join!(
            transaction.execute(&counted.insert, &[&1]),
            transaction.execute(&counted.insert, &[&2]),
        );
        assert_eq!((one?, two?, counted.on.rows()), (1, 1, 0));
        transaction.rollback().await?;
        // A statement whose future is dropped at once, and which is queued nevertheless.
        let transaction = pool.begin().await?;
        drop(futures_util::poll!(std::pin::pin!(
            transaction.execute(&counted.insert, &[&1])
        )));
        drop(transaction);
        pool.query("SELECT 1", &[]).await?;
        assert_eq!(counted.on.rows(), 0, "round {round}");
    }
    Ok(())
}

#[tokio::test]
async fn a_statement_that_fails_with_its_commit_commits_nothing() -> Outcome {
    let counted = Counted::new();
    let pool = AsyncPool::new(&counted.one()).await?;
    let divide = format!("INSERT INTO {} VALUES (1 / $1)", counted.on.name);
    let transaction = pool.begin().await?;
    transaction.execute(&counted.insert, &[&1]).await?;
    let error = transaction
        .execute_and_commit(&divide, &[&0])
        .await
        .expect_err("by zero");
    assert_eq!(
        error.code().map(|code| code.code().to_owned()),
        Some("22012".to_owned())
    );
    assert_eq!(counted.on.rows(), 0);
    // An error that was swallowed before.
    let transaction = pool.begin().await?;
    let swallowed = transaction.execute(&divide, &[&0]).await;
    assert!(swallowed.is_err());
    let error = transaction.execute_and_commit(&counted.insert, &[&1]).await;
    assert!(matches!(error, Err(Error::RolledBack)), "{error:?}");
    // A value that the driver refuses: neither is sent.
    let transaction = pool.begin().await?;
    transaction.execute(&counted.insert, &[&1]).await?;
    let error = transaction
        .execute_and_commit(&counted.insert, &[&"one"])
        .await;
    assert!(error.is_err());
    assert_eq!(counted.on.rows(), 0);
    // A savepoint: only its own work is undone.
    let mut guard = pool.acquire().await?;
    let mut outer = guard.transaction().await?;
    outer.execute(&counted.insert, &[&1]).await?;
    let inner = outer.transaction().await?;
    inner.execute(&counted.insert, &[&2]).await?;
    assert!(inner.execute_and_commit(&divide, &[&0]).await.is_err());
    let inner = outer.transaction().await?;
    inner.execute_and_commit(&counted.insert, &[&3]).await?;
    outer.execute_and_commit(&counted.insert, &[&4]).await?;
    drop(guard);
    assert_eq!(counted.on.rows(), 3);
    assert_eq!(pool.status().opened, 1);
    Ok(())
}

#[test]
fn a_statement_that_fails_with_its_commit_commits_nothing_either() -> Outcome {
    let counted = Counted::new();
    let pool = Pool::new(&counted.one())?;
    let divide = format!("INSERT INTO {} VALUES (1 / 0)", counted.on.name);
    for parameters in [true, false] {
        let mut transaction = pool.begin()?;
        transaction.execute(&counted.insert, &[&1])?;
        let error = match parameters {
            true => {
                let divide = divide.replace("/ 0", "/ $1");
                transaction.execute_and_commit(&divide, &[&0])
            }
            false => transaction.execute_and_commit(&divide, &[]),
        };
        let error = error.expect_err("by zero");
        assert_eq!(
            error.code().map(|code| code.code().to_owned()),
            Some("22012".to_owned())
        );
        let mut transaction = pool.begin()?;
        assert!(transaction.execute(&divide, &[]).is_err());
        let insert = counted.insert.replace("$1", "1");
        let error = match parameters {
            true => transaction.query_and_commit(&insert, &[]).map(|_| 0),
            false => transaction.execute_and_commit(&insert, &[]),
        };
        assert!(error.is_err());
        assert_eq!(counted.on.rows(), 0);
    }
    // More than one statement is not one of the last.
    let two = format!(
        "INSERT INTO {0} VALUES (1); INSERT INTO {0} VALUES (2)",
        counted.on.name
    );
    assert!(pool.begin()?.execute_and_commit(&two, &[]).is_err());
    assert_eq!((counted.on.rows(), pool.status().opened), (0, 1));
    Ok(())
}

/// The process of the pool's session; 0 if there is none.
const CURRENT: &str = "SELECT coalesce(max(pid), 0)::int8 FROM pg_stat_activity \
                       WHERE application_name = $1";

/// Another session cancels without a pause while transactions run, so that every statement is hit
/// at some time, `BEGIN` too. Whatever is hit: the table has what was committed, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canceled_begin_executes_nothing_of_its_statement() -> Outcome {
    let cluster = Cluster::builder().start()?;
    let on = Fixture::on((*cluster).clone());
    let pool = AsyncPool::new(&on.pools_async("{ max_size: 1 }")).await?;
    let insert = format!("INSERT INTO {} VALUES ($1)", on.name);
    let mut pid: i32 = pool.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    pool.execute(&insert, &[&0]).await?;
    let mut canceler = Canceler::start(&on, pid);
    let (mut committed, mut canceled) = (1, 0);
    let end = Instant::now() + LONG;
    let was_hit = || on.server().log().contains("STATEMENT:  BEGIN");
    for number in 1.. {
        if number % 100 == 0 {
            if was_hit() || Instant::now() > end {
                break;
            }
            // A session whose cleaning is canceled is discarded; the next one is another process.
            let current = on.number(CURRENT, &[&on.name]);
            if current != 0 && current != i64::from(pid) {
                pid = i32::try_from(current)?;
                canceler = Canceler::start(&on, pid);
            }
        }
        let transaction = pool.begin().await?;
        // The caller ignores the first error: the second statement must not run alone.
        let first = transaction.execute(&insert, &[&number]).await;
        let second = transaction.execute(&insert, &[&number]).await;
        assert!(
            first.is_ok() || second.is_err(),
            "{second:?} after {first:?}"
        );
        canceled += u32::from(first.is_err());
        committed += 2 * i64::from(transaction.commit().await.is_ok());
        let transaction = pool.begin().await?;
        let last = transaction.execute_and_commit(&insert, &[&number]).await;
        canceled += u32::from(last.is_err());
        committed += i64::from(last.is_ok());
        let transaction = pool.begin().await?;
        let simple = insert.replace("$1", "1");
        let first = transaction.batch_execute(&simple).await;
        let ended = transaction.commit().await;
        assert!(first.is_ok() || ended.is_err(), "{ended:?} after {first:?}");
        canceled += u32::from(first.is_err());
        committed += i64::from(ended.is_ok());
    }
    drop(canceler);
    assert!(canceled > 0);
    assert!(was_hit(), "no BEGIN was canceled");
    assert_eq!(on.rows(), committed);
    Ok(())
}

/// Cancels the statements of a session until dropped.
pub(crate) struct Canceler {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Canceler {
    pub(crate) fn start(on: &Fixture, pid: i32) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (url, seen) = (on.server().url(), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let connected = postgres::Client::connect(&url, postgres::NoTls);
            let mut other = connected.expect("a session");
            let cancel = format!("SELECT pg_cancel_backend({pid}) FROM generate_series(1, 1000)");
            while !seen.load(Ordering::Relaxed) {
                other.batch_execute(&cancel).expect("a superuser may");
            }
        });
        Self {
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Canceler {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || ended.is_some_and(|ended| ended.is_ok()));
    }
}

#[tokio::test]
async fn a_session_runs_what_another_one_knows_in_one_round_trip_in_a_task() -> Outcome {
    let counted = Counted::new();
    let pool = AsyncPool::new(&counted.config("{ min_size: 2, max_size: 2 }")).await?;
    let (warm, mut cold) = (pool.acquire().await?, pool.acquire().await?);
    let select = format!("SELECT n FROM {} WHERE n = $1", counted.on.name);
    assert_eq!(
        counting!(counted, warm.execute(&counted.insert, &[&1]).await?),
        2,
        "unknown"
    );
    for _ in 0..3 {
        assert_eq!(
            counting!(counted, cold.execute(&counted.insert, &[&1]).await?),
            1
        );
    }
    // In a transaction.
    warm.prepare_cached(&select).await?;
    let trips = counting!(counted, {
        let transaction = cold.transaction().await?;
        assert_eq!(transaction.query(&select, &[&1]).await?.len(), 4);
        transaction.commit().await?;
    });
    assert_eq!(trips, 2);
    let last = format!("DELETE FROM {} WHERE n = $1", counted.on.name);
    warm.prepare_cached(&last).await?;
    let trips = counting!(counted, {
        let transaction = cold.transaction().await?;
        assert_eq!(transaction.execute_and_commit(&last, &[&1]).await?, 4);
    });
    assert_eq!((trips, counted.on.rows()), (1, 0));
    assert_eq!(
        counting!(counted, cold.execute(&last, &[&1]).await?),
        1,
        "prepared meanwhile"
    );
    Ok(())
}

#[test]
fn a_session_runs_what_another_one_knows_in_one_round_trip() -> Outcome {
    let counted = Counted::new();
    let pool = Pool::new(&counted.config("{ min_size: 2, max_size: 2 }"))?;
    let (mut warm, mut cold) = (pool.acquire()?, pool.acquire()?);
    assert_eq!(
        counting!(counted, warm.execute(&counted.insert, &[&1])?),
        2,
        "unknown"
    );
    // The second run prepares it.
    for trips in [1, 2, 1, 1] {
        assert_eq!(
            counting!(counted, cold.execute(&counted.insert, &[&1])?),
            trips
        );
    }
    assert_eq!(counted.on.rows(), 5);
    Ok(())
}

twin! {
    fn what_another_session_knows_may_be_outdated(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 2, max_size: 2 }")))?;
        let (mut warm, mut cold) = (go!(pool.acquire())?, go!(pool.acquire())?);
        let insert = format!("INSERT INTO {} VALUES ($1)", on.name);
        go!(warm.execute(&insert, &[&1]))?;
        on.run(&format!("ALTER TABLE {} ALTER n TYPE text", on.name));
        assert_eq!(go!(cold.execute(&insert, &[&"two"]))?, 1);
        assert_eq!(go!(warm.execute(&insert, &[&"three"]))?, 1);
        // The same name in another schema.
        let select = format!("SELECT n FROM {} WHERE n = $1", on.name);
        assert_eq!(go!(warm.query(&select, &[&"two"]))?.len(), 1);
        on.run(&format!("CREATE SCHEMA s_{0}; CREATE TABLE s_{0}.{0} (n int)", on.name));
        go!(cold.batch_execute(&format!("SET search_path = s_{}", on.name)))?;
        assert_eq!(go!(cold.query(&select, &[&2]))?.len(), 0);
        // What fails for another reason is reported as usual.
        assert!(go!(cold.query(&select, &[&"two"])).is_err());
        let divide = "SELECT 1 / $1::int";
        go!(warm.query(divide, &[&1]))?;
        let error = go!(warm.query(divide, &[&0])).expect_err("by zero");
        assert_eq!(error.code().map(|code| code.code()), Some("22012"));
        drop(cold);
        let mut cold = go!(pool.acquire())?;
        let error = go!(cold.query(divide, &[&0])).expect_err("by zero");
        assert_eq!(error.code().map(|code| code.code()), Some("22012"));
        assert_eq!(go!(cold.query(divide, &[&1]))?.len(), 1);
        Ok(())
    }
}

/// A standby refuses a `BEGIN` that asks for `SERIALIZABLE`.
#[tokio::test]
async fn after_a_begin_that_was_refused_nothing_runs_until_the_end() -> Outcome {
    let primary = Cluster::builder().start()?;
    let standby = primary.standby()?;
    let counted = Counted::on(Fixture::on((*primary).clone()));
    let yaml = counted.on.yaml_at(
        standby.host(),
        standby.port(),
        "async_pool_settings: { max_size: 1 }",
    );
    let pool = AsyncPool::new(&load(&yaml)).await?;
    let code = |error: Error| error.code().map(|code| code.code().to_owned());
    let lock = "SELECT pg_try_advisory_lock(7)";
    let locked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    for round in 0..3 {
        let begin = || {
            let builder = pool.build_transaction();
            builder
                .isolation_level(pgmonkey::IsolationLevel::Serializable)
                .begin()
        };
        let transaction = begin().await?;
        let refused = transaction
            .query(lock, &[])
            .await
            .expect_err("by the standby");
        assert_eq!(code(refused).as_deref(), Some("0A000"), "round {round}");
        for refused in [
            transaction.query(lock, &[]).await.map(drop),
            transaction.batch_execute(lock).await,
            transaction.prepare_cached("SELECT 7").await.map(drop),
        ] {
            assert_eq!(
                code(refused.expect_err("in the meantime")).as_deref(),
                Some("25P02")
            );
        }
        match round {
            0 => assert!(matches!(transaction.commit().await, Err(Error::RolledBack))),
            1 => transaction.rollback().await?,
            _ => drop(transaction),
        }
        let row = pool.query_one(locked, &[]).await?;
        assert_eq!(row.get::<_, i64>(0), 0, "round {round}");
        // A simple query, two statements at once, and the end together with the statement.
        let transaction = begin().await?;
        let refused = transaction
            .batch_execute(lock)
            .await
            .expect_err("by the standby");
        assert_eq!(code(refused).as_deref(), Some("0A000"));
        drop(transaction);
        let transaction = begin().await?;
        let both = tokio::join!(transaction.query(lock, &[]), transaction.query(lock, &[]));
        assert_eq!(both.0.err().and_then(code).as_deref(), Some("0A000"));
        assert_eq!(both.1.err().and_then(code).as_deref(), Some("25P02"));
        transaction.batch_execute("ROLLBACK").await?;
        drop(transaction);
        let refused = begin().await?.query_and_commit(lock, &[]).await;
        assert_eq!(refused.err().and_then(code).as_deref(), Some("0A000"));
        let row = pool.query_one(locked, &[]).await?;
        assert_eq!(row.get::<_, i64>(0), 0, "round {round}");
    }
    assert_eq!(pool.status().opened, 1, "none was lost");
    Ok(())
}

/// Whether settings are sent with `BEGIN` or in the startup packet: as many round trips.
#[test]
fn settings_of_each_transaction_take_none() -> Outcome {
    let counted = Counted::new();
    let sections = "sync_settings: { statement_timeout: '31000', my.tenant: '7' }\n";
    let yaml = counted
        .on
        .yaml_at("127.0.0.1", counted.proxy.port(), sections);
    let each = yaml.replacen("{ host", "{ session_settings: transaction, host", 1);
    let mut taken = [0; 2];
    for (yaml, taken) in [yaml, each].iter().zip(&mut taken) {
        let pool = Pool::new(&load(yaml))?;
        let run = || {
            let mut transaction = pool.begin()?;
            transaction.execute(&counted.insert, &[&1])?;
            transaction.commit()
        };
        run()?;
        *taken = counting!(counted, run()?);
    }
    assert_eq!(taken[0], taken[1]);
    assert_eq!(counted.on.rows(), 4);
    Ok(())
}

#[tokio::test]
async fn settings_of_each_transaction_take_none_in_a_task() -> Outcome {
    let counted = Counted::new();
    let sections = "async_settings: { statement_timeout: '31000', my.tenant: '7' }\n";
    let yaml = counted
        .on
        .yaml_at("127.0.0.1", counted.proxy.port(), sections);
    let each = yaml.replacen("{ host", "{ session_settings: transaction, host", 1);
    let pool = AsyncPool::new(&load(&each)).await?;
    for statements in 1..3 {
        let trips = counting!(counted, {
            let transaction = pool.begin().await?;
            for number in 0..statements {
                transaction.execute(&counted.insert, &[&number]).await?;
            }
            transaction.commit().await?;
        });
        // The first statement is prepared once.
        let prepared = usize::from(statements == 1);
        assert_eq!(
            trips,
            statements as usize + 1 + prepared,
            "{statements} statements"
        );
    }
    assert_eq!(counted.on.rows(), 3);
    Ok(())
}
