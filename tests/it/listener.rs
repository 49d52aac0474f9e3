//! Notifications: none lost and none duplicated while connected, and a report if some may be
//! missed.

use std::time::{Duration, Instant};

use pgmonkey::{Error, ListenEvent};
use pgmonkey_tests::{Fixture, LONG, Outcome, load, twin};
use pgmonkey_testserver::{Cluster, Cut, Proxy, StopMode};

/// The payload of a notification, or a mark for a new session.
fn text(heard: ListenEvent) -> String {
    match heard {
        ListenEvent::Notification(notification) => notification.payload().to_owned(),
        _ => "(reconnected)".to_owned(),
    }
}

fn notify(on: &Fixture, payload: &str) {
    on.run(&format!("SELECT pg_notify('{}', '{payload}')", on.name));
}

twin! {
    fn what_is_told_is_heard(on, driver, go, work) {
        let mut listener = go!(driver::Listener::connect(&on.config("")))?;
        assert!(go!(listener.try_recv())?.is_none());
        let odd = format!("Odd \"name\"; DROP TABLE {}; --", on.name);
        go!(listener.listen(&on.name))?;
        go!(listener.listen(&odd))?;
        assert_eq!(listener.channels().collect::<Vec<_>>(), [odd.as_str(), on.name.as_str()]);
        let pid = on.number(
            "SELECT pg_backend_pid()::int8, pg_notify($1, 'first'), pg_notify($2, 'second')",
            &[&on.name, &odd],
        );
        let first = go!(listener.recv())?.notification().expect("the first");
        assert_eq!((first.channel(), first.payload()), (on.name.as_str(), "first"));
        assert_eq!(i64::from(first.process_id()), pid);
        let second = go!(listener.recv())?.notification().expect("the second");
        assert_eq!((second.channel(), second.payload()), (odd.as_str(), "second"));

        go!(listener.unlisten(&on.name))?;
        notify(&on, "not subscribed");
        let began = Instant::now();
        assert!(go!(listener.recv_timeout(Duration::from_millis(200)))?.is_none());
        let waited = began.elapsed();
        assert!(waited >= Duration::from_millis(200) && waited < LONG, "{waited:?}");

        let error = go!(listener.listen("n".repeat(64))).expect_err("it would be cut short");
        assert!(error.to_string().contains("63 at most"), "{error}");
        let error = go!(listener.listen("")).expect_err("no name");
        assert_eq!(error.code().map(|code| code.code()), Some("42601"), "{error}");
        assert_eq!(listener.channels().len(), 1);
        assert_eq!(on.sessions(), 1);
        go!(listener.close());
        on.until("the session ends", || on.sessions() == 0);
        Ok(())
    }
}

twin! {
    fn what_has_come_is_there_without_waiting(on, driver, go, work) {
        let mut listener = go!(driver::Listener::connect(&on.config("")))?;
        go!(listener.listen(&on.name))?;
        for number in 0..20 {
            notify(&on, &number.to_string());
            let end = Instant::now() + LONG;
            let heard = loop {
                if let Some(heard) = go!(listener.try_recv())? {
                    break heard;
                }
                assert!(Instant::now() < end, "number {number} does not come");
            };
            assert_eq!(text(heard), number.to_string());
        }
        Ok(())
    }
}

twin! {
    fn a_flood_is_heard_in_order_and_once(on, driver, go, work) {
        let mut listener = go!(driver::Listener::connect(&on.config("")))?;
        go!(listener.listen(&on.name))?;
        let sender = {
            let (server, name) = (on.server().clone(), on.name.clone());
            std::thread::spawn(move || {
                let mut client = postgres::Client::connect(&server.url(), postgres::NoTls)?;
                for block in 0..40 {
                    client.batch_execute(&format!(
                        "SELECT pg_notify('{name}', n::text) FROM generate_series({}, {}) n",
                        block * 50,
                        block * 50 + 49,
                    ))?;
                }
                Ok::<_, postgres::Error>(())
            })
        };
        for number in 0..2000 {
            // Statements in between do not lose notifications that arrive with their results.
            if number % 100 == 0 {
                go!(listener.listen(&on.name))?;
            }
            assert_eq!(text(go!(listener.recv())?), number.to_string());
        }
        sender.join().expect("no panic")?;
        assert!(go!(listener.recv_timeout(Duration::from_millis(100)))?.is_none());
        Ok(())
    }
}

twin! {
    fn a_killed_session_is_replaced_and_said_so(on, driver, go, work) {
        let mut listener = go!(driver::Listener::connect(&on.config("")))?;
        go!(listener.listen(&on.name))?;
        for round in 0..3 {
            // The notifications of one transaction are sent together.
            on.run(&format!("SELECT pg_notify('{0}', 'one'), pg_notify('{0}', 'two')", on.name));
            assert_eq!(text(go!(listener.recv())?), "one");
            assert_eq!(on.kill(), 1);
            notify(&on, "meanwhile");
            assert_eq!(text(go!(listener.recv())?), "two", "round {round}");
            assert_eq!(text(go!(listener.recv())?), "(reconnected)");
            notify(&on, "after");
            assert_eq!(text(go!(listener.recv())?), "after");
        }
        Ok(())
    }
}

twin! {
    fn what_came_before_the_end_is_heard_though_a_ping_finds_the_end_first(on, driver, go, work) {
        let mut listener = go!(driver::Listener::connect(&on.config("")))?;
        go!(listener.listen(&on.name))?;
        listener.ping_every(Some(Duration::from_millis(50)));
        assert!(go!(listener.recv_timeout(Duration::from_millis(10)))?.is_none());
        on.run(&format!("SELECT pg_notify('{0}', 'one'), pg_notify('{0}', 'two')", on.name));
        // The next ping is due when this is over; the server has sent them when its session is idle.
        std::thread::sleep(Duration::from_millis(50));
        on.until("they are sent", || on.sessions_in("idle") == 1);
        assert_eq!(on.kill(), 1);
        assert_eq!(text(go!(listener.recv())?), "one");
        assert_eq!(text(go!(listener.recv())?), "two");
        assert_eq!(text(go!(listener.recv())?), "(reconnected)");
        Ok(())
    }
}

twin! {
    fn what_is_asked_for_while_away_is_subscribed_to_later(on, driver, go, work) {
        let mut listener = go!(driver::Listener::connect(&on.config("")))?;
        go!(listener.listen("left behind"))?;
        on.kill();
        go!(listener.listen(&on.name))?;
        go!(listener.unlisten("left behind"))?;
        assert_eq!(text(go!(listener.recv())?), "(reconnected)");
        on.run("NOTIFY \"left behind\", 'unheard'");
        notify(&on, "heard");
        assert_eq!(text(go!(listener.recv())?), "heard");
        Ok(())
    }
}

twin! {
    fn a_server_that_restarts_is_waited_for(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let mut listener = go!(driver::Listener::connect(&on.config("")))?;
        go!(listener.listen(&on.name))?;
        for mode in [StopMode::Fast, StopMode::Immediate] {
            cluster.stop(mode).expect("stops");
            let began = Instant::now();
            let nothing = go!(listener.recv_timeout(Duration::from_millis(300)))?;
            assert!(nothing.is_none() && began.elapsed() < LONG, "{:?}", began.elapsed());
            cluster.start_again().expect("starts");
            assert_eq!(text(go!(listener.recv())?), "(reconnected)");
            cluster.psql(&format!("NOTIFY {}, 'after'", on.name)).expect("notifies");
            assert_eq!(text(go!(listener.recv())?), "after");
        }
        Ok(())
    }
}

twin! {
    fn impatience_does_not_keep_it_from_reconnecting(on, driver, go, work) {
        let proxy = Proxy::to((on.server().host(), on.server().port()))?;
        let mut listener = go!(driver::Listener::connect(&load(&on.yaml_at("127.0.0.1", proxy.port(), ""))))?;
        go!(listener.listen(&on.name))?;
        proxy.delay(Duration::from_millis(20));
        proxy.cut(Cut::Fin);
        let (began, mut calls) = (Instant::now(), 0);
        let heard = loop {
            assert!(began.elapsed() < LONG, "each call begins anew");
            calls += 1;
            if let Some(heard) = go!(listener.recv_timeout(Duration::from_millis(5)))? {
                break heard;
            }
        };
        assert_eq!(text(heard), "(reconnected)");
        assert!(calls > 5, "an attempt took longer than a call: {calls}");
        assert_eq!(proxy.accepted(), 2, "one attempt");
        Ok(())
    }
}

twin! {
    fn a_connection_that_is_cut_is_noticed(on, driver, go, work) {
        let proxy = Proxy::to((on.server().host(), on.server().port()))?;
        let mut listener = go!(driver::Listener::connect(&load(&on.yaml_at("127.0.0.1", proxy.port(), ""))))?;
        go!(listener.listen(&on.name))?;
        proxy.cut(Cut::Fin);
        assert_eq!(text(go!(listener.recv())?), "(reconnected)");
        // A reset is noticed only when something is sent.
        listener.ping_every(Some(Duration::from_millis(100)));
        proxy.cut(Cut::Rst);
        assert_eq!(text(go!(listener.recv())?), "(reconnected)");
        notify(&on, "after");
        assert_eq!(text(go!(listener.recv())?), "after");
        // Pings that are answered have no side effect.
        assert!(go!(listener.recv_timeout(Duration::from_millis(500)))?.is_none());
        assert_eq!(proxy.accepted(), 3);
        notify(&on, "still there");
        assert_eq!(text(go!(listener.recv())?), "still there");
        Ok(())
    }
}

twin! {
    fn a_peer_that_falls_silent_is_noticed_by_a_ping(on, driver, go, work) {
        let proxy = Proxy::to((on.server().host(), on.server().port()))?;
        let mut listener = go!(driver::Listener::connect(&load(&on.yaml_at("127.0.0.1", proxy.port(), ""))))?;
        go!(listener.listen(&on.name))?;
        listener.ping_every(Some(Duration::from_millis(200)));
        proxy.stall();
        let began = Instant::now();
        while proxy.accepted() < 2 {
            assert!(began.elapsed() < LONG, "it does not try another session");
            assert!(go!(listener.recv_timeout(Duration::from_millis(20)))?.is_none());
        }
        assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
        proxy.resume();
        assert_eq!(text(go!(listener.recv())?), "(reconnected)");
        Ok(())
    }
}

twin! {
    fn a_reason_that_no_retry_can_help_is_told(on, driver, go, work) {
        let role = format!("r_{}", on.name);
        on.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'first'"));
        let user = format!("user: '{}'", on.server().user());
        let password = format!("password: '{}'", on.server().password());
        let yaml = on.yaml("").replacen(&user, &format!("user: {role}"), 1)
            .replacen(&password, "password: first", 1);
        let mut listener = go!(driver::Listener::connect(&load(&yaml)))?;
        go!(listener.listen(&on.name))?;
        on.run(&format!("ALTER ROLE {role} PASSWORD 'second'"));
        on.kill();
        let error = go!(listener.recv()).expect_err("the password is wrong now");
        assert!(error.is_authentication(), "{error}");
        on.run(&format!("ALTER ROLE {role} PASSWORD 'first'"));
        assert_eq!(text(go!(listener.recv())?), "(reconnected)");
        notify(&on, "after");
        assert_eq!(text(go!(listener.recv())?), "after");
        drop(listener);
        on.until("its session ends", || on.sessions() == 0);
        on.run(&format!("DROP ROLE {role}"));
        Ok(())
    }
}

twin! {
    fn a_new_session_is_prepared_by_the_hook(on, driver, go, work) {
        let hooks = driver::Hooks::new("test").after_connect(Renamer(renamed(&on)));
        let builder = driver::Builder::new(&on.config("")).hooks(hooks).name("the listener");
        let mut listener = go!(builder.listener())?;
        go!(listener.listen(&on.name))?;
        let prepared = on.number("SELECT count(*) FROM pg_stat_activity WHERE application_name = $1", &[&renamed(&on)]);
        assert_eq!(prepared, 1);
        drop(listener);
        Ok(())
    }
}

twin! {
    fn over_a_unix_socket_it_works_as_well(on, driver, go, work) {
        // On a Unix socket the blocking driver does not expose the wire.
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let directory = cluster.socket_dir().expect("on this machine").display().to_string();
        let config = load(&on.yaml_at(&directory, on.server().port(), ""));
        let hooks = driver::Hooks::new("test").after_connect(Renamer(renamed(&on)));
        let mut listener = go!(driver::Builder::new(&config).hooks(hooks).listener())?;
        go!(listener.listen(&on.name))?;
        assert!(go!(listener.try_recv())?.is_none());
        notify(&on, "first");
        let began = Instant::now();
        let first = loop {
            assert!(began.elapsed() < LONG, "it does not come");
            if let Some(heard) = go!(listener.try_recv())? {
                break heard;
            }
        };
        assert_eq!(text(first), "first");
        notify(&on, "second");
        assert_eq!(text(go!(listener.recv())?), "second");
        listener.ping_every(Some(Duration::from_millis(50)));
        assert!(go!(listener.recv_timeout(Duration::from_millis(200)))?.is_none());
        let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = $1";
        assert_eq!(on.number(kill, &[&renamed(&on)]), 1);
        assert_eq!(text(go!(listener.recv())?), "(reconnected)");
        notify(&on, "third");
        assert_eq!(text(go!(listener.recv())?), "third");
        Ok(())
    }
}

fn renamed(on: &Fixture) -> String {
    format!("{} prepared", on.name)
}

/// Identifies the session by its application name.
struct Renamer(String);

impl pgmonkey::sync::AfterConnect for Renamer {
    fn after_connect(&self, client: &mut postgres::Client) -> Result<(), Error> {
        Ok(client.batch_execute(&format!("SET application_name = '{}'", self.0))?)
    }
}

#[async_trait::async_trait]
impl pgmonkey::aio::AfterConnect for Renamer {
    async fn after_connect(&self, client: &mut tokio_postgres::Client) -> Result<(), Error> {
        let rename = format!("SET application_name = '{}'", self.0);
        Ok(client.batch_execute(&rename).await?)
    }
}

#[test]
fn an_async_listener_outlives_its_runtime() -> Outcome {
    let on = Fixture::new();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let mut listener = runtime().block_on(async {
        let mut listener = pgmonkey::AsyncListener::connect(&on.config("")).await?;
        listener.ping_every(Some(Duration::from_secs(5)));
        listener.listen(&on.name).await?;
        let nothing = listener.recv_timeout(Duration::from_millis(50)).await?;
        assert!(nothing.is_none());
        Ok::<_, Error>(listener)
    })?;
    // The ping that is due began in a runtime that has ended.
    let nothing = runtime().block_on(listener.recv_timeout(Duration::from_millis(50)))?;
    assert!(nothing.is_none());
    // Also during an attempt to reconnect.
    assert_eq!(on.kill(), 1);
    runtime().block_on(async { listener.recv_timeout(Duration::from_micros(1)).await })?;
    let heard = runtime().block_on(listener.recv())?;
    assert_eq!(text(heard), "(reconnected)");
    drop(listener);
    on.until("its session ends", || on.sessions() == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_listener_in_a_task_answers_with_the_twins_name() -> Outcome {
    let on = Fixture::new();
    let config = on.config("");
    let error = pgmonkey::Listener::connect(&config).expect_err("blocks in a task");
    assert!(
        error.to_string().contains("pgmonkey_async::Listener"),
        "{error}"
    );
    let open = move || pgmonkey::Listener::connect(&config);
    let mut listener = tokio::task::spawn_blocking(open).await??;
    for error in [
        listener.listen("a").err(),
        listener.recv().err(),
        listener.try_recv().err(),
        listener.recv_timeout(LONG).err(),
    ] {
        let error = error.expect("blocks in a task");
        assert!(matches!(error, Error::InsideAsync { .. }), "{error}");
    }
    drop(listener);
    on.until("its session ends", || on.sessions() == 0);
    Ok(())
}

/// The async twin's driver keeps none.
#[test]
fn notifications_that_a_borrower_left_unread_are_not_kept() -> Outcome {
    let on = Fixture::new();
    let pool = pgmonkey::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }"))?;
    let mut guard = pool.acquire()?;
    guard.batch_execute(&format!("LISTEN {0}; NOTIFY {0}; NOTIFY {0}, 'a'", on.name))?;
    assert_eq!(guard.notifications().len(), 2);
    drop(guard);
    assert_eq!(pool.acquire()?.notifications().len(), 0);
    assert_eq!(pool.status().opened, 1);
    Ok(())
}
