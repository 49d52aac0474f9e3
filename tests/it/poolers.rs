//! What a pooler says itself: an outage behind it is as transient as without it, a refusal is final.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use pgmonkey::{Config, Error, ErrorKind};
use pgmonkey_tests::{Fixture, LONG, load, twin};
use pgmonkey_testserver::{Cluster, Endpoint, Pgbouncer, StopMode};

/// A PgBouncer in front of the server; `None`, with the reason printed, if it is not installed.
fn in_front(server: &Endpoint, settings: &[(&str, &str)]) -> Option<Pgbouncer> {
    let Some(program) = Pgbouncer::find() else {
        println!("skipped: no pgbouncer on this machine (`apt-get install pgbouncer`)");
        return None;
    };
    Some(Pgbouncer::start(&program, server, settings).expect("it starts"))
}

/// The settings for a host list, with additional keys of the connection and more sections.
fn config(server: &Endpoint, hosts: &[&Endpoint], keys: &str, sections: &str) -> Config {
    let join = |part: &dyn Fn(&Endpoint) -> String| {
        let parts: Vec<_> = hosts.iter().map(|host| part(host)).collect();
        parts.join(",")
    };
    let text = |key: &str, value: String| match keys.contains(&format!("{key}:")) {
        true => String::new(),
        false => format!("{key}: '{value}', "),
    };
    load(&format!(
        "connection_settings: {{ host: '{}', port: '{}', {}{}{}sslmode: disable, \
         connect_timeout: 5, {keys} }}\n{sections}",
        join(&|host| host.host().to_owned()),
        join(&|host| host.port().to_string()),
        text("user", server.user().to_owned()),
        text("password", server.password().to_owned()),
        text("dbname", server.dbname().to_owned()),
    ))
}

fn pools(settings: &str) -> String {
    format!("pool_settings: {settings}\nasync_pool_settings: {settings}\n")
}

/// Kills the server's process of the session.
pub(crate) const CRASH: &str = "COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID'";

/// The statements by which the next COMMIT after an insert into the table kills its server process.
pub(crate) fn crashes_at_commit(table: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (n int); CREATE FUNCTION {table}_crashes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {CRASH}; \
         RETURN NULL; END $$; CREATE CONSTRAINT TRIGGER crashes AFTER INSERT ON {table} \
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {table}_crashes()"
    )
}

/// Commits until a COMMIT was sent whose server process is killed; that one is in doubt.
macro_rules! in_doubt {
    ($pool:ident, $on:ident, $go:ident, $work:ident) => {{
        let insert = format!("INSERT INTO {} VALUES (1)", $on.name);
        let crashes = crate::poolers::crashes_at_commit(&$on.name);
        let until = std::time::Instant::now() + pgmonkey_tests::LONG;
        while let Err(error) = $go!($pool.batch_execute(&crashes)) {
            assert!(
                error.is_transient() && std::time::Instant::now() < until,
                "{error}"
            );
        }
        loop {
            let error =
                $go!($pool.transaction($work!(|tx| { $go!(tx.execute(&insert, &[])).map(drop) })))
                    .expect_err("its server process is killed");
            if error.is_outcome_unknown() {
                break assert!(!error.is_transient(), "{error}");
            }
            assert!(
                error.is_transient() && std::time::Instant::now() < until,
                "{error}"
            );
        }
    }};
}
pub(crate) use in_doubt;

/// Runs a transaction whose server process is killed in its first attempt.
macro_rules! runs_again {
    ($pool:ident, $on:ident, $go:ident, $work:ident) => {{
        let runs = std::sync::atomic::AtomicU32::new(0);
        let pause = Duration::from_millis(200);
        let retry = pgmonkey::Retry::attempts(100)
            .backoff(pause, pause)
            .retry_lost_sessions(true);
        $go!($pool.build_transaction().retry(retry).run($work!(|tx| {
            match runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                0 => $go!(tx.execute(crate::poolers::CRASH, &[])).map(drop),
                _ => $go!(tx.query_one("SELECT 1", &[])).map(drop),
            }
        })))?;
        assert!(runs.into_inner() > 1);
    }};
}
pub(crate) use runs_again;

// PgBouncer gives its errors SQLSTATE 08P01, as PostgreSQL does for protocol errors.
twin! {
    fn an_outage_behind_a_pooler_is_transient(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let retries = [("server_login_retry", "1"), ("query_wait_timeout", "2")];
        let Some(pooler) = in_front(on.server(), &retries) else { return Ok(()) };
        let sizes = pools("{ min_size: 1, max_size: 2, timeout: 2, statement_cache: 0 }");
        let config = config(on.server(), &[pooler.endpoint()], "", &sizes);
        let pool = go!(driver::Pool::new(&config))?;
        let mut held = go!(pool.acquire())?;
        cluster.stop(StopMode::Fast).expect("stops");
        // Until PgBouncer has noticed, and refuses new sessions too.
        let mut refused = 0;
        let until = Instant::now() + LONG;
        while refused < 3 {
            assert!(Instant::now() < until, "PgBouncer noticed nothing");
            if let Err(error) = go!(pool.query_one("SELECT 1", &[])) {
                assert!(error.is_transient(), "{error}");
                refused += 1;
            }
        }
        let error = go!(held.query_one("SELECT 1", &[])).expect_err("no server");
        assert!(error.is_session_lost() && error.is_transient(), "{error:?}");
        drop(held);
        cluster.start_again().expect("starts");
        let mut answer = go!(pool.query_one("SELECT 1", &[]));
        while let Err(error) = &answer {
            assert!(error.is_transient() && Instant::now() < until + LONG, "{error}");
            answer = go!(pool.query_one("SELECT 1", &[]));
        }
        Ok(())
    }
}

twin! {
    fn a_transaction_whose_server_crashed_behind_a_pooler_runs_again(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let retries = [("server_login_retry", "1"), ("query_wait_timeout", "2")];
        let Some(pooler) = in_front(on.server(), &retries) else { return Ok(()) };
        let sizes = pools("{ min_size: 1, max_size: 2, timeout: 9, statement_cache: 0 }");
        let config = config(on.server(), &[pooler.endpoint()], "", &sizes);
        let pool = go!(driver::Pool::new(&config))?;
        runs_again!(pool, on, go, work);
        Ok(())
    }
}

// PgBouncer ends both sessions with the same SQLSTATE.
twin! {
    fn only_what_a_pooler_has_passed_on_is_in_doubt(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let retries = [("server_login_retry", "1"), ("query_wait_timeout", "2")];
        let Some(pooler) = in_front(on.server(), &retries) else { return Ok(()) };
        let sizes = pools("{ min_size: 1, max_size: 2, timeout: 2, statement_cache: 0 }");
        let config = config(on.server(), &[pooler.endpoint()], "", &sizes);
        let pool = go!(driver::Pool::new(&config))?;
        let mut held = go!(pool.acquire())?;
        let error = go!(pool.execute(CRASH, &[])).expect_err("its server process is killed");
        assert!(error.is_outcome_unknown() && !error.is_transient(), "{error:?}");
        cluster.stop(StopMode::Immediate).expect("stops");
        let insert = format!("INSERT INTO {} VALUES (1)", on.name);
        let error = go!(held.execute(&insert, &[])).expect_err("no server");
        assert!(error.is_session_lost() && error.is_transient(), "{error:?}");
        cluster.start_again().expect("starts");
        in_doubt!(pool, on, go, work);
        Ok(())
    }
}

// Callers that go on during an outage, while PgBouncer ends sessions in every state.
twin! {
    fn callers_through_an_outage_see_its_reason(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let retries = [("server_login_retry", "1"), ("query_wait_timeout", "1")];
        let Some(pooler) = in_front(on.server(), &retries) else { return Ok(()) };
        let sizes = pools("{ min_size: 1, max_size: 8, timeout: 1, statement_cache: 0 }");
        let config = config(on.server(), &[pooler.endpoint()], "", &sizes);
        let pool = go!(driver::Pool::new(&config))?;
        let starter = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            cluster.stop(StopMode::Immediate).expect("stops");
            std::thread::sleep(Duration::from_secs(4));
            cluster.start_again().expect("starts");
            cluster
        });
        let mut reasons = 0;
        while !starter.is_finished() {
            let simple = go!(pool.query("SELECT pg_sleep(0.01)", &[]));
            let extended = go!(pool.query("SELECT 1 WHERE $1::int > 0", &[&1]));
            for error in [simple.err(), extended.err()].into_iter().flatten() {
                assert!(error.is_transient(), "{error}");
                let has_reason = error.to_string().contains("(SQLSTATE ");
                assert!(has_reason || error.is_timeout(), "{error}");
                reasons += u32::from(has_reason);
            }
        }
        assert!(reasons > 0, "PgBouncer refused statements");
        drop(starter.join().expect("no panic"));
        Ok(())
    }
}

/// How many clients the pooler has refused.
fn refused(pooler: &Endpoint) -> usize {
    pooler.log().matches("pooler error: ").count()
}

// PgBouncer lets new clients in although its server is away, once it has seen it; a new PgBouncer
// does not.
twin! {
    fn an_acquire_waits_for_a_pooler_whose_server_is_away(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let retries = [("server_login_retry", "1"), ("query_wait_timeout", "1")];
        let Some(mut pooler) = in_front(on.server(), &retries) else { return Ok(()) };
        let sizes = pools("{ min_size: 1, max_size: 2, timeout: 60, statement_cache: 0 }");
        let config = config(on.server(), &[pooler.endpoint()], "", &sizes);
        let pool = go!(driver::Pool::new(&config))?;
        cluster.stop(StopMode::Fast).expect("stops");
        pooler.kill().expect("it ran");
        pooler.start_again().expect("it starts");
        let (to, before) = (pooler.endpoint().clone(), refused(pooler.endpoint()));
        let starter = std::thread::spawn(move || {
            let until = Instant::now() + LONG;
            while refused(&to) < before + 2 && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            let seen = refused(&to) - before;
            cluster.start_again().expect("starts");
            (seen, cluster)
        });
        let acquired = go!(pool.acquire());
        let (seen, cluster) = starter.join().expect("no panic");
        let mut guard = acquired?;
        assert!(seen >= 2, "the acquire was refused {seen} times, so it did not wait");
        assert_eq!(go!(guard.query_one("SELECT 1", &[]))?.get::<_, i32>(0), 1);
        drop((guard, cluster));
        Ok(())
    }
}

// Decision 056: a full host is skipped for the next one.
twin! {
    fn a_full_pooler_is_skipped_for_the_next_host(on, driver, go, work) {
        let Some(pooler) = in_front(on.server(), &[("max_client_conn", "1")]) else {
            return Ok(());
        };
        let alone = config(on.server(), &[pooler.endpoint()], "", "");
        let first = go!(driver::Connection::new(&alone))?;
        let error = go!(driver::Connection::new(&alone)).expect_err("it is full");
        assert!(error.is_transient(), "{error}");
        let text = error.to_string();
        assert!(text.contains("(max_client_conn) (SQLSTATE 08P01) (from a connection pooler)"), "{text}");
        let both = config(on.server(), &[pooler.endpoint(), on.server()], "", "");
        let second = go!(driver::Connection::new(&both))?;
        let report = go!(second.ping())?;
        assert!(report.host.ends_with(&format!(":{}", on.server().port())), "{}", report.host);
        first.close();
        Ok(())
    }
}

// Both drivers report the pooler's words for a session that it ends during a statement.
twin! {
    fn a_statement_that_a_pooler_refuses_reports_its_words(on, driver, go, work) {
        let scarce = [("default_pool_size", "1"), ("query_wait_timeout", "1")];
        let Some(pooler) = in_front(on.server(), &scarce) else { return Ok(()) };
        let sizes = pools("{ min_size: 1, max_size: 2, statement_cache: 0 }");
        let config = config(on.server(), &[pooler.endpoint()], "", &sizes);
        let pool = go!(driver::Pool::new(&config))?;
        let mut holder = go!(pool.acquire())?;
        let mut other = go!(pool.acquire())?;
        go!(holder.batch_execute("BEGIN"))?;
        let error = go!(other.batch_execute("SELECT 1")).expect_err("no server session is free");
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("query_wait_timeout"), "{error}");
        assert_eq!(error.code().map(|code| code.code()), Some("08P01"), "{error}");
        let error = go!(other.query("SELECT $1::int", &[&1])).expect_err("it ended");
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("query_wait_timeout"), "{error}");
        drop(other);
        let mut third = go!(pool.acquire())?;
        let error = go!(third.query("SELECT $1::int", &[&1])).expect_err("none is free");
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("query_wait_timeout"), "{error}");
        drop(third);
        let error = match go!(pool.begin()) {
            // In tasks, with the first statement.
            Ok(mut transaction) => go!(transaction.execute("SELECT 1", &[])).expect_err("none is free"),
            Err(error) => error,
        };
        assert!(error.is_transient(), "{error}");
        assert!(error.to_string().contains("query_wait_timeout"), "{error}");
        go!(holder.batch_execute("ROLLBACK"))?;
        Ok(())
    }
}

twin! {
    fn a_refusal_of_a_pooler_is_final(on, driver, go, work) {
        let Some(pooler) = in_front(on.server(), &[("client_tls_sslmode", "disable")]) else {
            return Ok(());
        };
        let refusals = [
            ("password: 'wrong'", ErrorKind::Authentication),
            ("user: nobody_here, password: 'x'", ErrorKind::Authentication),
            ("dbname: no_such_database", ErrorKind::Configuration),
        ];
        for (keys, kind) in refusals {
            let sizes = pools("{ min_size: 1, max_size: 2, timeout: 20 }");
            let config = config(on.server(), &[pooler.endpoint(), on.server()], keys, &sizes);
            let began = Instant::now();
            let error = match go!(driver::Pool::new(&config)) {
                Ok(_) => panic!("{keys} was accepted"),
                Err(error) => error,
            };
            assert_eq!(error.kind(), kind, "{keys}: {error}");
            assert!(matches!(&error, Error::Connect(failure) if failure.attempts.len() == 1), "{error}");
            assert!(began.elapsed() < LONG, "{keys}");
        }
        Ok(())
    }
}

// Learning the types of parameters takes no transaction there.
twin! {
    fn statements_with_parameters_work_in_statement_mode(on, driver, go, work) {
        let mode = [("pool_mode", "statement"), ("default_pool_size", "3")];
        let Some(pooler) = in_front(on.server(), &mode) else { return Ok(()) };
        let sizes = pools("{ min_size: 1, max_size: 4, statement_cache: 0 }");
        let config = config(on.server(), &[pooler.endpoint()], "pooler: statement", &sizes);
        let pool = go!(driver::Pool::new(&config))?;
        for n in 0..40 {
            let text = format!("SELECT $1::int + 1, $2::text, {}", n % 20);
            let row = go!(pool.query_one(text.as_str(), &[&n, &"x"]))?;
            assert_eq!((row.get::<_, i32>(0), row.get::<_, &str>(1)), (n + 1, "x"));
        }
        let changed = format!("INSERT INTO {} VALUES ($1)", on.name);
        assert_eq!(go!(pool.execute(changed.as_str(), &[&7]))?, 1);
        assert_eq!(on.rows(), 1);
        Ok(())
    }
}

// A client that dies between preparing and closing leaves its statements to the next one.
twin! {
    fn statements_left_by_a_dead_client_do_not_hit_the_next(on, driver, go, work) {
        let single = [("default_pool_size", "1")];
        let Some(pooler) = in_front(on.server(), &single) else { return Ok(()) };
        let url = pooler.endpoint().url();
        // In one server session, all names that the driver may use next.
        let leave = move || {
            let mut stranger = postgres::Client::connect(&url, postgres::NoTls)?;
            let mut tx = stranger.transaction()?;
            let held = tx.prepare("SELECT 'held'")?;
            let names = tx.query_typed("SELECT name FROM pg_prepared_statements", &[])?;
            let number = |row: &postgres::Row| row.get::<_, &str>(0)[1..].parse::<u32>().ok();
            let last = names.iter().filter_map(number).max().unwrap_or(0);
            let left: String = (1..=30)
                .map(|n| format!("PREPARE s{} AS SELECT 1;", last + n))
                .collect();
            tx.batch_execute(&left)?;
            drop(held);
            tx.commit()
        };
        std::thread::spawn(leave).join().expect("no panic")?;
        let sizes = pools("{ min_size: 1, max_size: 1, statement_cache: 0 }");
        let config = config(on.server(), &[pooler.endpoint()], "pooler: transaction", &sizes);
        let pool = go!(driver::Pool::new(&config))?;
        let mut tx = go!(pool.begin())?;
        let insert = format!("INSERT INTO {} VALUES ($1)", on.name);
        go!(tx.execute(insert.as_str(), &[&1]))?;
        let row = go!(tx.query_one("SELECT $1::int + 1", &[&1]))?;
        assert_eq!(row.get::<_, i32>(0), 2);
        go!(tx.commit())?;
        assert_eq!(on.rows(), 1);
        let row = go!(pool.query_one("SELECT $1::int + 2", &[&1]))?;
        assert_eq!(row.get::<_, i32>(0), 3);
        Ok(())
    }
}

const SETTINGS: &str = "sync_settings: { statement_timeout: '31000', my.tenant: '7' }\n\
                        async_settings: { statement_timeout: '31000', my.tenant: '7' }\n";
const ASK: &str = "SELECT current_setting('statement_timeout'), current_setting('my.tenant', true)";

/// The cures for transaction mode.
const EACH_CURES: &str = "set session_settings: transaction, which sends";

// With `ignore_startup_parameters = options`, as many installations have it.
twin! {
    fn settings_that_a_pooler_drops_are_reported(on, driver, go, work) {
        let ignored = ("ignore_startup_parameters", "extra_float_digits,options");
        for (mode, cure) in [("session", "session_settings: statements"), ("transaction", EACH_CURES)] {
            let Some(pooler) = in_front(on.server(), &[ignored, ("pool_mode", mode)]) else {
                return Ok(());
            };
            let config = |keys: &str| config(on.server(), &[pooler.endpoint()], keys, SETTINGS);
            for keys in ["", &format!("pooler: {mode}")] {
                let error = match go!(driver::Pool::new(&config(keys))) {
                    Ok(_) => panic!("{keys}: nothing was said"),
                    Err(error) => error,
                };
                assert!(matches!(error, Error::SessionSetting { .. }), "{keys}: {error}");
                let text = error.to_string();
                assert!(text.contains("sync_settings.statement_timeout: did not arrive"), "{text}");
                assert!(text.contains("the pooler in front") && text.contains(cure), "{text}");
            }
            let unchecked = go!(driver::Pool::new(&config("session_settings: startup")))?;
            let row = go!(unchecked.query_one(ASK, &[]))?;
            assert_eq!((row.get(0), row.get(1)), ("0", None::<&str>));
        }
        let Some(pooler) = in_front(on.server(), &[ignored, ("pool_mode", "session")]) else {
            return Ok(());
        };
        let told = config(on.server(), &[pooler.endpoint()], "session_settings: statements", SETTINGS);
        let pool = go!(driver::Pool::new(&told))?;
        let row = go!(pool.query_one(ASK, &[]))?;
        assert_eq!((row.get(0), row.get(1)), ("31s", Some("7")));
        Ok(())
    }
}

// PgBouncer's default: it refuses `options`, and may give each transaction another session.
twin! {
    fn no_setting_reaches_another_clients_session(on, driver, go, work) {
        let Some(pooler) = in_front(on.server(), &[("default_pool_size", "1")]) else {
            return Ok(());
        };
        for (keys, cure) in [("", "set pooler: session"), ("pooler: transaction", EACH_CURES)] {
            let config = config(on.server(), &[pooler.endpoint()], keys, SETTINGS);
            let error = match go!(driver::Pool::new(&config)) {
                Ok(_) => panic!("{keys}: nothing was said"),
                Err(error) => error,
            };
            assert!(error.is_configuration() && error.to_string().contains(cure), "{keys}: {error}");
        }
        let url = pooler.endpoint().url();
        let stranger = move || {
            let mut stranger = postgres::Client::connect(&url, postgres::NoTls)?;
            stranger.query_typed_one(ASK, &[])
        };
        let row = std::thread::spawn(stranger).join().expect("no panic")?;
        assert_eq!(row.get::<_, &str>(0), "0");
        Ok(())
    }
}

/// Refuses a startup packet with `options` in RDS Proxy's words, and passes everything else on.
fn without_options(server: &Endpoint) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let to = (server.host().to_owned(), server.port());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let to = to.clone();
            std::thread::spawn(move || refuse_options(client, to));
        }
    });
    let url = server
        .url()
        .replace(&format!(":{}/", server.port()), &format!(":{port}/"));
    Endpoint::from_url(&url).expect("as it was")
}

fn refuse_options(mut client: TcpStream, server: (String, u16)) -> std::io::Result<()> {
    let mut length = [0; 4];
    client.read_exact(&mut length)?;
    let mut packet = vec![0; u32::from_be_bytes(length) as usize - 4];
    client.read_exact(&mut packet)?;
    if packet.windows(9).any(|part| part == b"\0options\0") {
        let words = "Feature not supported: RDS Proxy currently doesn\u{2019}t support command-line options.";
        let fields = format!("SFATAL\0VFATAL\0C0A000\0M{words}\0\0");
        let size = u32::try_from(fields.len() + 4).expect("short");
        let answer = [b"E".as_slice(), &size.to_be_bytes(), fields.as_bytes()].concat();
        return client.write_all(&answer);
    }
    let mut server = TcpStream::connect(server)?;
    server.write_all(&length)?;
    server.write_all(&packet)?;
    let (mut from, mut back) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut client);
        client.shutdown(Shutdown::Both)
    });
    std::io::copy(&mut from, &mut server)?;
    server.shutdown(Shutdown::Both)
}

twin! {
    fn a_proxy_that_supports_no_options_gets_statements(on, driver, go, work) {
        let proxy = without_options(on.server());
        let config = |keys: &str| config(on.server(), &[&proxy], keys, SETTINGS);
        let error = go!(driver::Connection::new(&config(""))).expect_err("refused");
        assert!(error.is_configuration(), "{error}");
        assert!(error.to_string().contains("set pooler: session"), "{error}");
        for keys in ["pooler: session", "session_settings: statements"] {
            let connection = go!(driver::Connection::new(&config(keys)))?;
            let row = go!(connection.query_one(ASK, &[]))?;
            assert_eq!((row.get(0), row.get(1)), ("31s", Some("7")), "{keys}");
            connection.close();
        }
        Ok(())
    }
}

// Without `statement_cache` in the file: a pooler that switches sessions keeps nothing prepared.
twin! {
    fn the_key_pooler_is_enough_in_transaction_mode(on, driver, go, work) {
        let Some(pooler) = in_front(on.server(), &[("default_pool_size", "3")]) else {
            return Ok(());
        };
        let sizes = pools("{ min_size: 1, max_size: 6 }");
        let config = config(on.server(), &[pooler.endpoint()], "pooler: transaction", &sizes);
        let pool = go!(driver::Pool::new(&config))?;
        let text = "SELECT $1::int + 1";
        let mut guards = vec![];
        for _ in 0..3 {
            let mut guard = go!(pool.acquire())?;
            // Often enough to be prepared by name, if it ever is.
            for n in 0..4 {
                let row = go!(guard.query_one(text, &[&n]))?;
                assert_eq!(row.get::<_, i32>(0), n + 1);
            }
            guards.push(guard);
        }
        // Each holds its server session, so the next one gets a session that ran nothing yet.
        for guard in &mut guards {
            go!(guard.batch_execute("BEGIN"))?;
            let row = go!(guard.query_one(text, &[&2]))?;
            assert_eq!(row.get::<_, i32>(0), 3);
        }
        for guard in &mut guards {
            go!(guard.batch_execute("ROLLBACK"))?;
        }
        let error = go!(driver::Listener::connect(&config)).expect_err("refused");
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("server session of its own"), "{error}");
        Ok(())
    }
}

const EACH: &str = "pooler: transaction, session_settings: transaction";

// The pooler refuses `options`, and its one server session is shared with other clients.
twin! {
    fn settings_go_with_each_transaction(on, driver, go, work) {
        let Some(pooler) = in_front(on.server(), &[("default_pool_size", "1")]) else {
            return Ok(());
        };
        let config = config(on.server(), &[pooler.endpoint()], EACH, SETTINGS);
        let pool = go!(driver::Pool::new(&config))?;
        let both = ("31s", Some("7"));
        let mut transaction = go!(pool.begin())?;
        let mut savepoint = go!(transaction.transaction())?;
        let row = go!(savepoint.query_one(ASK, &[]))?;
        assert_eq!((row.get(0), row.get(1)), both);
        go!(savepoint.rollback())?;
        let row = go!(transaction.query_one(ASK, &[]))?;
        assert_eq!((row.get(0), row.get(1)), both);
        go!(transaction.commit())?;
        let row = go!(pool.transaction(work!(|tx| { go!(tx.query_one(ASK, &[])) })))?;
        assert_eq!((row.get(0), row.get(1)), both);
        // What a transaction sets itself takes precedence.
        let own = pool.build_transaction().read_only(true).set_local("statement_timeout", "5s");
        let mut transaction = go!(own.begin())?;
        let row = go!(transaction.query_one(ASK, &[]))?;
        assert_eq!((row.get(0), row.get(1)), ("5s", Some("7")));
        go!(transaction.rollback())?;
        let mut guard = go!(pool.acquire())?;
        go!(guard.begin())?;
        let row = go!(guard.query_one(ASK, &[]))?;
        assert_eq!((row.get(0), row.get(1)), both);
        go!(guard.commit())?;
        let mut nested = go!(guard.transaction())?;
        let row = go!(nested.query_one(ASK, &[]))?;
        assert_eq!((row.get(0), row.get(1)), both);
        go!(nested.commit())?;
        drop(guard);
        let url = pooler.endpoint().url();
        let stranger = move || {
            let mut stranger = postgres::Client::connect(&url, postgres::NoTls)?;
            stranger.query_typed_one(ASK, &[])
        };
        let row = std::thread::spawn(stranger).join().expect("no panic")?;
        assert_eq!(row.get::<_, &str>(0), "0");
        Ok(())
    }
}

fn is_without_settings(error: &Error) {
    assert!(matches!(error, Error::SessionSetting { .. }), "{error}");
    assert!(error.is_configuration(), "{error}");
    let text = error.to_string();
    for part in [
        "sync_settings",
        "outside a transaction",
        "not sent",
        "begin()",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

twin! {
    fn a_statement_that_would_run_without_settings_is_not_sent(on, driver, go, work) {
        let insert = format!("INSERT INTO {} VALUES (1)", on.name);
        let copy = format!("COPY {} TO STDOUT", on.name);
        let each = "session_settings: transaction";
        let set = config(on.server(), &[on.server()], each, SETTINGS);
        let pool = go!(driver::Pool::new(&set))?;
        is_without_settings(&go!(pool.execute(&insert, &[])).expect_err("refused"));
        is_without_settings(&go!(pool.query("SELECT $1::int", &[&1])).expect_err("refused"));
        is_without_settings(&go!(pool.batch_execute(&insert)).expect_err("refused"));
        is_without_settings(&go!(pool.query_raw(&insert, &[])).expect_err("refused"));
        is_without_settings(&go!(pool.copy_out(&copy)).expect_err("refused"));
        let mut guard = go!(pool.acquire())?;
        is_without_settings(&go!(guard.execute(&insert, &[])).expect_err("refused"));
        is_without_settings(&go!(guard.batch_execute("BEGIN")).expect_err("refused"));
        is_without_settings(&go!(guard.prepare_cached(&insert)).expect_err("refused"));
        is_without_settings(&go!(guard.query_raw(&insert, &[])).expect_err("refused"));
        // They leave the session as it was.
        go!(guard.begin())?;
        go!(guard.execute(&insert, &[]))?;
        go!(guard.commit())?;
        is_without_settings(&go!(guard.execute(&insert, &[])).expect_err("refused again"));
        go!(guard.ping())?;
        drop(guard);
        assert_eq!(on.rows(), 1);
        // Without settings there is nothing to miss.
        let unset = config(on.server(), &[on.server()], each, "");
        let pool = go!(driver::Pool::new(&unset))?;
        go!(pool.execute(&insert, &[]))?;
        assert_eq!(on.rows(), 2);
        Ok(())
    }
}

twin! {
    fn settings_hold_in_a_test_transaction(on, driver, go, work) {
        let each = "session_settings: transaction";
        let config = config(on.server(), &[on.server()], each, SETTINGS);
        let pool = go!(driver::Pool::test_transaction(&config))?;
        let row = go!(pool.query_one(ASK, &[]))?;
        assert_eq!((row.get(0), row.get(1)), ("31s", Some("7")));
        Ok(())
    }
}

// At the login, not in the first transaction.
twin! {
    fn a_wrong_setting_of_each_transaction_is_named(on, driver, go, work) {
        let wrong = "sync_settings: { statment_timeout: '1s' }\n\
                     async_settings: { statment_timeout: '1s' }\n";
        let config = config(on.server(), &[on.server()], "session_settings: transaction", wrong);
        let error = match go!(driver::Pool::new(&config)) {
            Ok(_) => panic!("nothing was said"),
            Err(error) => error,
        };
        assert!(error.is_configuration(), "{error}");
        assert!(error.to_string().contains("sync_settings.statment_timeout"), "{error}");
        Ok(())
    }
}
