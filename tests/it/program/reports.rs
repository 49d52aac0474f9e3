//! What the library reports while the CLI runs.

use pgmonkey_tests::{Fixture, Outcome, broken_tls};

use super::{FILE, Program};

const TEST: [&str; 3] = ["config", "test", FILE];

/// How often the program's error output contains a text.
fn times(stderr: &str, text: &str) -> usize {
    stderr.matches(text).count()
}

#[test]
fn a_passfile_that_others_may_read_is_reported_once() {
    let on = Fixture::new();
    let program = Program::new().hiding(on.server().password());
    let password = on.server().password();
    program.write("passfile", &format!("*:*:*:*:{password}\n"));
    let secret = format!("password: '{password}'");
    let yaml = on.yaml("").replacen(&secret, "passfile: passfile", 1);
    assert!(yaml.contains("passfile"), "{yaml}");
    program.write(FILE, &yaml);
    assert_eq!(program.run(&TEST).worked().stderr, "");
    program.chmod("passfile", 0o644);
    let all = ["config", "test", FILE, "--connection-type", "all"];
    let ended = program.run(&all).failed();
    let warning = "/passfile is ignored, because its group or others have access to it";
    assert_eq!(times(&ended.stderr, warning), 1, "{}", ended.stderr);
    assert_eq!(times(&ended.stderr, "warning:"), 1, "{}", ended.stderr);
}

/// The library's warning, which each of the sessions repeats.
#[test]
fn a_passfile_that_is_no_file_is_reported_once() {
    let on = Fixture::new();
    let program = Program::new()
        .env("PGPASSFILE", "/")
        .hiding(on.server().password());
    let secret = format!("password: '{}', ", on.server().password());
    let yaml = on.yaml("").replacen(&secret, "", 1);
    assert!(!yaml.contains("password:"), "{yaml}");
    program.write(FILE, &yaml);
    let all = ["config", "test", FILE, "--connection-type", "all"];
    let ended = program.run(&all).failed();
    let warning = "warning: passfile ignored: /: it is not a regular file";
    assert_eq!(times(&ended.stderr, warning), 1, "{}", ended.stderr);
    // The failure itself is the command's to report.
    assert_eq!(times(&ended.stderr, "warning:"), 1, "{}", ended.stderr);
}

#[test]
fn a_session_without_the_tls_that_was_preferred_is_reported() -> Outcome {
    let on = Fixture::new();
    let port = broken_tls(on.server())?;
    let yaml = on.yaml_at("127.0.0.1", port, "");
    let program = Program::new().hiding(on.server().password());
    program.write(
        FILE,
        &yaml.replacen("sslmode: disable", "sslmode: prefer", 1),
    );
    let ended = program.run(&TEST).worked();
    let warning = format!("warning: TLS with 127.0.0.1:{port} failed, and is not used");
    assert_eq!(times(&ended.stderr, &warning), 1, "{}", ended.stderr);
    program.write(
        FILE,
        &yaml.replacen("sslmode: disable", "sslmode: require", 1),
    );
    let ended = program.run(&TEST).failed();
    assert_eq!(times(&ended.stderr, "warning:"), 0, "{}", ended.stderr);
    Ok(())
}

#[test]
fn more_is_reported_on_request() {
    let on = Fixture::new();
    let program = Program::on(&on, "");
    let opened = format!(
        "session opened on {}:{}",
        on.server().host(),
        on.server().port()
    );
    let (debug, trace) = (format!("debug: {opened}"), "trace: session ");
    let levels = |program: &Program, args: &[&str]| {
        let ended = program.run(args).worked();
        [&debug, trace].map(|text| ended.stderr.contains(text))
    };
    assert_eq!(levels(&program, &TEST), [false, false]);
    assert_eq!(
        levels(&program, &["-v", "config", "test", FILE]),
        [true, false]
    );
    assert_eq!(
        levels(&program, &["config", "test", FILE, "-v"]),
        [true, false]
    );
    assert_eq!(
        levels(&program, &["config", "test", FILE, "-vv"]),
        [true, true]
    );
    let program = program.env("RUST_LOG", "pgmonkey=trace");
    assert_eq!(levels(&program, &TEST), [true, true]);
    assert_eq!(
        levels(&program, &["config", "test", FILE, "-v"]),
        [true, false]
    );
    let program = Program::on(&on, "").env("RUST_LOG", "pgmonkey=loud");
    program
        .run(&TEST)
        .worked()
        .says("warning: RUST_LOG is ignored");
}
