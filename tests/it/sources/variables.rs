//! The `PG*` variables, and that the settings take precedence over them.

use pgmonkey_tests::Outcome;

use super::rig::Rig;
use super::row::{Row, row};

#[rustfmt::skip]
fn targets() -> Vec<Row> {
    vec![
        row("all five").ok("app@shop:<a> "),
        row("PGHOST does not resolve").env("PGHOST", "no-such-host.invalid").no("no-such-host.invalid"),
        row("PGHOSTADDR").env("PGHOST", "no-such-host.invalid").env("PGHOSTADDR", "127.0.0.1").ok("app@shop:<a> "),
        row("PGHOSTADDR alone").without("PGHOST").env("PGHOSTADDR", "127.0.0.1").ok("app@shop:<a> "),
        row("PGHOSTADDR is a name").env("PGHOSTADDR", "localhost").no("\"localhost\"").but_says("PGHOSTADDR"),
        row("PGPORT of the other server").env("PGPORT", "<b>").no("password authentication failed for user \"app\""),
        row("PGPORT of no server").env("PGPORT", "<closed>").no("onnection refused"),
        row("PGPORT is no number").env("PGPORT", "abc").no("invalid integer value \"abc\"").but_says("PGPORT"),
        row("PGPORT has a fraction").env("PGPORT", "<a>.0").no("invalid integer value").but_says("PGPORT"),
        row("PGPORT too large").env("PGPORT", "99999").no("invalid port number").but_says("PGPORT"),
        row("PGPORT in blanks").env("PGPORT", " <a> ").ok("app@shop:<a> "),
        row("PGDATABASE").env("PGDATABASE", "app").ok("app@app:<a> "),
        row("PGDATABASE unknown").env("PGDATABASE", "none").no("database \"none\" does not exist"),
        row("no PGDATABASE").without("PGDATABASE").ok("app@app:<a> "),
        row("PGDATABASE empty").env("PGDATABASE", "").ok("app@app:<a> "),
        row("PGTARGETSESSIONATTRS any").env("PGTARGETSESSIONATTRS", "any").ok("app@shop:<a> "),
        row("PGTARGETSESSIONATTRS read-write").env("PGTARGETSESSIONATTRS", "read-write").ok("app@shop:<a> "),
        row("PGTARGETSESSIONATTRS read-only").env("PGTARGETSESSIONATTRS", "read-only").no("session is not read-only").but_says("the server accepts writes"),
        row("PGTARGETSESSIONATTRS standby").env("PGTARGETSESSIONATTRS", "standby").no("server is not in hot standby mode").but_says("the server is not a standby"),
        row("PGTARGETSESSIONATTRS prefer-standby").env("PGTARGETSESSIONATTRS", "prefer-standby").ok("app@shop:<a> "),
        row("PGTARGETSESSIONATTRS unknown").env("PGTARGETSESSIONATTRS", "master").no("\"master\"").but_says("PGTARGETSESSIONATTRS"),
    ]
}

#[rustfmt::skip]
fn logins() -> Vec<Row> {
    vec![
        row("PGUSER").env("PGUSER", "other").env("PGPASSWORD", "other-a").ok("other@shop:<a> "),
        row("PGUSER unknown").env("PGUSER", "stranger").no("password authentication failed for user \"stranger\""),
        row("no PGUSER").without("PGUSER").env("PGPASSWORD", "mine-a").ok("<me>@shop:<a> "),
        row("PGUSER empty").env("PGUSER", "").env("PGPASSWORD", "mine-a").ok("<me>@shop:<a> "),
        row("no PGUSER and no PGDATABASE").without("PGUSER").without("PGDATABASE").env("PGPASSWORD", "mine-a").ok("<me>@<me>:<a> "),
        row("PGPASSWORD wrong").env("PGPASSWORD", "wrong").no("password authentication failed for user \"app\""),
        row("PGPASSWORD with a blank more").env("PGPASSWORD", "secret-a ").no("password authentication failed for user \"app\""),
        row("PGPASSWORD empty").env("PGPASSWORD", "").no("no password supplied").but_says("the server asks for a password and there is none"),
        row("no PGPASSWORD").without("PGPASSWORD").no("no password supplied").but_says("the server asks for a password and there is none"),
    ]
}

#[rustfmt::skip]
fn sessions() -> Vec<Row> {
    vec![
        row("PGAPPNAME").env("PGAPPNAME", "till 7").ok(" app=till 7 "),
        row("PGAPPNAME too long").env("PGAPPNAME", "n".repeat(100)).ok(format!(" app={} ", "n".repeat(63))),
        row("PGAPPNAME not in ASCII").env("PGAPPNAME", "süd").ok(" app=s"),
        row("PGOPTIONS").env("PGOPTIONS", "-c work_mem=99MB -c search_path=a,b").ok(" mem=99MB path=a,b "),
        row("PGOPTIONS in the long form").env("PGOPTIONS", "--work_mem=99MB --search-path=a").ok(" mem=99MB path=a "),
        row("PGOPTIONS with a blank").env("PGOPTIONS", "-c search_path=a,\\ b").ok(" path=a, b "),
        row("PGOPTIONS unknown").env("PGOPTIONS", "-c no_such=1").no("unrecognized configuration parameter \"no_such\""),
        row("PGOPTIONS wrong").env("PGOPTIONS", "-c work_mem=much").no("invalid value for parameter \"work_mem\": \"much\""),
        row("PGTZ").env("PGTZ", "Europe/Rome").ok(" tz=Europe/Rome "),
        row("PGTZ unknown").env("PGTZ", "Mars").no("invalid value for parameter \"TimeZone\": \"Mars\""),
        row("PGDATESTYLE").env("PGDATESTYLE", "German, DMY").ok(" style=German, DMY "),
        row("PGDATESTYLE unknown").env("PGDATESTYLE", "Martian").no("invalid value for parameter \"DateStyle\": \"Martian\""),
        row("PGGEQO").env("PGGEQO", "off").ok(" geqo=off "),
        row("PGGEQO wrong").env("PGGEQO", "perhaps").no("parameter \"geqo\" requires a Boolean value"),
        row("PGCLIENTENCODING").env("PGCLIENTENCODING", "UTF8").ok(" enc=UTF8"),
        row("PGCLIENTENCODING unknown").env("PGCLIENTENCODING", "EBCDIC").no("invalid value for parameter \"client_encoding\": \"EBCDIC\"").but_says("PGCLIENTENCODING"),
        row("PGCLIENTENCODING other than UTF-8").env("PGCLIENTENCODING", "LATIN1").ok(" enc=LATIN1")
            .but_we("reference, client_encoding: the drivers speak UTF-8 and nothing else", Err("PGCLIENTENCODING")),
        row("PGCONNECT_TIMEOUT").env("PGCONNECT_TIMEOUT", "7").ok("app@shop:<a> "),
        row("PGCONNECT_TIMEOUT is 0").env("PGCONNECT_TIMEOUT", "0").ok("app@shop:<a> "),
        row("PGCONNECT_TIMEOUT in words").env("PGCONNECT_TIMEOUT", "soon").no("invalid integer value \"soon\"").but_says("PGCONNECT_TIMEOUT"),
        row("PGCONNECT_TIMEOUT negative").env("PGCONNECT_TIMEOUT", "-1").ok("app@shop:<a> ")
            .but_we("decision 012: a typing slip should not wait for ever", Err("PGCONNECT_TIMEOUT")),
        row("PGREQUIREPEER over TCP").env("PGREQUIREPEER", "postgres").ok("app@shop:<a> ")
            .but_we("decision 010: a demand that cannot be met must not be forgotten", Err("requirepeer")),
        row("PGGSSENCMODE that asks for nothing").env("PGGSSENCMODE", "disable").ok("app@shop:<a> "),
    ]
}

/// The variables alone would lead to no server.
#[rustfmt::skip]
fn explicit() -> Vec<Row> {
    vec![
        row("host beats PGHOST").env("PGHOST", "no-such-host.invalid").set("host", "127.0.0.1").ok("app@shop:<a> "),
        row("hostaddr beats PGHOSTADDR").env("PGHOSTADDR", "nonsense").set("hostaddr", "127.0.0.1").ok("app@shop:<a> "),
        row("port beats PGPORT").env("PGPORT", "<closed>").set("port", "<a>").ok("app@shop:<a> "),
        row("port beats a senseless PGPORT").env("PGPORT", "nonsense").set("port", "<a>").ok("app@shop:<a> "),
        row("user beats PGUSER").env("PGUSER", "stranger").set("user", "app").ok("app@shop:<a> "),
        row("dbname beats PGDATABASE").env("PGDATABASE", "none").set("dbname", "shop").ok("app@shop:<a> "),
        row("password beats PGPASSWORD").env("PGPASSWORD", "wrong").set("password", "secret-a").ok("app@shop:<a> "),
        row("a wrong password beats PGPASSWORD").set("password", "wrong").no("password authentication failed for user \"app\""),
        row("sslmode beats PGSSLMODE").env("PGSSLMODE", "verify-full").ok("app@shop:<a> "),
        row("application_name beats PGAPPNAME").env("PGAPPNAME", "variable").set("application_name", "file").ok(" app=file "),
        row("options replace PGOPTIONS").env("PGOPTIONS", "-c work_mem=99MB").set("options", "-c search_path=q").ok(" mem=4MB path=q "),
        row("PGTZ beats options").env("PGTZ", "Europe/Rome").set("options", "-c TimeZone=Asia/Tokyo").ok(" tz=Europe/Rome "),
        row("connect_timeout beats PGCONNECT_TIMEOUT").env("PGCONNECT_TIMEOUT", "soon").set("connect_timeout", "7").ok("app@shop:<a> "),
        row("target_session_attrs beats PGTARGETSESSIONATTRS").env("PGTARGETSESSIONATTRS", "standby").set("target_session_attrs", "primary").ok("app@shop:<a> "),
        row("an empty password in the settings").set("password", "").no("no password supplied")
            .but_we("decision 012: empty is not set, so PGPASSWORD applies", Ok("app@shop:<a> ")),
        row("an empty dbname in the settings").set("dbname", "").ok("app@app:<a> ")
            .but_we("decision 012: empty is not set, so PGDATABASE applies", Ok("app@shop:<a> ")),
    ]
}

#[test]
fn variables_mean_what_they_mean_to_libpq() -> Outcome {
    let Some(rig) = Rig::new()? else {
        return Ok(());
    };
    let rows = [targets(), logins(), sessions(), explicit()]
        .into_iter()
        .flatten();
    rig.compare(rows.collect())?;
    Ok(())
}
