//! What programs and terminals get: one JSON object on every path, lines that fit, places that are
//! right.

use std::io::Write;

use serde_json::Value;

use super::Program;
use super::desk::Desk;

/// A configuration whose server is away.
const AWAY: &str =
    "connection_settings: { host: 127.0.0.1, port: 1, user: u, dbname: d, sslmode: disable }\n";

#[test]
fn json_is_printed_on_every_path() {
    let program = Program::new();
    program.write(
        "bad.yaml",
        "connection_settings:\n  hots: x\n  port: 70000\n",
    );
    program.write("away.yaml", AWAY);
    for (args, code) in [
        (&["config", "test", "bad.yaml"][..], 1),
        (&["config", "show", "bad.yaml"], 1),
        (&["config", "show", "nothing.yaml"], 1),
        (&["server", "audit", "bad.yaml"], 1),
        (&["server", "audit", "away.yaml"], 1),
        (&["server", "recommend", "bad.yaml"], 1),
        (&["pool", "bench", "away.yaml"], 1),
        (&["config", "show", "postgres://u:p@h/d"], 1),
        (&["config", "show", "away.yaml", "--no-such-option"], 2),
        (&["server", "audit"], 2),
    ] {
        let ended = program.run(&[args, &["--format", "json"]].concat());
        assert_eq!(ended.code, code, "{args:?}");
        let json: Value = ended.json();
        assert_eq!(json["ok"], false, "{args:?}: {json}");
        assert_eq!(json["error"]["exit_code"], code, "{args:?}: {json}");
        let message = json["error"]["message"].as_str().expect("a text");
        assert!(message.len() > 10, "{args:?}: {json}");
    }
    let shown = program.run(&["config", "show", "bad.yaml", "--format", "json"]);
    let findings = &shown.json()["error"]["findings"];
    assert_eq!(findings[0]["key"], "connection_settings.hots");
    assert_eq!(findings[1]["place"]["line"], 3, "{findings}");
    let away = program.run(&["server", "audit", "away.yaml", "--format", "json"]);
    let hint = away.json()["error"]["hint"].clone();
    assert!(
        hint.as_str()
            .is_some_and(|hint| hint.contains("127.0.0.1:1")),
        "{hint}"
    );
}

#[test]
fn check_keeps_its_findings_when_the_server_is_away() {
    let program = Program::new();
    program.write("warned.yaml", &format!("postgresql:\n  {AWAY}"));
    let args = ["config", "check", "warned.yaml", "--connect"];
    let json = program
        .run(&[&args[..], &["--format", "json"]].concat())
        .failed()
        .json();
    let findings = json["findings"].as_array().expect("a list");
    let with = |severity: &str| findings.iter().find(|found| found["severity"] == severity);
    assert!(with("warning").is_some(), "{json}");
    let error = with("error").expect("the server is away");
    assert!(
        error["message"]
            .as_str()
            .is_some_and(|text| text.contains("127.0.0.1:1")),
        "{json}"
    );
    assert!(error["hint"].is_string(), "{json}");
    let told = program.run(&args).failed();
    told.says("warning: ")
        .says("error: could not connect")
        .says("hint: ");
}

#[test]
fn odd_names_have_the_right_line_and_column() {
    let desk = Desk::new();
    desk.sql(
        "CREATE TABLE \"plan, 2024\" (\"c: d\" int, \"new\nline\" int, \"plan, 7\" int); \
         CREATE TABLE \"a, line 9, column x\" (id int)",
    );
    let head = "c: d,\"new\nline\",\"plan, 7\"\n";
    for (row, says) in [
        ("x,1,2", "data.csv:4: column 1 (c: d): "),
        ("1,x,2", "data.csv:4: column 2 (new\nline): "),
        ("1,2,x", "data.csv:4: column 3 (plan, 7): "),
    ] {
        let text = format!("{head}1,2,3\n{row}\n");
        desk.import("plan, 2024", text, &["--header"])
            .failed()
            .says(says);
    }
    desk.import("a, line 9, column x", "id\n1\n2\nx\n", &[])
        .failed()
        .says("data.csv:4: column 1 (id): ");
}

#[test]
fn a_killed_session_says_why() {
    let desk = Desk::new();
    let kill = || {
        desk.until_copying();
        desk.sql(&format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = '{}' AND query LIKE 'COPY%'",
            desk.on.name
        ));
    };
    let query = "SELECT pg_sleep(0.01) FROM generate_series(1, 1000000)";
    let child = desk.start(&["export", "--query", query, "out.csv"]);
    kill();
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("57P01") && said.contains("hint: "), "{said}");
    assert!(!desk.files().contains(&"out.csv".to_owned()));
    desk.sql("CREATE TABLE t (a text)");
    let mut child = desk.start(&["import", "t", "-", "--no-header"]);
    let mut stdin = child.stdin.take().expect("piped");
    stdin
        .write_all("row\n".repeat(200_000).as_bytes())
        .expect("it reads");
    kill();
    // Its reader may have ended already.
    let _ = stdin.write_all("row\n".repeat(2_000_000).as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("57P01") && said.contains("hint: "), "{said}");
}

#[test]
fn an_export_writes_through_a_link_to_a_file_that_does_not_exist_yet() {
    let desk = Desk::new();
    desk.sql("CREATE TABLE t AS SELECT 1 AS a");
    std::fs::create_dir(desk.program.path("data")).expect("a folder");
    for (link, to) in [("first.csv", "second.csv"), ("second.csv", "data/real.csv")] {
        std::os::unix::fs::symlink(to, desk.program.path(link)).expect("a link");
    }
    for _ in 0..2 {
        desk.run(&["export", "t", "first.csv"]).worked();
        assert_eq!(desk.program.read("data/real.csv"), "a\n1\n");
        for link in ["first.csv", "second.csv"] {
            let found = desk.program.path(link).symlink_metadata().expect("there");
            assert!(found.is_symlink(), "{link} is a link no more");
        }
    }
}

#[test]
fn errors_and_notes_fold_at_columns() {
    let program = Program::new().env("COLUMNS", "50");
    program.write("away.yaml", AWAY);
    program.write(
        "bad.yaml",
        "connection_settings:\n  hots: x\n  port: 70000\n  sslmode: maybe\n",
    );
    let fits = |text: &str| text.lines().all(|line| line.chars().count() <= 50);
    let away = program.run(&["config", "test", "away.yaml"]).failed();
    assert!(
        fits(&away.stderr) && away.stderr.contains("hint: "),
        "{}",
        away.stderr
    );
    // Each fault has its own mark.
    let bad = program.run(&["config", "show", "bad.yaml"]).failed();
    assert!(fits(&bad.stderr), "{}", bad.stderr);
    assert_eq!(
        bad.stderr.matches("error: bad.yaml:").count(),
        3,
        "{}",
        bad.stderr
    );
    let mut desk = Desk::new();
    desk.program
        .env
        .push(("COLUMNS".to_owned(), "60".to_owned()));
    let head: Vec<String> = (0..96).map(|n| format!("column_number_{n}")).collect();
    let row = vec!["x"; 96].join(",");
    let text = format!("{}\n{row}\n", head.join(","));
    let ended = desk.import("t", text, &["--create"]).worked();
    let fits = ended.stderr.lines().all(|line| line.len() <= 60);
    assert!(
        fits && ended.stderr.contains("column_number_95 text"),
        "{}",
        ended.stderr
    );
}

#[test]
fn an_error_in_a_url_names_the_parameter() {
    let program = Program::new().hiding("S3cret");
    for (url, says) in [
        (
            "postgres://u:S3cret@h/d?sslmode=no-verify",
            &["`sslmode`", "require"][..],
        ),
        (
            "postgres://u:S3cret@h/d?sslmode=maybe",
            &["`sslmode`", "verify-full"],
        ),
        (
            "postgres://u:S3cret@h/d?gssencmode=require",
            &["`gssencmode`"],
        ),
        (
            "postgres://u:S3cret@h/d?connect_timeout=abc",
            &["`connect_timeout`"],
        ),
        ("postgres://u:S3cret@ho!st/d", &["`host`"]),
        ("postgres://u:S3@cret@h/d", &["second @", "%40"]),
        (
            "postgres://me@srv:S3cret@srv.postgres.database.azure.com/d",
            &["Azure's user@server", "%40"],
        ),
        (
            "postgres://u:S3cret@h/d?pgbouncer=true",
            &["`pgbouncer`", "pooler: transaction"],
        ),
        (
            "postgres://u:S3cret@h/d?TimeZone=UTC",
            &["`TimeZone`", "sync_settings"],
        ),
        (
            "jdbc:postgresql://h/d?user=u&password=S3cret",
            &["a JDBC URL", "jdbc:"],
        ),
        (
            "Server=h;Database=d;User Id=u;Password=S3cret;",
            &["ADO.NET", "postgres://"],
        ),
        (
            "DATABASE_URL=postgres://u:S3cret@h/d",
            &["an assignment to a variable"],
        ),
    ] {
        let args = ["config", "create", "made.yaml", "--from-url", "-"];
        let mut ended = program.run_with(&args, url).failed();
        for part in says {
            ended = ended.says(part);
        }
    }
}

#[test]
fn a_wrong_indentation_is_named() {
    let program = Program::new();
    for (text, says) in [
        (
            "connection_settings:\n\thost: db\n",
            "c.yaml:2:1: a tab in the indentation",
        ),
        (
            "connection_settings:\n  host: db\n port: 1\n",
            "c.yaml:3:2: indented by 1 space,",
        ),
        (
            "connection_settings:\n  host: db\n    port: 1\n",
            "c.yaml:3:5: indented by 4 spaces",
        ),
    ] {
        program.write("c.yaml", text);
        program
            .run(&["config", "check", "c.yaml"])
            .failed()
            .says(says);
    }
}

#[test]
fn a_line_end_in_the_password_is_hinted_at() {
    let desk = Desk::new();
    let password = desk.on.server().password().to_owned();
    let file = desk.program.read(super::FILE);
    let file: String = file.replace(&format!("'{password}'"), "''");
    desk.program.write(super::FILE, &file);
    let mut command = desk.program.command(&["config", "test", super::FILE]);
    let output = command
        .env("PGPASSWORD", format!("{password}\n"))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("PGPASSWORD ends with a line end"), "{said}");
    assert!(!said.contains(&password), "the password is shown");
}
