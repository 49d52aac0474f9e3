//! The keys of `connection_settings`, the values they take, and unusual texts.

use pgmonkey_tests::Outcome;

use super::rig::Rig;
use super::row::{Row, bare, row};

const ODD_USER: &str = "o:d\\d";
const ODD_PASSWORD: &str = "p:w\\d'\" %40/?#é";

/// Everything is set in the settings, and nothing in the environment.
fn told(name: impl Into<String>) -> Row {
    bare(name)
        .set("host", "127.0.0.1")
        .set("port", "<a>")
        .set("user", "app")
        .set("password", "secret-a")
        .set("dbname", "shop")
}

/// One key, in a place where it works.
fn key(key: &'static str, value: &str) -> Row {
    told(format!("{key} is `{value}`")).set(key, value)
}

#[rustfmt::skip]
fn keys() -> Vec<Row> {
    vec![
        told("user, password, host, port, dbname").ok("app@shop:<a> "),
        row("none at all, but the environment").ok("app@shop:<a> "),
        told("the fifteen that are libpq's")
            .set("sslcert", "<home>/none.crt").set("sslkey", "<home>/none.key").set("sslrootcert", "<home>/none.pem")
            .set("connect_timeout", "7").set("application_name", "till")
            .set("keepalives", "1").set("keepalives_idle", "60").set("keepalives_interval", "5").set("keepalives_count", "3").ok(" app=till "),
        key("options", "-c work_mem=99MB").ok(" mem=99MB "),
        key("target_session_attrs", "primary").ok("app@shop:<a> "),
        key("hostaddr", "127.0.0.1").ok("app@shop:<a> "),
        key("channel_binding", "prefer").ok("app@shop:<a> "),
        key("channel_binding", "require").no("channel binding required").but_says("channel_binding"),
        key("gssencmode", "disable").ok("app@shop:<a> "),
        key("gssencmode", "never").no("invalid gssencmode value: \"never\"").but_says("gssencmode"),
        key("sslcrl", "<home>/none.crl").ok("app@shop:<a> "),
        key("sslpassword", "x").ok("app@shop:<a> "),
        key("sslsni", "0").ok("app@shop:<a> "),
        key("ssl_min_protocol_version", "TLSv1.3").ok("app@shop:<a> "),
        key("ssl_min_protocol_version", "TLSv9").no("\"TLSv9\"").but_says("ssl_min_protocol_version"),
        key("tcp_user_timeout", "10000").ok("app@shop:<a> "),
        key("client_encoding", "UTF8").ok(" enc=UTF8"),
        key("fallback_application_name", "till").set("application_name", "kiosk").ok(" app=kiosk "),
        key("nonsense", "1").no("invalid connection option \"nonsense\"").but_says("connection_settings.nonsense: unknown key"),
        key("hots", "127.0.0.1").no("invalid connection option \"hots\"").but_says("did you mean `host`"),
        row("database in place of dbname").set("database", "app").no("invalid connection option \"database\"")
            .but_we("reference, dbname: `database` is accepted too", Ok("app@app:<a> ")),
    ]
}

#[rustfmt::skip]
fn values() -> Vec<Row> {
    vec![
        key("port", " <a> ").ok("app@shop:<a> "),
        key("port", "<a>.0").no("invalid integer value").but_says("connection_settings.port"),
        key("port", "true").no("invalid integer value \"true\"").but_says("connection_settings.port"),
        key("port", "[<a>]").no("invalid integer value").but_says("connection_settings.port"),
        key("port", "abc").no("invalid integer value \"abc\"").but_says("connection_settings.port"),
        key("port", "99999").no("invalid port number: \"99999\"").but_says("connection_settings.port"),
        key("port", "-1").no("invalid port number: \"-1\"").but_says("connection_settings.port"),
        key("port", "0").no("invalid port number: \"0\"").but_says("connection_settings.port"),
        key("connect_timeout", "1").ok("app@shop:<a> "),
        key("connect_timeout", "0").ok("app@shop:<a> "),
        key("connect_timeout", "").no("invalid integer value \"\"")
            .but_we("decision 012: empty is not set", Ok("app@shop:<a> ")),
        key("connect_timeout", "abc").no("invalid integer value \"abc\"").but_says("connection_settings.connect_timeout"),
        key("connect_timeout", "-5").ok("app@shop:<a> ")
            .but_we("decision 012: a typing slip should not wait for ever", Err("connection_settings.connect_timeout")),
        key("connect_timeout", "2.5").no("invalid integer value \"2.5\"")
            .but_we("reference, connect_timeout: seconds may have a fraction or a unit", Ok("app@shop:<a> ")),
        key("keepalives", "0").ok("app@shop:<a> "),
        key("keepalives", "False").no("invalid integer value \"False\"")
            .but_we("reference, keepalives: true or false", Ok("app@shop:<a> ")),
        key("keepalives", "2").ok("app@shop:<a> ")
            .but_we("reference, keepalives: true or false", Err("connection_settings.keepalives")),
        key("keepalives_idle", "abc").no("invalid integer value \"abc\"").but_says("connection_settings.keepalives_idle"),
        key("keepalives_count", "").no("invalid integer value \"\"")
            .but_we("decision 012: empty is not set", Ok("app@shop:<a> ")),
        key("sslsni", "maybe").ok("app@shop:<a> ")
            .but_we("reference, sslsni: true or false, looked at without TLS too", Err("connection_settings.sslsni")),
        key("target_session_attrs", "").no("invalid target_session_attrs value: \"\"")
            .but_we("decision 012: empty is not set", Ok("app@shop:<a> ")),
    ]
}

#[rustfmt::skip]
fn texts() -> Vec<Row> {
    let odd = |name| told(name).set("user", ODD_USER).set("password", ODD_PASSWORD);
    vec![
        odd("everything odd in a password").ok("o:d\\d@shop:<a> "),
        odd("an odd database").set("dbname", "d:b\\x").ok("o:d\\d@d:b\\x:<a> "),
        row("everything odd in PGUSER and PGPASSWORD").env("PGUSER", ODD_USER).env("PGPASSWORD", ODD_PASSWORD).ok("o:d\\d@shop:<a> "),
        told("user and database outside of ASCII").set("user", "Jürgen ☕").set("password", " geheim\t").set("dbname", "läden").ok("Jürgen ☕@läden:<a> "),
        told("no blanks are cut off a password").set("user", "Jürgen ☕").set("password", "geheim").no("password authentication failed for user \"Jürgen ☕\""),
        told("a password of 200 letters").set("user", "long").set("password", "x".repeat(200)).ok("long@shop:<a> "),
        told("a password that is not the first 199 of its letters").set("user", "long").set("password", "x".repeat(199)).no("password authentication failed for user \"long\""),
        told("a database that looks like settings").set("dbname", "user=other port=1").no("database \"user=other port=1\" does not exist").but_says("connection_settings.dbname: a connection string is not allowed here"),
        told("a database named like settings").set("dbname", "a=b").ok("app@a=b:<a> "),
        told("a database that looks like a URL").set("dbname", "postgres://h/x").no("database \"postgres://h/x\" does not exist").but_says("connection_settings.dbname: a connection string is not allowed here"),
        row("PGDATABASE that looks like settings").env("PGDATABASE", "a=b").ok("app@a=b:<a> "),
        told("an application outside of ASCII").set("application_name", "Kasse Nº 1").ok(" app=Kasse N"),
        told("an application of 100 letters").set("application_name", "n".repeat(100)).ok(format!(" app={} ", "n".repeat(63))),
        told("quotes and backslashes in an application").set("application_name", "it's \"a\\b\"").ok(" app=it's \"a\\b\" "),
        told("a user of 70 letters").set("user", "u".repeat(70)).set("password", "cut").ok(format!("{}@shop:<a> ", "u".repeat(63))),
    ]
}

/// Unusual names, and a user name that the server truncates.
fn accounts() -> String {
    format!(
        "CREATE ROLE \"Jürgen ☕\" LOGIN PASSWORD ' geheim\t'; \
         CREATE ROLE long LOGIN PASSWORD '{}'; \
         CREATE ROLE {} LOGIN PASSWORD 'cut'",
        "x".repeat(200),
        "u".repeat(63)
    )
}

#[test]
fn keys_mean_what_they_mean_to_libpq() -> Outcome {
    let Some(rig) = Rig::new()? else {
        return Ok(());
    };
    let [server, _] = rig.servers();
    server.psql(&accounts())?;
    server.psql("CREATE DATABASE \"läden\"")?;
    server.psql("CREATE DATABASE \"a=b\"")?;
    let rows = [keys(), values(), texts()].into_iter().flatten();
    rig.compare(rows.collect())?;
    Ok(())
}
