//! `${VAR}`, `from_env` and `from_file`.

use std::fs;

use pgmonkey_config::{Config, ConnectionType, Error, Loader};

use super::{connection, good, has, loader, password};

const VARIABLES: &[(&str, &str)] = &[
    ("A", "a-value"),
    ("EMPTY", ""),
    ("PORT", "5433"),
    ("PW", "S3cret"),
    ("NESTED", "${A}"),
    ("TYPE", "pool"),
    ("_9", "under"),
];

fn resolving(yaml: &str) -> Loader {
    loader(VARIABLES).resolve_env(true).yaml(yaml)
}

fn resolve(yaml: &str) -> Result<Config, Error> {
    resolving(yaml).load()
}

fn options(value: &str) -> String {
    let config = resolve(&connection(&format!("options: '{value}'"))).unwrap();
    config
        .connection_settings
        .options
        .clone()
        .unwrap_or_default()
}

fn failure(yaml: &str) -> String {
    let error = resolve(yaml).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("S3cret"), "{shown}");
    error.to_string()
}

#[test]
fn off_unless_asked_for() {
    let config = good(&connection("options: 'x ${A}'"));
    assert_eq!(
        config.connection_settings.options.as_deref(),
        Some("x ${A}")
    );
}

#[test]
fn references_inside_text() {
    assert_eq!(options("${A}"), "a-value");
    assert_eq!(
        options("x ${A} y ${_9}${A} z"),
        "x a-value y undera-value z"
    );
    assert_eq!(options("ü${A}ü"), "üa-valueü");
}

#[test]
fn what_looks_like_one_but_is_not() {
    for text in [
        "$A", "${}", "${1A}", "${ A }", "${A-x}", "${A:=x}", "${A:?x}", "${A:+x}", "${A", "$",
        "$$", "${A:-x", "${é}",
    ] {
        assert_eq!(options(text), text);
    }
}

#[test]
fn two_dollars_escape() {
    assert_eq!(options("$${A}"), "${A}");
    assert_eq!(options("$$${A}"), "$${A}");
    assert_eq!(options("$${A} ${A}"), "${A} a-value");
}

#[test]
fn defaults_apply_only_when_the_variable_is_not_set() {
    assert_eq!(options("${NONE:-d}"), "d");
    assert_eq!(options("${NONE:-}x"), "x");
    assert_eq!(options("<${EMPTY:-d}>"), "<>");
    assert_eq!(options("${A:-d}"), "a-value");
    assert_eq!(options("${NONE:-a b:c-d}"), "a b:c-d");
}

#[test]
fn defaults_may_hold_references() {
    assert_eq!(options("${A:-${B}}"), "a-value");
    assert_eq!(options("${NONE:-${A}}"), "a-value");
    assert_eq!(options("${NONE:-<${NONE:-${A}}>}"), "<a-value>");
    has(
        &failure(&connection("options: '${NONE:-${B}}'")),
        &["variable B"],
    );
    // The first brace that does not close a nested reference ends the default.
    assert_eq!(options("${NONE:-a}b}"), "ab}");
}

#[test]
fn values_are_not_scanned_again() {
    assert_eq!(options("${NESTED}"), "${A}");
}

#[test]
fn no_reference_can_take_long() {
    for text in [
        "${A:-".repeat(100_000),
        "${N:-${A".repeat(50_000),
        "${N:-".repeat(20) + &"}".repeat(20),
    ] {
        let error = resolve(&connection(&format!("options: '{text}'")));
        has(&error.unwrap_err().to_string(), &["options", "references"]);
    }
}

#[test]
fn a_missing_variable_is_named_with_its_key() {
    let error = failure("connection_settings:\n  host: '${NONE}'\n");
    has(
        &error,
        &["line 2", "connection_settings.host", "NONE", "not set"],
    );
    let error = failure(&connection("password: { from_env: NONE }"));
    has(
        &error,
        &["line 2", "connection_settings.password", "NONE", "not set"],
    );
    for name in ["''", "a=b", "\"a\\0b\""] {
        failure(&connection(&format!("password: {{ from_env: {name} }}")));
    }
}

#[test]
fn resolved_values_are_typed() {
    let config = resolve(
        "connection_type: '${TYPE}'
connection_settings: { port: '${PORT}', autocommit: '${NONE:-false}', connect_timeout: '${NONE:-5m}' }
pool_settings: { min_size: '${NONE:-5}', max_size: { from_env: PORT } }
sync_settings: { work_mem: '${NONE:-64}MB', search_path: ['${A}', public] }",
    )
    .unwrap();
    assert_eq!(config.connection_type, ConnectionType::Pool);
    assert_eq!(config.connection_settings.port, [5433]);
    assert!(!config.connection_settings.autocommit);
    assert_eq!(
        (config.pool_settings.min_size, config.pool_settings.max_size),
        (5, 5433)
    );
    assert_eq!(config.sync_settings.value("work_mem"), Some("64MB"));
    assert_eq!(
        config.sync_settings.value("search_path"),
        Some("a-value,public")
    );
    has(
        &failure(&connection("port: '${A}'")),
        &["port", "`a-value`"],
    );
}

#[test]
fn an_empty_result_is_not_set() {
    let config = resolve(&connection(
        "dbname: '${EMPTY}'\n  user: { from_env: EMPTY }",
    ))
    .unwrap();
    assert_eq!(config, good("{}"));
}

#[test]
fn sensitive_keys_take_no_default() {
    for key in [
        "password",
        "sslpassword",
        "sslcert",
        "sslkey",
        "sslrootcert",
    ] {
        let error = failure(&connection(&format!("{key}: '${{NONE:-S3cret}}'")));
        has(&error, &["line 2", key, "default is not allowed", "NONE"]);
    }
    for name in [
        "my.api_token",
        "my.client_secret",
        "my.credentials",
        "my.passphrase",
    ] {
        let error = failure(&format!(
            "async_settings: {{ {name}: '${{NONE:-S3cret}}' }}"
        ));
        has(&error, &[name, "default is not allowed"]);
        let error = failure(&format!(
            "async_settings: {{ {name}: ['${{NONE:-S3cret}}'] }}"
        ));
        has(&error, &["default is not allowed"]);
    }
    // Only the use of the default is refused.
    let config = resolve(&connection("password: '${PW:-x}'")).unwrap();
    assert_eq!(password(&config), Some("S3cret"));
}

#[test]
fn a_url_is_no_way_round() {
    for url in [
        "postgres://app:${NONE:-S3cret}@db",
        "${NONE:-postgres://app:S3cret@db}",
        "postgres://db?password=${NONE:-S3cret}",
        "host=db password=${NONE:-S3cret}",
    ] {
        let error = failure(&connection(&format!("url: '{url}'")));
        has(&error, &["url", "default is not allowed"]);
    }
    let config = resolve(&connection(
        "url: 'postgres://app:${PW}@${NONE:-db}/${NONE:-shop}'",
    ))
    .unwrap();
    assert_eq!(config.connection_settings.describe(), "app@db:5432/shop");
    assert_eq!(password(&config), Some("S3cret"));
}

#[test]
fn b32_sensitive_defaults_can_be_allowed() {
    let text = connection("password: '${NONE:-S3cret}'");
    let config = resolving(&text)
        .allow_sensitive_defaults(true)
        .load()
        .unwrap();
    assert_eq!(password(&config), Some("S3cret"));
    let config = loader(&[])
        .yaml(text)
        .allow_sensitive_defaults(true)
        .load()
        .unwrap();
    assert_eq!(password(&config), Some("${NONE:-S3cret}"));
}

#[test]
fn indirect_values_stand_alone() {
    for value in [
        "{ from_env: PW, from_file: /x }",
        "{ from_env: PW, other: 1 }",
        "{ from_env: 5.5 , a: b}",
        "{ from_env: null }",
        "{ from_env: [PW] }",
        "{ from_file: { a: b } }",
    ] {
        let error = failure(&connection(&format!("password: {value}")));
        has(&error, &["line 2", "password", "the only key"]);
    }
    has(
        &failure(&connection("password: { FROM_ENV: PW }")),
        &["password", "quotes"],
    );
    // The name is not a template.
    has(
        &failure(&connection("password: { from_env: '${A}' }")),
        &["${A}"],
    );
}

#[test]
fn values_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    let file = folder.path().join("pgmonkey.yaml");
    fs::write(
        &file,
        "connection_settings: { password: { from_file: secret } }",
    )
    .unwrap();
    let load = |bytes: &[u8]| {
        fs::write(&secret, bytes).unwrap();
        loader(&[]).resolve_env(true).file(&file).load()
    };
    for (bytes, expected) in [
        (&b"S3cret"[..], "S3cret"),
        (b"S3cret\n", "S3cret"),
        (b"S3cret\r\n", "S3cret"),
        (b"S3cret\n\n", "S3cret\n"),
        (b" S3 cret \n", " S3 cret "),
        (b"a\nb\n", "a\nb"),
        (b"S3cret\r", "S3cret\r"),
        (b"\xef\xbb\xbfS3cret\n", "S3cret"),
        (b"0123", "0123"),
    ] {
        assert_eq!(password(&load(bytes).unwrap()), Some(expected), "{bytes:?}");
    }
    let error = load(b"\xffS3cret").unwrap_err().to_string();
    has(&error, &["connection_settings.password", "secret", "UTF-8"]);
    assert!(!error.contains("S3cret"), "{error}");
    has(
        &load(&vec![b'x'; 2 << 20]).unwrap_err().to_string(),
        &["larger than"],
    );
    fs::remove_file(&secret).unwrap();
    let error = loader(&[])
        .resolve_env(true)
        .file(&file)
        .load()
        .unwrap_err()
        .to_string();
    has(
        &error,
        &[
            "pgmonkey.yaml:1",
            "connection_settings.password",
            "secret",
            "not found",
        ],
    );
    fs::create_dir(&secret).unwrap();
    let error = loader(&[])
        .resolve_env(true)
        .file(&file)
        .load()
        .unwrap_err()
        .to_string();
    has(&error, &["directory"]);
    has(
        &failure(&connection("password: { from_file: 0 }")),
        &["not found"],
    );
}

/// As in Python, the name of a variable or a file is taken literally.
#[test]
fn the_path_of_a_secret_file_is_no_template() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "pgmonkey.yaml",
        &connection("password: { from_file: '${NAME}' }"),
    );
    write("secret", "another");
    let load = || {
        let file = folder.path().join("pgmonkey.yaml");
        loader(&[("NAME", "secret")])
            .resolve_env(true)
            .file(file)
            .load()
    };
    let error = load().unwrap_err().to_string();
    has(&error, &["${NAME}", "not found", "is not resolved"]);
    write("${NAME}", "S3cret\n");
    assert_eq!(password(&load().unwrap()), Some("S3cret"));
}

#[test]
fn from_file_knows_the_home_directory() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pw"), "S3cret\n").unwrap();
    let config = Loader::new()
        .variables([("HOME", folder.path().to_str().unwrap())])
        .resolve_env(true)
        .yaml(connection("password: { from_file: ~/pw }"))
        .load()
        .unwrap();
    assert_eq!(password(&config), Some("S3cret"));
}

#[test]
fn lists_and_maps_inside_them_are_resolved() {
    let config = resolve(&connection("host: ['${A}', { from_env: A }]")).unwrap();
    assert_eq!(config.connection_settings.host.len(), 2);
    has(
        &failure(&connection("host: ['${NONE}']")),
        &["connection_settings.host", "NONE"],
    );
}

#[test]
fn keys_are_no_templates() {
    has(
        &failure("sync_settings: { '${A}': x }"),
        &["server parameter"],
    );
}

#[test]
fn numbers_and_booleans_pass() {
    let config = resolve(&connection("port: 5433\n  autocommit: true\n  dbname:")).unwrap();
    assert_eq!(config.connection_settings.port, [5433]);
}

#[test]
fn what_a_stronger_layer_sets_is_not_resolved() {
    let yaml = connection("password: '${NONE}'\n  host: '${NONE}'");
    let config = resolving(&yaml)
        .set("connection_settings.password", "S3cret")
        .yaml(connection("host: db"))
        .load()
        .unwrap();
    assert_eq!(password(&config), Some("S3cret"));
}

#[test]
fn another_value_is_another_fingerprint() {
    let load = |value: &'static str| {
        let loader = loader(&[("X", value)]).resolve_env(true);
        loader.yaml(connection("password: '${X}'")).load().unwrap()
    };
    let print = |config: &Config| *config.fingerprint(ConnectionType::Pool);
    assert_eq!(print(&load("a")), print(&load("a")));
    assert_ne!(print(&load("a")), print(&load("b")));
}
