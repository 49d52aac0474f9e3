//! `pgmonkey server recommend` and `audit`.

use pgmonkey_tests::{Fixture, LONG};
use pgmonkey_testserver::{Certificates, Cluster, Kind, ScratchDir, free_port};
use serde_json::Value;

use super::{FILE, Program};

const AUDIT: [&str; 5] = ["server", "audit", FILE, "--format", "json"];
const MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// The predicted outcome for each mode, compared with the actual one.
#[test]
fn the_line_that_is_foretold_is_the_one_the_server_takes() {
    let scratch = ScratchDir::new().expect("a folder");
    let certificates = Certificates::generate(scratch.path(), "app").expect("certificates");
    let builder = Cluster::builder().kind(Kind::Tls);
    let server = builder
        .certificates(certificates.clone())
        .start()
        .expect("a server");
    let run = |sql: &str| server.psql(sql).expect("the administrator may");
    run(
        "CREATE ROLE staff; CREATE ROLE app LOGIN PASSWORD 'S3cret' IN ROLE staff; \
         GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO app; \
         GRANT SELECT ON pg_hba_file_rules TO app",
    );
    run(&format!(
        "CREATE DATABASE app TEMPLATE {}",
        server.endpoint().dbname()
    ));
    let rest = "local all all scram-sha-256\nhost all postgres all scram-sha-256\n\
         host all nobody 10.9.9.9/32 radius radiusservers=10.9.9.9 radiussecrets=S3cret\n";
    for lines in [
        "hostnossl all app 127.0.0.0/8 reject\nhostssl all app 127.0.0.1/32 scram-sha-256\n",
        "hostssl all app all reject\nhost sameuser all 127.0.0.1/32 scram-sha-256\n",
        "host postgres app all trust\nhost all +staff 127.0.0.1 255.255.255.255 md5\n",
        "hostssl all app ::1/128 trust\n# nothing\nhostssl app app samehost scram-sha-256\n",
    ] {
        // The tests' own login comes first, so the lines begin with the fourth.
        server
            .set_hba(&format!("{rest}{lines}"))
            .expect("the server takes it");
        for mode in MODES {
            let program = Program::new().hiding("S3cret");
            let text = format!(
                "connection_settings: {{ host: 127.0.0.1, port: {}, user: app, dbname: app, \
                 password: S3cret, sslmode: {mode}, sslrootcert: {:?} }}\n",
                server.port(),
                certificates.ca(),
            );
            program.write(FILE, &text);
            let seen = server.endpoint().log().len();
            let tried = program.run(&["config", "test", FILE]);
            let audited = program.run(&AUDIT);
            program.run(&["server", "audit", FILE]);
            if tried.code != 0 {
                audited.failed().says("hint: ");
                continue;
            }
            let audited = audited.worked().json();
            let access = &audited["pg_hba_conf"];
            let line = access["this_session"]["line"].as_u64().expect("a line");
            let outcomes = access["under_each_sslmode"].as_array().expect("a list");
            let of_mode = |mode: &str| outcomes.iter().find(|o| o["sslmode"] == mode).expect("all");
            assert_eq!(of_mode(mode)["outcome"], "admitted", "{mode}: {lines}");
            assert_eq!(of_mode(mode)["line"], line, "{mode}: {lines}");
            assert_eq!(of_mode(mode)["tls"], audited["tls"], "{mode}: {lines}");
            let log = format!("pg_hba.conf:{line})");
            let taken = server.endpoint().wait_for_log_after(seen, &log, LONG);
            assert!(taken, "{mode}: {lines}: not by line {line}");
            // The predictions for the other modes hold: tried for real.
            for other in outcomes {
                let word = other["sslmode"].as_str().expect("a text");
                let text = text.replace(&format!("sslmode: {mode}"), &format!("sslmode: {word}"));
                program.write("other.yaml", &text);
                let came = program.run(&["config", "test", "other.yaml"]).code == 0;
                assert_eq!(
                    came,
                    other["outcome"] == "admitted",
                    "{word}: {lines}: {other}"
                );
            }
        }
    }
}

#[test]
fn the_server_is_compared_with_what_the_file_needs() {
    let on = Fixture::new();
    let program = Program::on(&on, "pool_settings: { max_size: 3 }\n");
    let audited = program.run(&AUDIT).worked().json();
    assert_eq!(audited["ok"], true);
    assert_eq!(audited["client_address"], "127.0.0.1");
    let most = &audited["settings"][0];
    assert_eq!(most["setting"], "max_connections");
    assert_eq!(most["status"], "OK");
    let current = on.number("SELECT current_setting('max_connections')::bigint", &[]);
    assert_eq!(most["current"], current.to_string());
    assert_eq!(most["source"], "configuration file");
    assert_eq!(audited["sessions"]["wanted"], 6);
    assert_eq!(audited["sessions"]["max_connections"], current);
    let entry = &audited["pg_hba_conf"]["recommended"][0];
    assert_eq!(entry["type"], "host");
    assert_eq!(entry["address"], "127.0.0.1/32");
    assert_eq!(entry["method"], "scram-sha-256");

    let shown = program.run(&["server", "audit", FILE]).worked();
    let shown = shown
        .prints("Setting")
        .prints("max_connections")
        .prints("OK");
    let shown = shown.prints("This session: without TLS, admitted by line");
    shown.prints("require     fails: the server has no TLS");

    let large = format!("pool_settings: {{ max_size: {current} }}\n");
    let program = Program::on(&on, &large);
    let audited = program.run(&AUDIT).worked().json();
    assert_eq!(audited["ok"], false);
    assert_eq!(audited["settings"][0]["status"], "MISMATCH");
    let strict = [&AUDIT[..], &["--strict"]].concat();
    program
        .run(&strict)
        .failed()
        .says("the server lacks a setting");
}

#[test]
fn weak_spots_and_what_waits_for_a_restart_are_told() {
    let server = Cluster::builder().start().expect("a server");
    server.set("max_connections", "50").expect("a setting");
    server
        .psql("SET password_encryption = 'md5'; CREATE ROLE old LOGIN PASSWORD 'x'")
        .expect("the administrator may");
    let hba = server.hba().expect("its file");
    let weak = format!(
        "{hba}host all old 10.0.0.0/8 trust\nhost all old 10.0.0.0/8 md5\nhostssl all old 10.0.0.0/8 password\nhost all old 10.0.0.0/8 password\n"
    );
    server.set_hba(&weak).expect("its file");
    server.reload().expect("it reads its files");
    let program = Program::new().hiding(server.endpoint().password());
    program.write(FILE, &server.endpoint().config_yaml("normal"));
    let pending = || {
        let audited = program.run(&AUDIT).worked().json();
        audited["settings"][0]["pending_restart"] == true
    };
    let end = std::time::Instant::now() + LONG;
    while !pending() {
        assert!(std::time::Instant::now() < end, "no restart is pending");
    }
    let audited = program.run(&AUDIT).worked().json();
    let first = hba.lines().count() + 1;
    let spots = audited["weak_spots"].to_string();
    for expected in [
        "ssl is off".to_owned(),
        "1 roles that may log in have a password stored as MD5".to_owned(),
        "is a superuser".to_owned(),
        format!("line {first} (host all old 10.0.0.0/8 trust)"),
        format!("line {} (host all old 10.0.0.0/8 md5)", first + 1),
        format!("line {} (host all old 10.0.0.0/8 password)", first + 3),
    ] {
        assert!(spots.contains(&expected), "no {expected}: {spots}");
    }
    assert!(!spots.contains(&format!("line {} ", first + 2)), "{spots}");
    let shown = program.run(&["server", "audit", FILE]).worked();
    shown.prints("max_connections was changed in the file and takes effect after a restart");
}

#[test]
fn what_the_role_may_not_see_hides_nothing_else() {
    let server = Cluster::builder().start().expect("a server");
    server
        .psql(
            "CREATE ROLE low LOGIN PASSWORD 'S3cret'; \
               REVOKE SELECT ON pg_settings FROM PUBLIC",
        )
        .expect("the administrator may");
    let program = Program::new().hiding("S3cret");
    let text = format!(
        "connection_settings: {{ host: 127.0.0.1, port: {}, user: low, dbname: {}, \
         password: S3cret }}\n",
        server.port(),
        server.endpoint().dbname(),
    );
    program.write(FILE, &text);
    let audited = program.run(&AUDIT).worked().json();
    assert_eq!(audited["settings"][0]["status"], "UNKNOWN");
    assert_eq!(audited["settings"][0]["current"], Value::Null);
    assert!(audited["sessions"]["usable"].as_u64().expect("a number") > 0);
    assert_eq!(audited["pg_hba_conf"]["rules"], Value::Null);
    let unseen = audited["not_visible"].to_string();
    for view in ["pg_settings", "pg_hba_file_rules", "pg_authid"] {
        assert!(unseen.contains(view), "{unseen}");
    }
    let shown = program.run(&["server", "audit", FILE]).worked();
    let shown = shown.prints("(not visible)").prints("UNKNOWN");
    shown
        .prints("Not visible to this role:")
        .prints("The line that this file needs:");
}

/// A parameter without a value crashed the audit, which reported an unreachable server.
#[test]
fn b20_a_parameter_without_a_value_is_unknown() {
    let server = Cluster::builder().start().expect("a server");
    // No parameter of a healthy server is NULL, but the view allows it.
    server
        .psql(
            "SET allow_system_table_mods = on; \
             CREATE OR REPLACE VIEW pg_catalog.pg_settings AS \
             SELECT name, CASE WHEN name <> 'max_connections' THEN setting END AS setting, unit, \
             category, short_desc, extra_desc, context, vartype, source, min_val, max_val, \
             enumvals, boot_val, reset_val, sourcefile, sourceline, pending_restart \
             FROM pg_show_all_settings()",
        )
        .expect("the administrator may");
    let program = Program::new().hiding(server.endpoint().password());
    program.write(FILE, &server.endpoint().config_yaml("normal"));
    let audited = program.run(&AUDIT).worked().json();
    let settings = audited["settings"].as_array().expect("a list");
    let limit = settings
        .iter()
        .find(|row| row["setting"] == "max_connections")
        .expect("it is among them");
    assert_eq!(limit["current"], Value::Null);
    assert_eq!(limit["status"], "UNKNOWN");
    let shown = program.run(&["server", "audit", FILE]).worked();
    assert!(!shown.stderr.contains("connect"), "{shown:?}");
}

/// A size in quotes crashed the recommendation.
#[test]
fn b17_a_size_in_quotes_is_a_number_to_the_advice() {
    let program = Program::new();
    program.write(
        FILE,
        "connection_settings: { host: db, user: app }\npool_settings: { max_size: '200' }\n",
    );
    let args = ["server", "recommend", FILE, "--offline", "--format", "json"];
    let advice = program.run(&args).worked().json();
    let limit = &advice["postgresql_conf"][0];
    assert_eq!(limit["setting"], "max_connections");
    let value: u32 = limit["value"]
        .as_str()
        .expect("text")
        .parse()
        .expect("a number");
    assert!(value > 200, "{limit}");
}

#[test]
fn the_python_way_of_asking_works() {
    let on = Fixture::new();
    let program = Program::on(&on, "");
    let ended = program
        .run(&["pgserverconfig", "--filepath", FILE])
        .worked();
    let ended = ended
        .prints("1) Database type detected: PostgreSQL")
        .prints("2) Minimal database server settings needed for this config file:")
        .prints("a) pg_hba.conf:")
        .prints("b) postgresql.conf:")
        .prints("Ensure that the network ADDRESS matches your network subnet");
    ended.prints("127.0.0.1/32");
    let ended = program.run(&["pgserverconfig", "--connconfig", FILE, "--audit"]);
    ended.worked().prints("Recommended");
    let advice = program.run(&["server", "recommend", FILE, "--format", "json"]);
    let advice = advice.worked().json();
    assert_eq!(advice["client_address"], "127.0.0.1");
    assert_eq!(advice["postgresql_conf"][0]["setting"], "max_connections");
    assert_eq!(advice["pg_hba_conf"][0]["placeholder"], false);
}

/// D01: a missing file or server ended with exit code 0.
#[test]
fn d01_server_commands_fail_when_they_fail() {
    let on = Fixture::new();
    let program = Program::new().hiding(on.server().password());
    for args in [
        &["server", "recommend", FILE][..],
        &["server", "audit", FILE],
        &["pgserverconfig", "--filepath", FILE],
    ] {
        program.run(args).failed().says("file not found");
    }
    let port = free_port().expect("a port");
    program.write(FILE, &on.yaml_at("127.0.0.1", port, ""));
    let ended = program.run(&AUDIT).failed().says("onnection refused");
    assert_eq!(ended.json()["ok"], false);
    let ended = program.run(&["server", "recommend", FILE]).worked();
    let ended = ended.says("could not query the client's address");
    ended.prints("CLIENT_ADDRESS/32");
}

/// D29: the server's /24 was recommended as the client's, IPv6 was cut like IPv4, max_connections
/// could be 1, a client certificate was required because the client verifies the server's. B21,
/// B23: a line that rejects, and one with md5.
#[test]
fn d29_b21_b23_advice_is_for_this_client() {
    let program = Program::new();
    let advice = |text: &str| {
        program.write(FILE, &format!("connection_settings: {{ user: app, dbname: all, {text} }}\npool_settings: {{ max_size: 1 }}\nasync_pool_settings: {{ max_size: 1 }}\n"));
        let args = ["server", "recommend", FILE, "--offline", "--format", "json"];
        program.run(&args).worked().json()
    };
    for mode in MODES {
        let advice = advice(&format!(
            "host: '2001:db8::5', sslmode: {mode}, sslrootcert: ca.pem"
        ));
        let entry = &advice["pg_hba_conf"][0];
        assert_eq!(entry["address"], "CLIENT_ADDRESS/32");
        assert_eq!(entry["placeholder"], true);
        assert_eq!(entry["database"], "\"all\"");
        assert_eq!(entry["user"], "app");
        assert_eq!(entry["method"], "scram-sha-256");
        assert_eq!(entry["options"], "");
        let tls = ["require", "verify-ca", "verify-full"].contains(&mode);
        assert_eq!(entry["type"], if tls { "hostssl" } else { "host" });
        let conf = advice["postgresql_conf"].to_string();
        assert!(
            conf.contains(r#""setting":"max_connections","value":"100""#)
                || conf.contains("\"100\""),
            "{conf}"
        );
        assert_eq!(conf.contains("\"ssl\""), mode != "disable", "{conf}");
    }
    let advice = advice("host: db, sslcert: a.crt, sslkey: a.key");
    assert_eq!(
        advice["pg_hba_conf"][0]["options"],
        "clientcert=verify-full"
    );
}

/// An audit never says that its own open session is turned away.
#[test]
fn lines_that_the_session_contradicts_are_unclear() {
    let server = Cluster::builder().start().expect("a server");
    let run = |sql: &str| server.psql(sql).expect("the administrator may");
    run(
        "CREATE ROLE staff; CREATE ROLE app LOGIN PASSWORD 'S3cret' IN ROLE staff; \
         GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO app; \
         GRANT SELECT ON pg_hba_file_rules TO app",
    );
    let program = Program::new().hiding("S3cret");
    let text = format!(
        "connection_settings: {{ host: 127.0.0.1, port: {}, user: app, dbname: {}, \
         password: S3cret, sslmode: disable }}\n",
        server.port(),
        server.endpoint().dbname(),
    );
    program.write(FILE, &text);
    let own = "local all postgres trust\nhost all postgres all scram-sha-256\n";
    let session = || {
        let audited = program.run(&AUDIT).worked().json();
        audited["pg_hba_conf"]["this_session"].clone()
    };
    let why = |session: &Value| session["why"].as_str().unwrap_or_default().to_owned();
    // Quotes take a name's meaning away; a role that may not read the file cannot see them.
    let quoted = format!(
        "{own}host all \"all\" all reject\nhost all \"+staff\" all reject\nhost all app all md5\n"
    );
    server.set_hba(&quoted).expect("it reads its files");
    let found = session();
    assert_eq!(found["outcome"], "unclear", "{found}");
    assert!(why(&found).contains("this session is open"), "{found}");
    let shown = program.run(&["server", "audit", FILE]).worked();
    shown.prints("This session: unclear: this session is open");
    run(
        "GRANT pg_read_server_files TO app; GRANT EXECUTE ON FUNCTION pg_read_file(text) TO app; \
         GRANT EXECUTE ON FUNCTION pg_stat_file(text) TO app; GRANT pg_read_all_settings TO app",
    );
    let found = session();
    assert_eq!(
        (&found["outcome"], &found["line"]),
        (&"admitted".into(), &5.into()),
        "{found}"
    );
    // The role's password is stored as SCRAM, which a line with md5 takes as SCRAM.
    assert_eq!(found["method"], "scram-sha-256", "{found}");
    let shown = program.run(&["server", "audit", FILE]).worked();
    shown.prints("method md5, which is SCRAM for this role");
    // Edited, and not loaded.
    let path = server.data_dir().join("pg_hba.conf");
    let edit = |lines: &str| {
        std::fs::write(&path, format!("{own}{lines}")).expect("its file");
        let file = std::fs::File::options()
            .write(true)
            .open(&path)
            .expect("its file");
        let later = std::time::SystemTime::now() + LONG;
        file.set_modified(later).expect("a time");
    };
    edit("host all app all reject\n");
    let found = session();
    assert_eq!(found["outcome"], "unclear", "{found}");
    assert!(
        why(&found).contains("was edited since the server loaded it"),
        "{found}"
    );
    // A line that the server cannot read: it keeps the lines that it had.
    edit("host all app all\nhost all app all reject\n");
    server.reload().expect("it tries");
    let found = session();
    assert_eq!(found["outcome"], "unclear", "{found}");
    assert!(
        why(&found).contains("cannot read line 3 of pg_hba.conf"),
        "{found}"
    );
    let audited = program.run(&AUDIT).worked().json();
    let modes = audited["pg_hba_conf"]["under_each_sslmode"].to_string();
    assert!(!modes.contains("rejected"), "{modes}");
}
