//! `pgmonkey config test`.

use pgmonkey_tests::Fixture;
use pgmonkey_testserver::{Behaviour, Certificates, Cluster, Hostile, Kind, ScratchDir, free_port};

use super::{Ended, FILE, Program};

const TYPES: [&str; 4] = ["normal", "pool", "async", "async_pool"];

#[test]
fn all_four_stand_side_by_side() {
    let on = Fixture::new();
    let sections = "pool_settings: { min_size: 2, max_size: 5 }\n\
                    async_pool_settings: { min_size: 3, max_size: 3 }\n";
    let program = Program::on(&on, sections);
    let args = [
        "config",
        "test",
        FILE,
        "--connection-type",
        "all",
        "--count",
        "20",
    ];
    let ended = program.run(&args).worked();
    let has = |line: &str| {
        let blanks: Vec<&str> = ended.stdout.split_whitespace().collect();
        let blanks = blanks.join(" ");
        assert!(blanks.contains(line), "no `{line}`: {}", ended.stdout);
    };
    has("normal pool async async_pool");
    has("result ok ok ok ok");
    has("sessions 1 3 of 5 1 3 of 3");
    has("role primary primary primary primary");
    has("auth scram-sha-256 scram-sha-256 scram-sha-256 scram-sha-256");
    has("TLS none none none none");
    has("99 % within");
    has("Sync connection test completed successfully.");
    has("Async connection test completed successfully.");
    on.until("all sessions are gone", || on.sessions() == 0);

    let program = program.env("COLUMNS", "80");
    let narrow = program.run(&args).worked();
    let wide = |line: &&str| line.chars().count() > 80;
    assert_eq!(narrow.stdout.lines().find(wide), None);
}

#[test]
fn b06_each_type_tells_programs_what_it_found() {
    let on = Fixture::new();
    let sections = "pool_settings: { min_size: 1, max_size: 4 }\n\
                    async_pool_settings: { min_size: 3, max_size: 4 }\n";
    let program = Program::on(&on, sections);
    for kind in TYPES {
        let args = [
            "config",
            "test",
            FILE,
            "--connection-type",
            kind,
            "--format",
            "json",
        ];
        let tested = program.run(&args).worked().json();
        assert_eq!(tested["ok"], true);
        let trial = &tested["trials"][0];
        assert_eq!(trial["connection_type"], kind);
        assert_eq!(trial["user"], on.server().user());
        assert_eq!(trial["database"], on.server().dbname());
        assert!(trial["open_ms"].as_f64().expect("a number") > 0.0);
        assert_eq!(trial["latency_ms"]["count"], 1);
        assert_eq!(trial["tls"], serde_json::Value::Null);
        // Acquired at the same time; one after the other, a single session would do.
        let reached = match kind {
            "pool" => 2.into(),
            "async_pool" => 4.into(),
            _ => serde_json::Value::Null,
        };
        assert_eq!(trial["pool"]["reached"], reached);
    }
    let tested = program.run(&["config", "test", FILE, "--format", "json"]);
    assert_eq!(tested.json()["trials"][0]["connection_type"], "normal");
}

#[test]
fn the_python_way_of_calling_works() {
    let on = Fixture::new();
    let program = Program::on(&on, "").env("PW", on.server().password());
    let text = on.yaml("").replace(on.server().password(), "${PW}");
    program.write("env.yaml", &text);
    program
        .run(&[
            "pgconfig",
            "test",
            "--filepath",
            "env.yaml",
            "--resolve-env",
        ])
        .worked()
        .prints("postgresql database config file has been detected...")
        .prints("Sync connection test completed successfully.");
    let args = [
        "pgconfig",
        "test",
        "--connconfig",
        FILE,
        "--connection-type",
        "async_pool",
    ];
    let ended = program.run(&args).worked();
    ended.prints("Async connection test completed successfully.");
    program.write("env.yaml", &format!("resolve_env: false\n{text}"));
    let args = ["pgconfig", "test", "--connconfig", "env.yaml"];
    program
        .run(&args)
        .failed()
        .says("password authentication failed");
}

#[test]
fn tls_is_told_as_it_is() {
    let scratch = ScratchDir::new().expect("a folder");
    let certificates = Certificates::generate(scratch.path(), "postgres").expect("certificates");
    let server = Cluster::builder()
        .kind(Kind::ClientCert)
        .certificates(certificates.clone())
        .start()
        .expect("a server");
    let program = Program::new().hiding(server.endpoint().password());
    program.write(
        FILE,
        &server
            .endpoint()
            .config_yaml_tls("normal", Kind::ClientCert, &certificates),
    );
    let args = [
        "config",
        "test",
        FILE,
        "--connection-type",
        "all",
        "--format",
        "json",
    ];
    let tested = program.run(&args).worked().json();
    for trial in tested["trials"].as_array().expect("a list") {
        assert_eq!(trial["tls"]["version"], "TLSv1.3");
        assert!(trial["tls"]["peer"].is_string());
    }
    let without = server.endpoint().config_yaml("normal") + "  sslmode: require\n";
    program.write(FILE, &without);
    let ended = program.run(&["config", "test", FILE]).failed();
    ended.says("certificate").says("hint: ").says("sslcert");
    program.write(
        FILE,
        &(server.endpoint().config_yaml("normal") + "  sslmode: disable\n"),
    );
    let ended = program.run(&["config", "test", FILE]).failed();
    ended.says("no encryption").says("sslmode: require");
    let other = server
        .endpoint()
        .config_yaml_tls("normal", Kind::ClientCert, &certificates);
    let other = other.replace("127.0.0.1", "elsewhere.internal") + "  hostaddr: 127.0.0.1\n";
    program.write(FILE, &other);
    let ended = program.run(&["config", "test", FILE]).failed();
    ended
        .says("is for")
        .says("hint: use the certificate's name as `host`");
}

/// Configurations that cannot connect, with the expected messages.
fn fails(text: &str, secret: &str, words: &[&str]) {
    let program = Program::new().hiding(secret);
    program.write(FILE, text);
    for kind in TYPES {
        let args = ["config", "test", FILE, "--connection-type", kind];
        let ended: Ended = program.run(&args).failed().prints("FAILED");
        let ended = words.iter().fold(ended, |ended, words| ended.says(words));
        let ended = ended.says("hint: ").says(kind);
        assert!(!ended.stdout.contains("successfully"), "{ended:?}");
    }
    let args = [
        "config",
        "test",
        FILE,
        "--connection-type",
        "all",
        "--format",
        "json",
    ];
    let tested = program.run(&args).failed().json();
    assert_eq!(tested["ok"], false);
    for trial in tested["trials"].as_array().expect("a list") {
        let error = &trial["error"];
        let message = error["message"].as_str().expect("a text");
        assert!(message.contains(words[0]), "{message}");
        assert!(error["hint"].is_string());
    }
    // All four failed alike, which is reported once.
    let args = ["config", "test", FILE, "--connection-type", "all"];
    let ended = program.run(&args).failed();
    assert!(
        ended.stderr.matches("error: ").count() <= 2,
        "{}",
        ended.stderr
    );
}

/// D01 and D02: failures ended with exit code 0, and pools even reported success.
#[test]
fn d01_d02_a_wrong_password_fails_for_every_type() {
    let on = Fixture::new();
    let text = on.yaml("").replace(on.server().password(), "S3cret");
    fails(
        &text,
        "S3cret",
        &["password authentication failed", "config show"],
    );
}

/// As above.
#[test]
fn d01_d02_a_wrong_port_fails_for_every_type() {
    let on = Fixture::new();
    let port = free_port().expect("a port");
    let text = on.yaml_at("127.0.0.1", port, "");
    fails(
        &text,
        on.server().password(),
        &["onnection refused", "nothing listens at"],
    );
}

/// As above.
#[test]
fn d01_d02_a_wrong_host_fails_for_every_type() {
    let on = Fixture::new();
    let text = on.yaml_at("no-such-host.invalid", 5432, "");
    fails(
        &text,
        on.server().password(),
        &["cannot resolve the name", "check `host`"],
    );
}

#[test]
fn a_missing_database_or_role_fails_with_a_hint() {
    let on = Fixture::new();
    let dbname = format!("dbname: '{}'", on.server().dbname());
    let text = on.yaml("").replace(&dbname, "dbname: nowhere");
    fails(
        &text,
        on.server().password(),
        &["\"nowhere\" does not exist", "check `dbname`"],
    );
    let user = format!("user: '{}'", on.server().user());
    let text = on.yaml("").replace(&user, "user: nobody_here");
    fails(
        &text,
        on.server().password(),
        &["password authentication failed", "hint: the user"],
    );
}

#[test]
fn a_server_that_never_answers_fails_in_time() {
    let on = Fixture::new();
    let silent = Hostile::start(Behaviour::Silent).expect("a socket");
    let text = on.yaml_at("127.0.0.1", silent.port(), "");
    let text = text.replace("connect_timeout: 5", "connect_timeout: 1");
    fails(
        &text,
        on.server().password(),
        &["no session within connect_timeout", "firewall"],
    );
}

#[test]
fn a_bad_server_parameter_is_named() {
    let on = Fixture::new();
    let text = on
        .yaml("sync_settings: { statment_timeout: 1 }\nasync_settings: { statment_timeout: 1 }\n");
    fails(
        &text,
        on.server().password(),
        &["_settings.statment_timeout", "remove it"],
    );
}

/// D13: references were sent as text by all commands but one; D18: a reference may be the
/// connection type.
#[test]
fn d13_references_are_resolved_by_every_command() {
    let on = Fixture::new();
    let password = on.server().password();
    let program = Program::on(&on, "").env("PW", password);
    let text = on
        .yaml("connection_type: '${CT:-pool}'\n")
        .replace(password, "${PW}");
    program.write("env.yaml", &text);
    for command in [
        &["config", "check"][..],
        &["config", "show"],
        &["config", "test"],
        &["config", "generate-code"],
        &["server", "recommend"],
        &["server", "audit"],
    ] {
        for option in [&[][..], &["--resolve-env"]] {
            let args = [command, &["env.yaml"], option].concat();
            program.run(&args).worked();
        }
    }
    let ended = program.run(&["config", "test", "env.yaml"]);
    ended.worked().prints("pool");
}

/// D23: an unresolved reference was sent as the password.
#[test]
fn d23_an_unresolved_reference_is_no_password() {
    let program = Program::new();
    let file = "connection_settings: { host: h, password: { from_env: X } }\n";
    for (text, reason) in [
        (file.to_owned(), "environment variable X is not set"),
        (format!("resolve_env: false\n{file}"), "resolve_env"),
    ] {
        program.write("c.yaml", &text);
        for command in ["check", "show", "test", "generate-code"] {
            let ended = program.run(&["config", command, "c.yaml"]).failed();
            ended.says(reason);
        }
    }
}

/// D07: pools "connected" without connecting, and failed after 30 seconds without the reason.
#[test]
fn d07_a_pool_fails_at_once_with_the_reason() {
    let on = Fixture::new();
    let program = Program::new().hiding("S3cret");
    program.write(FILE, &on.yaml("").replace(on.server().password(), "S3cret"));
    let began = std::time::Instant::now();
    let args = ["config", "test", FILE, "--connection-type", "pool"];
    program
        .run(&args)
        .failed()
        .says("password authentication failed");
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
}
