//! The file as a whole: structure, format, encoding, position of errors.

use std::fs;

use pgmonkey_config::{Config, ConnectionType, Loader, Place, UnknownKeys, WarningKind};

use super::{bad, connection, good, has, load, loader, password, warned};

#[test]
fn one_file_serves_four_types() {
    let config = good(
        "connection_type: async_pool
connection_settings: { host: db }
sync_settings: { work_mem: 1MB }
async_settings: { work_mem: 2MB }
pool_settings: { max_size: 3 }
async_pool_settings: { max_size: 4, multiplex: true }",
    );
    assert_eq!(config.connection_type, ConnectionType::AsyncPool);
    for kind in ConnectionType::ALL {
        let other = config.with_connection_type(kind);
        assert_eq!(other.connection_type, kind);
        let size = if kind.is_async() { 4 } else { 3 };
        assert_eq!(other.pool_settings_for(kind).max_size, size);
        let memory = if kind.is_async() { "2MB" } else { "1MB" };
        assert_eq!(other.session_settings(kind).value("work_mem"), Some(memory));
    }
}

#[test]
fn the_type_is_normal_unless_the_file_says_otherwise() {
    for text in ["{}", "connection_type:", "connection_type: ''"] {
        assert_eq!(good(text).connection_type, ConnectionType::Normal);
    }
}

#[test]
fn types_are_exact_words() {
    for word in ["Pool", "' pool'", "sync", "async-pool", "[pool]", "1"] {
        let error = bad(&format!("connection_type: {word}"));
        has(
            &error,
            &[
                "line 1",
                "connection_type",
                "normal, pool, async, async_pool",
            ],
        );
    }
}

#[test]
fn empty_sections_count_as_absent() {
    let empty = good("{}");
    for section in [
        "connection_settings",
        "sync_settings",
        "async_settings",
        "pool_settings",
        "async_pool_settings",
    ] {
        for value in ["", "null", "~", "{}", "''"] {
            assert_eq!(
                good(&format!("{section}: {value}")),
                empty,
                "{section}: {value}"
            );
        }
    }
}

#[test]
fn a_section_that_is_no_mapping_is_named() {
    for value in ["5", "text", "[a, b]", "true", "postgres://app:S3cret@db"] {
        let error = bad(&format!("{{}}\n---\n{value}"));
        assert!(error.contains("more than one"), "{error}");
        let error = bad(&format!("connection_settings: {value}"));
        has(
            &error,
            &["line 1", "connection_settings", "expected a section"],
        );
        assert!(!error.contains("S3cret"), "{error}");
    }
}

#[test]
fn texts_that_are_no_configuration() {
    for (text, part) in [
        ("", "empty"),
        ("   \n\n", "empty"),
        ("# only a comment\n", "empty"),
        ("---\n", "empty"),
        ("null", "empty"),
        ("just text S3cret", "expected sections"),
        ("42", "expected sections"),
        ("- a\n- b\n", "expected sections"),
        ("a: 1\n---\nb: 2\n", "more than one YAML document"),
        ("a: [1, 2", "not valid YAML; close every bracket"),
        ("a:\n\t- tab\n", "a tab in the indentation"),
        ("a: b: c", "not valid YAML"),
        ("a\0b: c", "zero byte"),
    ] {
        let error = bad(text);
        has(&error, &[part]);
        assert!(!error.contains("S3cret"), "{error}");
    }
    has(&Config::from_toml("").unwrap_err().to_string(), &["empty"]);
    has(&Config::from_json(" ").unwrap_err().to_string(), &["empty"]);
    has(
        &Config::from_json("[]").unwrap_err().to_string(),
        &["expected sections"],
    );
}

#[test]
fn the_wrapper_of_version_2_is_unwrapped_with_a_warning() {
    let inner = "connection_type: pool\n  connection_settings: { host: db }";
    let (config, warnings) = warned(&format!("postgresql:\n  {inner}\n"));
    assert_eq!(config, good(&inner.replace("\n  ", "\n")));
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].kind, WarningKind::LegacyWrapper);
    has(&warnings[0].to_string(), &["line 1", "deprecated"]);
}

#[test]
fn keys_beside_the_wrapper_are_warned_about() {
    let text = "postgresql:\n  connection_settings: { host: db }\npool_settings: { max_size: 3 }\n";
    let (config, warnings) = warned(text);
    assert_eq!(config.pool_settings.max_size, 10);
    assert_eq!(warnings[1].kind, WarningKind::BesideWrapper);
    has(&warnings[1].to_string(), &["line 3", "pool_settings"]);
}

#[test]
fn only_one_wrapper_is_taken_off() {
    has(
        &bad("postgresql: { postgresql: { connection_type: pool } }"),
        &["postgresql", "unknown"],
    );
    has(&bad("postgresql:"), &["line 1", "unknown key"]);
}

#[test]
fn errors_inside_the_wrapper_have_their_line() {
    let error = bad("postgresql:\n  connection_settings:\n    port: 70000\n");
    has(&error, &["line 3", "connection_settings.port", "70000"]);
}

#[test]
fn duplicate_keys_are_errors_in_every_format() {
    has(
        &bad("connection_type: pool\nconnection_type: async\n"),
        &["line 2", "twice"],
    );
    has(
        &bad(&connection("{ host: a, host: b }").replace("\n  {", " {")),
        &["twice"],
    );
    let toml = Config::from_toml("connection_type = 'pool'\nconnection_type = 'async'\n");
    has(&toml.unwrap_err().to_string(), &["line 2", "twice"]);
    let json =
        Config::from_json("{\"connection_type\": \"pool\",\n \"connection_type\": \"pool\"}");
    has(&json.unwrap_err().to_string(), &["line 2", "twice"]);
}

#[test]
fn anchors_aliases_and_merge_keys_work() {
    let config = good(
        "pool_settings: &pool { min_size: 2, max_size: 7 }
async_pool_settings:
  <<: *pool
  max_size: 8
connection_settings: { user: &name app, dbname: *name }",
    );
    assert_eq!(config.async_pool_settings.min_size, 2);
    assert_eq!(config.async_pool_settings.max_size, 8);
    assert_eq!(config.connection_settings.dbname.as_deref(), Some("app"));
}

#[test]
fn exploding_aliases_are_refused() {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (from, to) in "abcdefgh".chars().zip("bcdefghi".chars()) {
        let alias = vec![format!("*{from}"); 9].join(", ");
        text.push_str(&format!("{to}: &{to} [{alias}]\n"));
    }
    has(&bad(&text), &["aliases"]);
}

/// The counts bound the work, so no test has to measure it.
#[test]
fn a_text_has_a_bounded_number_of_values() {
    let limit = "10000 keys and values";
    // Each list repeats the previous list ten times.
    let mut aliases = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (from, to) in "abc".chars().zip("bcd".chars()) {
        let alias = vec![format!("*{from}"); 10].join(", ");
        aliases.push_str(&format!("{to}: &{to} [{alias}]\n"));
    }
    assert!(aliases.len() < 200);
    has(&bad(&aliases), &[limit, "aliases"]);
    let long = format!(
        "a: &a {}\nb: [{}]\n",
        "x".repeat(50_000),
        "*a, ".repeat(100)
    );
    has(&bad(&long), &["4194304 bytes of text", "aliases"]);

    let items = |count: usize| vec!["1"; count].join(",");
    let json = |count| Config::from_json(&format!("{{\"a\": [{}]}}", items(count)));
    let toml = |count| Config::from_toml(&format!("a = [{}]", items(count)));
    let yaml = |count| load(&format!("a: [{}]", items(count)));
    for read in [&json as &dyn Fn(usize) -> Result<Config, _>, &toml, &yaml] {
        // The key, its list and the mapping around them count too.
        let error = read(9_990).unwrap_err().to_string();
        has(&error, &["unknown key"]);
        has(&read(10_001).unwrap_err().to_string(), &[limit]);
    }
}

#[test]
fn there_is_a_bounded_number_of_hosts() {
    let hosts = |count: usize, between: &str| {
        let hosts: Vec<_> = (0..count).map(|n| format!("db{n}")).collect();
        hosts.join(between)
    };
    let limit = "at most 256";
    for (settings, key) in [
        ("host: 'HOSTS'", "connection_settings.host"),
        ("host: [HOSTS]", "connection_settings.host"),
        ("url: 'postgres://HOSTS/db'", "connection_settings.url"),
        ("url: 'host=HOSTS'", "connection_settings.url"),
    ] {
        let with = |count| connection(&settings.replace("HOSTS", &hosts(count, ",")));
        assert_eq!(good(&with(256)).connection_settings.host.len(), 256);
        has(&bad(&with(257)), &[key, limit]);
        has(&bad(&with(9_000)), &[key, limit]);
    }
    let ports = |count: usize| connection(&format!("port: [{}]", vec!["1"; count].join(",")));
    has(&bad(&ports(257)), &["connection_settings.port", limit]);
    let mut settings = pgmonkey_config::Settings::default();
    settings.connection_settings.host = vec![pgmonkey_config::Host::new("db"); 100_000];
    let error = Config::new(settings).unwrap_err().to_string();
    has(
        &error,
        &["connection_settings.host", "100000 entries", limit],
    );
}

#[test]
fn the_place_of_a_key_is_right_however_many_there_are() {
    let lines: String = (0..100).map(|n| format!("\n  \"ü{n}\": 1,")).collect();
    let json =
        format!("{{\"sync_settings\": {{{lines}\n \"b\": 1 }},\n\"x\": {{}}, \"y\": {{}} }}");
    let error = Config::from_json(&json).unwrap_err().to_string();
    has(&error, &["line 103, column 1:", "line 103, column 10:"]);
    let error = Config::from_toml("# ü\ny = 1\n  x = 1\n").unwrap_err();
    has(
        &error.to_string(),
        &["line 2, column 1", "line 3, column 3"],
    );
}

#[test]
fn deep_nesting_is_refused_in_every_format() {
    for count in [1_000, 100_000, 10_000_000] {
        let open = "[".repeat(count);
        bad(&open);
        bad(&format!("a: {open}"));
        bad(&"{a: ".repeat(count / 4));
        bad(&"- ".repeat(count / 2));
        Config::from_json(&open).unwrap_err();
        Config::from_json(&"{\"a\":".repeat(count / 5)).unwrap_err();
        Config::from_toml(&format!("a = {open}")).unwrap_err();
        Config::from_toml(&format!("[{}a]", "a.".repeat(count / 2))).unwrap_err();
    }
}

#[test]
fn utf8_always() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pgmonkey.yaml");
    let load = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        loader(&[]).file(&path).load()
    };
    let text = "connection_settings: { user: 'Jürgen' }\r\npool_settings: {}\r\n";
    let user = |config: Config| config.connection_settings.user.clone().unwrap();
    assert_eq!(user(load(text.as_bytes()).unwrap()), "Jürgen");
    let bom = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    assert_eq!(user(load(&bom).unwrap()), "Jürgen");
    let latin1 = b"connection_type: pool\nconnection_settings: { user: J\xfcrgen }";
    let error = load(latin1).unwrap_err().to_string();
    has(&error, &["pgmonkey.yaml:2:31", "UTF-8"]);
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    load(&utf16).unwrap_err();
    let binary: Vec<u8> = (0..=255).cycle().take(4096).collect();
    has(&load(&binary).unwrap_err().to_string(), &["pgmonkey.yaml"]);
}

#[test]
fn unquoted_words_and_numbers_keep_their_text() {
    for word in [
        "0123",
        "007",
        "1e5",
        "yes",
        "on",
        "NO",
        "true",
        "12:30",
        "1_000",
        "0x1F",
        "0o17",
        "1.50",
        "+5",
        "2024-01-02",
        ".5",
        "-0",
    ] {
        let config = good(&connection(&format!("password: {word}")));
        assert_eq!(password(&config), Some(word));
        let config = good(&connection(&format!("dbname: {word} # comment")));
        assert_eq!(config.connection_settings.dbname.as_deref(), Some(word));
        let config = good(&format!(
            "connection_settings: {{ password: {word} , user: a}}"
        ));
        assert_eq!(password(&config), Some(word));
    }
    let config =
        good("sync_settings: { a: &x 0123, b: *x }\nconnection_settings: { password: *x }");
    assert_eq!(password(&config), Some("0123"));
}

#[test]
fn other_formats_want_quotes_around_secrets() {
    let json = Config::from_json(r#"{"connection_settings": {"password": 98765}}"#);
    let toml = Config::from_toml("[connection_settings]\npassword = 98765");
    for error in [json.unwrap_err(), toml.unwrap_err()] {
        has(&error.to_string(), &["line", "password", "quotes"]);
        assert!(!format!("{error} {error:?}").contains("98765"), "{error}");
    }
}

#[test]
fn yaml_errors_never_quote_a_value() {
    for line in [
        "password: *S3cret",
        "password: !S3cret",
        "password: !S3cret x",
        "password: %S3cret",
        "password: @S3cret",
        "password: `S3cret",
        "password: \"S3cret",
        "password: S3cret: S3cret",
        "password: {S3cret",
        "password: [S3cret",
        "password: 'S3cret' S3cret",
        "password: \"\\S3cret\"",
        "password: |S3cret",
        "? [S3cret]",
        "<<: S3cret",
        "password: !!int S3cret",
        "password: !!binary S3cret!",
    ] {
        if let Err(error) = load(&connection(line)) {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("S3cret"), "{line}: {shown}");
            has(&error.to_string(), &["line"]);
        } else {
            panic!("accepted: {line}");
        }
    }
    has(
        &bad(&connection("password: *S3cret")),
        &["line 2", "quotes"],
    );
    for toml in [
        "password = S3cret",
        "password = 'S3cret",
        "password = \"\\S3cret\"",
        "S3cret",
    ] {
        let error = Config::from_toml(toml).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("S3cret"), "{error}");
    }
    for json in [
        "{\"password\": S3cret}",
        "{\"password\": \"S3cret",
        "{\"password\": \"\\S3cret\"}",
    ] {
        let error = Config::from_json(json).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("S3cret"), "{error}");
    }
}

#[test]
fn unreadable_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.yaml");
    let error = loader(&[]).file(&missing).load().unwrap_err();
    has(&error.to_string(), &["missing.yaml", "not found"]);
    let error = loader(&[]).file(folder.path()).load().unwrap_err();
    has(
        &error.to_string(),
        &[folder.path().to_str().unwrap(), "directory"],
    );
    let empty = folder.path().join("empty.yaml");
    fs::write(&empty, "").unwrap();
    let error = loader(&[]).file(&empty).load().unwrap_err();
    has(&error.to_string(), &["empty.yaml", "empty"]);
    let huge = folder.path().join("huge.yaml");
    fs::write(&huge, vec![b'#'; 2 << 20]).unwrap();
    let error = loader(&[]).file(&huge).load().unwrap_err();
    has(&error.to_string(), &["huge.yaml", "larger than"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_without_end_is_no_trap() {
    let error = loader(&[]).file("/dev/zero").load().unwrap_err();
    has(
        &error.to_string(),
        &["/dev/zero", "neither a regular file nor a pipe"],
    );
    let service = "connection_settings: { service: shop, servicefile: /dev/zero }";
    let error = loader(&[]).yaml(service).load().unwrap_err();
    has(&error.to_string(), &["/dev/zero", "not a regular file"]);
    let secret = "connection_settings: { password: { from_file: /dev/zero } }";
    let error = loader(&[]).yaml(secret).resolve_env(true).load();
    has(
        &error.unwrap_err().to_string(),
        &["/dev/zero", "not a regular file"],
    );
}

#[test]
fn relative_paths_start_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pgmonkey.yaml");
    let text = "connection_settings:
  sslmode: verify-full
  sslrootcert: certs/root.crt
  sslcert: ~/client.crt
  sslkey: /etc/client.key
  passfile: ./pgpass
";
    fs::write(&path, text).unwrap();
    let config = loader(&[]).file(&path).load().unwrap();
    let shown = format!("{config:?}");
    has(
        &shown,
        &[
            folder.path().join("certs/root.crt").to_str().unwrap(),
            "\"/nonexistent/client.crt\"",
            "\"/etc/client.key\"",
        ],
    );
    let config = loader(&[]).yaml(text).load().unwrap();
    assert_eq!(
        config
            .connection_settings
            .passfile
            .as_deref()
            .unwrap()
            .to_str(),
        Some("./pgpass")
    );
}

#[test]
fn home_is_expanded_in_the_name_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), "connection_type: pool").unwrap();
    let home = folder.path().to_str().unwrap();
    let config = Loader::new()
        .variables([("HOME", home)])
        .file("~/a.yaml")
        .load()
        .unwrap();
    assert_eq!(config.connection_type, ConnectionType::Pool);
}

#[cfg(unix)]
#[test]
fn a_readable_file_with_a_secret_is_warned_about() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pgmonkey.yaml");
    let warnings = |text: &str, mode: u32| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let resolved = loader(&[("PW", "x")]).resolve_env(true).file(&path);
        resolved.load_with_warnings().unwrap().1
    };
    let secret = "connection_settings: { password: S3cret }";
    let found = warnings(secret, 0o644);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kind, WarningKind::ReadableByOthers);
    has(&found[0].to_string(), &["pgmonkey.yaml", "chmod 600"]);
    assert_eq!(warnings(secret, 0o600), []);
    assert_eq!(warnings("connection_settings: { password: '' }", 0o644), []);
    assert_eq!(
        warnings("connection_settings: { password: '${PW}' }", 0o644),
        []
    );
    assert_eq!(
        warnings("connection_settings: { password: { from_env: PW } }", 0o644),
        []
    );
    assert_eq!(
        warnings(
            "connection_settings: { url: 'postgres://a:S3cret@db' }",
            0o644
        )
        .len(),
        1
    );
    let profile = "profiles: { test: { connection_settings: { password: S3cret } } }";
    assert_eq!(warnings(profile, 0o640).len(), 1);
}

#[test]
fn toml_and_json_load_the_same() {
    let yaml = good(
        "connection_type: pool
connection_settings: { host: [a, b], port: 5433, sslmode: disable, connect_timeout: 2.5 }
sync_settings: { work_mem: 64MB, my.custom: 'on' }
pool_settings: { max_size: 7, check_on_checkout: true }",
    );
    let toml = "connection_type = 'pool'
sync_settings = { work_mem = '64MB', 'my.custom' = 'on' }
[connection_settings]
host = ['a', 'b']
port = 5433
sslmode = 'disable'
connect_timeout = 2.5
[pool_settings]
max_size = 7
check_on_checkout = true";
    let json = r#"{"connection_type": "pool",
"connection_settings": {"host": "a,b", "port": "5433", "sslmode": "disable", "connect_timeout": 2.5},
"sync_settings": {"work_mem": "64MB", "my.custom": "on"},
"pool_settings": {"max_size": 7, "check_on_checkout": true}}"#;
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("a.toml", toml), ("a.json", json)] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        assert_eq!(loader(&[]).file(&path).load().unwrap(), yaml, "{name}");
    }
}

#[test]
fn every_format_has_positions() {
    let toml = Config::from_toml(
        "connection_type = 'pool'\n[connection_settings]\nhost = 'a'\n  port = 0\n",
    );
    has(
        &toml.unwrap_err().to_string(),
        &["line 4, column 3", "connection_settings.port"],
    );
    let json = "{\"connection_settings\": {\n  \"host\": \"port\", \"hostaddr\": [\"::1\"],\n    \"port\": 0}}";
    let json = Config::from_json(json);
    has(
        &json.unwrap_err().to_string(),
        &["line 3, column 5", "connection_settings.port"],
    );
    let flow = bad("{ connection_settings: { host: a,\n  user: b, port: 0 } }");
    has(&flow, &["line 2, column 12"]);
    let block = bad("# comment\nconnection_settings:\n  host: a\n\n  port: 0\n");
    has(&block, &["line 5, column 3"]);
}

/// A section, a name that another library uses there, and the end of the error.
const FOREIGN: &[(&str, &str, &str)] = &[
    ("pool_settings", "max_connections", "`max_size`?"),
    ("async_pool_settings", "max_open", "`max_size`?"),
    ("pool_settings", "pool_size", "`max_size`? (the limit"),
    ("pool_settings", "maximumPoolSize", "`max_size`?"),
    (
        "pool_settings",
        "min_idle",
        "`min_size`? (it counts all sessions",
    ),
    (
        "pool_settings",
        "idle_timeout",
        "`max_idle`? (it counts for sessions above min_size)",
    ),
    (
        "pool_settings",
        "connection_timeout",
        "`timeout`? (the wait",
    ),
    ("pool_settings", "acquire_timeout", "`timeout`?"),
    (
        "pool_settings",
        "idleTimeoutMillis",
        "`max_idle`? (in seconds",
    ),
    (
        "pool_settings",
        "connect_timeout",
        "`connection_settings.connect_timeout`?",
    ),
    ("connection_settings", "username", "`user`?"),
    ("connection_settings", "hostname", "`host`?"),
    ("connection_settings", "db", "`dbname`?"),
    ("connection_settings", "database_name", "`dbname`?"),
    (
        "connection_settings",
        "pool_size",
        "`pool_settings.max_size`? (the limit",
    ),
    (
        "connection_settings",
        "search_path",
        "`sync_settings.search_path`?",
    ),
    (
        "connection_settings",
        "max_size",
        "`pool_settings.max_size`?",
    ),
];

#[test]
fn names_of_other_libraries_lead_to_ours() {
    for (section, name, expected) in FOREIGN {
        let yaml = format!("{section}:\n  {name}: 1\n");
        let error = bad(&yaml);
        has(
            &error,
            &["line 2", name, "unknown key; did you mean ", expected],
        );
        let (_, warnings) = loader(&[])
            .yaml(&yaml)
            .unknown_keys(UnknownKeys::Warn)
            .load_with_warnings()
            .unwrap();
        has(
            &warnings[0].to_string(),
            &["ignored; did you mean ", expected],
        );
    }
    for (name, expected) in [
        ("pool", "`pool_settings`?"),
        ("username", "`connection_settings.user`?"),
        ("max_connections", "`pool_settings.max_size`?"),
    ] {
        has(&bad(&format!("{name}: 1")), &[expected]);
    }
}

#[test]
fn a_secret_that_a_comment_cuts_off_is_warned_about() {
    let cut = |yaml: &str| {
        let loader = loader(&[("PW", "x")]).yaml(yaml);
        let (_, warnings) = loader
            .load_with_warnings()
            .unwrap_or_else(|e| panic!("{yaml}: {e}"));
        let told: Vec<String> = warnings
            .iter()
            .filter(|warning| warning.kind == WarningKind::CutByComment)
            .map(ToString::to_string)
            .collect();
        assert!(!told.concat().contains("zz"), "{told:?}");
        told
    };
    for yaml in [
        connection("password: pa #zz"),
        connection("password: 0123 # zz"),
        connection("sslpassword: pa\t#zz"),
        "sync_settings:\n  my.token: pa #zz".to_owned(),
        "profiles:\n  a: { connection_settings: {\n    password: pa #zz\n } }".to_owned(),
        connection("url: postgres://u:pa #zz@h/d").replace(":pa", "@pa"),
    ] {
        let told = cut(&yaml);
        assert_eq!(told.len(), 1, "{yaml}");
        has(&told[0], &["line ", "comment in YAML", "in quotes"]);
    }
    let told = cut("postgresql:\n  connection_settings:\n    password: pa #zz");
    has(
        &told[0],
        &["line 3, column 5: connection_settings.password"],
    );
    for yaml in [
        connection("password: 'pa' #zz"),
        connection("password: pa#zz"),
        connection("password: ${PW} # from the environment"),
        connection("password: # none"),
        connection("user: app # the role"),
        connection("url: postgres://u@h/d # production"),
        "connection_settings: { password: pa, user: app } # zz".to_owned(),
    ] {
        assert_eq!(cut(&yaml), Vec::<String>::new(), "{yaml}");
    }
}

#[test]
fn b09_unknown_keys_are_errors_with_a_suggestion() {
    let error = bad("connection_settings:\n  hots: a\n  databse: b\npool_setings: {}\nxyzzy: 1\n");
    has(
        &error,
        &["connection_settings.hots", "did you mean `host`?", "line 2"],
    );
    has(
        &error,
        &[
            "pool_setings",
            "did you mean `pool_settings`?",
            "line 4",
            "xyzzy",
        ],
    );
    assert_eq!(error.lines().count(), 4, "{error}");
    has(
        &bad("host: a"),
        &["did you mean `connection_settings.host`?"],
    );
    has(
        &bad("pool_settings: { speed: 1 }"),
        &["pool_settings.speed: unknown key"],
    );
    has(
        &bad("pool_settings: { multiplex: true }"),
        &["async_pool_settings.multiplex"],
    );
    has(&bad(&connection("Host: a")), &["did you mean `host`?"]);
}

#[test]
fn unknown_keys_can_be_allowed() {
    let text = "other_tool: { a: 1 }\nconnection_settings: { host: a, hots: b }";
    let loader = loader(&[]).yaml(text).unknown_keys(UnknownKeys::Warn);
    let (config, warnings) = loader.load_with_warnings().unwrap();
    assert_eq!(config, good("connection_settings: { host: a }"));
    assert_eq!(warnings.len(), 2);
    has(&warnings[0].to_string(), &["line"]);
    assert!(
        warnings
            .iter()
            .all(|w| matches!(w.kind, WarningKind::UnknownKey { .. }))
    );
}

#[test]
fn everything_wrong_is_told_at_once() {
    let error = load("connection_type: x\nconnection_settings: { port: 0, sslmode: y }\nz: 1\n")
        .unwrap_err();
    assert_eq!(error.problems().len(), 4);
    assert!(
        error
            .problems()
            .iter()
            .all(|p| matches!(p.place, Place::Text { position: Some(_) }))
    );
}

#[test]
fn errors_come_in_the_order_of_lines() {
    let text = "connection_settings:\n  port: 0\n  hots: a\n  gssencmode: require\n  user: [a]\n";
    let error = load(text).unwrap_err();
    let keys: Vec<_> = error
        .problems()
        .iter()
        .filter_map(|p| p.key.as_deref())
        .collect();
    let names = ["port", "hots", "gssencmode", "user"];
    assert_eq!(
        keys,
        names.map(|name| format!("connection_settings.{name}"))
    );
}

#[test]
fn as_many_keys_as_are_allowed_load() {
    let count = 4_990;
    let keys = |quote: &str, equals: &str| -> Vec<String> {
        (0..count)
            .map(|n| format!("{quote}k{n}{quote}{equals}1"))
            .collect()
    };
    for section in ["sync_settings", "pool_settings"] {
        let yaml = format!("{section}:\n  {}\n", keys("", ": ").join("\n  "));
        let json = format!("{{\"{section}\": {{{}}}}}", keys("\"", ":").join(","));
        let toml = format!("[{section}]\n{}\n", keys("", "=").join("\n"));
        for result in [
            load(&yaml),
            loader(&[]).json(json).load(),
            loader(&[]).toml(toml).load(),
        ] {
            match result {
                Ok(config) => assert_eq!(config.sync_settings.len(), count),
                Err(error) => assert_eq!(error.problems().len(), 100),
            }
        }
    }
    let lenient = format!("{{ {} }}", keys("", ": ").join(", "));
    let lenient = loader(&[]).yaml(lenient).unknown_keys(UnknownKeys::Warn);
    assert_eq!(lenient.load_with_warnings().unwrap().1.len(), 100);
}

#[test]
fn many_warnings_hide_no_problem() {
    let unknown: String = (0..200).map(|n| format!("k{n}: 1\n")).collect();
    let text = format!("{unknown}connection_settings: {{ gssencmode: require, port: 0 }}\n");
    let error = loader(&[])
        .yaml(text)
        .unknown_keys(UnknownKeys::Warn)
        .load()
        .unwrap_err();
    assert_eq!(error.problems().len(), 2);
}
