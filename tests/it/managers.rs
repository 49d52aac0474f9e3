//! Managers for programs that keep another pool: r2d2, bb8, deadpool, mobc.

use std::time::Duration;

use pgmonkey::config::ConnectionType;
use pgmonkey::{Config, Error, HookVerdict, aio, sync};
use pgmonkey_tests::{Fixture, LONG, Outcome, load};

use crate::tls::{Bench, Server, yaml};

use self::pools::kept;

mod pools;

/// The session settings of both families.
fn with_settings(on: &Fixture, more: &str) -> Config {
    let settings = "{ work_mem: '7MB' }";
    on.config(&format!(
        "sync_settings: {settings}\nasync_settings: {settings}\n{more}"
    ))
}

kept! {
    fn a_session_has_the_settings_of_the_file[r2d2 R2d2, bb8 Bb8, deadpool Deadpool, mobc Mobc](on, driver, Pool, go) {
        let pool = go!(Pool::of(driver::managers::SessionManager::new(&with_settings(&on, ""))?));
        let mut session = go!(pool.get())?;
        let row = go!(session.query_one("SHOW work_mem", &[]))?;
        assert_eq!(row.get::<_, &str>(0), "7MB");
        assert_eq!(on.sessions(), 1);
        let statement = go!(session.prepare_cached("SELECT $1::int + 1"))?;
        assert_eq!(go!(session.query_one(&statement, &[&41]))?.get::<_, i32>(0), 42);
        let report = go!(session.ping())?;
        assert_eq!(report.database, on.server().dbname());
        assert!(format!("{:?}", &*session).contains(&on.server().port().to_string()));
        Ok(())
    }
}

kept! {
    fn an_unclean_session_is_cleaned_before_the_next_caller_has_it[r2d2 R2d2, bb8 Bb8, deadpool Deadpool, mobc Mobc](on, driver, Pool, go) {
        let pool = go!(Pool::of(driver::managers::SessionManager::new(&with_settings(&on, ""))?));
        let ask = "SELECT pg_backend_pid(), current_setting('work_mem'), pg_current_xact_id_if_assigned() IS NULL, \
                   (SELECT count(*) FROM pg_listening_channels())";
        let mut session = go!(pool.get())?;
        let first: i32 = go!(session.query_one(ask, &[]))?.get(0);
        go!(session.batch_execute("SET work_mem = '9MB'; LISTEN news; BEGIN"))?;
        go!(session.execute(&format!("INSERT INTO {} VALUES (1)", on.name), &[]))?;
        drop(session);
        let mut session = go!(pool.get())?;
        let row = go!(session.query_one(ask, &[]))?;
        assert_eq!(row.get::<_, i32>(0), first, "the session is kept");
        assert_eq!(row.get::<_, &str>(1), "7MB");
        assert!(row.get::<_, bool>(2), "in no transaction");
        assert_eq!(row.get::<_, i64>(3), 0, "it listens to nothing");

        // A transaction that has failed.
        go!(session.batch_execute("BEGIN"))?;
        assert!(go!(session.batch_execute("SELECT 1/0")).is_err());
        drop(session);
        let mut session = go!(pool.get())?;
        assert_eq!(go!(session.query_one(ask, &[]))?.get::<_, i32>(0), first);
        assert_eq!(on.rows(), 0);
        Ok(())
    }
}

kept! {
    fn the_statement_of_a_dropped_future_is_stopped[bb8 Bb8, deadpool Deadpool, mobc Mobc](on, driver, Pool, go) {
        let pool = go!(Pool::of(driver::managers::SessionManager::new(&with_settings(&on, ""))?));
        let session = go!(pool.get())?;
        let slow = format!("INSERT INTO {} SELECT 1 FROM pg_sleep(60)", on.name);
        let dropped = tokio::time::timeout(Duration::from_millis(200), session.batch_execute(&slow));
        assert!(dropped.await.is_err(), "it sleeps");
        drop(session);
        let session = go!(pool.get())?;
        let row = go!(session.query_one("SELECT 'the next'", &[]))?;
        assert_eq!(row.get::<_, &str>(0), "the next");
        assert_eq!((on.sessions(), on.sessions_in("active"), on.rows()), (1, 0, 0));
        Ok(())
    }
}

kept! {
    fn a_dead_session_is_replaced[r2d2 R2d2, bb8 Bb8, deadpool Deadpool, mobc Mobc](on, driver, Pool, go) {
        let pool = go!(Pool::of(driver::managers::SessionManager::new(&with_settings(&on, ""))?));
        for _ in 0..3 {
            let mut session = go!(pool.get())?;
            go!(session.query_one("SELECT 1", &[]))?;
            drop(session);
            assert_eq!(on.kill(), 1);
        }
        let mut session = go!(pool.get())?;
        go!(session.query_one("SELECT 1", &[]))?;
        Ok(())
    }
}

kept! {
    fn an_open_transaction_ends_when_its_session_is_returned[r2d2 R2d2, bb8 Bb8, mobc Mobc](on, driver, Pool, go) {
        let pool = go!(Pool::of(driver::managers::SessionManager::new(&with_settings(&on, ""))?));
        let mut session = go!(pool.get())?;
        go!(session.batch_execute(&format!("BEGIN; LOCK TABLE {}", on.name)))?;
        drop(session);
        // No further caller: the table is not locked any more.
        on.run(&format!("SET lock_timeout = '{}s'; INSERT INTO {} VALUES (1)", LONG.as_secs(), on.name));
        Ok(())
    }
}

kept! {
    fn a_dead_host_is_passed_over[r2d2 R2d2, bb8 Bb8, deadpool Deadpool, mobc Mobc](on, driver, Pool, go) {
        let dead = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = on.server();
        let both = on
            .yaml("")
            .replace(&format!("host: '{}'", server.host()), &format!("host: '127.0.0.1,{}'", server.host()))
            .replace(&format!("port: {}", server.port()), &format!("port: '{dead},{}', target_session_attrs: read-write", server.port()));
        let pool = go!(Pool::of(driver::managers::SessionManager::new(&load(&both))?));
        let mut session = go!(pool.get())?;
        let report = go!(session.ping())?;
        assert_eq!(report.host, format!("{}:{}", server.host(), server.port()));
        Ok(())
    }
}

kept! {
    fn a_password_is_read_for_each_session[r2d2 R2d2, bb8 Bb8, deadpool Deadpool, mobc Mobc](on, driver, Pool, go) {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("secret");
        std::fs::write(&file, "not this one")?;
        let server = on.server();
        let quoted = format!("'{}'", server.password().replace('\'', "''"));
        let source = format!("{{ from_file: '{}' }}", file.display());
        let manager = driver::managers::SessionManager::new(&load(&on.yaml("").replace(&quoted, &source)))?;
        let refused = go!(Pool::open(&manager)).expect_err("the password is wrong");
        assert!(refused.is_authentication(), "{refused}");
        std::fs::write(&file, server.password())?;
        let mut session = go!(Pool::open(&manager))?;
        go!(session.query_one("SELECT 1", &[]))?;
        Ok(())
    }
}

kept! {
    fn hooks_run_as_in_a_pool_of_ours[r2d2 R2d2, bb8 Bb8, deadpool Deadpool, mobc Mobc](on, driver, Pool, go) {
        use crate::hooks::Script;
        let prepares = Script::running("SET pgmonkey.hook = 'prepared'", HookVerdict::Keep);
        let (before, after) = (Script::running("", HookVerdict::Keep), Script::running("", HookVerdict::Discard));
        let hooks = driver::Hooks::new("test")
            .after_connect(prepares.clone())
            .before_acquire(before.clone())
            .after_release(after.clone());
        let config = with_settings(&on, "");
        let manager = driver::Builder::new(&config).hooks(hooks).name("kept").session_manager()?;
        let pool = go!(Pool::of(manager));
        let mut pids = Vec::new();
        for _ in 0..2 {
            let mut session = go!(pool.get())?;
            let row = go!(session.query_one("SELECT pg_backend_pid(), current_setting('pgmonkey.hook')", &[]))?;
            assert_eq!(row.get::<_, &str>(1), "prepared");
            pids.push(row.get::<_, i32>(0));
        }
        assert_ne!(pids[0], pids[1], "the hook discarded the first session");
        assert_eq!((prepares.asked() >= 2, before.asked() >= 2, after.asked() >= 1), (true, true, true));
        Ok(())
    }
}

kept! {
    fn a_pool_without_checks_has_unclean_sessions_closed[bb8 Bb8, mobc Mobc](on, driver, Pool, go) {
        let manager = driver::managers::SessionManager::new(&with_settings(&on, ""))?;
        let pool = Pool::checking(false, manager).await;
        let ask = "SELECT pg_backend_pid(), current_setting('work_mem')";
        let pid = async || {
            let session = pool.get().await?;
            Ok::<i32, Box<dyn std::error::Error + Send + Sync>>(session.query_one(ask, &[]).await?.get(0))
        };
        // The second return shows that the pool has not checked it; from here on the manager expects that.
        pid().await?;
        let before = pid().await?;
        let session = pool.get().await?;
        session.batch_execute("SET work_mem = '9MB'").await?;
        drop(session);
        let row = pool.get().await?.query_one(ask, &[]).await?;
        assert_eq!(row.get::<_, &str>(1), "7MB");
        assert_ne!(row.get::<_, i32>(0), before);
        Ok(())
    }
}

#[test]
fn a_session_of_mobc_may_be_returned_outside_a_runtime() -> Outcome {
    let on = Fixture::new();
    let manager = aio::managers::SessionManager::new(&with_settings(&on, ""))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (pool, session) = runtime.block_on(async {
        let pool = pools::Mobc::of(manager).await;
        let session = pool.get().await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>((pool, session))
    })?;
    drop(session);
    runtime.block_on(async {
        pool.get()
            .await?
            .batch_execute("SELECT 1")
            .await
            .map_err(Into::into)
    })
}

#[test]
fn an_unclean_session_of_r2d2_that_a_task_returns_is_closed() -> Outcome {
    let on = Fixture::new();
    let pool = pools::R2d2::of(sync::managers::SessionManager::new(&with_settings(
        &on, "",
    ))?);
    let mut session = pool.get()?;
    let insert = format!("BEGIN; INSERT INTO {} VALUES (1)", on.name);
    session.batch_execute(&insert)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async move { drop(session) });
    let row = pool
        .get()?
        .query_one("SELECT pg_current_xact_id_if_assigned() IS NULL", &[])?;
    assert!(row.get::<_, bool>(0));
    Ok(())
}

#[test]
fn sessions_are_encrypted_as_the_file_says() -> Outcome {
    let bench = Bench::start()?;
    let trusted = [("sslrootcert", "ca.pem")];
    let config = load(&yaml(&bench.with(Server::Tls, "verify-full", &trusted)));
    let threads = sync::managers::SessionManager::new(&config)?;
    assert!(pools::R2d2::of(threads).get()?.ping()?.tls.is_some());
    let mut bare = r2d2::ManageConnection::connect(&sync::managers::bare_manager(&config)?)?;
    let ask = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert!(bare.query_one(ask, &[])?.get::<_, bool>(0));

    let untrusting = load(&yaml(&bench.with(Server::Plain, "verify-full", &trusted)));
    let refused = pools::R2d2::open(&sync::managers::SessionManager::new(&untrusting)?);
    assert!(refused.is_err_and(|error| error.is_tls()));
    let refused = r2d2::ManageConnection::connect(&sync::managers::bare_manager(&untrusting)?);
    assert!(refused.is_err());

    tokio::runtime::Runtime::new()?.block_on(async {
        let manager = || aio::managers::SessionManager::new(&config);
        let bb8 = pools::Bb8::of(manager()?).await;
        assert!(bb8.get().await?.ping().await?.tls.is_some());
        let deadpool = pools::Deadpool::of(manager()?).await;
        assert!(deadpool.get().await?.ping().await?.tls.is_some());
        let mobc = pools::Mobc::of(manager()?).await;
        assert!(mobc.get().await?.ping().await?.tls.is_some());
        let bare = aio::managers::bare_manager(&config)?;
        let bare = mobc::Manager::connect(&bare).await?;
        assert!(bare.query_one(ask, &[]).await?.get::<_, bool>(0));
        Ok(())
    })
}

#[test]
fn a_bare_manager_opens_sessions_with_the_settings_of_the_file() -> Outcome {
    let on = Fixture::new();
    let config = with_settings(&on, "");
    let pool = r2d2::Pool::builder()
        .max_size(2)
        .connection_timeout(LONG)
        .build(sync::managers::bare_manager(&config)?)?;
    let (mut one, mut other) = (pool.get()?, pool.get()?);
    for session in [&mut one, &mut other] {
        let row = session.query_one("SHOW work_mem", &[])?;
        assert_eq!(row.get::<_, &str>(0), "7MB");
    }
    assert_eq!(on.sessions(), 2);

    tokio::runtime::Runtime::new()?.block_on(async {
        let manager = aio::managers::bare_manager(&config)?;
        let pool = mobc::Pool::builder().max_open(2).build(manager);
        let (one, other) = (pool.get().await?, pool.get().await?);
        for session in [&one, &other] {
            let row = session.query_one("SHOW work_mem", &[]).await?;
            assert_eq!(row.get::<_, &str>(0), "7MB");
        }
        Ok(())
    })
}

#[test]
fn a_bare_manager_names_the_key_that_it_cannot_honour() {
    let settings = "sync_settings: { work_mem: '7MB' }";
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "secret").expect("it can be written");
    let secret = file.path().display();
    for (file, key) in [
        ("host: 'a,b'", "connection_settings.host with several hosts"),
        (
            "host: a, target_session_attrs: read-write",
            "connection_settings.target_session_attrs: read-write",
        ),
        (
            "host: a, load_balance_hosts: random",
            "connection_settings.load_balance_hosts: random",
        ),
        (
            "host: a, follow_dns: true",
            "connection_settings.follow_dns: true",
        ),
        (
            "host: a, sslmode: allow",
            "connection_settings.sslmode: allow",
        ),
        (
            "host: a, password: { from_file: SECRET }",
            "connection_settings.password that is read for each session",
        ),
        (
            "host: a, session_settings: statements",
            "connection_settings.session_settings: statements",
        ),
        (
            "host: a, session_settings: transaction",
            "connection_settings.session_settings: transaction",
        ),
    ] {
        let file = file.replace("SECRET", &format!("'{secret}'"));
        let yaml = format!("connection_settings: {{ user: app, {file} }}\n{settings}\n");
        let loader = pgmonkey::Config::loader().yaml(&yaml).libpq_sources(false);
        let config = loader.load().expect("the file is right");
        for found in [
            sync::managers::bare_manager(&config).map(drop),
            aio::managers::bare_manager(&config).map(drop),
        ] {
            let error = found.expect_err(key);
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
            let expected = format!("{key} in a bare manager is not supported: ");
            assert!(error.to_string().starts_with(&expected), "{error}");
            assert!(error.to_string().contains("SessionManager"), "{error}");
        }
        let managed = sync::managers::SessionManager::new(&config);
        assert!(managed.is_ok(), "{key}");
        assert!(
            config.session_settings(ConnectionType::AsyncPool)
                == config.session_settings(ConnectionType::Pool)
        );
    }
}
