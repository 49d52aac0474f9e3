//! What a healthy handle sends: the user's statements, and nothing else. Over TCP.

use pgmonkey::{Deadline, Error, IsolationLevel, Retry};
use pgmonkey_tests::{Fixture, LONG, twin};
use pgmonkey_testserver::Cluster;

/// A server that logs every statement, including empty ones.
fn talkative() -> (Cluster, Fixture) {
    let cluster = Cluster::builder().setting("log_statement", "all");
    let cluster = cluster.start().expect("a server");
    let on = Fixture::on((*cluster).clone());
    (cluster, on)
}

/// The statements that the sessions of `on` have sent since the log was `seen` bytes long.
fn sent(on: &Fixture, seen: usize) -> Vec<String> {
    let log = on.server().log().split_off(seen);
    let lines = log
        .lines()
        .filter_map(|line| line.split_once(&format!("/{} ", on.name)));
    lines
        .filter_map(|(_, rest)| {
            let text = rest.trim_start().strip_prefix("LOG:")?.trim_start();
            match text.strip_prefix("statement:") {
                Some(statement) => Some(statement.trim().to_owned()),
                None => {
                    let (_, statement) = text.strip_prefix("execute ")?.split_once(": ")?;
                    Some(statement.to_owned())
                }
            }
        })
        .collect()
}

/// Uses a handle in every regular way and compares what it sent.
macro_rules! healthy {
    ($on:ident, $handle:ident, $go:ident, $work:ident) => {{
        let seen = $on.server().log().len();
        let mut expected = Vec::new();
        let insert = format!("INSERT INTO {} VALUES ($1)", $on.name);
        for number in 0..3_i32 {
            let mut guard = $go!($handle.acquire())?;
            $go!(guard.query("SELECT $1::int", &[&number]))?;
            $go!(guard.batch_execute("SELECT 'simple'"))?;
            drop(guard);
            expected.extend(["SELECT $1::int", "SELECT 'simple'"]);

            $go!($handle.query("SELECT $1::int + 1", &[&number]))?;
            $go!($handle.execute(&insert, &[&number]))?;
            expected.extend(["SELECT $1::int + 1", &insert]);

            $go!($handle.transaction($work!(|tx| {
                $go!(tx.execute(&insert, &[&number]))?;
                Ok(())
            })))?;
            expected.extend(["BEGIN", &insert, "COMMIT"]);

            let failed: Result<(), Error> = $go!($handle.transaction($work!(|tx| {
                $go!(tx.execute(&insert, &[&number]))?;
                Err(Error::other("on purpose"))
            })));
            assert!(failed.is_err());
            expected.extend(["BEGIN", &insert, "ROLLBACK"]);

            let mut guard = $go!($handle.acquire())?;
            $go!(guard.begin())?;
            $go!(guard.execute(&insert, &[&number]))?;
            $go!(guard.commit())?;
            drop(guard);
            expected.extend(["BEGIN", &insert, "COMMIT"]);
            let _ = (drop($go!($handle.acquire())?), $handle.status());
        }
        assert_eq!(sent(&$on, seen), expected);
        assert_eq!($handle.status().opened, 1, "all on one session");
    }};
}

twin! {
    fn b10_a_healthy_pool_sends_the_users_statements_and_nothing_else(on, driver, go, work) {
        drop(on);
        let (_cluster, on) = talkative();
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        healthy!(on, pool, go, work);
        Ok(())
    }
}

twin! {
    fn a_healthy_connection_sends_the_users_statements_and_nothing_else(on, driver, go, work) {
        drop(on);
        let (_cluster, on) = talkative();
        let connection = go!(driver::Connection::new(&on.config("")))?;
        healthy!(on, connection, go, work);
        Ok(())
    }
}

twin! {
    fn opening_a_session_sends_no_statement(on, driver, go, work) {
        drop(on);
        let (_cluster, on) = talkative();
        let seen = on.server().log().len();
        let pool = go!(driver::Pool::new(&on.config("")))?;
        drop(go!(pool.acquire())?);
        pool.close();
        assert_eq!(sent(&on, seen), Vec::<String>::new());
        // With settings, the first session of a pool and an address checks that they arrived.
        let settings = "sync_settings: { work_mem: '8MB' }\nasync_settings: { work_mem: '8MB' }\n\
                        pool_settings: { min_size: 1 }\nasync_pool_settings: { min_size: 1 }\n";
        let pool = go!(driver::Pool::new(&on.config(settings)))?;
        let first = go!(pool.acquire())?;
        let checks = sent(&on, seen);
        assert!(checks.len() == 1 && checks[0].contains("pg_catalog.pg_settings"), "{checks:?}");
        let others = [go!(pool.acquire())?, go!(pool.acquire())?];
        assert_eq!(pool.status().opened, 3);
        assert_eq!(sent(&on, seen).len(), 1);
        drop((first, others));
        pool.close();
        Ok(())
    }
}

twin! {
    fn a_check_on_checkout_is_seen(on, driver, go, work) {
        // Proves that the other cases would notice it.
        drop(on);
        let (_cluster, on) = talkative();
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1, check_on_checkout: true }")))?;
        let seen = on.server().log().len();
        go!(pool.batch_execute("SELECT 1"))?;
        assert_eq!(sent(&on, seen), ["", "SELECT 1"]);
        Ok(())
    }
}

twin! {
    fn nothing_is_put_back_that_was_not_changed(on, driver, go, work) {
        drop(on);
        let (_cluster, on) = talkative();
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        let harmless = [
            "SELECT 'SET work_mem = 1', temp, hold FROM (VALUES (1, 2)) AS t(temp, hold)",
            "BEGIN; SET LOCAL work_mem = '7MB'; COMMIT",
            "BEGIN; SET TRANSACTION READ ONLY; ROLLBACK",
            "BEGIN; SET LOCAL TimeZone = 'Asia/Tokyo'; COMMIT",
            "SELECT set_config('work_mem', '7MB', true), pg_advisory_xact_lock(1)",
            "CREATE TABLE temp (n int); DROP TABLE temp",
            "SELECT count(*) FROM pg_settings",
            "/* LISTEN field */ NOTIFY field",
        ];
        let seen = on.server().log().len();
        for text in harmless {
            go!(pool.batch_execute(text))?;
        }
        assert_eq!(sent(&on, seen), harmless);
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

twin! {
    fn what_was_changed_is_put_back_in_one_text(on, driver, go, work) {
        drop(on);
        let (_cluster, on) = talkative();
        let pool = go!(driver::Pool::new(&on.pools("{ min_size: 1, max_size: 1 }")))?;
        for text in ["SET work_mem = '7MB'", "LISTEN field", "SELECT pg_advisory_lock(1)"] {
            let seen = on.server().log().len();
            go!(pool.batch_execute(text))?;
            go!(pool.batch_execute("SELECT 1"))?;
            let sent = sent(&on, seen);
            assert_eq!(sent.len(), 3, "{sent:?}");
            assert!(sent[0] == text && sent[1].contains("RESET ALL") && sent[2] == "SELECT 1", "{sent:?}");
        }
        assert_eq!(pool.status().opened, 1);
        Ok(())
    }
}

twin! {
    fn options_of_a_transaction_cost_no_round_trip(on, driver, go, work) {
        drop(on);
        let (_cluster, on) = talkative();
        let proxy = crate::outcome::proxy(&on);
        let config = crate::outcome::through(&proxy, &on, "{ max_size: 1 }");
        let pool = go!(driver::Pool::new(&config))?;
        let insert = format!("INSERT INTO {} VALUES ($1)", on.name);
        go!(pool.execute(&insert, &[&0]))?;
        let (seen, before) = (on.server().log().len(), proxy.round_trips());
        let view = pool.deadline(Deadline::after(LONG));
        let built = view
            .build_transaction()
            .isolation_level(IsolationLevel::Serializable)
            .set_local("app.tenant", "42")
            .timeout(LONG)
            .retry(Retry::attempts(3))
            .label("three");
        go!(built.run(work!(|tx| {
            for number in 1..=3 {
                go!(tx.execute(&insert, &[&number]))?;
            }
            Ok(())
        })))?;
        let in_task = std::any::type_name::<driver::Pool>().starts_with("pgmonkey_async");
        let trips = proxy.round_trips() - before;
        assert_eq!(trips, if in_task { 4 } else { 5 });
        let begin = r#"BEGIN ISOLATION LEVEL SERIALIZABLE; SET LOCAL "app"."tenant" = '42'"#;
        let expected = [begin, &insert, &insert, &insert, "COMMIT"].join("; ");
        assert_eq!(sent(&on, seen).join("; "), expected);
        Ok(())
    }
}
