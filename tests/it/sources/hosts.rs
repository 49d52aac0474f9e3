//! Which server a list of hosts, addresses and ports leads to.

use std::net::{Ipv6Addr, TcpListener};

use pgmonkey_tests::Outcome;

use super::rig::Rig;
use super::row::{Row, row};

/// The first server knows `app` by one password, the second by another; `crowded` may not log in to
/// the first, and `twin` has the same password on both.
const FIRST: &str = "CREATE ROLE twin LOGIN PASSWORD 'same'; \
    CREATE ROLE crowded LOGIN PASSWORD 'same' CONNECTION LIMIT 0";
const SECOND: &str = "CREATE ROLE twin LOGIN PASSWORD 'same'; \
    ALTER ROLE twin SET default_transaction_read_only = on; \
    CREATE ROLE crowded LOGIN PASSWORD 'same'";

/// Both servers, in this order.
fn both(name: &'static str, ports: &str) -> Row {
    row(name)
        .env("PGHOST", "127.0.0.1,127.0.0.1")
        .env("PGPORT", ports)
        .env("PGUSER", "twin")
        .env("PGPASSWORD", "same")
}

#[rustfmt::skip]
fn single() -> Vec<Row> {
    vec![
        row("a name").env("PGHOST", "localhost").ok("app@shop:<a> "),
        row("an address").env("PGHOST", "127.0.0.1").ok("app@shop:<a> "),
        row("a short address").env("PGHOST", "127.1").ok("app@shop:<a> "),
        row("a directory").env("PGHOST", "<socket>").ok("app@shop:socket "),
        row("a directory in the settings").set("host", "<socket>").ok("app@shop:socket "),
        row("a directory without a socket").env("PGHOST", "<home>").no("No such file or directory"),
        row("a directory that is not there").env("PGHOST", "/no/such/directory").no("No such file or directory"),
        row("a directory and an address").env("PGHOST", "<socket>").set("hostaddr", "127.0.0.1").ok("app@shop:<a> "),
        row("host:port").env("PGHOST", "127.0.0.1:<a>").no("could not translate host name \"127.0.0.1:<a>\"").but_says("PGHOST: connection_settings.host: a host must not contain a port"),
        row("an address in brackets").env("PGHOST", "[::1]").no("could not translate host name \"[::1]\"").but_says("write an IPv6 address without brackets"),
        row("a port of 0").env("PGPORT", "0").no("invalid port number: \"0\"").but_says("expected a port"),
        row("a blank name").env("PGHOST", " ").no("could not translate host name \" \"").but_says("a host in the list is empty"),
        row("no host and no usual socket").without("PGHOST").env("PGPORT", "<b>").env("PGPASSWORD", "secret-b").no("No such file or directory")
            .but_we("reference, host: the usual socket if there is one, else localhost", Ok("app@shop:<b> ")),
    ]
}

#[rustfmt::skip]
fn ipv6() -> Vec<Row> {
    vec![
        row("an IPv6 address").env("PGHOST", "::1").ok("app@shop:<a> "),
        row("an IPv6 hostaddr").env("PGHOSTADDR", "::1").ok("app@shop:<a> "),
        row("an IPv6 address in the passfile").without("PGPASSWORD").env("PGHOST", "::1").file(".pgpass", "\\:\\:1:<a>:shop:app:secret-a\n").ok("app@shop:<a> "),
    ]
}

#[rustfmt::skip]
fn lists() -> Vec<Row> {
    vec![
        both("the first of two", "<a>,<b>").ok("twin@shop:<a> "),
        both("the other order", "<b>,<a>").ok("twin@shop:<b> "),
        both("the first one closed", "<closed>,<b>").ok("twin@shop:<b> "),
        both("both closed", "<closed>,<closed>").no("onnection refused"),
        both("one port for all", "<a>").ok("twin@shop:<a> "),
        both("blanks around ports", " <closed> , <b> ").ok("twin@shop:<b> "),
        both("the first name does not resolve", "<a>").env("PGHOST", "no-such-host.invalid,127.0.0.1").ok("twin@shop:<a> "),
        both("no name resolves", "<a>").env("PGHOST", "no-such-host.invalid,none.invalid").no("none.invalid"),
        both("three hosts", "<closed>,<closed>,<b>").env("PGHOST", "localhost,127.0.0.1,localhost").ok("twin@shop:<b> "),
        both("a directory, then an address", "<closed>,<b>").env("PGHOST", "<socket>,127.0.0.1").ok("twin@shop:<b> "),
        both("an address, then a directory", "<closed>,<a>").env("PGHOST", "127.0.0.1,<socket>").ok("twin@shop:socket "),
        both("the settings' list beats the variables'", "<closed>,<closed>").set("host", "127.0.0.1,127.0.0.1").set("port", "<b>,<a>").ok("twin@shop:<b> "),
        both("fewer ports than hosts", "<a>,<b>").env("PGHOST", "127.0.0.1,127.0.0.1,127.0.0.1").no("could not match 2 port numbers to 3 hosts").but_says("port"),
        both("more ports than hosts", "<a>,<b>").env("PGHOST", "127.0.0.1").no("could not match 2 port numbers to 1 hosts").but_says("port"),
        both("an address for each host", "<closed>,<b>").env("PGHOST", "one.invalid,two.invalid").env("PGHOSTADDR", "127.0.0.1,127.0.0.1").ok("twin@shop:<b> "),
        both("addresses without hosts", "<closed>,<b>").without("PGHOST").env("PGHOSTADDR", "127.0.0.1,127.0.0.1").ok("twin@shop:<b> "),
        both("fewer addresses than hosts", "<a>").env("PGHOSTADDR", "127.0.0.1").no("could not match 2 host names to 1 hostaddr values").but_says("hostaddr"),
        both("more addresses than hosts", "<a>").env("PGHOSTADDR", "127.0.0.1,127.0.0.1,127.0.0.1").no("could not match 2 host names to 3 hostaddr values").but_says("hostaddr"),
        both("a wrong password on the first one", "<a>,<b>").env("PGUSER", "app").env("PGPASSWORD", "secret-b").no("password authentication failed for user \"app\""),
        both("no such database on the first one", "<a>,<b>").env("PGDATABASE", "second").no("database \"second\" does not exist"),
        both("too many sessions on the first one", "<a>,<b>").env("PGUSER", "crowded").no("too many connections for role \"crowded\"")
            .but_we("failure.rs: what may pass is tried on the next host", Ok("crowded@shop:<b> ")),
    ]
}

#[rustfmt::skip]
fn roles() -> Vec<Row> {
    let attrs = |name, value, ports| both(name, ports).env("PGTARGETSESSIONATTRS", value);
    vec![
        attrs("any", "any", "<b>,<a>").ok("twin@shop:<b> "),
        attrs("read-write is the second one", "read-write", "<b>,<a>").ok("twin@shop:<a> "),
        attrs("read-only is the second one", "read-only", "<a>,<b>").ok("twin@shop:<b> "),
        attrs("a primary may be read-only", "primary", "<b>,<a>").ok("twin@shop:<b> "),
        attrs("no standby", "standby", "<a>,<b>").no("server is not in hot standby mode").but_says("the server is not a standby"),
        attrs("a standby would be nice", "prefer-standby", "<b>,<a>").ok("twin@shop:<b> "),
        attrs("read-write, and its server closed", "read-write", "<b>,<closed>").no("session is read-only").but_says("the server does not accept writes"),
        attrs("read-only, the first one closed", "read-only", "<closed>,<b>").ok("twin@shop:<b> "),
    ]
}

#[test]
fn hosts_are_tried_as_libpq_tries_them() -> Outcome {
    let Some(rig) = Rig::new()? else {
        return Ok(());
    };
    for (server, roles) in rig.servers().into_iter().zip([FIRST, SECOND]) {
        server.psql(roles)?;
    }
    rig.servers()[1].psql("CREATE DATABASE second")?;
    let mut rows: Vec<Row> = [single(), lists(), roles()].into_iter().flatten().collect();
    match TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => rows.extend(ipv6()),
        Err(error) => eprintln!("SKIPPED, no session over IPv6: {error}"),
    }
    rig.compare(rows)?;
    Ok(())
}
