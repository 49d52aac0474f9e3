//! The program on a file with `readers`.

use serde_json::{Value, json};

use super::*;
use crate::program::{FILE, Program};

/// A file with both sides, whose readers have these keys besides their hosts.
fn on(servers: &Servers, keys: &str) -> Program {
    let primary = servers.primary.endpoint();
    let program = Program::new().hiding(primary.password());
    let [one, other] = servers.standbys.each_ref().map(Cluster::endpoint);
    let sections = format!(
        "readers:\n  connection_settings: {{ host: '{},{}', port: '{},{}' }}\n{keys}",
        one.host(),
        other.host(),
        one.port(),
        other.port(),
    );
    program.write(FILE, &at(&[primary], &sections));
    program
}

const TEST: [&str; 3] = ["config", "test", FILE];
const AS_JSON: [&str; 5] = ["config", "test", FILE, "--format", "json"];

/// The words of a table's row, without its blanks.
fn has_row(text: &str, row: &str) -> bool {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    text.lines().any(|line| words(line) == row)
}

fn host(server: &Cluster) -> String {
    format!("{}:{}", server.host(), server.port())
}

#[test]
fn config_test_shows_both_sides_and_each_standby_with_its_lag() {
    let servers = Servers::start();
    let program = on(&servers, "  max_lag: 30s\n");
    let tested = program.run(&AS_JSON).worked().json();
    assert_eq!(tested["ok"], true, "{tested}");
    let [first, second] = servers.standbys.each_ref().map(host);
    let writer = format!("@{}/", host(&servers.primary));
    assert!(
        tested["target"]
            .as_str()
            .is_some_and(|target| target.contains(&writer))
    );
    let readers = &tested["readers"];
    let both = format!("@{first},{second}/");
    assert!(
        readers["target"]
            .as_str()
            .is_some_and(|target| target.contains(&both)),
        "{readers}"
    );
    assert_eq!(
        (&readers["ok"], &readers["fallback"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(readers["max_lag_s"], 30.0);
    assert_eq!(readers["trials"][0]["ok"], true);
    assert_eq!(readers["trials"][0]["role"], "standby");
    assert_eq!(tested["trials"][0]["role"], "primary");
    let hosts = readers["hosts"].as_array().expect("a list");
    for (host, name) in hosts.iter().zip([&first, &second]) {
        assert_eq!(host["host"], **name);
        assert_eq!(
            (&host["role"], &host["usable"]),
            (&json!("standby"), &json!(true))
        );
        assert!(
            host["lag_ms"].as_f64().is_some_and(|lag| lag >= 0.0),
            "{host}"
        );
        assert_eq!(host["error"], Value::Null);
    }
    assert_eq!(hosts.len(), 2);
    let shown = program.run(&TEST).worked().stdout;
    for title in ["writer", "readers", "host role lag usable"] {
        assert!(has_row(&shown, title), "no `{title}`: {shown}");
    }
    for name in [first, second] {
        let mut rows = shown
            .lines()
            .filter(|line| line.trim_start().starts_with(&name));
        assert!(
            rows.any(|row| row.contains(" standby ") && row.trim_end().ends_with("yes")),
            "{shown}"
        );
    }
}

// The lag is that of the test's own rows, and grows until the replay goes on.
#[test]
fn config_test_shows_a_standby_that_is_late() {
    let servers = Servers::start();
    let program = on(&servers, "  max_lag: 100ms\n");
    let late = &servers.standbys[1];
    // Without a transaction that was replayed before, the lag would be unknown.
    let insert = || {
        servers
            .primary
            .psql("INSERT INTO t VALUES (1)")
            .expect("a row")
    };
    insert();
    servers.wait_for_replay();
    late.psql("SELECT pg_wal_replay_pause()")
        .expect("the administrator may");
    insert();
    let mut last = Value::Null;
    until("it is late", || {
        last = program.run(&AS_JSON).worked().json()["readers"]["hosts"].take();
        last[1]["usable"] == false
    });
    assert_eq!(last[1]["role"], "standby", "{last}");
    assert!(
        last[1]["lag_ms"].as_f64().is_some_and(|lag| lag > 100.0),
        "{last}"
    );
    assert_eq!(last[0]["usable"], true, "{last}");
}

#[test]
fn config_test_shows_standbys_that_are_away() {
    let servers = Servers::start();
    let (with, without) = (on(&servers, ""), on(&servers, "  fallback: false\n"));
    let [first, second] = servers.standbys.each_ref();
    second.stop(StopMode::Immediate).expect("it stops");
    for program in [&with, &without] {
        let tested = program.run(&AS_JSON).worked().json();
        let hosts = &tested["readers"]["hosts"];
        assert_eq!(
            (&hosts[0]["usable"], &hosts[1]["usable"]),
            (&json!(true), &json!(false))
        );
        assert_eq!(
            (&hosts[1]["role"], &hosts[1]["lag_ms"]),
            (&Value::Null, &Value::Null)
        );
        assert!(hosts[1]["error"]["message"].is_string(), "{hosts}");
        let shown = program
            .run(&TEST)
            .worked()
            .says(&format!("warning: {}: ", host(second)));
        assert!(
            has_row(&shown.stdout, &format!("{} unreachable no", host(second))),
            "{shown:#?}"
        );
    }
    first.stop(StopMode::Immediate).expect("it stops");
    let told = "No standby can be used; the writer is read from (fallback: true).";
    with.run(&TEST).worked().prints(told);
    let refused = without.run(&TEST).failed();
    refused.says("error: no standby can be used, and fallback is false");
    assert_eq!(without.run(&AS_JSON).failed().json()["ok"], false);
}

const SHOWN: &str = "connection_settings:\n  host: db1\n  user: app\n  password: S3cret\n\
    readers:\n  connection_settings:\n    host: [db2, db3]\n    password: An0ther\n  max_lag: 5s\n";

#[test]
fn config_check_and_show_redact_the_readers_secrets() {
    let program = Program::new().hiding("S3cret").hiding("An0ther");
    program.write("c.yaml", SHOWN);
    program
        .run(&["config", "check", "c.yaml"])
        .worked()
        .prints("c.yaml: ok");
    let shown = program.run(&["config", "show", "c.yaml"]).worked();
    let shown = shown.prints("readers: app@db2:5432,db3:5432/app, fingerprint ");
    assert!(
        has_row(&shown.stdout, "password ***REDACTED*** c.yaml:4"),
        "{shown:#?}"
    );
    assert!(
        has_row(&shown.stdout, "password ***REDACTED*** c.yaml:8"),
        "{shown:#?}"
    );
    assert!(has_row(&shown.stdout, "max_lag 5 c.yaml:9"), "{shown:#?}");
    let shown = program.run(&["config", "show", "c.yaml", "--format", "json"]);
    let shown = shown.worked().json();
    let settings = shown["settings"].as_array().expect("a list");
    let find = |key: &str| {
        settings
            .iter()
            .find(|row| row["key"] == key)
            .expect("it is there")
    };
    let own = find("readers.connection_settings.password");
    assert_eq!(
        (&own["value"], &own["source"]["line"]),
        (&json!("***REDACTED***"), &json!(8))
    );
    assert_eq!(
        find("readers.connection_settings.host")["value"],
        json!(["db2", "db3"])
    );
    let yaml = program.run(&["config", "show", "c.yaml", "--format", "yaml"]);
    yaml.worked().prints("readers:\n");
}

#[test]
fn config_check_names_an_unknown_key_of_the_readers() {
    let program = Program::new().hiding("S3cret").hiding("An0ther");
    for (name, right, wrong, place, key) in [
        (
            "password",
            "password: An",
            "pasword: An",
            "8:5",
            "readers.connection_settings.pasword",
        ),
        ("max_lag", "max_lag", "max_lga", "9:3", "readers.max_lga"),
    ] {
        program.write("c.yaml", &SHOWN.replace(right, wrong));
        let says = format!("error: c.yaml:{place}: {key}: unknown key; did you mean `{name}`?");
        for command in ["check", "show"] {
            program
                .run(&["config", command, "c.yaml"])
                .failed()
                .says(&says);
        }
        let verdict = program.run(&["config", "check", "c.yaml", "--format", "json"]);
        let verdict = verdict.failed().json();
        let line: u64 = place
            .split(':')
            .next()
            .expect("a line")
            .parse()
            .expect("a number");
        assert_eq!(verdict["findings"][0]["key"], key);
        assert_eq!(verdict["findings"][0]["place"]["line"], line);
    }
}
