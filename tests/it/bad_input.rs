//! Anything wrong with a file or a server gives an error in time that says what and where.

use std::time::Instant;

use pgmonkey::{Config, Error};
use pgmonkey_tests::{Fixture, LONG, Outcome, load, twin};
use pgmonkey_testserver::Certificates;

/// Loads a file with these bytes and returns the error's text.
fn refused(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bad.yaml");
    std::fs::write(&path, bytes).expect("written");
    let began = Instant::now();
    let error = Config::from_file(&path).expect_err("the file is wrong");
    assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
    let text = format!("{error}");
    assert!(text.contains("bad.yaml"), "{text}");
    assert!(!format!("{text} {error:?}").contains("s3cret"), "{text}");
    text
}

#[test]
fn files() -> Outcome {
    let folder = tempfile::tempdir()?;
    let missing = Config::from_file(folder.path().join("nothing.yaml")).expect_err("missing");
    assert!(missing.to_string().contains("nothing.yaml"), "{missing}");
    let directory = Config::from_file(folder.path()).expect_err("a directory");
    assert!(directory.to_string().contains("director"), "{directory}");

    let password = "connection_settings:\n  password: 's3cret'\n";
    let with = |line: &str| format!("{password}  {line}\n").into_bytes();
    for (bytes, words) in [
        (&b""[..], "empty"),
        (b"# nothing but a comment\n", "empty"),
        (b"\x7fELF\x02\x01\x01\0\0\0\xff\xfe", ""),
        (b"connection_settings: { host: \xff\xfe }", "UTF-8"),
        (b"- a\n- list\n", "top level"),
        (b"just a scalar\n", ""),
        (&with("port: 70000"), "bad.yaml:3"),
        (&with("hots: db"), "did you mean `host`?"),
        (&with("sslmode: required"), "connection_settings.sslmode"),
        (&with("password: again"), "bad.yaml:3"),
        (b"connection_type: pol\nconnection_settings: { password: s3cret }\n", "connection_type"),
        (b"connection_type: pool\nconnection_settings: { password: s3cret }\npool_settings:\n  min_size: 9\n  max_size: 3\n", "min_size"),
    ] {
        let text = refused(bytes);
        assert!(text.contains(words), "{words}: {text}");
    }
    let nested = "[".repeat(10 * 1024 * 1024);
    refused(nested.as_bytes());
    let nested = format!("connection_settings: {}", "{a: ".repeat(2 * 1024 * 1024));
    refused(nested.as_bytes());
    Ok(())
}

twin! {
    fn servers(on, driver, go, work) {
        let server = on.server();
        let cases = [
            (on.yaml_at("no-such-host.invalid", 5432, ""), "no-such-host.invalid:5432", None),
            (on.yaml_at("127.0.0.1", 1, ""), "127.0.0.1:1", None),
            (on.yaml("").replacen("password: '", "password: 'wr0ng-", 1), "password", Some("28P01")),
            (
                on.yaml("").replacen(&format!("dbname: '{}'", server.dbname()), "dbname: no_such_database", 1),
                "no_such_database",
                Some("3D000"),
            ),
        ];
        for (yaml, words, code) in cases {
            let config = pgmonkey_tests::load(&yaml);
            let began = Instant::now();
            let errors = [
                go!(driver::Pool::new(&config)).err(),
                go!(driver::Connection::new(&config)).err(),
            ];
            assert!(began.elapsed() < LONG, "{:?}", began.elapsed());
            for error in errors {
                let error = error.expect("it cannot work");
                assert!(matches!(error, Error::Connect(_)), "{error}");
                assert_eq!(error.code().map(|code| code.code()), code, "{error}");
                let text = format!("{error} {error:?}");
                assert!(text.contains(words), "{text}");
                assert!(!text.contains("wr0ng-") && !text.contains(server.password()), "{text}");
            }
        }
        Ok(())
    }
}

twin! {
    fn a_server_without_tls_gets_no_plain_session_it_was_not_promised(on, driver, go, work) {
        let yaml = on.yaml("").replacen("sslmode: disable", "sslmode: require", 1);
        let error = go!(driver::Pool::new(&pgmonkey_tests::load(&yaml))).expect_err("no TLS there");
        assert!(error.is_tls() && !error.is_transient(), "{error}");
        assert!(error.to_string().contains("the server does not support TLS"), "{error}");
        assert_eq!(on.sessions(), 0, "nothing was sent in the clear");
        Ok(())
    }
}

#[test]
fn nothing_prints_a_secret() -> Outcome {
    let on = Fixture::new();
    let config = on.config("");
    let manager = pgmonkey::ConnectionManager::new();
    let pool = manager.pool(&config)?;
    let guard = pool.acquire()?;
    let texts = format!(
        "{config:?} {config} {manager:?} {pool:?} {guard:?} {:?} {:?} {}",
        manager.cache_info(),
        config.fingerprint(pgmonkey::ConnectionType::Pool),
        serde_json::to_string(&config)?,
    );
    assert!(!texts.contains(on.server().password()), "{texts}");
    Ok(())
}

twin! {
    fn files_of_tls_are_read_within_bounds(on, driver, go, work) {
        let folder = tempfile::tempdir()?;
        let large = folder.path().join("endless");
        std::fs::File::create(&large)?.set_len((16 << 20) + 1)?;
        let large = large.display().to_string();
        let root = Certificates::generate(folder.path(), "app")?.ca();
        for (path, words) in [("/dev/zero", "not a regular file"), (&large, "larger than 16777216 bytes")] {
            for (key, settings) in [
                ("sslrootcert", format!("sslrootcert: {path}")),
                ("sslcrl", format!("sslrootcert: {}, sslcrl: {path}", root.display())),
                ("sslcert", format!("sslcert: {path}, sslkey: {path}")),
            ] {
                let config = load(&format!(
                    "connection_settings: {{ host: 127.0.0.1, port: {}, user: a, dbname: a, sslmode: require, {settings} }}",
                    on.server().port(),
                ));
                let error = go!(driver::Connection::new(&config)).expect_err("no such file");
                let text = error.to_string();
                assert!(text.contains(key) && text.contains(path) && text.contains(words), "{text}");
            }
        }
        Ok(())
    }
}
