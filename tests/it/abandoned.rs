//! Callers that give up, at any point: no slot is lost, no waiter is left, and the next caller
//! finds nothing of theirs.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::{Duration, Instant};

use pgmonkey::aio::{AfterConnect, Builder, ClientGuard, Hooks};
use pgmonkey::{AsyncPool, Error};
use pgmonkey_tests::{Fixture, LONG, Outcome, twin};
use pgmonkey_testserver::{Cluster, StopMode};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Checks that all sessions of the pool can be acquired at the same time, and are clean.
async fn all_can_be_had(on: &Fixture, pool: &AsyncPool, size: usize) -> Outcome {
    on.until("no waiter and no session in use", || {
        let status = pool.status();
        (status.waiting, status.in_use) == (0, 0)
    });
    let mut held = Vec::new();
    for number in 0..size {
        let taken = timeout(Duration::from_secs(5), pool.acquire()).await;
        let guard = taken.unwrap_or_else(|_| panic!("slot {number} is lost"))?;
        assert_eq!(guard.query_one("SELECT 1", &[]).await?.get::<_, i32>(0), 1);
        held.push(guard);
    }
    assert_eq!(on.sessions_in("idle in transaction"), 0);
    assert_eq!(pool.status().in_use as usize, size);
    drop(held);
    on.until("no session is left over", || {
        on.sessions() == i64::from(pool.status().size) && on.sessions() <= size as i64
    });
    Ok(())
}

async fn pool(on: &Fixture, size: u32) -> Result<AsyncPool, Error> {
    AsyncPool::new(&on.pools(&format!("{{ min_size: 0, max_size: {size} }}"))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiters_that_give_up_leave_no_trace() -> Outcome {
    let on = Fixture::new();
    let settings = "{ min_size: 0, max_size: 4, max_waiting: 1000 }";
    let pool = AsyncPool::new(&on.pools(settings)).await?;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.acquire().await?);
    }
    let mut waiters = JoinSet::new();
    for number in 0..1000_u64 {
        let pool = pool.clone();
        waiters.spawn(async move {
            let limit = Duration::from_micros(number % 50 * 100);
            assert!(timeout(limit, pool.acquire()).await.is_err());
        });
    }
    while let Some(waiter) = waiters.join_next().await {
        waiter?;
    }
    assert_eq!(pool.status().waiting, 0);
    let next = timeout(Duration::from_millis(20), pool.acquire()).await;
    assert!(next.is_err(), "it waits for a session: {next:?}");
    drop(held);
    all_can_be_had(&on, &pool, 4).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_cancelled_at_any_moment_lose_no_slot() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, 4).await?;
    let mut callers = JoinSet::new();
    for number in 0..1000_u64 {
        let pool = pool.clone();
        callers.spawn(async move {
            let limit = Duration::from_micros(number * 7919 % 4000);
            let whole = async {
                let guard = pool.acquire().await?;
                guard.batch_execute("BEGIN").await?;
                guard.batch_execute("SELECT pg_sleep(0.0005)").await?;
                Ok::<_, Error>(())
            };
            let _ = timeout(limit, whole).await;
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller?;
    }
    all_can_be_had(&on, &pool, 4).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_cancelled_while_a_session_is_opened_lose_no_slot() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, 4).await?;
    for number in 0..200_u64 {
        let limit = Duration::from_micros(number * 7919 % 6000);
        let taken = timeout(limit, pool.acquire()).await;
        if let Ok(Ok(guard)) = taken {
            // The next caller has to open a new session.
            let end = "SELECT pg_terminate_backend(pg_backend_pid())";
            assert!(guard.batch_execute(end).await.is_err());
        }
    }
    all_can_be_had(&on, &pool, 4).await
}

twin! {
    fn callers_that_time_out_leave_no_trace(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 2, max_size: 2, timeout: 200ms, max_waiting: 1 }")))?;
        let held = (go!(pool.acquire())?, go!(pool.acquire())?);
        for _ in 0..5 {
            assert!(go!(pool.acquire()).is_err_and(|error| error.is_timeout()));
        }
        assert_eq!((pool.status().waiting, pool.status().timeouts), (0, 5));
        drop(held);
        on.until("both are back", || pool.status().in_use == 0);
        let held = (go!(pool.acquire())?, go!(pool.acquire())?);
        drop(held);
        Ok(())
    }
}

/// Polled once and never again.
async fn begins(acquire: Pin<&mut impl Future>) {
    let mut acquire = Some(acquire);
    std::future::poll_fn(|cx| {
        let first = acquire.take().map(|acquire| acquire.poll(cx));
        assert!(first.is_none_or(|polled| polled.is_pending()));
        Poll::Ready(())
    })
    .await;
}

#[tokio::test]
async fn what_was_brought_to_a_caller_who_is_gone_is_kept_for_the_next() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, 1).await?;
    let mut gone = Box::pin(pool.acquire());
    begins(gone.as_mut()).await;
    while pool.status().opened == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(gone);
    drop(pool.acquire().await?);
    assert_eq!(pool.status().opened, 1);
    all_can_be_had(&on, &pool, 1).await
}

/// Admits one session and holds all others back.
#[derive(Default)]
struct Door(AtomicBool);

#[async_trait::async_trait]
impl AfterConnect for Door {
    async fn after_connect(&self, _: &mut tokio_postgres::Client) -> Result<(), Error> {
        if self.0.swap(true, Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_session_on_its_way_to_a_caller_who_is_leaving_is_not_lost() -> Outcome {
    let on = Fixture::new();
    let settings = "{ min_size: 1, max_size: 3, num_workers: 1, timeout: 60 }";
    let config = on.pools(settings);
    let hooks = Hooks::new("door").after_connect(Door::default());
    let pool = Builder::new(&config).hooks(hooks).pool().await?;
    let (bring, brought) = mpsc::channel::<(ClientGuard, Arc<AtomicBool>)>();
    let bringer = std::thread::spawn(move || {
        for (guard, go) in brought {
            while !go.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            drop(guard);
        }
    });
    for round in 0..4000 {
        let guard = timeout(Duration::from_secs(5), pool.acquire()).await;
        let guard = guard.unwrap_or_else(|_| panic!("lost in round {round}"))?;
        let mut leaving = Box::pin(pool.acquire());
        begins(leaving.as_mut()).await;
        let go = Arc::<AtomicBool>::default();
        bring.send((guard, Arc::clone(&go)))?;
        go.store(true, Ordering::Release);
        // The waiter leaves a little later in each round, until it is too late.
        for _ in 0..round % 400 * 10 {
            std::hint::spin_loop();
        }
        drop(leaving);
    }
    drop(bring);
    bringer.join().expect("no panic");
    Ok(())
}

/// On one thread: when the waiter is polled, the session handed to it is already dead.
#[tokio::test]
async fn a_session_killed_on_its_way_to_a_waiter_is_not_lent() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, 1).await?;
    for _ in 0..20 {
        let held = pool.acquire().await?;
        let mut waiter = Box::pin(pool.acquire());
        begins(waiter.as_mut()).await;
        assert_eq!(pool.status().waiting, 1);
        drop(held);
        assert_eq!((pool.status().waiting, on.kill()), (0, 1));
        waiter.await?.query_one("SELECT 1", &[]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_caller_who_gives_up_in_an_outage_leaves_his_place_at_once() -> Outcome {
    let cluster = Cluster::builder().start()?;
    let on = Fixture::on((*cluster).clone());
    let settings = "{ min_size: 0, max_size: 1, timeout: 60 }";
    let pool = AsyncPool::new(&on.pools(settings)).await?;
    drop(pool.acquire().await?);
    cluster.stop(StopMode::Fast)?;
    while pool.status().size > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let limit = Duration::from_millis(300);
    assert!(timeout(limit, pool.acquire()).await.is_err());
    assert_eq!(pool.status().waiting, 0);
    let mut next = Box::pin(pool.acquire());
    begins(next.as_mut()).await;
    let status = pool.status();
    assert_eq!(
        (status.waiting, status.opening),
        (1, 1),
        "waiting for the server only"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_panic_lose_no_slot_and_leave_no_transaction() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, 2).await?;
    let insert = format!("INSERT INTO {} VALUES (1)", on.name);
    for round in 0..6 {
        let (pool, insert) = (pool.clone(), insert.clone());
        let task = tokio::spawn(async move {
            if round % 2 == 0 {
                let guard = pool.acquire().await?;
                guard.batch_execute(&format!("BEGIN; {insert}")).await?;
                std::panic::resume_unwind(Box::new("a task's panic"));
            }
            pool.transaction(async |tx| {
                tx.execute(&insert, &[]).await?;
                std::panic::resume_unwind(Box::new("a closure's panic"));
                #[allow(unreachable_code, reason = "gives the closure its type")]
                Ok(())
            })
            .await
        });
        assert!(task.await.is_err_and(|failed| failed.is_panic()));
    }
    all_can_be_had(&on, &pool, 2).await?;
    assert_eq!((on.rows(), on.sessions_in("idle in transaction")), (0, 0));
    Ok(())
}

#[test]
fn threads_that_panic_lose_no_slot_and_leave_no_transaction() -> Outcome {
    let on = Fixture::new();
    let pool = pgmonkey::Pool::new(&on.pools("{ min_size: 0, max_size: 2 }"))?;
    let insert = format!("INSERT INTO {} VALUES (1)", on.name);
    for round in 0..6 {
        let (pool, insert) = (pool.clone(), insert.clone());
        let thread = std::thread::spawn(move || {
            if round % 2 == 0 {
                let mut guard = pool.acquire()?;
                guard.batch_execute(&format!("BEGIN; {insert}"))?;
                std::panic::resume_unwind(Box::new("a thread's panic"));
            }
            pool.transaction(|tx| {
                tx.execute(&insert, &[])?;
                std::panic::resume_unwind(Box::new("a closure's panic"));
                #[allow(unreachable_code, reason = "gives the closure its type")]
                Ok(())
            })
        });
        assert!(thread.join().is_err());
    }
    assert_eq!(pool.status().in_use, 0);
    let mut held = (pool.acquire()?, pool.acquire()?);
    for guard in [&mut held.0, &mut held.1] {
        assert_eq!(guard.query_one("SELECT 1", &[])?.get::<_, i32>(0), 1);
    }
    assert_eq!((on.rows(), on.sessions_in("idle in transaction")), (0, 0));
    Ok(())
}

/// A dropped statement is cancelled on the server, and its session is reset.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_borrower_that_gives_up_leaves_no_query_running() -> Outcome {
    let on = Fixture::new();
    for max_size in [1, 3] {
        let pool = pool(&on, max_size).await?;
        for round in 0..10_u64 {
            let mut tasks = JoinSet::new();
            for _ in 0..max_size {
                let pool = pool.clone();
                tasks.spawn(async move {
                    let whole = pool.transaction(async |tx| {
                        tx.batch_execute("SELECT pg_sleep(60)").await?;
                        Ok(())
                    });
                    let limit = Duration::from_millis(20 + round);
                    let ended = timeout(limit, whole).await;
                    assert!(ended.is_err(), "{ended:?}");
                });
            }
            while let Some(task) = tasks.join_next().await {
                task?;
            }
            let began = Instant::now();
            let guard = pool.acquire().await?;
            let outside = "SELECT now() = statement_timestamp()";
            let answer = guard.simple_query(outside).await?;
            let is_outside = answer.iter().any(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
                _ => false,
            });
            assert!(is_outside, "inside the old transaction");
            drop(guard);
            assert!(began.elapsed() < LONG, "waited for it");
        }
        on.until("nothing runs", || on.sessions_in("active") == 0);
        all_can_be_had(&on, &pool, max_size as usize).await?;
        pool.close();
        on.until("its sessions end", || on.sessions() == 0);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_abandoned_before_it_began_leaves_nothing_running() -> Outcome {
    let on = Fixture::new();
    let pool = pool(&on, 2).await?;
    let holder = pool.acquire().await?;
    holder
        .batch_execute(&format!("BEGIN; LOCK TABLE {}", on.name))
        .await?;
    let guard = pool.acquire().await?;
    let statement = format!("COPY {} FROM STDIN", on.name);
    let copy = guard.copy_in::<_, bytes::Bytes>(&statement);
    assert!(timeout(Duration::from_millis(200), copy).await.is_err());
    assert_eq!(on.sessions_in("active"), 1, "it waits for the lock");
    drop(guard);
    on.until("it has been stopped", || on.sessions_in("active") == 0);
    drop(holder);
    all_can_be_had(&on, &pool, 2).await
}

/// A subscriber that panics when the acquire event is reported.
struct Panics;

impl tracing::Subscriber for Panics {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::Id {
        tracing::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let acquired = event.metadata().name() == pgmonkey_connect::events::ACQUIRE;
        assert!(!acquired, "a subscriber that fails");
    }

    fn enter(&self, _: &tracing::Id) {}

    fn exit(&self, _: &tracing::Id) {}
}

#[test]
fn a_subscriber_that_panics_costs_a_blocking_pool_no_place() -> Outcome {
    let on = Fixture::new();
    let pool = pgmonkey::Pool::new(&on.pools("{ min_size: 1, max_size: 2, timeout: 5 }"))?;
    let panicking = tracing::subscriber::set_default(Panics);
    for _ in 0..5 {
        let acquired = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| pool.acquire()));
        assert!(acquired.is_err(), "it panics");
    }
    drop(panicking);
    let both = (pool.acquire()?, pool.acquire()?);
    assert_eq!(pool.status().in_use, 2);
    drop(both);
    assert_eq!((pool.status().in_use, pool.status().idle), (0, 2));
    Ok(())
}

#[tokio::test]
async fn a_subscriber_that_panics_costs_an_async_pool_no_place() -> Outcome {
    let on = Fixture::new();
    let pool = AsyncPool::new(&on.pools("{ min_size: 1, max_size: 2, timeout: 5 }")).await?;
    let panicking = tracing::subscriber::set_default(Panics);
    for _ in 0..5 {
        let acquired = std::panic::AssertUnwindSafe(pool.acquire());
        let acquired = futures_util::FutureExt::catch_unwind(acquired).await;
        assert!(acquired.is_err(), "it panics");
    }
    drop(panicking);
    let both = (pool.acquire().await?, pool.acquire().await?);
    assert_eq!(pool.status().in_use, 2);
    drop(both);
    assert_eq!((pool.status().in_use, pool.status().idle), (0, 2));
    Ok(())
}
