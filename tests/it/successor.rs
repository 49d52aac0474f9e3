//! A handle that is replaced has a successor: its clones go on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use pgmonkey::{Config, ConfigSource, Error};
use pgmonkey_tests::{Fixture, Outcome, load, twin};

use crate::observation::warnings_about;

/// A role of the test's own, whose password rotates.
struct Rotating<'a> {
    on: &'a Fixture,
}

impl<'a> Rotating<'a> {
    fn new(on: &'a Fixture) -> Self {
        on.run(&format!("CREATE ROLE {} LOGIN", on.name));
        Self { on }
    }

    /// Gives the role a password, and returns a configuration with it.
    fn rotate(&self, password: &str, sections: &str) -> Config {
        let role = &self.on.name;
        self.on
            .run(&format!("ALTER ROLE {role} PASSWORD '{password}'"));
        load(&self.yaml(password, sections))
    }

    fn yaml(&self, password: &str, sections: &str) -> String {
        let server = self.on.server();
        let quote = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let (user, secret) = (quote(server.user()), quote(server.password()));
        let yaml = self.on.yaml(sections);
        yaml.replace(&format!("user: {user}"), &format!("user: {}", self.on.name))
            .replace(
                &format!("password: {secret}"),
                &format!("password: {password}"),
            )
    }
}

impl Drop for Rotating<'_> {
    fn drop(&mut self) {
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename";
        let role = &self.on.name;
        self.on.run(&format!("{kill} = '{role}'; DROP ROLE {role}"));
    }
}

/// The pool section for both families.
fn sizes(min_size: u32, max_size: u32) -> String {
    let sizes = format!("{{ min_size: {min_size}, max_size: {max_size} }}");
    format!("pool_settings: {sizes}\nasync_pool_settings: {sizes}\n")
}

pub(crate) fn write(path: &Path, yaml: &str) {
    // Never the length of the version before: the time of a change has a grain.
    static VERSION: AtomicUsize = AtomicUsize::new(1);
    let filler = "#".repeat(VERSION.fetch_add(1, Ordering::Relaxed));
    let new = path.with_extension("new");
    std::fs::write(&new, format!("{yaml}\n{filler}\n")).expect("it can be written");
    std::fs::rename(new, path).expect("it can be renamed");
}

twin! {
    fn a_rotation_leaves_one_handle_and_its_sessions(on, driver, go, work) {
        let role = Rotating::new(&on);
        let manager = driver::ConnectionManager::new();
        let first = go!(manager.pool(&role.rotate("r0", &sizes(2, 4))))?;
        for n in 1..5 {
            let config = role.rotate(&format!("r{n}"), &sizes(2, 4));
            let pool = go!(manager.reload_pool(&config))?;
            go!(pool.query_one("SELECT 1", &[]))?;
            go!(first.query_one("SELECT 1", &[]))?;
            assert!(first.is_same(&pool));
            assert_eq!(manager.cache_info().len(), 1);
            on.until("two sessions", || on.sessions() == 2);
        }
        let refused = manager.cache_info().iter().any(|entry| entry.last_failure.is_some());
        assert!(!refused, "no old pool logs in with an old password");
        Ok(())
    }
}

twin! {
    fn another_users_handle_is_not_the_same_login(on, driver, go, work) {
        let role = Rotating::new(&on);
        let manager = driver::ConnectionManager::new();
        let others = go!(manager.pool(&on.config(&sizes(1, 2))))?;
        let tenant = |token| format!("{}sync_settings: {{ my.token: {token} }}\nasync_settings: {{ my.token: {token} }}\n", sizes(1, 2));
        let mine = go!(manager.pool(&role.rotate("p", &tenant("a"))))?;
        let other_tenant = go!(manager.reload_pool(&role.rotate("p", &tenant("b"))))?;
        assert!(!others.is_same(&mine) && !mine.is_same(&other_tenant));
        assert_eq!(manager.cache_info().len(), 3);
        let token = "SELECT current_setting('my.token')";
        assert_eq!(go!(mine.query_one(token, &[]))?.get::<_, String>(0), "a");
        Ok(())
    }
}

twin! {
    fn a_changed_file_retires_what_it_gave(on, driver, go, work) {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("pgmonkey.yaml");
        let manager = driver::ConnectionManager::new();
        write(&path, &on.yaml(&sizes(1, 1)));
        let first = go!(manager.pool_from_file(&path))?;
        for size in 2..6 {
            write(&path, &on.yaml(&sizes(1, size)));
            let pool = go!(manager.pool_from_file(&path))?;
            assert!(pool.is_same(&first));
            assert_eq!(first.status().max_size, size);
            let info = manager.cache_info();
            assert_eq!(info.len(), 1);
            assert_eq!(info[0].sources, [ConfigSource::File(path.clone())]);
            on.until("one session", || on.sessions() == 1);
        }
        // A broken file, and one whose handle cannot be opened, change nothing.
        write(&path, "connection_settings: {");
        assert!(go!(manager.pool_from_file(&path)).is_err());
        write(&path, &on.yaml_at("127.0.0.1", 1, &sizes(1, 3)));
        assert!(go!(manager.pool_from_file(&path)).is_err());
        assert_eq!(first.status().max_size, 5);
        go!(first.query_one("SELECT 1", &[]))?;
        Ok(())
    }
}

twin! {
    fn a_reload_from_a_file_opens_anew_even_if_it_has_not_changed(on, driver, go, work) {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("pgmonkey.yaml");
        let manager = driver::ConnectionManager::new();
        write(&path, &on.yaml(&sizes(1, 2)));
        let first = go!(manager.pool_from_file(&path))?;
        let number = manager.cache_info()[0].number;
        let pool = go!(manager.reload_pool_from_file(&path))?;
        assert!(pool.is_same(&first) && manager.cache_info()[0].number > number);
        write(&path, &on.yaml(&sizes(1, 3)));
        go!(manager.reload_pool_from_file(&path))?;
        assert_eq!((first.status().max_size, manager.cache_info().len()), (3, 1));
        // A connection of the same file is a handle of its own.
        let connection = go!(manager.reload_connection_from_file(&path))?;
        go!(connection.query_one("SELECT 1", &[]))?;
        assert_eq!(manager.cache_info().len(), 2);
        Ok(())
    }
}

twin! {
    fn a_database_follows_its_file_to_another_type(on, driver, go, work) {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("pgmonkey.yaml");
        let manager = driver::ConnectionManager::new();
        let kinds = match std::any::type_name::<driver::Pool>().contains("pgmonkey_async") {
            true => ["async", "async_pool"],
            false => ["normal", "pool"],
        };
        write(&path, &on.yaml(&format!("connection_type: {}\n{}", kinds[0], sizes(1, 3))));
        let database = go!(manager.database_from_file(&path))?;
        assert_eq!(database.status().max_size, 1);
        write(&path, &on.yaml(&format!("connection_type: {}\n{}", kinds[1], sizes(1, 3))));
        go!(manager.database_from_file(&path))?;
        assert_eq!((database.status().max_size, manager.cache_info().len()), (3, 1));

        // And its scope follows the file's autocommit.
        let insert = format!("INSERT INTO {} VALUES (1)", on.name);
        for (key, rows) in [("autocommit: false", 0), ("autocommit: true", 1)] {
            let yaml = on.yaml(&format!("connection_type: {}\n{}", kinds[1], sizes(1, 3)));
            write(&path, &yaml.replace("connect_timeout", &format!("{key}, connect_timeout")));
            go!(manager.database_from_file(&path))?;
            let failed: Result<(), Error> = go!(database.scope(work!(|client| {
                go!(client.execute(&insert, &[]))?;
                Err(Error::other("undo it"))
            })));
            assert!(failed.is_err());
            assert_eq!(on.rows(), rows, "{key}");
        }
        Ok(())
    }
}

twin! {
    fn what_another_still_uses_is_not_retired(on, driver, go, work) {
        let folder = tempfile::tempdir()?;
        let [one, other] = ["one.yaml", "other.yaml"].map(|name| folder.path().join(name));
        let manager = driver::ConnectionManager::new();
        let before = on.yaml(&sizes(1, 2));
        let after = on.yaml(&sizes(1, 3));
        [&one, &other].iter().for_each(|path| write(path, &before));
        let pool = go!(manager.pool_from_file(&one))?;
        assert!(pool.is_same(&go!(manager.pool_from_file(&other))?));

        write(&one, &after);
        let changed = go!(manager.pool_from_file(&one))?;
        assert!(!changed.is_same(&pool), "the other path gives it");
        assert_eq!((pool.status().max_size, manager.cache_info().len()), (2, 2));
        write(&other, &after);
        assert!(pool.is_same(&go!(manager.pool_from_file(&other))?), "no path gives it any more");
        assert_eq!(manager.cache_info().len(), 1);

        // A configuration in code, although it came from the file.
        let mut config = Config::from_file(&one)?;
        assert!(changed.is_same(&go!(manager.pool(&config))?));
        [&one, &other].iter().for_each(|path| write(path, &before));
        let back = go!(manager.pool_from_file(&one))?;
        assert!(go!(manager.pool_from_file(&other))?.is_same(&back));
        assert!(!back.is_same(&changed) && manager.cache_info().len() == 2);
        let source = |max_size| manager.cache_info().into_iter().find(|entry| entry.status.max_size == max_size).map(|entry| entry.sources);
        assert_eq!(source(3), Some(vec![ConfigSource::Code]));
        assert_eq!(source(2), Some(vec![ConfigSource::File(one.clone()), ConfigSource::File(other)]));

        // Only the program says what replaces it.
        let replaced = std::mem::replace(&mut config, Config::from_file(&one)?);
        assert!(go!(manager.replace_pool(&replaced, &config))?.is_same(&back));
        assert!(changed.is_same(&back) && manager.cache_info().len() == 1);
        Ok(())
    }
}

twin! {
    fn a_session_in_use_outlives_the_retirement(on, driver, go, work) {
        let manager = driver::ConnectionManager::new();
        let config = on.pools("{ min_size: 1, max_size: 2 }");
        let pool = go!(manager.pool(&config))?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.begin())?;
        go!(guard.execute(&format!("INSERT INTO {} VALUES (1)", on.name), &[]))?;
        go!(manager.reload_pool(&config))?;
        go!(guard.commit())?;
        assert_eq!(on.rows(), 1);
        assert_eq!(on.sessions(), 2, "its own and the new pool's");
        drop(guard);
        on.until("its session ended", || on.sessions() == 1);
        Ok(())
    }
}

twin! {
    fn a_removed_handle_works_on_for_those_who_hold_it(on, driver, go, work) {
        let manager = driver::ConnectionManager::new();
        let (one, other) = (on.config(&sizes(1, 2)), on.config(&sizes(2, 3)));
        let held = go!(manager.pool(&one))?;
        go!(manager.connection(&one))?;
        go!(manager.pool(&other))?;
        assert_eq!(manager.remove(&one), 2);
        on.until("the connection ended", || on.sessions() == 3);
        go!(held.query_one("SELECT 1", &[]))?;
        let again = go!(manager.pool(&one))?;
        assert!(!again.is_same(&held) && !held.is_closed());
        assert_eq!(manager.remove_if(|entry| entry.status.max_size == 3), 1);
        assert_eq!((manager.remove_if(|_| false), manager.cache_info().len()), (0, 1));
        on.until("two are left", || on.sessions() == 2);
        drop((again, held));
        assert_eq!((manager.remove(&one), manager.remove(&one)), (1, 0));
        on.until("none is left", || on.sessions() == 0);
        Ok(())
    }
}

twin! {
    fn what_the_program_closed_is_not_revived_by_a_reload(on, driver, go, work) {
        let manager = driver::ConnectionManager::new();
        let config = on.config(&sizes(1, 2));
        let closed = go!(manager.pool(&config))?;
        closed.close();
        let new = go!(manager.reload_pool(&config))?;
        assert!(closed.is_closed() && !new.is_closed() && !new.is_same(&closed));
        assert!(go!(closed.acquire()).is_err_and(|error| error.is_closed()));
        Ok(())
    }
}

twin! {
    fn every_entry_can_be_told_from_every_other(on, driver, go, work) {
        let role = Rotating::new(&on);
        let manager = driver::ConnectionManager::new();
        let old = role.rotate("one", &sizes(1, 2));
        let kept = go!(manager.pool(&old))?;
        let new = role.rotate("two", &sizes(1, 2));
        go!(manager.pool(&new))?;
        on.kill();
        assert!(go!(kept.acquire()).is_err_and(|error| error.is_authentication()));
        let info = manager.cache_info();
        assert_eq!(info.len(), 2);
        let texts: Vec<_> = info.iter().map(ToString::to_string).collect();
        assert_eq!(info[0].fingerprint.to_string(), info[1].fingerprint.to_string());
        assert_ne!(texts[0].split(' ').next(), texts[1].split(' ').next(), "{texts:?}");
        let failed: Vec<_> = info.iter().filter_map(|entry| entry.last_failure.as_ref()).collect();
        assert_eq!(failed.len(), 1);
        assert!(failed[0].reason.contains("28P01"), "{}", failed[0].reason);
        Ok(())
    }
}

#[test]
fn a_waiter_goes_on_at_the_successor() -> Outcome {
    let on = Fixture::new();
    let manager = pgmonkey::sync::ConnectionManager::new();
    let config = on.pools("{ min_size: 1, max_size: 1, timeout: 20, max_waiting: 3 }");
    let pool = manager.pool(&config)?;
    let guard = pool.acquire()?;
    std::thread::scope(|scope| {
        let waiters: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| pool.query_one("SELECT 1", &[])))
            .collect();
        on.until("they wait", || pool.status().waiting == 3);
        manager.reload_pool(&config)?;
        for waiter in waiters {
            waiter.join().expect("no panic")?;
        }
        Ok::<_, Error>(())
    })?;
    drop(guard);
    on.until("the new pool's is left", || on.sessions() == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiter_goes_on_at_the_successor_async() -> Outcome {
    for multiplex in [false, true] {
        let on = Fixture::new();
        let manager = pgmonkey::aio::ConnectionManager::new();
        let settings = "min_size: 1, max_size: 1, timeout: 20, max_waiting: 3";
        let config = on.pools_async(&format!("{{ {settings}, multiplex: {multiplex} }}"));
        let pool = manager.pool(&config).await?;
        let guard = pool.acquire().await?;
        let mut waiters = tokio::task::JoinSet::new();
        for _ in 0..3 {
            let pool = pool.clone();
            waiters.spawn(async move { pool.query_one("SELECT 1", &[]).await });
        }
        on.until("they wait", || pool.status().waiting == 3);
        manager.reload_pool(&config).await?;
        while let Some(waiter) = waiters.join_next().await {
            waiter??;
        }
        drop(guard);
        on.until("the new pool's is left", || on.sessions() == 1);
    }
    Ok(())
}

/// A waiter's own `timeout` counts from its call, not from the retirement.
#[test]
fn a_waiter_that_moved_keeps_its_own_timeout() -> Outcome {
    let on = Fixture::new();
    let manager = pgmonkey::sync::ConnectionManager::new();
    let with = |timeout| {
        on.pools(&format!(
            "{{ min_size: 1, max_size: 1, timeout: {timeout} }}"
        ))
    };
    let (short, long) = (with(2), with(600));
    let pool = manager.pool(&short)?;
    let (guard, held) = (pool.acquire()?, manager.pool(&long)?);
    let held = held.acquire()?;
    std::thread::scope(|scope| {
        let began = std::time::Instant::now();
        let waiter = scope.spawn(|| pool.acquire().map(drop));
        on.until("it waits", || pool.status().waiting == 1);
        manager.replace_pool(&short, &long)?;
        let error = waiter
            .join()
            .expect("no panic")
            .expect_err("the new pool's is in use too");
        assert!(matches!(error, Error::Timeout(_)), "{error}");
        assert!(began.elapsed() >= std::time::Duration::from_secs(2));
        Ok::<_, Error>(())
    })?;
    drop((guard, held));
    Ok(())
}

/// A call that takes a moment: callers that never pause would leave no processor to the logins.
const CALL: &str = "SELECT pg_sleep(0.002)";

/// A clone kept in a program's state serves every call, however often its handle is replaced.
#[test]
fn a_clone_lives_through_reloads_without_a_failed_call() -> Outcome {
    let on = Fixture::new();
    let manager = pgmonkey::sync::ConnectionManager::new();
    let config = on.pools("{ min_size: 1, max_size: 3 }");
    let state = manager.pool(&config)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        state.transaction(|tx| tx.query_one(CALL, &[]))?;
                    }
                    Ok::<_, Error>(())
                })
            })
            .collect();
        let reloaded = (0..20).try_for_each(|_| manager.reload_pool(&config).map(drop));
        // Also after a failure: the scope waits for the threads.
        stop.store(true, Ordering::Relaxed);
        reloaded?;
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })?;
    on.until("no old pool has a session", || on.sessions() <= 3);
    drop(state);
    drop(manager);
    on.until("no session is left", || on.sessions() == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clone_lives_through_reloads_without_a_failed_call_async() -> Outcome {
    for multiplex in [false, true] {
        let on = Fixture::new();
        let manager = pgmonkey::aio::ConnectionManager::new();
        let settings = format!("{{ min_size: 1, max_size: 3, multiplex: {multiplex} }}");
        let config = on.pools_async(&settings);
        let state = manager.pool(&config).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let (state, stop) = (state.clone(), stop.clone());
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    state.query_one(CALL, &[]).await?;
                }
                Ok::<_, Error>(())
            });
        }
        for _ in 0..20 {
            manager.reload_pool(&config).await?;
        }
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        on.until("no old pool has a session", || on.sessions() <= 3);
        drop((state, manager));
        on.until("no session is left", || on.sessions() == 0);
    }
    Ok(())
}

/// A server at this port that ends each connection; the number counts them.
fn refuse() -> std::io::Result<(u16, Arc<AtomicUsize>)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let attempts: Arc<AtomicUsize> = Arc::default();
    let counted = Arc::clone(&attempts);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            drop(connection);
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    Ok((port, attempts))
}

twin! {
    fn a_watched_file_is_applied_and_a_broken_one_is_not(on, driver, go, work) {
        let folder = tempfile::tempdir()?;
        // As Kubernetes mounts it: the file is a link into a folder that is a link.
        let path = folder.path().join("pgmonkey.yaml");
        std::os::unix::fs::symlink("data/pgmonkey.yaml", &path)?;
        let publish = |version: &str, yaml: &str| {
            let version = folder.path().join(version);
            std::fs::create_dir(&version).expect("it is new");
            std::fs::write(version.join("pgmonkey.yaml"), yaml).expect("it can be written");
            let link = folder.path().join("link");
            std::os::unix::fs::symlink(&version, &link).expect("a link");
            std::fs::rename(link, folder.path().join("data")).expect("it can be swapped");
        };
        publish("1", &on.yaml(&sizes(1, 2)));
        let manager = driver::ConnectionManager::new();
        assert_eq!(warnings_about(&path.to_string_lossy()), 0);
        let watch = manager.watch(&path);
        let pool = go!(manager.pool_from_file(&path))?;
        publish("2", &on.yaml(&sizes(1, 3)));
        on.until("it is applied", || pool.status().max_size == 3);
        on.until("the old session ended", || on.sessions() == 1);
        publish("3", "connection_settings: {");
        let warnings = || warnings_about(&path.to_string_lossy());
        on.until("it is reported", || warnings() == 1);
        let (port, attempts) = refuse()?;
        publish("4", &on.yaml_at("127.0.0.1", port, &sizes(1, 4)));
        on.until("it is reported", || warnings() == 2);
        on.until("it is tried again", || attempts.load(Ordering::SeqCst) > 1);
        assert_eq!(pool.status().max_size, 3);
        go!(pool.query_one("SELECT 1", &[]))?;
        publish("5", &on.yaml(&sizes(1, 5)));
        on.until("it is applied after the broken ones", || pool.status().max_size == 5);
        assert_eq!(warnings(), 2, "each once");
        assert_eq!(manager.cache_info().len(), 1);
        go!(pool.query_one("SELECT 1", &[]))?;

        // What the program closed stays closed, beside a handle that follows.
        let connection = go!(manager.connection_from_file(&path))?;
        let opened = manager.cache_info().iter().map(|entry| entry.number).max();
        pool.close();
        publish("6", &on.yaml(&sizes(1, 6)).replace("connect_timeout: 5", "connect_timeout: 6"));
        let follows = || manager.cache_info().iter().any(|entry| Some(entry.number) > opened);
        on.until("the connection is replaced", follows);
        assert!(pool.is_closed());
        let info = manager.cache_info();
        assert!(info.iter().all(|entry| entry.connection_type.is_pool() == (entry.status.size == 0)));

        // Neither the watch nor the manager ends what the program holds.
        drop((watch, manager));
        go!(connection.query_one("SELECT 1", &[]))?;
        drop(connection);
        on.until("no session is left", || on.sessions() == 0);
        Ok(())
    }
}
