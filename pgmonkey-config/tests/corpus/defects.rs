//! Defects of the Python tool in reading files, one test for each, by its number.

use std::fs;

use pgmonkey_config::{ConnectionType, WarningKind, redact};
use serde_json::json;

use super::{bad, connection, good, has, load, loader, password, read_password, warned};

/// Quoted sizes were compared as text: '5' was more than '20'.
#[test]
fn d08_sizes_as_text_are_numbers() {
    let config = good("pool_settings: { min_size: '5', max_size: '20', timeout: '7' }");
    assert_eq!(
        (config.pool_settings.min_size, config.pool_settings.max_size),
        (5, 20)
    );
    let yaml = "pool_settings: { min_size: '${MIN}', max_size: '${MAX}' }";
    let resolved = loader(&[("MIN", "5"), ("MAX", "20")]).resolve_env(true);
    let config = resolved.yaml(yaml).load().unwrap();
    assert_eq!(
        (config.pool_settings.min_size, config.pool_settings.max_size),
        (5, 20)
    );
    has(
        &bad("pool_settings: { min_size: '20', max_size: '5' }"),
        &["min_size"],
    );
}

/// The text 'false' counted as true.
#[test]
fn d10_the_text_false_is_false() {
    for word in ["'false'", "'off'", "'0'", "'no'", "false", "0"] {
        let config = good(&connection(&format!("autocommit: {word}")));
        assert!(!config.connection_settings.autocommit, "{word}");
        let config = good(&format!("pool_settings: {{ check_on_checkout: {word} }}"));
        assert!(!config.pool_settings.check_on_checkout, "{word}");
    }
    assert!(
        good(&connection("autocommit: 'true'"))
            .connection_settings
            .autocommit
    );
}

/// Unknown keys of the pool section reached a constructor.
#[test]
fn d16_a_pool_section_holds_settings_and_nothing_else() {
    for key in ["open", "configure", "kwargs", "conninfo", "name", "speed"] {
        let text = bad(&format!("pool_settings: {{ {key}: false }}"));
        has(&text, &[&format!("pool_settings.{key}"), "unknown key"]);
    }
}

/// A zero byte truncated the value, so that another server was reached.
#[test]
fn d22_a_zero_byte_is_refused() {
    for yaml in [
        "connection_settings: { password: \"a\\0b\", host: db }",
        "connection_settings: { host: \"a\\0b\" }",
        "connection_settings: { password: a\0b }",
    ] {
        assert!(load(yaml).is_err(), "{yaml:?}");
    }
    let set = loader(&[]).set("connection_settings.password", "a\0b");
    assert!(set.load().is_err());
}

/// Redaction missed passwd, sslpassword, api_key, maps, lists and URLs.
#[test]
fn d24_what_looks_like_a_secret_is_one() {
    let tree = json!({
        "servers": [{ "password": "S3cret" }], "credentials": { "pw": "S3cret" },
        "sslpassword": "S3cret", "passwd": "S3cret", "pgpassword": "S3cret",
        "api_key": "S3cret", "password": { "value": "S3cret" },
        "url": "postgres://a:S3cret@h/d", "dsn": "host=h password=S3cret",
    });
    let shown = redact(&tree).to_string();
    assert!(!shown.contains("S3cret"), "{shown}");
    let sensitive = loader(&[]).resolve_env(true);
    for key in ["password", "sslpassword", "sslkey", "sslcert"] {
        let yaml = connection(&format!("{key}: '${{MISSING:-x}}'"));
        let error = sensitive.clone().yaml(&yaml).load().unwrap_err();
        has(&error.to_string(), &[key, "MISSING"]);
    }
}

/// The first brace ended a default, and the rest remained as text.
#[test]
fn d25_a_default_leaves_no_stray_brace() {
    let resolved = loader(&[("A", "set")]).resolve_env(true);
    let yaml = connection("application_name: '${A:-${B}}'");
    if let Ok(config) = resolved.clone().yaml(&yaml).load() {
        let name = config.connection_settings.application_name.as_deref();
        assert_eq!(name, Some("set"));
    }
    let yaml = connection("application_name: '${B:-plain}'");
    let config = resolved.yaml(&yaml).load().unwrap();
    assert_eq!(
        config.connection_settings.application_name.as_deref(),
        Some("plain")
    );
}

/// from_file removed all line ends, read a number as a file descriptor, and kept a byte order mark.
#[test]
fn d26_a_secret_file_is_a_text_file() {
    let folder = tempfile::tempdir().unwrap();
    let from = |bytes: &[u8]| {
        fs::write(folder.path().join("s"), bytes).unwrap();
        fs::write(
            folder.path().join("c.yaml"),
            connection("password: { from_file: s }"),
        )
        .unwrap();
        let loader = loader(&[]).resolve_env(true);
        loader.file(folder.path().join("c.yaml")).load()
    };
    let read = |bytes: &[u8]| read_password(&from(bytes).unwrap());
    assert_eq!(read(b"S3cret\n").as_deref(), Some("S3cret"));
    assert_eq!(read(b"S3cret\r\n").as_deref(), Some("S3cret"));
    assert_eq!(read(b"S3cret\n\n").as_deref(), Some("S3cret\n"));
    assert_eq!(read(b"\xef\xbb\xbfS3cret").as_deref(), Some("S3cret"));
    assert!(
        !from(b"S3cret\xff")
            .unwrap_err()
            .to_string()
            .contains("S3cret")
    );
    let number = loader(&[])
        .resolve_env(true)
        .yaml(connection("password: { from_file: 0 }"));
    assert!(number.load().is_err());
}

/// Keys outside the old wrapper were dropped silently.
#[test]
fn d27_what_stands_beside_the_wrapper_is_told() {
    let yaml =
        "postgresql: { connection_settings: { host: db } }\npool_settings: { max_size: 3 }\n";
    let (config, warnings) = warned(yaml);
    assert_eq!(
        config.connection_settings.targets()[0].host.to_string(),
        "db"
    );
    let told = |kind: &WarningKind| warnings.iter().any(|warning| warning.kind == *kind);
    assert!(told(&WarningKind::LegacyWrapper) && told(&WarningKind::BesideWrapper));
}

/// Unquoted passwords became numbers, booleans and times of day.
#[test]
fn d28_an_unquoted_password_stays_as_it_is_written() {
    for text in ["0123", "1e5", "1_000", "0x1F", "12:30", "2024-01-02", "007"] {
        // Either accepted as written, or refused with the advice to quote it; never changed.
        match load(&connection(&format!("password: {text}"))) {
            Ok(config) => assert_eq!(password(&config), Some(text)),
            Err(error) => has(&error.to_string(), &["password", "quotes"]),
        }
    }
    for word in ["yes", "on", "off", "no"] {
        let config = good(&connection(&format!("password: {word}")));
        assert_eq!(password(&config), Some(word));
    }
}

/// The cache key did not include the type, and empty values were dropped.
#[test]
fn b13_b15_types_have_fingerprints_of_their_own_and_zero_is_a_value() {
    let config = good("connection_settings: { host: db, keepalives: 0, connect_timeout: 0 }");
    assert!(!config.connection_settings.keepalives);
    assert_eq!(config.connection_settings.connect_timeout, None);
    let kinds = [ConnectionType::Pool, ConnectionType::AsyncPool];
    let config = good("pool_settings: { max_size: 3 }\nasync_pool_settings: {}");
    assert_ne!(config.fingerprint(kinds[0]), config.fingerprint(kinds[1]));
}
