//! The keys: types, ranges, defaults, combinations.

use std::time::Duration;

use pgmonkey_config::{
    Config, ConnectionSettings, Host, PoolSettings, Reset, RootCert, Settings, SslMode,
    StatementTextMode, TargetSessionAttrs, TlsVersion,
};

use super::{bad, connection, good, has, load, loader, password};

fn settings(line: &str) -> ConnectionSettings {
    good(&connection(line)).connection_settings.clone()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one line for each key")]
fn every_key_has_its_effect() {
    let default = good("{}");
    for line in [
        "url: postgres://db",
        "host: db",
        "hostaddr: 10.0.0.1",
        "port: 5433",
        "dbname: shop",
        "database: shop",
        "user: app",
        "password: S3cret",
        "passfile: /p",
        "sslmode: require",
        "sslrootcert: /r",
        "sslpassword: S3cret",
        "sslcrl: /c",
        "sslsni: false",
        "ssl_min_protocol_version: TLSv1.3",
        "ssl_max_protocol_version: TLSv1.3",
        "channel_binding: disable",
        "require_auth: md5",
        "connect_timeout: 11",
        "application_name: shop",
        "fallback_application_name: shop",
        "options: -c geqo=off",
        "keepalives: 0",
        "keepalives_idle: 1",
        "keepalives_interval: 1",
        "keepalives_count: 1",
        "tcp_user_timeout: 1",
        "target_session_attrs: primary",
        "load_balance_hosts: random",
        "follow_dns: true",
        "pooler: transaction",
        "session_settings: startup",
        "session_settings: transaction",
        "autocommit: true",
    ] {
        assert_ne!(good(&connection(line)), default, "{line}");
    }
    for line in [
        "sslcert: /c\n  sslkey: /k",
        "sslnegotiation: direct\n  sslmode: require",
    ] {
        assert_ne!(good(&connection(line)), default, "{line}");
    }
    for line in [
        "client_encoding: UTF8",
        "client_encoding: auto",
        "servicefile: /s",
    ] {
        assert_eq!(good(&connection(line)), default, "{line}");
    }
    for line in [
        "min_size: 2",
        "max_size: 11",
        "timeout: 31",
        "max_idle: 601",
        "max_lifetime: 3601",
        "check_on_checkout: true",
        "max_waiting: 1",
        "reconnect_timeout: 301",
        "num_workers: 4",
        "reset: session",
        "statement_cache: 0",
        "leak_warning: 1",
    ] {
        for section in ["pool_settings", "async_pool_settings"] {
            assert_ne!(good(&format!("{section}:\n  {line}")), default, "{line}");
        }
    }
    assert_ne!(good("async_pool_settings: { multiplex: true }"), default);
}

#[test]
fn defaults() {
    let config = good("{}");
    assert_eq!(config.to_settings(), Settings::default());
    assert_eq!(
        config.connection_settings.connect_timeout,
        Some(Duration::from_secs(10))
    );
    assert_eq!(config.connection_settings.sslmode, SslMode::Prefer);
    assert!(config.connection_settings.keepalives && !config.connection_settings.autocommit);
    assert_eq!(config.pool_settings, PoolSettings::default());
}

#[test]
fn empty_and_null_mean_not_set() {
    let default = good("{}");
    for name in [
        "url",
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "password",
        "passfile",
        "service",
        "servicefile",
        "sslmode",
        "sslrootcert",
        "sslcert",
        "sslkey",
        "sslpassword",
        "sslcrl",
        "sslsni",
        "sslnegotiation",
        "ssl_min_protocol_version",
        "ssl_max_protocol_version",
        "channel_binding",
        "require_auth",
        "connect_timeout",
        "application_name",
        "options",
        "keepalives",
        "keepalives_idle",
        "keepalives_interval",
        "keepalives_count",
        "tcp_user_timeout",
        "target_session_attrs",
        "load_balance_hosts",
        "follow_dns",
        "pooler",
        "session_settings",
        "client_encoding",
        "autocommit",
        "gssencmode",
        "oauth_issuer",
    ] {
        for value in ["''", "null", ""] {
            assert_eq!(
                good(&connection(&format!("{name}: {value}"))),
                default,
                "{name}: {value}"
            );
        }
    }
}

#[test]
fn numbers_and_booleans_may_be_quoted() {
    for port in [
        "5433",
        "'5433'",
        "\" 5433 \"",
        "[5433]",
        "['5433']",
        "5433 ",
    ] {
        assert_eq!(settings(&format!("port: {port}")).port, [5433], "{port}");
    }
    for on in [
        "true", "'true'", "1", "'1'", "on", "'on'", "yes", "True", "TRUE",
    ] {
        assert!(settings(&format!("autocommit: {on}")).autocommit, "{on}");
    }
    for off in [
        "false", "'false'", "0", "'0'", "off", "'off'", "no", "False",
    ] {
        assert!(!settings(&format!("autocommit: {off}")).autocommit, "{off}");
        assert!(!settings(&format!("keepalives: {off}")).keepalives, "{off}");
        let pool = good(&format!("pool_settings: {{ check_on_checkout: {off} }}"));
        assert!(!pool.pool_settings.check_on_checkout, "{off}");
    }
    let config = good("pool_settings: { min_size: '5', max_size: '20' }");
    assert_eq!(
        (config.pool_settings.min_size, config.pool_settings.max_size),
        (5, 20)
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one row for each wrong value")]
fn values_of_the_wrong_type_are_named() {
    for (line, parts) in [
        ("port: 70000", ["port", "`70000`", "1 to 65535"]),
        ("port: 0", ["port", "`0`", "1 to 65535"]),
        ("port: -1", ["port", "`-1`", "1 to 65535"]),
        ("port: abc", ["port", "`abc`", "1 to 65535"]),
        ("port: 5441.5", ["port", "`5441.5`", "1 to 65535"]),
        ("port: true", ["port", "`true`", "1 to 65535"]),
        ("port: { a: 1 }", ["line 2", "port", "1 to 65535"]),
        (
            "autocommit: maybe",
            ["autocommit", "`maybe`", "true or false"],
        ),
        ("autocommit: 2", ["autocommit", "`2`", "true or false"]),
        (
            "follow_dns: often",
            ["follow_dns", "`often`", "true or false"],
        ),
        (
            "connect_timeout: abc",
            ["connect_timeout", "`abc`", "seconds"],
        ),
        (
            "connect_timeout: -1",
            ["connect_timeout", "`-1`", "seconds"],
        ),
        (
            "keepalives_count: 1.5",
            ["keepalives_count", "`1.5`", "whole number"],
        ),
        ("sslmode: full", ["sslmode", "`full`", "verify-full"]),
        ("sslmode: REQUIRE", ["sslmode", "`REQUIRE`", "require"]),
        ("hostaddr: db", ["hostaddr", "`db`", "IP address"]),
        (
            "client_encoding: LATIN1",
            ["client_encoding", "`LATIN1`", "UTF8"],
        ),
        (
            "require_auth: md6",
            ["require_auth", "`md6`", "authentication methods"],
        ),
        (
            "require_auth: md5,!none",
            ["require_auth", "`md5,!none`", "authentication methods"],
        ),
        ("dbname: [a]", ["line 2", "dbname", "expected text"]),
        (
            "password: [S3cret]",
            ["line 2", "password", "expected text in quotes"],
        ),
        (
            "password: { a: S3cret }",
            ["line 2", "password", "expected text in quotes"],
        ),
        (
            "load_balance_hosts: 1",
            ["load_balance_hosts", "`1`", "random"],
        ),
        ("pooler: pgbouncer", ["line 2", "pooler", "statement"]),
        (
            "session_settings: always",
            ["line 2", "session_settings", "verify"],
        ),
    ] {
        let error = bad(&connection(line));
        has(&error, &parts);
        assert!(!error.contains("S3cret"), "{error}");
    }
    for (line, parts) in [
        ("max_size: 0", ["pool_settings.max_size", "`0`", "from 1"]),
        ("max_size: -1", ["pool_settings.max_size", "`-1`", "from 1"]),
        (
            "max_size: 1000000",
            ["pool_settings.max_size", "1000000", "262143"],
        ),
        (
            "min_size: x",
            ["pool_settings.min_size", "`x`", "whole number"],
        ),
        (
            "num_workers: 0",
            ["pool_settings.num_workers", "`0`", "from 1"],
        ),
        (
            "timeout: 99999999999",
            ["pool_settings.timeout", "`99999999999`", "seconds"],
        ),
        (
            "timeout: [30]",
            ["line 2", "pool_settings.timeout", "seconds"],
        ),
        (
            "reset: all",
            [
                "pool_settings.reset",
                "`all`",
                "auto, transaction, session, none",
            ],
        ),
    ] {
        has(&bad(&format!("pool_settings:\n  {line}\n")), &parts);
    }
    for (line, parts) in [
        (
            "slow_statement: fast",
            ["line 1", "slow_statement", "`fast`"],
        ),
        ("slow_acquire: -1", ["line 1", "slow_acquire", "`-1`"]),
        (
            "statements_per_checkout: some",
            ["line 1", "statements_per_checkout", "`some`"],
        ),
        (
            "statement_text: half",
            ["line 1", "statement_text", "none, parameterized, all"],
        ),
        (
            "statement_stats: perhaps",
            ["line 1", "statement_stats", "true or false"],
        ),
        (
            "sqlcommenter: perhaps",
            ["line 1", "sqlcommenter", "true or false"],
        ),
    ] {
        has(&bad(line), &parts);
    }
}

#[test]
fn what_is_reported_of_statements_is_set_at_the_top() {
    let config = good(
        "slow_statement: 500ms\nslow_acquire: 1s\nstatements_per_checkout: 50\n\
         statement_text: all\nstatement_stats: false\nsqlcommenter: true",
    );
    let set = &config.statements;
    assert_eq!(set.slow_statement, Some(Duration::from_millis(500)));
    assert_eq!(set.slow_acquire, Some(Duration::from_secs(1)));
    assert_eq!(set.statements_per_checkout, Some(50));
    assert_eq!(set.statement_text, StatementTextMode::All);
    assert!(!set.statement_stats);
    assert!(set.sqlcommenter);
    let off = "slow_statement: off\nslow_acquire: 0\nstatements_per_checkout: off";
    assert_eq!(good(off).statements, good("{}").statements);
    let mut settings = good("{}").to_settings();
    settings.statements.slow_statement = Some(Duration::MAX);
    let error = Config::new(settings).expect_err("out of range").to_string();
    assert!(error.contains("slow_statement: "), "{error}");
}

#[test]
fn durations_have_units() {
    for (text, millis) in [
        ("30", 30_000),
        ("'30'", 30_000),
        ("500ms", 500),
        ("2.5", 2500),
        ("5m", 300_000),
        ("1h", 3_600_000),
    ] {
        let timeout = settings(&format!("connect_timeout: {text}")).connect_timeout;
        assert_eq!(timeout, Some(Duration::from_millis(millis)), "{text}");
    }
    for (text, millis) in [("5000", 5000), ("5s", 5000), ("'100'", 100)] {
        let timeout = settings(&format!("tcp_user_timeout: {text}")).tcp_user_timeout;
        assert_eq!(timeout, Some(Duration::from_millis(millis)), "{text}");
    }
}

#[test]
fn zero_is_no_limit() {
    let c = settings(
        "{ connect_timeout: 0, keepalives_idle: 0, keepalives_count: 0, tcp_user_timeout: 0 }"
            .replace("{ ", "")
            .replace(" }", "")
            .replace(", ", "\n  ")
            .as_str(),
    );
    assert_eq!(
        (
            c.connect_timeout,
            c.keepalives_idle,
            c.keepalives_count,
            c.tcp_user_timeout
        ),
        (None, None, None, None)
    );
    let pool = good(
        "pool_settings: { timeout: 0, max_idle: 0, max_lifetime: 0, max_waiting: 0, reconnect_timeout: 0, leak_warning: 0 }",
    );
    let pool = &pool.pool_settings;
    assert_eq!(
        (pool.timeout, pool.max_idle),
        (Duration::ZERO, Duration::ZERO)
    );
    assert_eq!(
        (pool.max_lifetime, pool.reconnect_timeout, pool.leak_warning),
        (None, None, None)
    );
    assert_eq!(pool.max_waiting, None);
    assert_eq!(
        good("pool_settings: { leak_warning: off }")
            .pool_settings
            .leak_warning,
        None
    );
}

#[test]
fn hosts() {
    let name = |name: &str| Host::Name(name.to_owned());
    assert_eq!(settings("host: db").host, [name("db")]);
    assert_eq!(settings("host: 'a, b'").host, [name("a"), name("b")]);
    assert_eq!(settings("host: [a, b]").host, [name("a"), name("b")]);
    assert_eq!(
        settings("host: '::1'").host,
        [Host::Ip("::1".parse().unwrap())]
    );
    assert_eq!(settings("host: fe80::1%eth0").host, [name("fe80::1%eth0")]);
    assert_eq!(settings("host: /tmp").host, [Host::Unix("/tmp".into())]);
    for (host, part) in [
        ("'[::1]'", "without brackets"),
        ("db:5432", "`port`"),
        ("'a,,b'", "empty"),
        ("'@abstract'", "abstract"),
        ("postgres://app:S3cret@db", "`url`"),
        ("'a b'", "expected a name"),
        ("[[a]]", "list"),
    ] {
        let error = bad(&connection(&format!("host: {host}")));
        has(&error, &["connection_settings.host", part]);
        assert!(!error.contains("S3cret"), "{error}");
    }
}

#[test]
fn lists_must_fit_together() {
    let c = settings("host: a,b\n  port: '1,2'\n  hostaddr: [10.0.0.1, 10.0.0.2]");
    let targets: Vec<String> = c.targets().iter().map(ToString::to_string).collect();
    assert_eq!(targets, ["a:1", "b:2"]);
    assert_eq!(settings("host: a,b\n  port: '1,'").port, [1, 5432]);
    has(
        &bad(&connection("host: a,b\n  port: '1,2,3'")),
        &["line 3", "port", "ports (3)", "hosts (2)"],
    );
    has(
        &bad(&connection("port: '1,2'")),
        &["port", "ports (2)", "hosts (1)"],
    );
    has(
        &bad(&connection("host: a,b\n  hostaddr: 10.0.0.1")),
        &["line 3", "hostaddr", "addresses (1)", "hosts (2)"],
    );
    assert_eq!(
        settings("hostaddr: 10.0.0.1,10.0.0.2\n  port: '1,2'")
            .targets()
            .len(),
        2
    );
}

#[test]
fn a_zero_byte_in_any_value_is_an_error() {
    for name in [
        "password",
        "host",
        "dbname",
        "user",
        "sslcert",
        "options",
        "application_name",
        "passfile",
        "service",
    ] {
        let error = bad(&connection(&format!("{name}: \"S3cret\\0x\"")));
        has(&error, &[name, "line 2"]);
        assert!(name != "password" || !error.contains("S3cret"), "{error}");
    }
    has(
        &bad("sync_settings: { work_mem: \"a\\0b\" }"),
        &["sync_settings.work_mem", "zero byte"],
    );
}

#[test]
fn strange_passwords_arrive_whole() {
    for text in [
        "it's",
        "a\"b",
        "a\\b",
        " leading",
        "%40:/?#@",
        "пароль",
        "🐒",
        "a=b",
        "*star",
        "!bang",
        "a: b # c",
        "${NOT}",
        "{}",
    ] {
        let json = serde_json::json!({ "connection_settings": { "password": text }, "resolve_env": false });
        let config = good(&json.to_string());
        assert_eq!(password(&config), Some(text));
        if text == "%40:/?#@" {
            // As a name it would count as a connection string.
            continue;
        }
        let json =
            serde_json::json!({ "connection_settings": { "dbname": text }, "resolve_env": false });
        let config = good(&json.to_string());
        assert_eq!(config.connection_settings.dbname.as_deref(), Some(text));
    }
    let long = "x".repeat(200);
    assert_eq!(
        password(&good(&connection(&format!("password: {long}")))),
        Some(&*long)
    );
}

#[test]
fn a_connection_string_in_the_place_of_a_name_is_refused() {
    for line in [
        "dbname: postgres://other/db",
        "dbname: 'postgres://u:S3cret@h/d'",
        "dbname: 'host=h password=S3cret'",
        "database: 'u:S3cret@h/d'",
        "user: 'u:S3cret'",
        "user: 'u:S3cret@h'",
        "host: 'u:S3cret@h'",
        "host: '/u:S3cret@h/d'",
        "port: 'postgres://u:S3cret@h/d'",
        "port: 'u:S3cret@h'",
        "hostaddr: 'u:S3cret@h'",
        "service: 'postgres://u:S3cret@h/d'",
        "servicefile: 'postgres://u:S3cret@h/d'\n  service: a",
        "passfile: 'host=h password=S3cret'",
        "sslrootcert: 'postgres://u:S3cret@h/d'",
        "application_name: 'postgres://u:S3cret@h/d'",
        "options: 'host=h password=S3cret'",
        "options: 'postgres://u:S3cret@h/d'",
        "options: '-c app.token=a S3cret'",
        "url: 'postgres://h/d?dbname=postgres://u:S3cret@h/d'",
        "url: 'postgres://u:/S3cret@h/d'",
        "url: 'postgres://u:12/S3cret@h/d'",
        "url: 'host=h dbname=postgres://u:S3cret@h/d'",
    ] {
        let error = bad(&connection(line));
        assert!(!error.contains("S3cret"), "{line}: {error}");
        has(&error, &["connection_settings."]);
    }
    has(
        &bad(&connection("dbname: 'postgres://u:S3cret@h/d'")),
        &[
            "line 2",
            "connection_settings.dbname",
            "a connection string is not allowed here; use `url` for it",
        ],
    );
    has(
        &bad(&connection("user: 'u:S3cret'")),
        &["connection_settings.user", "set `password`"],
    );
    // A role may have a colon in its name if `password` is set separately.
    let c = settings("user: 'o:d'\n  password: S3cret");
    assert_eq!(c.user.as_deref(), Some("o:d"));
    assert!(!bad(&connection("user: 'u:S3cret'\n  password: S3cret")).contains("S3cret"));
    has(
        &bad(&connection("url: 'postgres://u:/7MrEdHz@h/d'")),
        &["connection_settings.url", "%2F"],
    );
}

#[test]
fn a_reference_that_nobody_resolves_is_an_error() {
    let off = |line: &str| bad(&format!("{line}\nresolve_env: false"));
    has(
        &off(&connection("password: { from_env: PW }")),
        &["line 2", "password", "from_env", "resolve_env"],
    );
    for value in ["{ from_env: PW }", "{ from_file: /run/pw }"] {
        has(
            &off(&connection(&format!("url: {value}"))),
            &["url", "resolve_env"],
        );
        has(
            &off(&format!("sync_settings: {{ work_mem: {value} }}")),
            &["work_mem", "resolve_env"],
        );
    }
}

#[test]
fn urls() {
    let c = settings(
        "url: 'postgres://app:p%40ss@a:1,b:2/shop?sslmode=require&application_name=x'\n  dbname: other",
    );
    assert_eq!(c.describe(), "app@a:1,b:2/other");
    assert_eq!(c.password, Some("p@ss".into()));
    assert_eq!(c.sslmode, SslMode::Require);
    let c = settings("url: host=db port=5433 user=app password='S3 cret'");
    assert_eq!(c.describe(), "app@db:5433/app");
    for url in [
        "mysql://app:S3cret@db",
        "postgres://app:S3cret@db:port/x",
        "postgres://app:%zzS3cret@db",
        "host=db S3cret",
        "'postgres://app:S3cret@db?S3cret=1'",
        "[S3cret]",
        "5",
    ] {
        let error = bad(&connection(&format!("url: {url}")));
        has(&error, &["connection_settings.url", "line 2"]);
        assert!(!error.contains("S3cret"), "{error}");
    }
    let error = bad(&connection("url: 'postgres://db?sslmode=S3cret'"));
    has(&error, &["connection_settings.url"]);
    has(
        &bad(&connection("url: 'postgres://db?gssencmode=require'")),
        &["connection_settings.url", "not supported"],
    );
    let config = Config::from_url("postgres://app@db/shop").unwrap();
    assert_eq!(config.connection_settings.describe(), "app@db:5432/shop");
    let error = Config::from_url("postgres://app:S3cret@db:x")
        .unwrap_err()
        .to_string();
    has(&error, &["the given URL"]);
    assert!(!error.contains("S3cret"), "{error}");
}

#[test]
fn the_alias_of_dbname() {
    assert_eq!(settings("database: shop").dbname.as_deref(), Some("shop"));
    has(
        &bad(&connection("database: a\n  dbname: b")),
        &["line 2", "database", "dbname"],
    );
    has(
        &bad(&connection("database: [a]")),
        &["line 2", "connection_settings.database", "expected text"],
    );
}

#[test]
fn the_fallback_application_name_is_weaker() {
    let c = settings("fallback_application_name: a\n  application_name: b");
    assert_eq!(c.application_name.as_deref(), Some("b"));
}

#[test]
fn what_the_drivers_cannot_do_is_refused() {
    for line in [
        "gssencmode: require",
        "krbsrvname: postgres",
        "gsslib: gssapi",
        "gssdelegation: 1",
        "oauth_issuer: https://x",
        "oauth_client_id: x",
        "oauth_client_secret: S3cret",
        "oauth_scope: x",
        "replication: database",
        "requirepeer: postgres",
        "sslkeylogfile: /tmp/keys",
        "scram_client_key: S3cret",
        "scram_server_key: S3cret",
        "sslcompression: 1",
        "sslcertmode: require",
        "sslcrldir: /d",
        "min_protocol_version: '3.2'",
    ] {
        let error = bad(&connection(line));
        has(
            &error,
            &[
                line.split(':').next().unwrap(),
                "not supported by the Rust drivers",
                "line 2",
            ],
        );
        assert!(!error.contains("S3cret"), "{error}");
    }
    for line in [
        "gssencmode: disable",
        "gssencmode: prefer",
        "sslcompression: 0",
        "gssdelegation: 0",
        "replication: false",
        "sslcertmode: allow",
        "min_protocol_version: '3.0'",
        "max_protocol_version: latest",
    ] {
        assert_eq!(good(&connection(line)), good("{}"), "{line}");
    }
}

#[test]
fn b09_pools_must_be_possible() {
    has(
        &bad("pool_settings:\n  min_size: 5\n  max_size: 3\n"),
        &[
            "line 2",
            "pool_settings.min_size",
            "min_size (5)",
            "max_size (3)",
        ],
    );
    has(
        &bad("async_pool_settings:\n  min_size: 5\n  max_size: 3\n"),
        &["async_pool_settings.min_size"],
    );
    let config = good("pool_settings: { min_size: 15 }");
    assert_eq!(config.pool_settings.max_size, 15);
    assert_eq!(
        good("pool_settings: { min_size: 0, reset: none }")
            .pool_settings
            .reset,
        Reset::None
    );
}

#[test]
fn words() {
    let c = settings("target_session_attrs: prefer-standby");
    assert_eq!(c.target_session_attrs, TargetSessionAttrs::PreferStandby);
    assert_eq!(
        settings("ssl_min_protocol_version: TLSv1.3").ssl_min_protocol_version,
        TlsVersion::Tls13
    );
    for old in ["TLSv1", "TLSv1.1"] {
        has(
            &bad(&connection(&format!("ssl_min_protocol_version: {old}"))),
            &[old, "rustls"],
        );
    }
    assert_eq!(
        settings("require_auth: [scram-sha-256, none]")
            .require_auth
            .to_string(),
        "scram-sha-256,none"
    );
    assert_eq!(
        settings("sslrootcert: system\n  sslmode: verify-full").sslrootcert,
        Some(RootCert::System)
    );
}

#[test]
fn session_settings() {
    let config = good(
        "sync_settings:
  statement_timeout: '30000'
  lock_timeout: 10000
  seq_page_cost: 1.10
  jit: off
  enable_seqscan: true
  search_path: [app, public]
  my.custom: x
  work_mem:
  empty: ''
",
    );
    let mut all: Vec<_> = config.sync_settings.iter().collect();
    all.sort_unstable();
    assert_eq!(
        all,
        [
            ("empty", ""),
            ("enable_seqscan", "true"),
            ("jit", "off"),
            ("lock_timeout", "10000"),
            ("my.custom", "x"),
            ("search_path", "app,public"),
            ("seq_page_cost", "1.10"),
            ("statement_timeout", "30000"),
        ]
    );
    has(
        &bad("sync_settings:\n  work_mem: { a: 1 }"),
        &["line 2", "sync_settings.work_mem"],
    );
    for name in ["a b", "a;b", "1a", "a..b", "'a=b'", "\"a'b\""] {
        has(
            &bad(&format!("async_settings:\n  {name}: x")),
            &["line 2", "server parameter"],
        );
    }
    has(
        &load("async_settings: [a]").unwrap_err().to_string(),
        &["expected a section"],
    );
}

#[test]
fn settings_made_in_code_are_checked_too() {
    let mut settings = Settings::default();
    settings.connection_settings.port = vec![0];
    settings.pool_settings.min_size = 50;
    settings.pool_settings.multiplex = true;
    settings.async_pool_settings.timeout = Duration::MAX;
    let error = Config::new(settings).unwrap_err();
    assert_eq!(error.problems().len(), 4, "{error}");
    has(
        &error.to_string(),
        &[
            "set in code",
            "connection_settings.port",
            "max_size (10)",
            "multiplex",
        ],
    );
    let mut settings = Settings::default();
    settings.connection_settings.user = Some(String::new());
    settings.connection_settings.host = vec![Host::Name("127.0.0.1".into())];
    settings.connection_settings.connect_timeout = Some(Duration::ZERO);
    let config = Config::new(settings).unwrap();
    assert_eq!(
        config,
        good("connection_settings: { host: 127.0.0.1, connect_timeout: 0 }")
    );
}

#[test]
fn a_config_goes_everywhere() {
    fn everywhere<T: Send + Sync + Clone + 'static>(_: &T) {}
    let config = good("{}");
    everywhere(&config);
    let names = ["PGHOST"].map(|name| (name, "db"));
    assert_eq!(
        loader(&names).load().unwrap().connection_settings.host,
        [Host::Name("db".into())]
    );
}

/// Section, key, smallest and largest value, and one that is too large; the error and the reference
/// contain the largest.
#[test]
#[expect(clippy::too_many_lines, reason = "one row for each number")]
fn every_number_has_a_range_that_the_reference_names() {
    let most = u32::MAX.to_string();
    let rows = [
        ("connection_settings", "port", "1", "65535", "65536"),
        (
            "connection_settings",
            "connect_timeout",
            "0.1",
            &most,
            "4294967296",
        ),
        (
            "connection_settings",
            "keepalives_idle",
            "1",
            "32767",
            "32768",
        ),
        (
            "connection_settings",
            "keepalives_interval",
            "1",
            "32767",
            "10h",
        ),
        ("connection_settings", "keepalives_count", "0", "127", "128"),
        (
            "connection_settings",
            "tcp_user_timeout",
            "1",
            "2147483647",
            "31536000000",
        ),
        ("pool_settings", "min_size", "0", "262143", "262144"),
        ("pool_settings", "max_size", "1", "262143", "4000000000"),
        ("pool_settings", "timeout", "0.1", &most, "4294967296"),
        ("pool_settings", "max_idle", "0.1", &most, "4294967296"),
        ("pool_settings", "max_lifetime", "0.1", &most, "4294967296"),
        (
            "pool_settings",
            "max_waiting",
            "0",
            "2147483647",
            "2147483648",
        ),
        (
            "pool_settings",
            "reconnect_timeout",
            "0.1",
            &most,
            "4294967296",
        ),
        ("pool_settings", "num_workers", "1", "256", "257"),
        (
            "pool_settings",
            "statement_cache",
            "0",
            "2147483647",
            "2147483648",
        ),
        ("pool_settings", "leak_warning", "0.1", &most, "4294967296"),
    ];
    let reference = pgmonkey_config::reference();
    for (section, key, least, largest, beyond) in rows {
        let with = |value: &str| format!("{section}: {{ {key}: {value} }}");
        good(&with(least));
        good(&with(largest));
        has(&bad(&with(beyond)), &[key, largest]);
        let row = format!("| `{key}` |");
        let row = reference.lines().find(|line| line.starts_with(&row));
        has(row.expect("a row of the reference"), &[largest]);
    }
    for zero in ["keepalives_idle", "keepalives_interval", "tcp_user_timeout"] {
        let with = |value: &str| format!("connection_settings: {{ {zero}: {value} }}");
        good(&with("0"));
        // The system takes whole units and would read less than one as zero.
        has(&bad(&with("0.5ms")), &[zero, "0, or 1 to"]);
    }
}

#[test]
fn ranges_hold_for_settings_of_the_program_too() {
    let refused = |change: &dyn Fn(&mut Settings), parts: &[&str]| {
        let mut settings = Settings::default();
        change(&mut settings);
        has(&Config::new(settings).unwrap_err().to_string(), parts);
    };
    let time = Duration::from_secs;
    refused(
        &|s| s.connection_settings.tcp_user_timeout = Some(time(31_536_000)),
        &["tcp_user_timeout", "2147483647 ms"],
    );
    refused(
        &|s| s.connection_settings.keepalives_idle = Some(time(32_768)),
        &["keepalives_idle", "32767 s"],
    );
    refused(
        &|s| s.connection_settings.keepalives_count = Some(128),
        &["keepalives_count", "127"],
    );
    refused(
        &|s| s.async_pool_settings.max_size = 4_000_000_000,
        &["async_pool_settings.max_size", "262143"],
    );
    refused(
        &|s| s.pool_settings.num_workers = 1_000_000,
        &["num_workers", "256"],
    );
}

#[test]
fn a_pooler_that_switches_sessions_turns_the_statement_cache_off() {
    for (keys, pool, kept) in [
        ("pooler: transaction", "", 0),
        ("pooler: statement", "", 0),
        ("pooler: session", "", 256),
        (
            "pooler: transaction",
            "pool_settings: { statement_cache: 64 }",
            64,
        ),
    ] {
        let settings = good(&format!("connection_settings: {{ {keys} }}\n{pool}"));
        assert_eq!(
            settings.pool_settings.statement_cache, kept,
            "{keys} {pool}"
        );
    }
}

#[test]
fn settings_that_are_sent_with_each_transaction_need_one_and_are_no_secrets() {
    let file = |keys: &str, sections: &str| {
        format!("connection_settings: {{ session_settings: transaction{keys} }}\n{sections}")
    };
    let settings = "sync_settings: { statement_timeout: '30000', my.tenant: '7' }";
    good(&file(", pooler: transaction", settings));
    // Nothing is sent, so nothing is refused either.
    let none = "async_settings: {}\nasync_pool_settings: { multiplex: true }";
    good(&file("", none));
    for (keys, sections, parts) in [
        (
            ", pooler: statement",
            settings,
            [
                "connection_settings.session_settings",
                "pooler: statement",
                "ALTER ROLE",
            ],
        ),
        (
            "",
            "async_settings: { my.api_token: 'S3cret' }",
            ["async_settings.my.api_token", "log", "set_config"],
        ),
        (
            "",
            "async_settings: { work_mem: 9MB }\nasync_pool_settings: { multiplex: true }",
            [
                "async_pool_settings.multiplex",
                "share",
                "session_settings: transaction",
            ],
        ),
    ] {
        let error = bad(&file(keys, sections));
        has(&error, &parts);
        assert!(!error.contains("S3cret"), "{error}");
    }
}

/// In JSON a number is no text.
#[test]
fn unsupported_keys_are_refused_as_numbers_too() {
    let json = |text: &str| loader(&[]).json(text).load();
    for text in [
        r#"{ "connection_settings": { "requiressl": 1 } }"#,
        r#"{ "connection_settings": { "sslkeylogfile": 5 } }"#,
        r#"{ "connection_settings": { "max_protocol_version": 3.1 } }"#,
    ] {
        has(&json(text).unwrap_err().to_string(), &["not supported"]);
    }
    for text in [
        r#"{ "connection_settings": { "requiressl": 0, "max_protocol_version": 3.0 } }"#,
        r#"{ "connection_settings": { "replication": false, "gsslib": null } }"#,
    ] {
        json(text).unwrap();
    }
}
