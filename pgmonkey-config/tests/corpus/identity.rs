//! The fingerprint: when two configurations count as the same.

use std::collections::HashSet;

use pgmonkey_config::{Config, ConnectionType, Fingerprint};

use super::{connection, good};

fn print(config: &Config, kind: ConnectionType) -> Fingerprint {
    *config.fingerprint(kind)
}

#[track_caller]
fn same(a: &str, b: &str) {
    for kind in ConnectionType::ALL {
        assert_eq!(
            print(&good(a), kind),
            print(&good(b), kind),
            "{kind}: {a} | {b}"
        );
    }
}

#[track_caller]
fn differ(a: &str, b: &str, kind: ConnectionType) {
    assert_ne!(
        print(&good(a), kind),
        print(&good(b), kind),
        "{kind}: {a} | {b}"
    );
}

#[test]
fn spelling_makes_no_difference() {
    same(
        &connection("{ host: a, port: 5433 }").replace("\n  {", " {"),
        &connection("port: '5433'\n  host: a"),
    );
    same("{}", &connection("port: 5432"));
    same(
        "{}",
        &connection("sslmode: prefer\n  connect_timeout: 10s\n  autocommit: 'off'"),
    );
    same(
        "{}",
        "pool_settings: { min_size: 1, max_size: '10' }\nconnection_type: pool",
    );
    same(
        &connection("host: a,b"),
        &connection("host: [a, b]\n  port: '5432,5432'"),
    );
    same(
        &connection("user: app"),
        &connection("dbname: app\n  user: app"),
    );
    same(
        &connection("url: postgres://app:x@db/shop"),
        &connection("host: db\n  user: app\n  password: x\n  dbname: shop"),
    );
    same(
        "sync_settings: { a: 1, b: 2 }",
        "sync_settings: { b: '2', a: '1' }",
    );
    same(
        "sync_settings: { TimeZone: UTC }",
        "sync_settings: { timezone: UTC }",
    );
    same("{}", "postgresql: { connection_settings: {} }");
    same(
        "{}",
        "profiles: { test: { connection_settings: { host: a } } }",
    );
}

#[test]
fn only_what_the_type_uses_counts() {
    use ConnectionType::{Async, AsyncPool, Normal, Pool};
    for (text, users) in [
        ("pool_settings: { max_size: 11 }", vec![Pool]),
        ("async_pool_settings: { max_size: 11 }", vec![AsyncPool]),
        ("sync_settings: { work_mem: 1MB }", vec![Normal, Pool]),
        ("async_settings: { work_mem: 1MB }", vec![Async, AsyncPool]),
        (
            "connection_settings: { password: x }",
            ConnectionType::ALL.to_vec(),
        ),
    ] {
        for kind in ConnectionType::ALL {
            // Without these, a section would stand for its counterpart.
            let others = [
                "pool_settings",
                "async_pool_settings",
                "sync_settings",
                "async_settings",
            ];
            let others = others
                .into_iter()
                .filter(|section| !text.starts_with(section));
            let text: String = others.fold(text.to_owned(), |text, section| {
                format!("{text}\n{section}: {{}}")
            });
            let changed = print(&good(&text), kind) != print(&good("{}"), kind);
            assert_eq!(changed, users.contains(&kind), "{kind}: {text}");
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one line for each value")]
fn every_value_counts() {
    let lines = [
        "host: a",
        "host: b",
        "host: a,b",
        "host: b,a",
        "hostaddr: 10.0.0.1",
        "port: 1",
        "dbname: a",
        "user: a",
        "password: a",
        "password: b",
        "passfile: /a",
        "sslmode: require",
        "sslrootcert: /a",
        "sslmode: verify-full\n  sslrootcert: system",
        "sslcert: /a\n  sslkey: /b",
        "sslcert: /b\n  sslkey: /a",
        "sslpassword: a",
        "sslcrl: /a",
        "sslsni: 0",
        "sslnegotiation: direct\n  sslmode: require",
        "ssl_min_protocol_version: TLSv1.3",
        "ssl_max_protocol_version: TLSv1.2",
        "ssl_max_protocol_version: TLSv1.3",
        "channel_binding: disable",
        "require_auth: md5",
        "require_auth: '!md5'",
        "connect_timeout: 0",
        "connect_timeout: 1",
        "connect_timeout: 1ms",
        "application_name: a",
        "options: a",
        "keepalives: 0",
        "keepalives_idle: 1",
        "keepalives_interval: 1",
        "keepalives_count: 1",
        "tcp_user_timeout: 1",
        "target_session_attrs: primary",
        "load_balance_hosts: random",
        "follow_dns: true",
        "pooler: none",
        "pooler: session",
        "session_settings: statements",
        "session_settings: transaction",
        "autocommit: 1",
    ];
    let mut seen = HashSet::from([print(&good("{}"), ConnectionType::Normal)]);
    for line in lines {
        assert!(
            seen.insert(print(&good(&connection(line)), ConnectionType::Normal)),
            "{line}"
        );
    }
    let mut seen = HashSet::from([print(&good("{}"), ConnectionType::AsyncPool)]);
    for line in [
        "min_size: 2",
        "max_size: 2",
        "timeout: 1",
        "timeout: 0",
        "max_idle: 1",
        "max_idle: 0",
        "max_lifetime: 1",
        "max_lifetime: 0",
        "check_on_checkout: 1",
        "max_waiting: 1",
        "reconnect_timeout: 1",
        "reconnect_timeout: 0",
        "num_workers: 1",
        "reset: none",
        "statement_cache: 1",
        "leak_warning: 1",
        "multiplex: 1",
    ] {
        let config = good(&format!("async_pool_settings:\n  {line}"));
        assert!(
            seen.insert(print(&config, ConnectionType::AsyncPool)),
            "{line}"
        );
    }
}

#[test]
fn every_key_of_statements_counts() {
    let mut seen = HashSet::from([print(&good("{}"), ConnectionType::Normal)]);
    for line in [
        "slow_statement: 1",
        "slow_acquire: 1",
        "statements_per_checkout: 1",
        "statement_text: none",
        "statement_text: all",
        "statement_stats: off",
        "sqlcommenter: on",
    ] {
        assert!(
            seen.insert(print(&good(line), ConnectionType::Normal)),
            "{line}"
        );
    }
    for line in [
        "slow_statement: off",
        "statements_per_checkout: 0",
        "statement_text: parameterized",
    ] {
        assert!(
            !seen.insert(print(&good(line), ConnectionType::Normal)),
            "{line}"
        );
    }
}

#[test]
fn an_empty_parameter_is_not_an_absent_one() {
    differ(
        "{}",
        "sync_settings: { search_path: '' }",
        ConnectionType::Normal,
    );
}

#[test]
fn what_is_shown_says_nothing_of_the_password() {
    let with = |password: &str| {
        good(&connection(&format!(
            "host: db\n  password: {password}\n  sslpassword: {password}"
        )))
    };
    let a = print(&with("a"), ConnectionType::Normal);
    let b = print(&with("b"), ConnectionType::Normal);
    assert_ne!(a, b);
    assert_eq!(a.to_string(), b.to_string());
    assert_eq!(a.to_string().len(), 12);
    assert!(a.to_string().bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(format!("{a:?}"), format!("Fingerprint({a})"));
    let bytes: String = a.as_bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert!(!bytes.starts_with(&a.to_string()));
    assert_ne!(
        a.to_string(),
        print(&good("{}"), ConnectionType::Normal).to_string()
    );
}

#[test]
fn it_is_computed_once() {
    let config = good("{}");
    let clone = config.clone();
    assert!(std::ptr::eq(
        config.fingerprint(ConnectionType::Pool),
        clone.fingerprint(ConnectionType::Pool)
    ));
    let other = config.with_connection_type(ConnectionType::AsyncPool);
    assert_eq!(
        print(&config, ConnectionType::Pool),
        print(&other, ConnectionType::Pool)
    );
}
