//! The CLI's streams contain no secret, wherever it is planted, and nothing that a terminal obeys.

use pgmonkey::printable;
use pgmonkey_tests::Fixture;
use pgmonkey_testserver::{Behaviour, ESCAPES, Hostile};

use super::{Ended, FILE, Program};

const SECRET: &str = "S3cretS3cret";

/// Every command that reads a configuration.
const COMMANDS: &[&[&str]] = &[
    &["config", "check", FILE],
    &["config", "check", FILE, "--format", "json"],
    &["config", "check", FILE, "--allow-commands"],
    &["config", "show", FILE],
    &["config", "show", FILE, "--format", "json"],
    &["config", "show", FILE, "--allow-commands"],
    &[
        "config",
        "show",
        FILE,
        "--format",
        "yaml",
        "--allow-commands",
    ],
    &["config", "test", FILE, "--allow-commands"],
    &[
        "config",
        "test",
        FILE,
        "--format",
        "json",
        "--connection-type",
        "all",
    ],
    &["config", "generate-code", FILE],
    &["config", "generate-code", FILE, "--library", "drivers"],
    &["server", "recommend", FILE, "--offline"],
    &["server", "recommend", FILE, "--format", "json"],
    &["server", "audit", FILE],
    &["import", "t", "x.csv", "--config", FILE],
    &["export", "t", "x.csv", "--config", FILE],
    &["pool", "bench", FILE, "--seconds", "0.1"],
];

/// Lines of `connection_settings` with a secret where none belongs, or hidden in a text. No server
/// listens at the port of each.
const LINES: &[&str] = &[
    "dbname: 'postgres://u:SECRET@h/d'",
    "database: 'host=h password=SECRET'",
    "user: 'u:SECRET'",
    "host: 'u:SECRET@h'",
    "host: '/u:SECRET@h'",
    "hostaddr: 'postgres://u:SECRET@h'",
    "service: 'postgres://u:SECRET@h/d'",
    "passfile: 'host=h password=SECRET'",
    "sslrootcert: 'postgres://u:SECRET@h/d'",
    "sslmode: 'SECRET'",
    "connect_timeout: 'u:SECRET@h'",
    "application_name: 'postgres://u:SECRET@h/d'",
    "options: 'host=h password=SECRET'",
    "options: '-c app.api_token=SECRET'",
    "options: '-c app.api_token=SECRET -c app.source=postgres://u:SECRET@h/d'",
    "url: 'postgres://u:/SECRET@h/d'",
    "url: 'postgres://u:12/SECRET@h/d'",
    "url: 'postgres://u:${PLANTED}@h/d'",
    "url: 'postgres://u:${SLASHED}@h/d'",
    "password: 'SECRET'",
    "password: { from_env: 'u:SECRET' }",
    "password: { from_file: 'u:SECRET@h' }",
    "password: { from_command: [/nonexistent/program, '--token=SECRET', 'SECRET'] }",
    "password: { from_command: ['/nonexistent/program SECRET'] }",
    "password: { from_command: SECRET }",
    "password_file: 'postgres://u:SECRET@h'",
    "password_file: '${PLANTED}'",
    "host: '${PLANTED}:1'",
    "port: '${PLANTED}'",
    "service: '${PLANTED}'",
    "pasword: SECRET",
];

#[test]
fn no_command_shows_a_secret_of_its_file() {
    let program = Program::new()
        .hiding(SECRET)
        .env("PLANTED", SECRET)
        .env("SLASHED", &format!("/{SECRET}"))
        .env("HOME", "/nonexistent");
    program.write("x.csv", "n\n1\n");
    for line in LINES {
        let line = line.replace("SECRET", SECRET);
        let port = if line.starts_with("url") {
            ""
        } else {
            "  port: 1\n"
        };
        let host = if line.contains("host") || line.starts_with("url") {
            ""
        } else {
            "  host: 127.0.0.1\n"
        };
        program.write(
            FILE,
            &format!("connection_settings:\n  {line}\n{port}{host}"),
        );
        for command in COMMANDS {
            program.run(command);
        }
    }
}

#[test]
fn no_command_shows_a_secret_of_its_environment() {
    let plain = Program::new();
    for (variable, value) in [
        ("PGDATABASE", "postgres://u:SECRET@h/d"),
        ("PGUSER", "u:SECRET"),
        ("PGHOST", "u:SECRET@h"),
        ("PGPORT", "postgres://u:SECRET@h/d"),
        ("PGOPTIONS", "-c app.api_token=SECRET"),
        ("PGPASSWORD", "SECRET"),
        ("PGSERVICE", "postgres://u:SECRET@h/d"),
        ("PGSERVICEFILE", "postgres://u:SECRET@h/d"),
        ("PGPASSFILE", "postgres://u:SECRET@h/d"),
        ("PGAPPNAME", "postgres://u:SECRET@h/d"),
        ("PGSSLMODE", "postgres://u:SECRET@h/d"),
        ("PGMONKEY_PROFILE", "postgres://u:SECRET@h/d"),
    ] {
        let program = Program::new().hiding(SECRET).env("HOME", "/nonexistent");
        let program = program.env(variable, &value.replace("SECRET", SECRET));
        program.write(
            FILE,
            "connection_settings: { connect_timeout: 1 }\nprofiles: { p: {} }\n",
        );
        for command in &COMMANDS[..9] {
            program.run(command);
        }
    }
    drop(plain);
}

#[test]
fn no_argument_that_is_a_connection_string_is_repeated() {
    let program = Program::new().hiding(SECRET);
    program.write(FILE, "connection_settings: { host: 127.0.0.1, port: 1 }\n");
    program.write("x.csv", "n\n1\n");
    for login in [
        "postgres://u:SECRET@h/d",
        "host=h password=SECRET",
        "u:SECRET@h/d",
    ] {
        let login = login.replace("SECRET", SECRET);
        let (option, profile) = (format!("--filepath={login}"), format!("--profile={login}"));
        for args in [
            &[login.as_str()][..],
            &["config", &login],
            &["config", "show", &login],
            &["config", "show", &option],
            &["config", "check", &login, "--format", "json"],
            &["config", "test", FILE, "--connection-type", &login],
            &["config", "show", FILE, "--profile", &login],
            &["config", "show", FILE, &profile],
            &["config", "show", FILE, &login],
            &["config", "create", &login],
            &["import", &login, "x.csv", "-c", FILE],
            &["import", "t", &login, "-c", FILE],
            &["export", &login, "y.csv", "-c", FILE],
            &["export", "t", &login, "-c", FILE],
            &["export", "t", "y.csv", "-c", FILE, "--settings", &login],
            &["pool", "bench", FILE, "--svg", &login],
            &["completions", &login],
        ] {
            let ended = program.run(args);
            assert_ne!(ended.code, 0, "{args:?}");
        }
    }
    for url in [
        "postgres://u:/SECRET@h/d",
        "postgres://u:SECRET@h:x",
        "u:SECRET@h",
    ] {
        let url = url.replace("SECRET", SECRET);
        program
            .run(&["config", "create", "new.yaml", "--from-url", &url])
            .failed();
    }
}

/// Checks that the output contains nothing that a terminal obeys.
#[track_caller]
fn is_quiet(ended: &Ended) {
    for text in [&ended.stdout, &ended.stderr] {
        let loud = text
            .chars()
            .find(|letter| *letter != '\n' && printable::is_escaped(*letter));
        assert!(loud.is_none(), "{loud:?}: {ended:?}");
        assert!(text.len() < 50_000, "{} bytes", text.len());
    }
}

#[test]
fn a_hostile_server_cannot_command_the_terminal() {
    let program = Program::new();
    program.write("x.csv", "n\n1\n");
    for behaviour in [Behaviour::RefusesInEscapes, Behaviour::RefusesAtLength] {
        let server = Hostile::start(behaviour).expect("a port");
        let (host, port) = (server.host(), server.port());
        program.write(FILE, &format!(
            "connection_settings: {{ host: {host}, port: {port}, user: app, sslmode: disable, connect_timeout: 5 }}\n"
        ));
        for command in &COMMANDS[6..] {
            let ended = program.run(command);
            is_quiet(&ended);
        }
    }
}

#[test]
fn names_and_messages_of_the_server_are_shown_as_text() {
    let on = Fixture::new();
    let name = format!("{}{}", on.name, ESCAPES.replace('\n', ""));
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    on.run(&format!(
        "CREATE TABLE {quoted} (\"a{0}\" int);
         CREATE FUNCTION {1}_f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no{0}' USING DETAIL = 'x{0}', HINT = repeat('y', 900000); END $$;
         CREATE TRIGGER t BEFORE INSERT ON {quoted} FOR EACH ROW EXECUTE FUNCTION {1}_f();
         CREATE TABLE {1}_ok (n int);",
        ESCAPES.replace('\n', ""), on.name,
    ));
    let program = Program::on(&on, "");
    program.write(
        "x.csv",
        &format!("a{}\n1\n", ESCAPES.replace(['\n', '\r'], "")),
    );
    for args in [
        &["import", &name, "x.csv", "-c", FILE][..],
        &["import", "nowhere", "x.csv", "-c", FILE],
        &["import", &on.name, "x.csv", "-c", FILE],
        &["export", &name, "y.csv", "-c", FILE],
        &[
            "export",
            &on.name,
            "z.csv",
            "-c",
            FILE,
            "--columns",
            "nothing",
        ],
        &["export", &format!("{}_x", on.name), "z.csv", "-c", FILE],
        &[
            "export",
            "z.csv",
            "-c",
            FILE,
            "--query",
            "SELECT 1 AS \"\u{1b}[2J\" FROM nowhere\u{1b}[2J",
        ],
        &["server", "audit", FILE],
    ] {
        is_quiet(&program.run(args));
    }
    on.run(&format!(
        "DROP TABLE {quoted}, {0}_ok; DROP FUNCTION {0}_f()",
        on.name
    ));
}
