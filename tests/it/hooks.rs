//! User-supplied hooks that run at points in a session's lifecycle. Over TCP.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pgmonkey::{Error, HookVerdict};
use pgmonkey_tests::{LONG, twin};

/// What a test hook does with a session, and how often it was called.
#[derive(Clone)]
pub(crate) struct Script(Arc<Lines>);

struct Lines {
    sql: Mutex<String>,
    answer: Mutex<Answer>,
    asked: AtomicU32,
}

#[derive(Clone, Copy)]
enum Answer {
    Keep,
    Discard,
    /// Discards the session for this many more calls, then keeps it.
    DiscardNext(u32),
    Panic,
}

impl Script {
    fn new(sql: &str, answer: Answer) -> Self {
        Self(Arc::new(Lines {
            sql: Mutex::new(sql.to_owned()),
            answer: Mutex::new(answer),
            asked: AtomicU32::new(0),
        }))
    }

    /// Runs this and answers so.
    pub(crate) fn running(sql: &str, answer: HookVerdict) -> Self {
        let answer = match answer {
            HookVerdict::Keep => Answer::Keep,
            HookVerdict::Discard => Answer::Discard,
        };
        Self::new(sql, answer)
    }

    /// Takes longer than any test waits.
    pub(crate) fn sleeping() -> Self {
        Self::new("SELECT pg_sleep(60)", Answer::Keep)
    }

    pub(crate) fn asked(&self) -> u32 {
        self.0.asked.load(Ordering::SeqCst)
    }

    fn turn_to(&self, sql: &str, answer: Answer) {
        *self.0.sql.lock().expect("no panic") = sql.to_owned();
        *self.0.answer.lock().expect("no panic") = answer;
    }

    fn sql(&self) -> String {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        self.0.sql.lock().expect("no panic").clone()
    }

    fn answer(&self) -> HookVerdict {
        let mut answer = self.0.answer.lock().expect("no panic");
        match *answer {
            Answer::Keep | Answer::DiscardNext(0) => HookVerdict::Keep,
            Answer::Discard => HookVerdict::Discard,
            Answer::DiscardNext(left) => {
                *answer = Answer::DiscardNext(left - 1);
                HookVerdict::Discard
            }
            Answer::Panic => {
                drop(answer);
                std::panic::resume_unwind(Box::new("a hook's panic"))
            }
        }
    }
}

mod threads {
    use super::*;
    use pgmonkey::postgres::Client;
    use pgmonkey::sync::{AfterConnect, AfterRelease, BeforeAcquire};

    impl AfterConnect for Script {
        fn after_connect(&self, client: &mut Client) -> Result<(), Error> {
            client.batch_execute(&self.sql())?;
            self.answer();
            Ok(())
        }
    }

    impl BeforeAcquire for Script {
        fn before_acquire(&self, client: &mut Client) -> Result<HookVerdict, Error> {
            client.batch_execute(&self.sql())?;
            Ok(self.answer())
        }
    }

    impl AfterRelease for Script {
        fn after_release(&self, client: &mut Client) -> Result<HookVerdict, Error> {
            client.batch_execute(&self.sql())?;
            Ok(self.answer())
        }
    }
}

mod tasks {
    use super::*;
    use pgmonkey::aio::{AfterConnect, AfterRelease, BeforeAcquire};
    use pgmonkey::tokio_postgres::Client;

    #[async_trait::async_trait]
    impl AfterConnect for Script {
        async fn after_connect(&self, client: &mut Client) -> Result<(), Error> {
            client.batch_execute(&self.sql()).await?;
            self.answer();
            Ok(())
        }
    }

    #[async_trait::async_trait]
    impl BeforeAcquire for Script {
        async fn before_acquire(&self, client: &mut Client) -> Result<HookVerdict, Error> {
            client.batch_execute(&self.sql()).await?;
            Ok(self.answer())
        }
    }

    #[async_trait::async_trait]
    impl AfterRelease for Script {
        async fn after_release(&self, client: &mut Client) -> Result<HookVerdict, Error> {
            client.batch_execute(&self.sql()).await?;
            Ok(self.answer())
        }
    }
}

const APPLICATION: &str = "SELECT current_setting('pgmonkey.hook', true)";

twin! {
    everywhere fn a_new_session_is_prepared_once(on, driver, go, work) {
        let hook = Script::new("SET pgmonkey.hook = 'prepared'", Answer::Keep);
        let hooks = driver::Hooks::new("test").after_connect(hook.clone());
        let pool = go!(driver::Builder::new(&on.pools("{ min_size: 0, max_size: 1 }")).hooks(hooks).pool())?;
        for _ in 0..3 {
            let found: Option<String> = go!(pool.query_one(APPLICATION, &[]))?.get(0);
            assert_eq!(found.as_deref(), Some("prepared"));
        }
        assert_eq!((hook.asked(), pool.status().opened), (1, 1));
        on.kill();
        let found: Option<String> = go!(pool.query_one(APPLICATION, &[]))?.get(0);
        assert_eq!((found.as_deref(), hook.asked()), (Some("prepared"), 2));
        Ok(())
    }
}

twin! {
    everywhere fn a_hook_that_fails_is_a_failed_open(on, driver, go, work) {
        let hook = Script::new("SELECT 1/0", Answer::Keep);
        let hooks = driver::Hooks::new("test").after_connect(hook.clone());
        let config = on.pools("{ min_size: 0, max_size: 2, timeout: 60 }");
        let pool = go!(driver::Builder::new(&config).hooks(hooks).pool())?;
        let began = Instant::now();
        let error = go!(pool.acquire()).expect_err("the hook fails");
        assert!(began.elapsed() < LONG, "at once: {:?}", began.elapsed());
        assert!(matches!(error, Error::Connect(_)), "{error}");
        assert!(error.to_string().contains("the after_connect hook failed: ERROR: division by zero"), "{error}");
        assert_eq!(error.code().map(|code| code.code()), Some("22012"));
        on.until("its session ends", || on.sessions() == 0);

        hook.turn_to("BEGIN", Answer::Keep);
        let error = go!(pool.acquire()).expect_err("a transaction is open");
        assert!(error.to_string().contains("the after_connect hook left a transaction"), "{error}");
        hook.turn_to("", Answer::Panic);
        for _ in 0..4 {
            let error = go!(pool.acquire()).expect_err("the hook panics");
            assert!(error.to_string().contains("the after_connect hook panicked: a hook's panic"), "{error}");
        }
        hook.turn_to("", Answer::Keep);
        let held = (go!(pool.acquire())?, go!(pool.acquire())?);
        assert_eq!(pool.status().in_use, 2, "no slot was lost");
        drop(held);
        Ok(())
    }
}

twin! {
    everywhere fn a_hook_that_hangs_ends_with_connect_timeout(on, driver, go, work) {
        let hooks = driver::Hooks::new("test").after_connect(Script::new("SELECT pg_sleep(30)", Answer::Keep));
        let yaml = on.yaml("pool_settings: { timeout: 1 }\nasync_pool_settings: { timeout: 1 }\n")
            .replacen("connect_timeout: 5", "connect_timeout: 1", 1);
        let began = Instant::now();
        let error = match go!(driver::Builder::new(&pgmonkey_tests::load(&yaml)).hooks(hooks).connection()) {
            Ok(_) => panic!("the hook sleeps"),
            Err(error) => error,
        };
        assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
        let text = error.to_string();
        assert!(text.contains("connect_timeout (1s): the after_connect hook took longer"), "{text}");
        Ok(())
    }
}

twin! {
    everywhere fn a_vetoed_session_is_replaced(on, driver, go, work) {
        let hook = Script::new("", Answer::Keep);
        let hooks = driver::Hooks::new("test").before_acquire(hook.clone());
        let config = on.pools("{ min_size: 0, max_size: 3, timeout: 60 }");
        let pool = go!(driver::Builder::new(&config).hooks(hooks).pool())?;
        let held = (go!(pool.acquire())?, go!(pool.acquire())?, go!(pool.acquire())?);
        drop(held);
        on.until("all are back", || pool.status().idle == 3);
        let asked = hook.asked();
        hook.turn_to("", Answer::DiscardNext(2));
        drop(go!(pool.acquire())?);
        assert_eq!(hook.asked(), asked + 3);
        let status = pool.status();
        assert_eq!((status.opened, status.closed.hook, status.size), (3, 2, 1));

        // A failed check of a used session is not reported, but an open transaction that the hook
        // leaves is.
        hook.turn_to("BEGIN", Answer::Keep);
        let error = go!(pool.acquire()).expect_err("the hook leaves a transaction open");
        assert!(error.to_string().contains("the before_acquire hook left"), "{error}");
        hook.turn_to("", Answer::Panic);
        let error = go!(pool.acquire()).expect_err("the hook panics");
        assert!(matches!(error, Error::Hook(_)) && !error.is_transient(), "{error}");
        hook.turn_to("", Answer::Keep);
        let held = (go!(pool.acquire())?, go!(pool.acquire())?, go!(pool.acquire())?);
        assert_eq!(on.sessions_in("idle in transaction"), 0);
        drop(held);
        Ok(())
    }
}

twin! {
    everywhere fn a_hook_that_refuses_everything_is_asked_until_the_time_out(on, driver, go, work) {
        let hook = Script::new("", Answer::Discard);
        let hooks = driver::Hooks::new("test").before_acquire(hook.clone());
        let config = on.pools("{ min_size: 0, max_size: 1, timeout: 500ms }");
        let pool = go!(driver::Builder::new(&config).hooks(hooks).pool())?;
        let began = Instant::now();
        let error = go!(pool.acquire()).expect_err("it refuses all");
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(400) && waited < LONG, "{waited:?}");
        assert!(error.is_timeout(), "{error}");
        assert!(error.to_string().contains("the before_acquire hook refused a new session"), "{error}");
        assert!(hook.asked() < 20, "with pauses: {}", hook.asked());
        hook.turn_to("", Answer::Keep);
        drop(go!(pool.acquire())?);
        Ok(())
    }
}

twin! {
    everywhere fn a_session_that_came_back_is_shown_clean(on, driver, go, work) {
        let hook = Script::new("INSERT INTO pg_temp.seen SELECT pg_current_xact_id_if_assigned() IS NOT NULL", Answer::Keep);
        let hooks = driver::Hooks::new("test")
            .after_connect(Script::new("CREATE TEMP TABLE seen (inside bool)", Answer::Keep))
            .after_release(hook.clone());
        let config = on.pools("{ min_size: 0, max_size: 1 }");
        let pool = go!(driver::Builder::new(&config).hooks(hooks).pool())?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.batch_execute(&format!("BEGIN; INSERT INTO {} VALUES (1)", on.name)))?;
        drop(guard);
        let seen = go!(pool.query("SELECT inside FROM seen", &[]))?;
        assert_eq!(seen.len(), 1, "called once, before the next caller");
        assert!(!seen[0].get::<_, bool>(0), "outside the caller's transaction");
        assert_eq!(on.rows(), 0);

        // A transaction that the hook itself leaves open is rolled back.
        hook.turn_to("BEGIN", Answer::Keep);
        drop(go!(pool.acquire())?);
        drop(go!(pool.acquire())?);
        on.until("no transaction idles", || on.sessions_in("idle in transaction") == 0);
        assert_eq!(pool.status().opened, 1);

        for (sql, answer) in [("", Answer::Discard), ("nonsense", Answer::Keep), ("", Answer::Panic)] {
            let before = pool.status();
            hook.turn_to("", Answer::Keep);
            let guard = go!(pool.acquire())?;
            hook.turn_to(sql, answer);
            drop(guard);
            on.until("it is discarded", || pool.status().closed.hook == before.closed.hook + 1);
        }
        hook.turn_to("", Answer::Keep);
        assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        Ok(())
    }
}

twin! {
    everywhere fn a_pool_is_filled_without_a_borrower(on, driver, go, work) {
        let (before, after) = (Script::new("", Answer::Keep), Script::new("", Answer::Keep));
        let hooks = driver::Hooks::new("test").before_acquire(before.clone()).after_release(after.clone());
        let config = on.pools("{ min_size: 3, max_size: 5 }");
        let pool = go!(driver::Builder::new(&config).hooks(hooks).pool())?;
        let status = pool.status();
        assert_eq!((status.opened, status.idle, status.in_use, status.acquires), (3, 3, 0, 0));
        assert_eq!((before.asked(), after.asked()), (0, 0));
        drop(go!(pool.acquire())?);
        on.until("it is back", || after.asked() == 1);
        assert_eq!((before.asked(), pool.status().acquires, on.sessions()), (1, 1, 3));
        Ok(())
    }
}

twin! {
    everywhere fn the_cache_tells_hooks_apart_by_their_identity(on, driver, go, work) {
        let config = on.pools("{ min_size: 0, max_size: 1 }");
        let manager = driver::ConnectionManager::new();
        let hook = Script::new("SET pgmonkey.hook = 'prepared'", Answer::Keep);
        let hooks = |identity: &str| driver::Hooks::new(identity).after_connect(hook.clone());
        let plain = go!(manager.pool(&config))?;
        let with = go!(manager.with_hooks(hooks("one")).pool(&config))?;
        assert!(!with.is_same(&plain));
        assert!(go!(manager.with_hooks(hooks("one")).pool(&config))?.is_same(&with));
        assert!(!go!(manager.with_hooks(hooks("two")).pool(&config))?.is_same(&with));
        let found: Option<String> = go!(with.query_one(APPLICATION, &[]))?.get(0);
        assert_eq!(found.as_deref(), Some("prepared"));
        let found: Option<String> = go!(plain.query_one(APPLICATION, &[]))?.get(0);
        assert_eq!(found.as_deref().unwrap_or_default(), "");
        Ok(())
    }
}

#[tokio::test]
async fn a_hook_that_is_abandoned_ends_its_session() -> pgmonkey_tests::Outcome {
    let on = pgmonkey_tests::Fixture::new();
    let hook = Script::new("SELECT pg_sleep(30)", Answer::Keep);
    let hooks = pgmonkey::AsyncHooks::new("test").before_acquire(hook.clone());
    let config = on.pools("{ min_size: 0, max_size: 1, timeout: 60 }");
    let builder = pgmonkey::aio::Builder::new(&config).hooks(hooks);
    let pool = builder.pool().await?;
    let acquire = tokio::time::timeout(Duration::from_millis(300), pool.acquire());
    assert!(acquire.await.is_err(), "the hook sleeps");
    assert_eq!(pool.status().closed.hook, 1);
    hook.turn_to("", Answer::Keep);
    drop(pool.acquire().await?);
    assert_eq!(pool.status().opened, 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_session_that_comes_back_in_a_task_ends_without_its_hook()
-> pgmonkey_tests::Outcome {
    let on = pgmonkey_tests::Fixture::new();
    let hook = Script::new("", Answer::Keep);
    let hooks = pgmonkey::Hooks::new("test").after_release(hook.clone());
    let config = on.pools("{ min_size: 0, max_size: 1 }");
    let open = move || {
        let pool = pgmonkey::sync::Builder::new(&config).hooks(hooks).pool()?;
        let guard = pool.acquire()?;
        Ok::<_, Error>((pool, guard))
    };
    let (pool, guard) = tokio::task::spawn_blocking(open).await??;
    drop(guard);
    assert_eq!((hook.asked(), pool.status().closed.hook), (0, 1));
    Ok(())
}

twin! {
    everywhere fn over_a_unix_socket_a_new_session_is_prepared_as_well(on, driver, go, work) {
        // There the library sets no deadline for the blocking driver's statements.
        drop(on);
        let cluster = pgmonkey_testserver::Cluster::builder().start().expect("a server");
        let on = pgmonkey_tests::Fixture::on((*cluster).clone());
        let directory = cluster.socket_dir().expect("on this machine").display().to_string();
        let yaml = on.yaml_at(&directory, on.server().port(), "pool_settings: { timeout: 1 }\nasync_pool_settings: { timeout: 1 }\n");
        let yaml = yaml.replacen("connect_timeout: 5", "connect_timeout: 1", 1);
        let hook = Script::new("SET pgmonkey.hook = 'prepared'", Answer::Keep);
        let hooks = driver::Hooks::new("test").after_connect(hook.clone());
        let builder = driver::Builder::new(&pgmonkey_tests::load(&yaml)).hooks(hooks);
        let connection = go!(builder.clone().connection())?;
        let found: Option<String> = go!(connection.query_one(APPLICATION, &[]))?.get(0);
        assert_eq!(found.as_deref(), Some("prepared"));
        for (sql, reason) in [
            ("BEGIN", "left a transaction"),
            ("BEGIN; SELECT 1/0", "division by zero"),
            ("SELECT pg_sleep(30)", "the after_connect hook took longer"),
        ] {
            hook.turn_to(sql, Answer::Keep);
            let began = Instant::now();
            let error = match go!(builder.clone().connection()) {
                Ok(_) => panic!("{sql} is an error"),
                Err(error) => error,
            };
            assert!(error.to_string().contains(reason), "{error}");
            assert!(began.elapsed() < LONG, "{sql}: {:?}", began.elapsed());
        }
        Ok(())
    }
}

twin! {
    everywhere fn what_the_hooks_set_is_no_change_of_the_borrowers(on, driver, go, work) {
        let connect = Script::new("SET work_mem = '6MB'", Answer::Keep);
        let acquire = Script::new("SET statement_timeout = '1h'", Answer::Keep);
        let hooks = driver::Hooks::new("test").after_connect(connect.clone()).before_acquire(acquire.clone());
        let config = on.pools("{ min_size: 1, max_size: 1 }");
        let pool = go!(driver::Builder::new(&config).hooks(hooks).pool())?;
        let ask = "SELECT current_setting('work_mem') || ' ' || current_setting('statement_timeout')";
        for _ in 0..3 {
            let row = go!(pool.query_one(ask, &[]))?;
            assert_eq!(row.get::<_, &str>(0), "6MB 1h");
        }
        assert_eq!(pool.status().opened, 1, "nothing was to be undone");
        go!(pool.batch_execute("SET work_mem = '9MB'; SET statement_timeout = '2h'"))?;
        let row = go!(pool.query_one(ask, &[]))?;
        assert_eq!(row.get::<_, &str>(0), "6MB 1h");
        assert_eq!(connect.asked(), 2, "a reset would have undone what this hook has set");
        Ok(())
    }
}

twin! {
    everywhere fn a_hook_gets_every_notice_of_a_flood(on, driver, go, work) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ours = Arc::clone(&heard);
        let hooks = driver::Hooks::new("notices").on_notice(move |notice| {
            let notice = format!("{} {}", notice.severity(), notice.message());
            ours.lock().expect("no panic").push(notice);
        });
        let builder = driver::Builder::new(&on.pools("{ max_size: 1 }")).hooks(hooks);
        let pool = go!(builder.pool())?;
        go!(pool.batch_execute(
            "DO $$ BEGIN FOR n IN 1..300 LOOP RAISE NOTICE 'no %', n; END LOOP; \
             RAISE WARNING 'the last'; END $$"
        ))?;
        let heard = std::mem::take(&mut *heard.lock().expect("no panic"));
        assert_eq!(heard.len(), 301);
        assert_eq!((&*heard[0], &*heard[300]), ("NOTICE no 1", "WARNING the last"));
        Ok(())
    }
}

twin! {
    fn a_panic_in_a_hook_for_notices_costs_nothing(on, driver, go, work) {
        let hooks = driver::Hooks::new("panics").on_notice(|notice| {
            std::panic::resume_unwind(Box::new(notice.message().to_owned()))
        });
        let builder = driver::Builder::new(&on.pools("{ max_size: 1 }")).hooks(hooks);
        let pool = go!(builder.pool())?;
        go!(pool.batch_execute("DO $$ BEGIN RAISE NOTICE 'a notice'; END $$"))?;
        assert_eq!(go!(pool.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}
