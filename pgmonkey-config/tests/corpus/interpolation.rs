//! `${VAR}`, `from_env` and `from_file`.

use std::fs;

use pgmonkey_config::{Config, ConnectionType, Error, Loader, SecretSource};

use super::{connection, good, has, loader, password, read_password};

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
    loader(VARIABLES).yaml(yaml)
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
fn on_unless_the_file_or_the_program_turns_it_off() {
    let text = connection("options: 'x ${A}'");
    let off = format!("resolve_env: false\n{text}");
    let base = || loader(VARIABLES);
    for (loader, expected) in [
        (base().yaml(&text), "x a-value"),
        (base().yaml(&text).resolve_env(false), "x ${A}"),
        (base().yaml(&off), "x ${A}"),
        (base().yaml(&text).set("resolve_env", false), "x ${A}"),
        // A file cannot turn on what the program has turned off.
        (
            base()
                .yaml(format!("resolve_env: true\n{text}"))
                .resolve_env(false),
            "x ${A}",
        ),
        // The key decides for all files; the strongest that sets it counts.
        (base().yaml("resolve_env: false").yaml(&text), "x ${A}"),
        (base().yaml(&off).yaml("resolve_env: 'on'"), "x a-value"),
        (
            base()
                .yaml(&off)
                .variables([("A", "a-value"), ("PGMONKEY_RESOLVE_ENV", "true")])
                .env(true),
            "x a-value",
        ),
    ] {
        let config = loader.load().unwrap();
        assert_eq!(
            config.connection_settings.options.as_deref(),
            Some(expected)
        );
    }
    has(
        &failure("resolve_env: '${NONE:-true}'"),
        &["resolve_env", "true or false"],
    );
}

#[test]
fn only_the_text_of_files_is_resolved() {
    let folder = tempfile::tempdir().unwrap();
    let services = folder.path().join("services");
    fs::write(&services, "[shop]\napplication_name=${A}\n").unwrap();
    let config = loader(&[
        ("A", "a-value"),
        ("PGSERVICEFILE", services.to_str().unwrap()),
        ("PGOPTIONS", "-c x.y=${A}"),
        ("PGPASSWORD", "${A}"),
    ])
    .yaml(connection("service: shop"))
    .set("connection_settings.dbname", "${A}")
    .load()
    .unwrap();
    let settings = &config.connection_settings;
    assert_eq!(settings.application_name.as_deref(), Some("${A}"));
    assert_eq!(settings.options.as_deref(), Some("-c x.y=${A}"));
    assert_eq!(settings.dbname.as_deref(), Some("${A}"));
    assert_eq!(password(&config), Some("${A}"));
    let url = "postgres://app:${A}@db";
    let config = loader(VARIABLES).url(url).load().unwrap();
    assert_eq!(password(&config), Some("${A}"));
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
}

/// The value may be a secret that was put into the wrong variable.
#[test]
fn a_value_that_came_by_reference_is_not_repeated() {
    for (yaml, key) in [
        (connection("port: '${PW}'"), "port"),
        (connection("port: '543${A}'"), "port"),
        (connection("port: { from_env: PORTS }"), "port"),
        (
            connection("host: ['${A}', 'a-value:1']\n  hostaddr: '${A}'"),
            "hostaddr",
        ),
        (connection("sslmode: '${A}'"), "sslmode"),
        (connection("connect_timeout: '${A}'"), "connect_timeout"),
        (connection("url: 'postgres://h:${A}/d'"), "url"),
        (connection("url: 'postgres://h/d?sslmode=${A}'"), "url"),
        (connection("url: '${URL}'"), "url"),
        (connection("service: '${A}'"), "service"),
        (connection("service: x\n  servicefile: '/${A}'"), "service"),
        (connection("user: { from_file: '/${A}' }"), "user"),
        (connection("password: { from_file: '/${A}' }"), "password"),
        (connection("password_file: '/${A}'"), "password_file"),
        ("connection_type: '${A}'".to_owned(), "connection_type"),
        (
            "pool_settings: { min_size: '${SIZE}', max_size: 3 }".to_owned(),
            "min_size",
        ),
        (
            "pool_settings: { min_size: 44, max_size: '${SIZE}' }".to_owned(),
            "min_size",
        ),
        ("pool_settings: { max_size: '${A}' }".to_owned(), "max_size"),
    ] {
        let variables = [
            ("A", "a-value"),
            ("PW", "S3cret"),
            ("PORTS", "a-value"),
            ("SIZE", "17"),
            ("URL", "postgres://h/d?sslmode=a-value"),
        ];
        let error = loader(&variables).yaml(&yaml).load().unwrap_err();
        let shown = format!("{error} {error:?}");
        has(&error.to_string(), &[key, "line "]);
        for value in ["a-value", "S3cret", "17"] {
            assert!(!shown.contains(value), "{yaml}: {shown}");
        }
    }
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
fn a_reference_cannot_change_the_other_parts_of_a_url() {
    let variables = [
        ("PW", "a@b/c:d?e#f%41 g'\\,=&"),
        ("U", "o@corp"),
        ("H", "db1"),
        ("H6", "::1"),
        ("P", "5433"),
        ("D", "a/b?c"),
        ("MODE", "require"),
    ];
    let load = |url: &str| {
        let yaml = connection(&format!("url: \"{url}\""));
        let loader = loader(&variables).yaml(&yaml);
        let config = loader
            .load()
            .unwrap_or_else(|error| panic!("{url}: {error}"));
        assert_eq!(password(&config), Some(variables[0].1), "{url}");
        config
    };
    let config = load("postgres://${U}:${PW}@${H}:${P}/${D}?sslmode=${MODE}");
    let settings = &config.connection_settings;
    assert_eq!(settings.user.as_deref(), Some("o@corp"));
    assert_eq!(settings.targets()[0].to_string(), "db1:5433");
    assert_eq!(settings.dbname.as_deref(), Some("a/b?c"));
    assert_eq!(settings.sslmode.as_str(), "require");
    let config = load("postgres://app:${PW}@${H}:${P},[${H6}]:${P}/shop");
    assert_eq!(
        config.connection_settings.describe(),
        "app@db1:5433,[::1]:5433/shop"
    );
    for url in [
        "postgres://app@db1/shop?password=${PW}",
        "host=db1 user=app password=${PW} dbname=shop",
        "user=app password='${PW}' host='${H}' dbname=shop",
    ] {
        assert_eq!(
            load(url).connection_settings.describe(),
            "app@db1:5432/shop"
        );
    }
}

#[test]
fn a_reference_at_the_beginning_of_a_url_is_one() {
    let variables = [
        ("URL", "postgres://app:p%40ss@db/shop"),
        ("BASE", "postgres://app:p%40ss@db"),
        ("D", "sh/op"),
    ];
    for value in [
        "'${URL}'",
        "{ from_env: URL }",
        "'${BASE}/shop'",
        "'${URL}?sslmode=require'",
        "'${NONE:-postgres://app@db/shop}?password=p%40ss'",
    ] {
        let config = loader(&variables).yaml(connection(&format!("url: {value}")));
        let config = config
            .load()
            .unwrap_or_else(|error| panic!("{value}: {error}"));
        assert_eq!(password(&config), Some("p@ss"), "{value}");
        assert_eq!(config.connection_settings.describe(), "app@db:5432/shop");
    }
    let config = loader(&variables)
        .yaml(connection("url: '${BASE}/${D}'"))
        .load()
        .unwrap();
    assert_eq!(config.connection_settings.dbname.as_deref(), Some("sh/op"));
}

#[test]
fn a_part_of_a_url_that_is_set_elsewhere_is_not_resolved() {
    let yaml = connection("url: 'postgres://${NONE}:${NONE}@db'\n  user: app\n  password: S3cret");
    let config = resolve(&yaml).unwrap();
    assert_eq!(config.connection_settings.user.as_deref(), Some("app"));
    let error = failure(&connection("url: 'postgres://app:${NONE}@db'"));
    has(
        &error,
        &["line 2, column 3", "connection_settings.url", "NONE"],
    );
    let config = resolve(&connection("url: 'postgres://app:${EMPTY}@db'")).unwrap();
    assert_eq!(password(&config), None);
}

#[test]
fn a_defect_of_a_url_is_where_it_is_written() {
    let error = failure(&connection("url: 'postgres://${A}:${PW}@db:x'"));
    has(&error, &["invalid port at character 26"]);
    let error = failure(&connection("url: \"postgres://\u{100000}:${A}@db\""));
    has(&error, &["connection_settings.url", "private-use"]);
    let error = failure(&connection("url: 'postgres://%F4%80%80%80:${A}@db'"));
    has(&error, &["connection_settings.url", "private-use"]);
}

#[test]
fn b32_sensitive_defaults_can_be_allowed() {
    let text = connection("password: '${NONE:-S3cret}'");
    let config = resolving(&text)
        .allow_sensitive_defaults(true)
        .load()
        .unwrap();
    assert_eq!(password(&config), Some("S3cret"));
    let config = loader(&[]).yaml(text).resolve_env(false).load().unwrap();
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
        loader(&[]).file(&file).load()
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
        assert_eq!(
            read_password(&load(bytes).unwrap()).as_deref(),
            Some(expected),
            "{bytes:?}"
        );
    }
    let error = load(b"\xffS3cret").unwrap_err().to_string();
    has(&error, &["connection_settings.password", "secret", "UTF-8"]);
    assert!(!error.contains("S3cret"), "{error}");
    has(
        &load(&vec![b'x'; 2 << 20]).unwrap_err().to_string(),
        &["larger than"],
    );
    fs::remove_file(&secret).unwrap();
    let error = loader(&[]).file(&file).load().unwrap_err().to_string();
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
    let error = loader(&[]).file(&file).load().unwrap_err().to_string();
    has(&error, &["directory"]);
    has(
        &failure(&connection("password: { from_file: 0 }")),
        &["not found"],
    );
}

#[test]
fn the_path_of_a_secret_file_may_have_references() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let directory = folder.path().to_str().unwrap().to_owned();
    let load = |line: &str| {
        write("pgmonkey.yaml", &connection(line));
        loader(&[("CREDENTIALS_DIRECTORY", &directory), ("NAME", "secret")])
            .file(folder.path().join("pgmonkey.yaml"))
            .load()
    };
    write("secret", "S3cret\n");
    for line in [
        "password: { from_file: '${CREDENTIALS_DIRECTORY}/secret' }",
        "password: { from_file: '${NAME}' }",
        "password_file: ${CREDENTIALS_DIRECTORY}/${NAME}",
    ] {
        let config = load(line).unwrap();
        assert_eq!(read_password(&config).as_deref(), Some("S3cret"));
        let path = folder.path().join("secret");
        assert_eq!(
            config.connection_settings.password,
            Some(SecretSource::File(path))
        );
    }
    let config = load("dbname: { from_file: '${NAME}' }").unwrap();
    assert_eq!(config.connection_settings.dbname.as_deref(), Some("S3cret"));
    for key in ["password", "dbname"] {
        let error = load(&format!("{key}: {{ from_file: '${{NONE}}/x' }}")).unwrap_err();
        has(
            &error.to_string(),
            &["pgmonkey.yaml:2:3", key, "variable NONE is not set"],
        );
        // It names the file as it is written.
        let error = load(&format!("{key}: {{ from_file: '${{NAME}}.x' }}")).unwrap_err();
        has(
            &error.to_string(),
            &[
                "pgmonkey.yaml:2:3",
                key,
                "from_file ${NAME}.x: file not found",
            ],
        );
    }
    // A path decides who logs in, as that of a key does.
    let error = load("password_file: '${NONE:-secret}'").unwrap_err();
    has(
        &error.to_string(),
        &["password_file", "default is not allowed"],
    );
}

#[test]
fn without_resolution_a_path_is_as_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pgmonkey.yaml");
    fs::write(&file, connection("password_file: '${NAME}'")).unwrap();
    let path = folder.path().join("${NAME}");
    fs::write(&path, "S3cret").unwrap();
    let config = loader(&[]).file(&file).resolve_env(false).load().unwrap();
    assert_eq!(
        config.connection_settings.password,
        Some(SecretSource::File(path))
    );
}

#[test]
fn from_file_knows_the_home_directory() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("pw"), "S3cret\n").unwrap();
    let config = Loader::new()
        .variables([("HOME", folder.path().to_str().unwrap())])
        .yaml(connection("password: { from_file: ~/pw }"))
        .load()
        .unwrap();
    assert_eq!(read_password(&config).as_deref(), Some("S3cret"));
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
        let loader = loader(&[("X", value)]);
        loader.yaml(connection("password: '${X}'")).load().unwrap()
    };
    let print = |config: &Config| *config.fingerprint(ConnectionType::Pool);
    assert_eq!(print(&load("a")), print(&load("a")));
    assert_ne!(print(&load("a")), print(&load("b")));
}
