//! What a pooler says itself: an outage behind it is as transient as without it, a refusal is final.

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
        cluster.start_again().expect("starts");
        let mut answer = go!(pool.query_one("SELECT 1", &[]));
        while let Err(error) = &answer {
            assert!(error.is_transient() && Instant::now() < until + LONG, "{error}");
            answer = go!(pool.query_one("SELECT 1", &[]));
        }
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

twin! {
    fn an_acquire_waits_for_a_pooler_whose_server_is_away(on, driver, go, work) {
        drop(on);
        let cluster = Cluster::builder().start().expect("a server");
        let on = Fixture::on((*cluster).clone());
        let retries = [("server_login_retry", "1"), ("query_wait_timeout", "2")];
        let Some(pooler) = in_front(on.server(), &retries) else { return Ok(()) };
        let sizes = pools("{ min_size: 1, max_size: 2, timeout: 20, statement_cache: 0 }");
        let config = config(on.server(), &[pooler.endpoint()], "", &sizes);
        let pool = go!(driver::Pool::new(&config))?;
        let held = go!(pool.acquire())?;
        cluster.stop(StopMode::Fast).expect("stops");
        let starter = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(1500));
            cluster.start_again().expect("starts");
            cluster
        });
        // The session is opened while the server is away.
        drop(go!(pool.acquire())?);
        drop(held);
        drop(starter.join().expect("no panic"));
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
        let error = go!(driver::Connection::new(&alone)).err().expect("it is full");
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
        let error = go!(pool.begin()).map(drop).expect_err("none is free");
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
