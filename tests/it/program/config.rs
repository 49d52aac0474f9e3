//! `pgmonkey config create`, `check` and `show`.

use pgmonkey::Config;
use pgmonkey_tests::Fixture;

use super::{FILE, Program};

#[test]
fn check_reads_a_file_an_option_and_standard_input() {
    let on = Fixture::new();
    let program = Program::on(&on, "");
    for args in [
        &["config", "check", FILE][..],
        &["pgconfig", "check", "--filepath", FILE],
        &["config", "check", "--connconfig", FILE],
        &["config", "show", "--connc", FILE],
    ] {
        program.run(args).worked().prints("pgmonkey.yaml: ");
    }
    let text = on.yaml("");
    let ended = program.run_with(&["config", "check", "-"], &text);
    ended.worked().prints(": ok, normal ");
    let ended = program.run_with(
        &["config", "check", "-"],
        "connection_settings: { hots: x }",
    );
    ended.failed().says("did you mean `host`?");
    // What a shell passes for `<(…)`: it can be read only once.
    for command in ["check", "show", "test"] {
        let ended = program.run_with(&["config", command, "/dev/stdin"], &text);
        ended.worked();
    }
}

#[test]
fn the_schema_is_json_and_a_created_file_names_it() {
    let program = Program::new();
    let ended = program.run(&["config", "schema"]).worked();
    let schema: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(schema, pgmonkey::config::json_schema());
    let ended = program.run(&["config", "create", "-"]).worked();
    let line = "# yaml-language-server: $schema=pgmonkey.schema.json";
    assert_eq!(ended.stdout.lines().next(), Some(line));
}

#[test]
fn a_url_in_place_of_a_file_is_not_repeated() {
    let program = Program::new().hiding("S3cret");
    for wrong in ["postgres://u:S3cret@db/d", "host=db password=S3cret"] {
        for args in [
            &["config", "test", wrong][..],
            &["import", "t", "x.csv", "-c", wrong],
        ] {
            let ended = program
                .run(args)
                .failed()
                .says("expected a configuration file");
            ended.says("config create FILE --from-url -");
        }
    }
}

#[test]
fn a_reader_that_has_gone_is_no_news() {
    let program = Program::new();
    let mut command = program.command(&["config", "show", "-"]);
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    program.write("c.yaml", "connection_settings: {}\n");
    let mut command = program.command(&["config", "show", "c.yaml"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command.stdout(writer).stderr(std::process::Stdio::piped());
    let output = command.output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn check_shows_the_line_and_no_secret() {
    let program = Program::new().hiding("S3cret");
    program.write(
        "c.yaml",
        "connection_settings:\n  pasword: S3cret\n  port: 70000\n",
    );
    let ended = program.run(&["config", "check", "c.yaml"]).failed();
    let ended = ended.says("error: c.yaml:2:3: connection_settings.pasword: unknown key");
    let ended = ended.says("2 |   pasword: …\n  |   ^^^^^^^\n");
    ended.says("3 |   port: 70000\n  |   ^^^^\n");

    let ended = program.run(&["config", "check", "c.yaml", "--format", "json"]);
    let verdict = ended.failed().json();
    assert_eq!(verdict["ok"], false);
    let first = &verdict["findings"][0];
    assert_eq!(first["severity"], "error");
    assert_eq!(first["key"], "connection_settings.pasword");
    assert_eq!(
        first["place"],
        serde_json::json!({ "kind": "file", "file": "c.yaml", "line": 2, "column": 3 })
    );
}

#[test]
fn b32_warnings_fail_only_when_asked_to() {
    let program = Program::new().hiding("S3cret");
    let text = "connection_settings:\n  host: db.internal\n  password: S3cret\n";
    program.write("c.yaml", text);
    let ended = program.run(&["config", "check", "c.yaml"]).worked();
    ended.says("db.internal:5432 is another machine");
    let strict = ["config", "check", "c.yaml", "--strict"];
    let ended = program.run(&strict).failed();
    assert_eq!(ended.stdout, "");

    let text = text.replace("password", "sslmode: verify-full\n  password");
    program.write("c.yaml", &text);
    program.run(&strict).worked();
    program.chmod("c.yaml", 0o644);
    let ended = program.run(&strict).failed();
    ended.says("c.yaml: contains a secret and can be read by other users");
    program.write(
        "d.yaml",
        "postgresql: { connection_settings: { host: localhost } }
",
    );
    program.chmod("d.yaml", 0o644);
    let ended = program
        .run(&["config", "check", "d.yaml", "--strict"])
        .failed();
    ended.says("d.yaml:1:1: postgresql: the `postgresql` wrapper is deprecated");
}

#[test]
fn pools_that_the_server_cannot_serve_are_told() {
    let on = Fixture::new();
    let most = on.number("SELECT current_setting('max_connections')::bigint", &[]);
    let sections =
        format!("pool_settings:\n  max_size: {most}\nasync_pool_settings: {{ max_size: 1 }}\n");
    let program = Program::on(&on, &sections);
    program.run(&["config", "check", FILE, "--strict"]).worked();
    let ended = program.run(&["config", "check", FILE, "--strict", "--connect"]);
    let text = format!("both pools together may open {} sessions", most + 1);
    let ended = ended.failed().says(&text);
    ended.says(&format!("  max_size: {most}\n  |   ^^^^^^^^"));
    let program = Program::on(&on, "");
    let ended = program.run(&["config", "check", FILE, "--strict", "--connect"]);
    ended.worked();
}

#[test]
fn show_tells_the_value_in_effect_and_its_source() {
    let program = Program::new()
        .hiding("S3cret")
        .env("PGUSER", "app")
        .env("PGPASSWORD", "S3cret")
        .env("WHERE", "db.internal");
    program.write(
        "c.yaml",
        "connection_type: pool\nconnection_settings:\n  host: '${WHERE}'\n\
         sync_settings: { my.api_token: S3cret }\n",
    );
    let ended = program.run(&["config", "show", "c.yaml"]).worked();
    let has = |line: &str| {
        let blanks = ended
            .stdout
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(blanks.contains(line), "no {line}: {}", ended.stdout);
    };
    has("host db.internal c.yaml:3");
    has("port 5432 default");
    has("user app PGUSER");
    has("dbname app default");
    has("password ***REDACTED*** PGPASSWORD");
    has("my.api_token ***REDACTED*** c.yaml:4");
    assert!(ended.stdout.lines().all(|line| line.chars().count() <= 80));

    let shown = program
        .run(&["config", "show", "c.yaml", "--format", "json"])
        .worked()
        .json();
    assert_eq!(shown["target"], "app@db.internal:5432/app");
    let file = std::fs::read_to_string(program.path("c.yaml")).expect("it is there");
    let config = Config::loader()
        .yaml(file.replace("${WHERE}", "db.internal"))
        .set("connection_settings.user", "app")
        .set("connection_settings.password", "another")
        .libpq_sources(false)
        .load()
        .expect("it is right");
    let id = config.fingerprint(config.connection_type).to_string();
    assert_eq!(shown["fingerprint"], id, "it holds no secret");
    let settings = shown["settings"].as_array().expect("a list");
    let host = settings
        .iter()
        .find(|row| row["key"] == "connection_settings.host")
        .expect("a host");
    assert_eq!(host["value"], serde_json::json!(["db.internal"]));
    assert_eq!(host["source"]["line"], 3);

    let yaml = program.run(&["config", "show", "c.yaml", "--format", "yaml"]);
    let yaml = yaml.worked();
    yaml.prints("  host: 'db.internal'  # c.yaml:3\n");
}

#[test]
fn show_finds_the_password_in_the_passfile() {
    let program = Program::new().hiding("S3cret");
    program.write("pass", "db:5432:*:app:S3cret\n");
    program.write(
        "c.yaml",
        "connection_settings: { host: db, user: app, passfile: pass }\n",
    );
    let ended = program.run(&["config", "show", "c.yaml"]).worked();
    let ended = ended.prints("***REDACTED***");
    ended.prints("passfile ");
}

#[test]
fn create_fills_in_a_url() {
    let on = Fixture::new();
    let program = Program::new().hiding(on.server().password());
    let url = format!(
        "{}?sslmode=disable&application_name=it's",
        on.server().url()
    );
    let args = ["config", "create", "deep/c.yaml", "--from-url", "-"];
    program.run_with(&args, &url).worked().prints("deep/c.yaml");
    let made = Config::from_file(program.path("deep/c.yaml")).expect("it is right");
    let meant = Config::loader().url(url).load().expect("it is right");
    assert_eq!(
        made.connection_settings.password,
        meant.connection_settings.password
    );
    assert_eq!(made.to_string(), meant.to_string());
    let name = made.connection_settings.application_name.as_deref();
    assert_eq!(name, Some("it's"));
    assert!(
        program.read("deep/c.yaml").contains("# Several in a list")
            || program.read("deep/c.yaml").contains("several in a list")
    );
    program
        .run(&["config", "check", "deep/c.yaml", "--connect"])
        .worked();
}

#[test]
fn create_fills_in_the_environment() {
    let program = Program::new()
        .hiding("S3cret")
        .env("PGHOST", "db1,db2")
        .env("PGPASSWORD", "S3cret")
        .env("PGTZ", "UTC")
        .env("PGSERVICEFILE", "services")
        .env("PGSERVICE", "shop");
    program.write("services", "[shop]\ndbname=shop\n");
    let args = ["config", "create", "c.yaml", "--from-env"];
    program.run(&args).worked();
    let loader = Config::loader().libpq_sources(false);
    let made = loader.file(program.path("c.yaml")).load().expect("right");
    assert_eq!(made.connection_settings.host.len(), 2);
    assert_eq!(made.connection_settings.dbname.as_deref(), Some("shop"));
    assert_eq!(made.connection_settings.user, None);
    assert_eq!(made.async_settings.value("TimeZone"), Some("UTC"));
    let again = program.run(&args).failed();
    again.says("already exists").says("hint: edit it");
}

/// D42: world-readable files with passwords, a literal `~`, an existing file reported as success.
#[test]
fn d42_create_is_private_and_overwrites_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let program = Program::new();
    let home = program.path("home");
    std::fs::create_dir(&home).expect("a folder");
    let program = program.env("HOME", home.to_str().expect("a path"));
    let create = [
        "pgconfig",
        "create",
        "--type",
        "pg",
        "--filepath",
        "~/c.yaml",
    ];
    program.run(&create).worked();
    let mode = |path| {
        std::fs::metadata(path)
            .expect("written")
            .permissions()
            .mode()
    };
    assert_eq!(mode(home.join("c.yaml")) & 0o777, 0o600);
    std::fs::write(home.join("c.yaml"), "mine").expect("written");
    program.run(&create).failed().says("already exists");
    assert_eq!(
        std::fs::read_to_string(home.join("c.yaml")).expect("read"),
        "mine"
    );
}

#[test]
fn create_writes_to_standard_output_too() {
    let program = Program::new();
    let made = program.run(&["config", "create", "-", "--from-url", "postgres://u@db/d"]);
    let made = made.worked();
    assert!(!program.path("-").exists());
    let ended = program.run_with(&["config", "check", "-"], &made.stdout);
    ended.worked().prints("u@db:5432/d");
}

/// D14: a malformed file was reported to the user as a Python exception.
#[test]
fn d14_every_shape_is_told_in_our_words() {
    let program = Program::new();
    for (text, words) in [
        ("", "the YAML text is empty"),
        ("# nothing\n", "empty"),
        ("just text\n", "expected sections"),
        ("- a\n- b\n", "expected sections"),
        ("connection_settings: [1]\n", "connection_settings"),
        ("connection_settings: text\n", "connection_settings"),
        ("connection_type: pol\n", "one of normal, pool"),
        ("sync_settings: text\n", "sync_settings"),
    ] {
        program.write("c.yaml", text);
        for command in ["check", "show", "test", "generate-code"] {
            let ended = program.run(&["config", command, "c.yaml"]).failed();
            let ended = ended.says(words).says("c.yaml");
            assert_eq!(ended.stdout, "", "{command}: {text}");
        }
    }
}

/// D17: an unquoted `*` or `!` made the parser print the password.
#[test]
fn d17_no_parser_quotes_a_password() {
    let program = Program::new().hiding("S3cret");
    for value in [
        "*S3cret",
        "!S3cret x",
        "&S3cret",
        "\"S3cret",
        "[S3cret",
        "@S3cret",
        "a: S3cret",
    ] {
        let text = format!("connection_settings:\n  password: {value}\n");
        program.write("c.yaml", &text);
        for command in ["check", "show", "test", "generate-code"] {
            let ended = program.run(&["config", command, "c.yaml"]);
            if value != "&S3cret" {
                ended.failed().says("c.yaml:");
            }
        }
    }
}

/// D40: as in libpq, prefer continues in plain text if the certificate does not match; there was no
/// warning.
#[test]
fn d40_a_root_that_keeps_nobody_out_is_told() {
    let program = Program::new();
    let with = |mode: &str| {
        let text = format!(
            "connection_settings:\n  host: localhost\n  sslmode: {mode}\n  sslrootcert: ca.pem\n"
        );
        program.write("c.yaml", &text);
        program.run(&["config", "check", "c.yaml", "--strict"])
    };
    for mode in ["allow", "prefer"] {
        let ended = with(mode).failed();
        ended.says("c.yaml:4:3: connection_settings.sslrootcert: with sslmode");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        with(mode).worked();
    }
}
