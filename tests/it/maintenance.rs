//! What a pool does by itself: sizes, ages, losses, and how it opens its sessions.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use pgmonkey::{Error, aio, sync};
use pgmonkey_tests::{Fixture, LONG, Outcome, twin};
use pgmonkey_testserver::{Cluster, Proxy, StopMode};
use tokio::runtime::Handle;

const PID: &str = "SELECT pg_backend_pid()";

twin! {
    fn min_size_is_kept_after_losses(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 3, max_size: 5 }")))?;
        assert_eq!(on.kill(), 3);
        on.until("the pool has its sessions again", || on.sessions() == 3);
        on.until("and knows it", || pool.status().size == 3);
        let status = pool.status();
        assert_eq!((status.opened, status.closed.dead, status.acquires), (6, 3, 0), "{status:?}");
        Ok(())
    }
}

twin! {
    fn min_size_is_kept_after_an_outage(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 2, max_size: 5 }")))?;
        cluster.stop(StopMode::Immediate).expect("stops");
        on.until("the losses are noticed", || pool.status().size == 0);
        cluster.start_again().expect("starts");
        on.until("the pool has its sessions again", || pool.status().size == 2);
        drop(on);
        Ok(())
    }
}

twin! {
    fn idle_sessions_over_min_size_end(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 4, max_idle: 300ms }")))?;
        let held = [go!(pool.acquire())?, go!(pool.acquire())?, go!(pool.acquire())?, go!(pool.acquire())?];
        drop(held);
        assert_eq!(on.sessions(), 4);
        on.until("three have ended", || on.sessions() == 1);
        let status = pool.status();
        assert_eq!((status.size, status.closed.idle), (1, 3));
        Ok(())
    }
}

twin! {
    fn a_session_in_use_again_and_again_is_not_idle(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 4, max_idle: 500ms }")))?;
        let mut pids = BTreeSet::new();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1500) {
            pids.insert(go!(pool.query_one(PID, &[]))?.get::<_, i32>(0));
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(pids.len(), 1, "{:?}", pool.status());
        Ok(())
    }
}

twin! {
    fn sessions_that_nobody_touches_end_with_their_lifetime(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 2, max_lifetime: 300ms }")))?;
        let held = (go!(pool.acquire())?, go!(pool.acquire())?);
        drop(held);
        on.until("both have ended", || on.sessions() == 0);
        assert_eq!(pool.status().closed.lifetime, 2);
        Ok(())
    }
}

twin! {
    fn sessions_of_min_size_are_renewed_with_their_lifetime(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 2, max_size: 2, max_lifetime: 300ms }")))?;
        on.until("they are renewed", || pool.status().opened >= 6);
        on.until("and there", || pool.status().size == 2);
        assert!(on.sessions() <= 2);
        Ok(())
    }
}

twin! {
    fn a_pool_grows_and_shrinks(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 1, timeout: 200ms }")))?;
        let first = go!(pool.acquire())?;
        assert!(go!(pool.acquire()).is_err_and(|error| error.is_timeout()));
        pool.resize(0, 3)?;
        let others = (go!(pool.acquire())?, go!(pool.acquire())?);
        let full = go!(pool.acquire()).expect_err("three are out");
        assert!(full.to_string().contains("3 of 3 in use"), "{full}");
        pool.resize(0, 1)?;
        assert_eq!(pool.status().in_use, 3, "nothing is taken away");
        drop(others);
        on.until("what is too much has ended", || on.sessions() == 1);
        assert!(go!(pool.acquire()).is_err_and(|error| error.is_timeout()), "one is out still");
        drop(first);
        drop(go!(pool.acquire())?);
        pool.resize(3, 4)?;
        on.until("the new min_size is opened", || pool.status().idle == 3);
        for (min_size, max_size) in [(2, 1), (0, 0), (0, 4_000_000_000)] {
            let error = pool.resize(min_size, max_size).expect_err("no such sizes");
            assert!(matches!(error, Error::Sizes { .. }), "{error}");
        }
        Ok(())
    }
}

twin! {
    fn growing_lets_those_in_who_wait(on, driver, go, work) {
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 0, max_size: 1, timeout: 60 }")))?;
        let held = go!(pool.acquire())?;
        let waiter = { let pool = pool.clone(); waits(pool) };
        on.until("one waits", || pool.status().waiting == 1);
        pool.resize(0, 2)?;
        assert!(waiter.join().expect("no panic") < LONG);
        drop(held);
        Ok(())
    }
}

/// Acquires on a separate thread, where neither family can block the other.
trait Ask {
    /// Acquires a session for the duration of `work`.
    fn used_for(&self, work: impl FnOnce());

    /// How long a caller waits.
    fn served_within(&self) -> Duration {
        let began = Instant::now();
        self.used_for(|| {});
        began.elapsed()
    }
}

/// How long a thread waits for a session, in the current runtime.
fn waits(pool: impl Ask + Send + 'static) -> std::thread::JoinHandle<Duration> {
    let place = Handle::try_current().ok();
    std::thread::spawn(move || {
        let _entered = place.as_ref().map(Handle::enter);
        pool.served_within()
    })
}

/// Starts two callers, one after the other, while sessions are slow to open; sends the number of
/// each caller that is served.
fn two_ask(
    on: &Fixture,
    proxy: &Proxy,
    pool: &(impl Ask + Clone + Send + 'static),
) -> mpsc::Receiver<u32> {
    let (served, order) = mpsc::channel();
    for number in 0..2 {
        let before = proxy.accepted();
        let (pool, served) = (pool.clone(), served.clone());
        let place = Handle::try_current().ok();
        std::thread::spawn(move || {
            let _entered = place.as_ref().map(Handle::enter);
            pool.used_for(|| {
                // The receiver may be gone.
                let _ = served.send(number);
            });
        });
        on.until("a session is being opened", || proxy.accepted() > before);
    }
    order
}

impl Ask for sync::Pool {
    fn used_for(&self, work: impl FnOnce()) {
        let _guard = self.acquire().expect("served");
        work();
    }
}

impl Ask for aio::Pool {
    fn used_for(&self, work: impl FnOnce()) {
        let _guard = Handle::current().block_on(self.acquire()).expect("served");
        work();
    }
}

twin! {
    fn a_session_that_comes_back_serves_one_who_waits_for_another(on, driver, go, work) {
        let proxy = Proxy::to((on.server().host(), on.server().port()))?;
        let yaml = on.yaml_at("127.0.0.1", proxy.port(), "pool_settings: { max_size: 2 }\nasync_pool_settings: { max_size: 2 }\n");
        let pool = go!(driver::Pool::new(&pgmonkey_tests::load(&yaml)))?;
        let held = go!(pool.acquire())?;
        // The open session continues; no other login can end in time.
        proxy.delay(LONG);
        let before = proxy.accepted();
        let waiter = { let pool = pool.clone(); waits(pool) };
        on.until("a session is being opened", || proxy.accepted() > before);
        drop(held);
        let waited = waiter.join().expect("no panic");
        assert!(waited < LONG, "{waited:?}");
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

twin! {
    fn a_session_that_comes_back_goes_to_who_waits_longest(on, driver, go, work) {
        let proxy = Proxy::to((on.server().host(), on.server().port()))?;
        let pools = "{ max_size: 3, num_workers: 2 }";
        let yaml = on.yaml_at("127.0.0.1", proxy.port(), &format!("pool_settings: {pools}\nasync_pool_settings: {pools}\n"));
        let pool = go!(driver::Pool::new(&pgmonkey_tests::load(&yaml)))?;
        let held = go!(pool.acquire())?;
        proxy.delay(LONG);
        let order = two_ask(&on, &proxy, &pool);
        drop(held);
        let order = [order.recv()?, order.recv()?];
        assert_eq!(order, [0, 1]);
        assert_eq!(pool.status().opened, 1, "one session served both");
        Ok(())
    }
}

twin! {
    fn a_caller_who_gives_up_does_not_undo_a_login(on, driver, go, work) {
        let proxy = Proxy::to((on.server().host(), on.server().port()))?;
        let pools = "{ min_size: 0, max_size: 1, timeout: 300ms }";
        let yaml = on.yaml_at("127.0.0.1", proxy.port(), &format!("pool_settings: {pools}\nasync_pool_settings: {pools}\n"));
        let pool = go!(driver::Pool::new(&pgmonkey_tests::load(&yaml)))?;
        proxy.delay(Duration::from_millis(200));
        let error = go!(pool.acquire()).expect_err("a login takes longer");
        assert!(error.is_timeout(), "{error}");
        on.until("the session is there all the same", || on.sessions() == 1);
        proxy.delay(Duration::ZERO);
        on.until("the pool knows it", || pool.status().opened == 1);
        let guard = go!(pool.acquire())?;
        let status = pool.status();
        assert_eq!((status.opened, status.size), (1, 1), "{status:?}");
        drop(guard);
        Ok(())
    }
}

twin! {
    fn after_reconnect_timeout_nobody_waits_any_more(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let pools = on.pools("{ min_size: 1, max_size: 2, timeout: 20, reconnect_timeout: 1 }");
        let pool = go!(driver::Pool::new(&pools))?;
        cluster.stop(StopMode::Fast).expect("stops");
        let (mut began, mut error);
        loop {
            began = Instant::now();
            error = go!(pool.acquire()).expect_err("the server is away");
            if began.elapsed() < Duration::from_millis(500) { break; }
            assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
        }
        assert!(error.is_transient() && !error.is_timeout(), "the reason itself: {error}");
        cluster.start_again().expect("starts");
        on.until("the pool is back by itself", || pool.status().size == 1);
        assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        Ok(())
    }
}

/// Counts how many sessions are opened concurrently.
#[derive(Clone, Default)]
struct Crowd(Arc<(AtomicU32, AtomicU32)>);

impl Crowd {
    fn enter(&self) {
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(now, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }

    fn most(&self) -> u32 {
        self.0.1.load(Ordering::SeqCst)
    }
}

impl sync::AfterConnect for Crowd {
    fn after_connect(&self, client: &mut pgmonkey::postgres::Client) -> Result<(), Error> {
        self.enter();
        client.batch_execute("SELECT pg_sleep(0.05)")?;
        self.leave();
        Ok(())
    }
}

#[async_trait::async_trait]
impl aio::AfterConnect for Crowd {
    async fn after_connect(
        &self,
        client: &mut pgmonkey::tokio_postgres::Client,
    ) -> Result<(), Error> {
        self.enter();
        client.batch_execute("SELECT pg_sleep(0.05)").await?;
        self.leave();
        Ok(())
    }
}

#[test]
fn a_storm_of_threads_opens_no_more_side_by_side_than_num_workers() -> Outcome {
    let (on, crowd) = (Fixture::new(), Crowd::default());
    let config = on.pools("{ min_size: 0, max_size: 8, num_workers: 2 }");
    let hooks = sync::Hooks::new("crowd").after_connect(crowd.clone());
    let pool = sync::Builder::new(&config).hooks(hooks).pool()?;
    let together = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let _guard = pool.acquire().expect("served");
                together.wait();
            });
        }
    });
    assert_eq!((crowd.most(), pool.status().size), (2, 8));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_tasks_opens_no_more_side_by_side_than_num_workers() -> Outcome {
    let (on, crowd) = (Fixture::new(), Crowd::default());
    let config = on.pools("{ min_size: 0, max_size: 8, num_workers: 2 }");
    let hooks = aio::Hooks::new("crowd").after_connect(crowd.clone());
    let pool = aio::Builder::new(&config).hooks(hooks).pool().await?;
    let together = Arc::new(tokio::sync::Barrier::new(8));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (pool, together) = (pool.clone(), Arc::clone(&together));
        tasks.spawn(async move {
            let _guard = pool.acquire().await.expect("served");
            together.wait().await;
        });
    }
    tasks.join_all().await;
    assert_eq!((crowd.most(), pool.status().size), (2, 8));
    Ok(())
}

/// Admits one session and no other.
#[derive(Clone, Default)]
struct One(Arc<AtomicU32>);

#[async_trait::async_trait]
impl aio::AfterConnect for One {
    async fn after_connect(&self, _: &mut pgmonkey::tokio_postgres::Client) -> Result<(), Error> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(()),
            _ => Err(Error::other("one is enough")),
        }
    }
}

type Acquired = Result<aio::ClientGuard, Error>;

/// The results of two callers that wait for the first two sessions of a pool that opens one at a
/// time.
///
/// Both acquire in one poll of a worker, which runs the most recently spawned task first: the
/// openers run in the reverse order of the callers.
async fn two_who_wait(
    hooks: aio::Hooks,
) -> Result<(Acquired, Acquired), Box<dyn std::error::Error + Send + Sync>> {
    let on = Fixture::new();
    let config = on.pools("{ min_size: 0, max_size: 2, num_workers: 1, timeout: 60 }");
    let pool = aio::Builder::new(&config).hooks(hooks).pool().await?;
    let began = Instant::now();
    let both = tokio::spawn(async move { tokio::join!(pool.acquire(), pool.acquire()) }).await?;
    assert!(began.elapsed() < LONG, "one caller waited for its timeout");
    Ok(both)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whoever_waits_is_served_in_whatever_order_sessions_are_opened() -> Outcome {
    // It is a matter of chance whether an opener first learns of its turn or of its waiter's.
    for _ in 0..20 {
        let (first, second) = two_who_wait(aio::Hooks::new("none")).await?;
        assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whoever_waits_is_told_in_whatever_order_sessions_fail() -> Outcome {
    let hooks = aio::Hooks::new("one").after_connect(One::default());
    let (first, second) = two_who_wait(hooks).await?;
    assert!(first.is_ok(), "{first:?}");
    let told = second.expect_err("one was let in").to_string();
    assert!(told.contains("one is enough"), "{told}");
    Ok(())
}
