//! `confirm_commit`: another session finds out whether a transaction was committed whose `COMMIT`
//! was not answered.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use pgmonkey::{Error, aio, sync};
use pgmonkey_tests::{Fixture, Outcome, load, twin};
use pgmonkey_testserver::{At, Cluster, Cut, Proxy, StopMode, signal};

use crate::outcome::{Books, COMMIT, commits, decided, is_commit_unknown, proxy, through};

#[track_caller]
fn is_not_committed(error: &Error) {
    assert!(matches!(error, Error::NotCommitted(_)), "{error}");
    assert!(
        error.is_transient() && !error.is_outcome_unknown(),
        "{error}"
    );
}

/// Makes one transfer, whose commit is confirmed.
macro_rules! transfer {
    ($pool:expr, $on:ident, $number:expr, $go:ident) => {{
        let insert = format!("INSERT INTO {} VALUES ($1), (-$1)", $on.name);
        let number = $number as i32;
        match $go!($pool.build_transaction().confirm_commit(true).begin()) {
            Err(error) => Err(error),
            #[allow(
                unused_mut,
                reason = "the blocking driver takes &mut where the other takes &"
            )]
            Ok(mut transaction) => match $go!(transaction.execute(&insert, &[&number])) {
                Ok(_) => $go!(transaction.commit()),
                Err(error) => Err(error),
            },
        }
    }};
}

twin! {
    fn the_outcome_of_a_commit_that_was_cut_off_is_known(on, driver, go, work) {
        let proxy = proxy(&on);
        // With one session, too: the lost one makes room for the one that asks.
        for max_size in [2, 1] {
            on.run(&format!("TRUNCATE {}", on.name));
            let settings = format!("{{ min_size: 0, max_size: {max_size} }}");
            let pool = go!(driver::Pool::new(&through(&proxy, &on, &settings)))?;
            let mut books = Books::default();
            for number in 1..=commits() {
                let at = if number % 2 == 0 { At::Before } else { At::After };
                proxy.on_text(COMMIT, at, || Some(Cut::Fin));
                let told = transfer!(pool, on, number, go);
                match (&told, at) {
                    (Err(error), At::Before) => is_not_committed(error),
                    (told, _) => assert!(told.is_ok(), "{number}: {told:?}"),
                }
                books.note(number, told);
            }
            proxy.forget_text();
            decided(&on, &proxy);
            books.check(&on, &on.name);
            assert_eq!(books.committed.len() as i64, (commits() + 1) / 2);
            assert_eq!(books.undone.len() as i64, commits() / 2);
        }
        Ok(())
    }
}

twin! {
    fn a_guards_transaction_can_be_confirmed(on, driver, go, work) {
        let proxy = proxy(&on);
        let pool = go!(driver::Pool::new(&through(&proxy, &on, "{ min_size: 0, max_size: 2 }")))?;
        let insert = format!("INSERT INTO {} VALUES (1)", on.name);
        for at in [At::Before, At::After] {
            proxy.on_text(COMMIT, at, || Some(Cut::Fin));
            let mut guard = go!(pool.acquire())?;
            let mut transaction = go!(guard.build_transaction().confirm_commit(true).begin())?;
            go!(transaction.execute(&insert, &[]))?;
            let ended = go!(transaction.commit());
            match at {
                At::Before => is_not_committed(&ended.expect_err("cut")),
                At::After => ended?,
            }
        }
        // Without a cut it is a commit like any other; a savepoint has none to confirm.
        proxy.forget_text();
        let mut guard = go!(pool.acquire())?;
        let mut transaction = go!(guard.build_transaction().confirm_commit(true).begin())?;
        go!(transaction.execute(&insert, &[]))?;
        let refused = go!(transaction.build_transaction().confirm_commit(true).begin());
        let refused = refused.map(drop).expect_err("not for a savepoint");
        assert!(refused.to_string().contains("confirm_commit"), "{refused}");
        go!(transaction.commit())?;
        assert_eq!(on.rows(), 2);
        Ok(())
    }
}

twin! {
    fn what_wrote_nothing_may_be_run_again_and_what_failed_is_rolled_back(on, driver, go, work) {
        let proxy = proxy(&on);
        let pool = go!(driver::Pool::new(&through(&proxy, &on, "{ min_size: 0, max_size: 2 }")))?;
        proxy.on_text(COMMIT, At::After, || Some(Cut::Fin));
        let mut transaction = go!(pool.build_transaction().confirm_commit(true).begin())?;
        go!(transaction.query("SELECT 1", &[]))?;
        is_not_committed(&go!(transaction.commit()).expect_err("cut"));
        let mut transaction = go!(pool.build_transaction().confirm_commit(true).begin())?;
        let _ = go!(transaction.query("SELECT 1 / 0", &[])).expect_err("division by zero");
        let ended = go!(transaction.commit()).expect_err("it has failed");
        assert!(matches!(ended, Error::RolledBack), "{ended}");
        Ok(())
    }
}

twin! {
    fn a_commit_in_progress_is_waited_for_until_the_time_is_over(on, driver, go, work) {
        let on = Arc::new(on);
        let proxy = proxy(&on);
        let name = &on.name;
        // A deferred trigger holds the COMMIT up until the test lets it go on.
        on.run(&format!(
            "CREATE SCHEMA s_{name}; \
             CREATE FUNCTION s_{name}.wait() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN PERFORM pg_advisory_xact_lock(hashtext(''{name}'')); RETURN NULL; END'; \
             CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON {name} DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION s_{name}.wait(); \
             SELECT pg_advisory_lock(hashtext('{name}'))"
        ));
        proxy.on_text(COMMIT, At::After, || Some(Cut::Fin));
        let insert = format!("INSERT INTO {name} VALUES (1)");
        let impatient = through(&proxy, &on, "{ min_size: 0, max_size: 2, timeout: 1 }");
        let pool = go!(driver::Pool::new(&impatient))?;
        let mut transaction = go!(pool.build_transaction().confirm_commit(true).begin())?;
        go!(transaction.execute(&insert, &[]))?;
        let error = go!(transaction.commit()).expect_err("still in progress");
        is_commit_unknown(&error);
        assert!(error.to_string().contains("still in progress"), "{error}");

        let pool = go!(driver::Pool::new(&through(&proxy, &on, "{ min_size: 0, max_size: 2 }")))?;
        let mut transaction = go!(pool.build_transaction().confirm_commit(true).begin())?;
        go!(transaction.execute(&insert, &[]))?;
        let unlocking = std::thread::spawn({
            let on = Arc::clone(&on);
            move || {
                let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 \
                               AND wait_event = 'advisory' AND query = 'COMMIT'";
                on.until("both wait", || on.number(waiting, &[&on.name]) == 2);
                on.run(&format!("SELECT pg_advisory_unlock(hashtext('{}'))", on.name));
            }
        });
        go!(transaction.commit())?;
        assert!(unlocking.join().is_ok());
        decided(&on, &proxy);
        assert_eq!(on.rows(), 2);
        Ok(())
    }
}

twin! {
    fn what_the_role_may_not_ask_is_said_when_it_is_needed(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start()?;
        let on = Fixture::on(cluster.endpoint().clone());
        let name = &on.name;
        on.run(&format!(
            "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC; \
             CREATE ROLE r_{name}; GRANT INSERT ON {name} TO r_{name}"
        ));
        let proxy = proxy(&on);
        let pool = go!(driver::Pool::new(&through(&proxy, &on, "{ min_size: 0, max_size: 2 }")))?;
        let insert = format!("INSERT INTO {name} VALUES (1)");
        for cuts in [false, true] {
            if cuts {
                proxy.on_text(COMMIT, At::After, || Some(Cut::Fin));
            }
            let builder = pool.build_transaction().confirm_commit(true).role(&format!("r_{name}"));
            let mut transaction = go!(builder.begin())?;
            go!(transaction.execute(&insert, &[]))?;
            let ended = go!(transaction.commit());
            match cuts {
                false => ended?,
                true => {
                    let error = ended.expect_err("cut");
                    is_commit_unknown(&error);
                    let text = error.to_string();
                    assert!(text.contains("permission denied for function pg_control_system"), "{text}");
                }
            }
        }
        decided(&on, &proxy);
        assert_eq!(on.rows(), 2);
        Ok(())
    }
}

/// The configuration for two servers: the one that accepts writes is used.
fn either(proxy: &Proxy, on: &Fixture, other: u16) -> pgmonkey::Config {
    let yaml = on.yaml_at(
        "HOSTS",
        1,
        "pool_settings: { min_size: 0, max_size: 2 }\n\
                           async_pool_settings: { min_size: 0, max_size: 2 }\n",
    );
    let hosts = format!(
        "host: '127.0.0.1,127.0.0.1', port: '{},{other}', target_session_attrs: read-write",
        proxy.port()
    );
    load(&yaml.replace("host: 'HOSTS', port: 1", &hosts))
}

twin! {
    fn a_promoted_standby_does_not_know_the_outcome(on, driver, go, work) {
        drop(on);
        let primary = Arc::new(Cluster::builder().start()?);
        let standby = Arc::new(primary.standby()?);
        let on = Fixture::on(primary.endpoint().clone());
        let insert = format!("INSERT INTO {} VALUES (1)", on.name);
        let proxy = proxy(&on);
        let pool = go!(driver::Pool::new(&either(&proxy, &on, standby.port())))?;
        let mut transaction = go!(pool.build_transaction().confirm_commit(true).begin())?;
        go!(transaction.execute(&insert, &[]))?;
        let promoted = Arc::new(AtomicBool::new(false));
        proxy.on_text(COMMIT, At::After, {
            let (primary, standby) = (Arc::clone(&primary), Arc::clone(&standby));
            let promoted = Arc::clone(&promoted);
            move || {
                let stopped = primary.stop(StopMode::Immediate);
                let failover = stopped.and_then(|()| standby.promote());
                promoted.store(failover.is_ok(), Ordering::SeqCst);
                Some(Cut::Fin)
            }
        });
        let error = go!(transaction.commit()).expect_err("lost");
        on.until("it is promoted", || promoted.load(Ordering::SeqCst));
        is_commit_unknown(&error);
        assert!(error.to_string().contains("from timeline 00000001 to 00000002"), "{error}");
        Ok(())
    }
}

/// A server that crashes when a client commits, and the transfers of several callers.
struct Crashing {
    cluster: Arc<Cluster>,
    on: Fixture,
    proxy: Proxy,
    next: AtomicU32,
    /// The transfers that callers have begun and not noted.
    begun: Mutex<BTreeSet<i64>>,
    stop: AtomicBool,
    books: Mutex<Books>,
}

impl Crashing {
    fn new() -> Self {
        // What was committed must survive a crash.
        let cluster = Cluster::builder().setting("synchronous_commit", "on");
        let cluster = Arc::new(cluster.start().expect("a server"));
        let on = Fixture::on(cluster.endpoint().clone());
        let proxy = proxy(&on);
        Self {
            cluster,
            proxy,
            on,
            next: AtomicU32::new(1),
            begun: Mutex::default(),
            stop: AtomicBool::new(false),
            books: Mutex::default(),
        }
    }

    fn config(&self) -> pgmonkey::Config {
        let settings = "{ min_size: 0, max_size: 4, timeout: 60 }";
        through(&self.proxy, &self.on, settings)
    }

    fn next(&self) -> Option<i64> {
        let goes_on = !self.stop.load(Ordering::SeqCst);
        goes_on.then(|| {
            let mut begun = self.begun.lock().expect("not poisoned");
            let number = self.next.fetch_add(1, Ordering::SeqCst).into();
            begun.insert(number);
            number
        })
    }

    fn note(&self, number: i64, told: Result<(), Error>) {
        self.books.lock().expect("not poisoned").note(number, told);
        self.begun.lock().expect("not poisoned").remove(&number);
    }

    fn made(&self) -> usize {
        self.books.lock().expect("not poisoned").committed.len()
    }

    /// Crashes the server at commits, in turn before and after they are forwarded: its processes
    /// are killed, or one of them, which makes the others start anew.
    fn crash_repeatedly(&self) {
        for round in 0..(commits() / 20).max(4) {
            let before = self.made();
            self.on_progress(before);
            let (at, whole) = ([At::Before, At::After][round as usize % 2], round % 4 < 2);
            let pid = match whole {
                true => self.cluster.pid().expect("it runs"),
                false => {
                    let other = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'";
                    let pid = Cell::new(None::<u32>);
                    // It may still be starting anew after the crash before.
                    self.on.until("it runs", || {
                        let found = self.cluster.psql(other).ok();
                        pid.set(found.and_then(|pid| pid.parse().ok()));
                        pid.get().is_some()
                    });
                    pid.get().expect("it runs")
                }
            };
            let crashed = Arc::new(AtomicBool::new(false));
            self.proxy.on_text(COMMIT, at, {
                let crashed = Arc::clone(&crashed);
                move || {
                    if !crashed.swap(true, Ordering::SeqCst) {
                        signal(pid, "KILL").expect("it runs");
                    }
                    Some(Cut::Fin)
                }
            });
            self.on
                .until("it crashes", || crashed.load(Ordering::SeqCst));
            self.proxy.forget_text();
            if whole {
                self.cluster.stop(StopMode::Kill).expect("it is dead");
                // The processes that it left behind hold its memory until they notice.
                self.on
                    .until("it starts", || self.cluster.start_again().is_ok());
            }
            // An outcome that is asked for after another crash may be unknown.
            let latest = i64::from(self.next.load(Ordering::SeqCst));
            self.on.until("their outcomes are noted", || {
                let begun = self.begun.lock().expect("not poisoned");
                begun.first().is_none_or(|first| *first >= latest)
            });
        }
        self.on_progress(self.made());
        self.stop.store(true, Ordering::SeqCst);
    }

    fn on_progress(&self, before: usize) {
        self.on
            .until("transfers are made", || self.made() > before + 5);
    }

    fn check(&self) {
        let table = self.on.name.clone();
        let on = Fixture::on(self.cluster.endpoint().clone());
        let books = self.books.lock().expect("not poisoned");
        books.check(&on, &table);
        let (committed, undone, unknown) = (
            books.committed.len(),
            books.undone.len(),
            books.unknown.len(),
        );
        println!("{committed} committed, {undone} undone, {unknown} unknown");
        assert_eq!(unknown, 0, "could have been known");
    }
}

#[test]
fn the_books_agree_with_a_server_that_is_killed_under_threads() -> Outcome {
    macro_rules! plain {
        ($call:expr) => {
            $call
        };
    }
    let crashing = Crashing::new();
    let pool = sync::Pool::new(&crashing.config())?;
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(number) = crashing.next() {
                    let on = &crashing.on;
                    crashing.note(number, transfer!(pool, on, number, plain));
                }
            });
        }
        crashing.crash_repeatedly();
    });
    crashing.check();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_books_agree_with_a_server_that_is_killed_under_tasks() -> Outcome {
    macro_rules! awaited {
        ($call:expr) => {
            $call.await
        };
    }
    let crashing = Arc::new(Crashing::new());
    let pool = aio::Pool::new(&crashing.config()).await?;
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let (crashing, pool) = (Arc::clone(&crashing), pool.clone());
            tokio::spawn(async move {
                while let Some(number) = crashing.next() {
                    let on = &crashing.on;
                    crashing.note(number, transfer!(pool, on, number, awaited));
                }
            })
        })
        .collect();
    let chaos = Arc::clone(&crashing);
    tokio::task::spawn_blocking(move || chaos.crash_repeatedly()).await?;
    for task in tasks {
        task.await?;
    }
    tokio::task::spawn_blocking(move || crashing.check()).await?;
    Ok(())
}
