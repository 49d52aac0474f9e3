//! The section `readers`: what differs from the rest of the file for sessions at the standbys.

use std::time::Duration;

use pgmonkey_config::{
    Config, ConnectionType, LoadBalanceHosts, Place, Readers, Settings, TargetSessionAttrs,
    WarningKind, json_schema,
};

use super::{bad, good, has, load, loader, password, warned};

fn readers(yaml: &str) -> Readers {
    of(&good(yaml))
}

fn of(config: &Config) -> Readers {
    config.readers.clone().expect("readers")
}

/// Hosts, addresses and ports as one text.
fn servers(readers: &Readers) -> String {
    let settings = &readers.config.connection_settings;
    let hosts: Vec<String> = settings.host.iter().map(ToString::to_string).collect();
    let addresses: Vec<String> = settings.hostaddr.iter().map(ToString::to_string).collect();
    let ports: Vec<String> = settings.port.iter().map(ToString::to_string).collect();
    [hosts, addresses, ports]
        .map(|list| list.join(","))
        .join(" ")
}

fn problems(yaml: &str) -> Vec<String> {
    let error = load(yaml).expect_err(yaml);
    error.problems().iter().map(ToString::to_string).collect()
}

#[test]
fn without_the_section_there_are_none() {
    for yaml in [
        "{}",
        "readers:",
        "readers: ''",
        "readers: null\nprofiles: { a: { readers: {} } }",
    ] {
        assert!(good(yaml).readers.is_none(), "{yaml}");
    }
}

#[test]
fn an_empty_section_has_the_defaults() {
    let yaml = "connection_type: async_pool
slow_statement: 1s
connection_settings: { host: 'a,b', port: 5433, user: app, password: S3cret, target_session_attrs: read-write }
pool_settings: { max_size: 20 }
readers: {}";
    let config = good(yaml);
    let readers = of(&config);
    assert!(readers.fallback && readers.max_lag.is_none());
    let settings = &readers.config.connection_settings;
    assert_eq!(
        settings.target_session_attrs,
        TargetSessionAttrs::PreferStandby
    );
    assert_eq!(settings.load_balance_hosts, LoadBalanceHosts::Random);
    assert_eq!(
        config.connection_settings.target_session_attrs,
        TargetSessionAttrs::ReadWrite
    );
    // All else is the writer's.
    let mut same = readers.config.to_settings();
    same.connection_settings.target_session_attrs = TargetSessionAttrs::ReadWrite;
    same.connection_settings.load_balance_hosts = LoadBalanceHosts::Disable;
    same.readers = Some(readers);
    assert_eq!(same, config.to_settings());
    for unset in [
        "connection_settings:",
        "connection_settings: {}",
        "pool_settings: ''",
        "connection_settings: { host: '', user: null, target_session_attrs: '' }",
    ] {
        let yaml = yaml.replace("readers: {}", &format!("readers: {{ {unset} }}"));
        assert_eq!(good(&yaml), config, "{yaml}");
    }
}

#[test]
fn the_sections_are_laid_over_the_rest() {
    let readers = readers(
        "connection_settings: { host: w, user: app, application_name: shop }
sync_settings: { work_mem: 4MB, jit: off }
pool_settings: { max_size: 20, timeout: 5 }
readers:
  connection_settings: { application_name: shop-read }
  sync_settings: { WORK_MEM: 64MB }
  pool_settings: { max_size: 50 }
  max_lag: 500ms
  fallback: off",
    );
    let config = &readers.config;
    let settings = &config.connection_settings;
    assert_eq!(settings.user.as_deref(), Some("app"));
    assert_eq!(settings.application_name.as_deref(), Some("shop-read"));
    assert_eq!(config.sync_settings.value("jit"), Some("off"));
    // One parameter, whatever its case.
    assert_eq!(config.sync_settings.len(), 2);
    assert_eq!(config.async_settings, config.sync_settings);
    let pool = &config.pool_settings;
    assert_eq!((pool.max_size, pool.timeout), (50, Duration::from_secs(5)));
    assert_eq!(config.async_pool_settings, config.pool_settings);
    assert_eq!(readers.max_lag, Some(Duration::from_millis(500)));
    assert!(!readers.fallback);
    assert!(config.readers.is_none());
}

#[test]
fn an_absent_section_is_taken_from_its_counterpart_in_the_readers_tree() {
    let sizes = |yaml: &str| {
        let config = readers(yaml).config;
        (
            config.pool_settings.max_size,
            config.async_pool_settings.max_size,
        )
    };
    let own = "readers: { async_pool_settings: { max_size: 50 } }";
    assert_eq!(sizes(own), (50, 50));
    assert_eq!(
        sizes(&format!("pool_settings: {{ max_size: 20 }}\n{own}")),
        (20, 50)
    );
    let both = "pool_settings: { max_size: 20 }\nreaders: { pool_settings: { max_size: 50 } }";
    assert_eq!(sizes(both), (50, 50));
    assert_eq!(good(both).async_pool_settings.max_size, 20);
}

#[test]
fn the_role_of_the_writer_does_not_carry_over() {
    let role = |readers: &Readers| {
        let settings = &readers.config.connection_settings;
        (settings.target_session_attrs, settings.load_balance_hosts)
    };
    let default = (TargetSessionAttrs::PreferStandby, LoadBalanceHosts::Random);
    let writer =
        "connection_settings: { target_session_attrs: primary, load_balance_hosts: disable }";
    assert_eq!(role(&readers(&format!("{writer}\nreaders: {{}}"))), default);
    let url =
        "connection_settings: { url: 'postgres://w/?target_session_attrs=primary' }\nreaders: {}";
    assert_eq!(role(&readers(url)), default);
    let variables = [
        ("PGTARGETSESSIONATTRS", "primary"),
        ("PGLOADBALANCEHOSTS", "disable"),
    ];
    let config = loader(&variables).yaml("readers: {}").load().unwrap();
    assert_eq!(role(&of(&config)), default);
    assert_eq!(
        config.connection_settings.target_session_attrs,
        TargetSessionAttrs::Primary
    );
    // What the section sets is used, also if it is the default of a writer.
    for own in [
        "{ target_session_attrs: any, load_balance_hosts: disable }",
        "{ url: 'postgres:///?target_session_attrs=any&load_balance_hosts=disable' }",
    ] {
        let yaml = format!("{writer}\nreaders: {{ connection_settings: {own} }}");
        let expected = (TargetSessionAttrs::Any, LoadBalanceHosts::Disable);
        assert_eq!(role(&readers(&yaml)), expected, "{yaml}");
    }
}

#[test]
fn servers_of_the_writer_are_not_mixed_with_those_of_the_section() {
    for (writer, section, expected) in [
        ("host: w, port: 5433", "user: r", "w  5433"),
        ("host: w, port: 5433", "host: 'r1,r2'", "r1,r2  "),
        (
            "host: w, port: 5433",
            "host: 'r1,r2', port: '1,2'",
            "r1,r2  1,2",
        ),
        ("host: w, hostaddr: 10.0.0.1", "host: r", "r  "),
        ("hostaddr: 10.0.0.1", "host: r", "r  "),
        ("host: 'w,v', port: '1,2'", "host: r", "r  "),
        ("host: w", "hostaddr: 10.0.0.2", " 10.0.0.2 "),
        // As behind a proxy with a port for each role.
        ("host: w, port: 5000", "port: 5001", "w  5001"),
        ("host: 'w,v', port: '1,2'", "port: 3", "w,v  3"),
        ("url: 'postgres://w:5433/shop'", "host: r", "r  "),
        ("host: w, port: 5433", "url: 'postgres://r/shop'", "r  "),
        (
            "host: w, port: 5433",
            "url: 'postgres://r:5434/shop'",
            "r  5434",
        ),
        ("host: w, port: 5433", "url: 'postgres:///shop'", "w  5433"),
        ("url: 'postgres://w:5433'", "url: 'host=r1,r2'", "r1,r2  "),
    ] {
        let yaml = format!(
            "connection_settings: {{ {writer} }}\nreaders: {{ connection_settings: {{ {section} }} }}"
        );
        assert_eq!(servers(&readers(&yaml)), expected, "{yaml}");
    }
}

#[test]
fn a_url_overrides_the_parts_that_it_names() {
    let config = good(
        "connection_settings: { url: 'postgres://app:S3cret@w/shop?sslmode=require' }
readers: { connection_settings: { url: 'postgres://r/' } }",
    );
    let readers = of(&config).config;
    assert_eq!(password(&readers), Some("S3cret"));
    assert_eq!(readers.connection_settings.dbname.as_deref(), Some("shop"));
    assert_eq!(readers.connection_settings.describe(), "app@r:5432/shop");
}

#[test]
fn the_sources_of_libpq_fill_what_neither_sets() {
    let variables = [
        ("PGHOST", "w"),
        ("PGHOSTADDR", "10.0.0.1"),
        ("PGPORT", "5433"),
        ("PGUSER", "app"),
        ("PGTZ", "UTC"),
    ];
    let load = |yaml: &str| of(&loader(&variables).yaml(yaml).load().unwrap());
    assert_eq!(servers(&load("readers: {}")), "w 10.0.0.1 5433");
    let own = load("readers: { connection_settings: { host: r } }");
    assert_eq!(servers(&own), "r  5433");
    assert_eq!(own.config.connection_settings.user.as_deref(), Some("app"));
    assert_eq!(own.config.sync_settings.value("TimeZone"), Some("UTC"));
    let without = loader(&variables)
        .libpq_sources(false)
        .yaml("readers: { connection_settings: { host: r } }");
    assert_eq!(servers(&of(&without.load().unwrap())), "r  ");
}

#[test]
fn a_service_of_the_section_names_its_servers() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("service.conf");
    let text = "[writer]\nhost=w\nport=5433\nuser=app\ntarget_session_attrs=primary\n\
                [readers]\nhost=r\ndbname=copy\ntarget_session_attrs=standby\n[bad]\nport=70000\n";
    std::fs::write(&file, text).unwrap();
    let variables = [
        ("PGSERVICEFILE", file.to_str().unwrap()),
        ("PGHOSTADDR", "10.0.0.1"),
    ];
    let load = |yaml: &str| loader(&variables).yaml(yaml).load();
    let inherited =
        load("connection_settings: { service: writer, hostaddr: 10.0.0.9 }\nreaders: {}");
    let inherited = of(&inherited.unwrap());
    assert_eq!(servers(&inherited), "w 10.0.0.9 5433");
    let attrs = |readers: &Readers| readers.config.connection_settings.target_session_attrs;
    assert_eq!(attrs(&inherited), TargetSessionAttrs::PreferStandby);
    for writer in ["{ service: writer }", "{ host: w, port: 5433, user: app }"] {
        let yaml = format!(
            "connection_settings: {writer}\nreaders: {{ connection_settings: {{ service: readers }} }}"
        );
        let own = of(&load(&yaml).unwrap());
        assert_eq!(servers(&own), "r  ", "{yaml}");
        assert_eq!(own.config.connection_settings.describe(), "app@r:5432/copy");
        assert_eq!(attrs(&own), TargetSessionAttrs::Standby);
    }
    // The host of the section, not that of its service.
    let yaml = "readers: { connection_settings: { service: writer, host: r } }";
    assert_eq!(servers(&of(&load(yaml).unwrap())), "r  5433");
    let error = load("readers: { connection_settings: { service: none } }").unwrap_err();
    assert_eq!(error.problems().len(), 1, "{error}");
    has(
        &error.to_string(),
        &["line 1", "readers.connection_settings.service", "`none`"],
    );
    let error = load("readers: { connection_settings: { service: bad } }").unwrap_err();
    has(
        &error.to_string(),
        &["service bad", "readers.connection_settings.port", "70000"],
    );
}

#[test]
fn profiles_wrapper_and_variables_reach_it() {
    let yaml = "connection_settings: { host: w }
readers: { connection_settings: { host: r, user: app } }
profiles:
  prod: { readers: { connection_settings: { host: prod-r }, max_lag: 5 } }
  add: { connection_settings: { host: x } }
";
    let load = |profile: &str| of(&loader(&[]).yaml(yaml).profile(profile).load().unwrap());
    let prod = load("prod");
    assert_eq!(
        prod.config.connection_settings.describe(),
        "app@prod-r:5432/app"
    );
    assert_eq!(prod.max_lag, Some(Duration::from_secs(5)));
    assert_eq!(servers(&load("add")), "r  ");
    let wrapped = "postgresql: { connection_settings: { host: w }, readers: { fallback: false } }";
    assert!(!readers(wrapped).fallback);
    let variables = [
        ("PGMONKEY_READERS__CONNECTION_SETTINGS__HOST", "v"),
        ("PGMONKEY_READERS__SYNC_SETTINGS__MY__CUSTOM", "1"),
        ("PGMONKEY_READERS__MAX_LAG", "2s"),
    ];
    for text in [yaml, "{}"] {
        let loaded = loader(&variables)
            .yaml(text)
            .env(true)
            .load_with_sources()
            .unwrap();
        let found = of(&loaded.config);
        assert_eq!(servers(&found), "v  ");
        assert_eq!(found.config.sync_settings.value("my.custom"), Some("1"));
        assert_eq!(found.max_lag, Some(Duration::from_secs(2)));
        assert_eq!(
            loaded.source("readers.connection_settings.host"),
            Some(&Place::Variable(variables[0].0.to_owned()))
        );
    }
    let set = loader(&[])
        .yaml(yaml)
        .set("readers.connection_settings.host", "s")
        .set("readers.fallback", false)
        .set("readers.sync_settings.my.custom", 2);
    let found = of(&set.load().unwrap());
    assert_eq!((servers(&found).as_str(), found.fallback), ("s  ", false));
    assert_eq!(found.config.sync_settings.value("my.custom"), Some("2"));
    let error = loader(&[("PGMONKEY_READERS__CONNECTION_SETTINGS__PORT", "70000")])
        .env(true)
        .load()
        .unwrap_err()
        .to_string();
    has(
        &error,
        &[
            "PGMONKEY_READERS__CONNECTION_SETTINGS__PORT",
            "readers.connection_settings.port",
        ],
    );
}

#[test]
fn references_are_resolved_in_it() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("secret"), "F1le\n").unwrap();
    let file = directory.path().join("pgmonkey.yaml");
    std::fs::write(
        &file,
        "readers: { connection_settings: { host: '${R}.internal', dbname: { from_env: D }, password: { from_file: secret } } }",
    )
    .unwrap();
    let config = loader(&[("R", "standby"), ("D", "shop")])
        .file(&file)
        .load()
        .unwrap();
    let found = of(&config).config;
    assert_eq!(super::read_password(&found).as_deref(), Some("F1le"));
    assert_eq!(found.connection_settings.dbname.as_deref(), Some("shop"));
    assert_eq!(
        found.connection_settings.host[0].to_string(),
        "standby.internal"
    );
    let text = bad("readers: { connection_settings: { host: '${NONE}' } }");
    has(
        &text,
        &["line 1", "readers.connection_settings.host", "NONE"],
    );
    let command = "readers: { connection_settings: { password: { from_command: [vault] } } }";
    has(
        &bad(command),
        &[
            "readers.connection_settings.password",
            "`vault`",
            "allow_commands",
        ],
    );
    assert!(
        loader(&[])
            .yaml(command)
            .allow_commands(true)
            .load()
            .is_ok()
    );
}

/// Files with one problem, and parts of its message.
const PROBLEMS: &[(&str, &[&str])] = &[
    (
        "readers:\n  connection_settings:\n    hots: r\n",
        &[
            "line 3",
            "readers.connection_settings.hots",
            "did you mean `host`?",
        ],
    ),
    (
        "readers:\n  max_lga: 5\n",
        &["line 2", "readers.max_lga", "did you mean `max_lag`?"],
    ),
    (
        "readers: { host: r }",
        &["readers.host", "`readers.connection_settings.host`"],
    ),
    (
        "readers: { connection_settings: { max_size: 5 } }",
        &[
            "readers.connection_settings.max_size",
            "`readers.pool_settings.max_size`",
        ],
    ),
    ("max_lag: 5", &["max_lag", "`readers.max_lag`"]),
    ("replicas: {}", &["replicas", "`readers`"]),
    (
        "readers: { readers: {} }",
        &["readers.readers", "unknown key"],
    ),
    (
        "readers: { connection_type: pool }",
        &["readers.connection_type", "unknown key"],
    ),
    (
        "readers: { postgresql: {} }",
        &["readers.postgresql", "unknown key"],
    ),
    ("readers: yes", &["readers", "a section"]),
    (
        "readers: { pool_settings: 5 }",
        &["readers.pool_settings", "a section"],
    ),
    (
        "readers:\n  connection_settings: { port: 70000 }\n",
        &["line 2", "readers.connection_settings.port", "70000"],
    ),
    (
        "readers:\n  max_lag: soon\n",
        &["line 2", "readers.max_lag", "seconds"],
    ),
    ("readers: { max_lag: 0 }", &["readers.max_lag", "no limit"]),
    (
        "readers: { fallback: perhaps }",
        &["readers.fallback", "true or false"],
    ),
    (
        "readers: { pool_settings: { multiplex: true } }",
        &["readers.pool_settings.multiplex", "unknown key"],
    ),
    (
        "connection_settings: { host: w }\nreaders:\n  connection_settings: { port: '1,2' }\n",
        &["line 3", "readers.connection_settings.port", "(2)", "(1)"],
    ),
    (
        "pool_settings: { min_size: 5 }\nreaders:\n  pool_settings: { max_size: 3 }\n",
        &[
            "line 3",
            "readers.pool_settings.min_size",
            "must not exceed max_size (3)",
        ],
    ),
    (
        "profiles:\n  prod:\n    readers: { connection_settings: { hots: r } }\n",
        &[
            "line 3",
            "profiles.prod.readers.connection_settings.hots",
            "`host`",
        ],
    ),
    (
        "postgresql:\n  readers:\n    connection_settings: { hots: r }\n",
        &["line 3: ", "readers.connection_settings.hots"],
    ),
];

#[test]
fn problems_name_the_key_in_the_section() {
    for (yaml, parts) in PROBLEMS {
        let found = problems(yaml);
        assert_eq!(found.len(), 1, "{found:?}");
        has(&found[0].replace(", column", ": column"), parts);
    }
}

#[test]
fn a_problem_of_the_writer_is_reported_once() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    for writer in [
        "connection_settings: { hots: w }".to_owned(),
        "connection_settings: { port: 70000 }".to_owned(),
        "connection_settings: { host: w, port: '1,2' }".to_owned(),
        "connection_settings: { user: '${NONE}' }".to_owned(),
        "connection_settings: { service: none }".to_owned(),
        "connection_settings: { password: { from_command: [vault] } }".to_owned(),
        format!(
            "connection_settings: {{ password: {{ from_file: '{}' }} }}",
            missing.display()
        ),
        "pool_settings: { min_size: 5, max_size: 3 }".to_owned(),
        "sync_settings: { a b: 1 }".to_owned(),
        "slow_statement: soon".to_owned(),
    ] {
        for section in ["{}", "{ connection_settings: { application_name: r } }"] {
            let yaml = format!("{writer}\nreaders: {section}");
            let found = problems(&yaml);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(!found[0].contains("readers"), "{found:?}");
        }
    }
}

#[test]
fn warnings_of_the_writer_are_given_once() {
    let (_, warnings) = warned("postgresql: { connection_settings: { host: w }, readers: {} }");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let unknown = "connection_settings: { hots: w }\nreaders: { connection_settings: { hosd: r } }";
    let loader = loader(&[])
        .yaml(unknown)
        .unknown_keys(pgmonkey_config::UnknownKeys::Warn);
    let (_, warnings) = loader.load_with_warnings().unwrap();
    let keys: Vec<_> = warnings.iter().filter_map(|w| w.key.as_deref()).collect();
    assert_eq!(
        keys,
        [
            "connection_settings.hots",
            "readers.connection_settings.hosd"
        ]
    );
}

#[cfg(unix)]
#[test]
fn files_open_to_others_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "F1le").unwrap();
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&secret, open.clone()).unwrap();
    let file = directory.path().join("pgmonkey.yaml");
    let kinds = |text: &str| -> Vec<String> {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, open.clone()).unwrap();
        let (_, warnings) = loader(&[]).file(&file).load_with_warnings().unwrap();
        let name = |kind: &WarningKind| match kind {
            WarningKind::ReadableByOthers => "file",
            WarningKind::SecretFileReadableByOthers { .. } => "secret",
            _ => "other",
        };
        let told = |w: &pgmonkey_config::Warning| {
            format!("{} {}", name(&w.kind), w.key.as_deref().unwrap_or_default())
        };
        warnings.iter().map(told).collect()
    };
    assert_eq!(
        kinds("readers: { connection_settings: { password: S3cret } }"),
        ["file "]
    );
    assert_eq!(
        kinds("readers: { connection_settings: { password: { from_file: secret } } }"),
        ["secret readers.connection_settings.password"]
    );
    assert_eq!(
        kinds("connection_settings: { password: { from_file: secret } }\nreaders: {}"),
        ["secret connection_settings.password"]
    );
}

#[test]
fn secrets_in_it_are_hidden() {
    let yaml = "connection_settings: { password: Wr1ter }
readers:
  connection_settings: { password: S3cret, sslpassword: Ph4se, options: '-c my.token=T0ken' }
  sync_settings: { my.secret: Hid1 }";
    let loaded = loader(&[]).yaml(yaml).load_with_sources().unwrap();
    let config = &loaded.config;
    let values: Vec<String> = loaded
        .values()
        .iter()
        .map(|value| format!("{} {}", value.key, value.value))
        .collect();
    let shown = [
        format!("{config:?} {config} {:?} {loaded:?}", config.to_settings()),
        serde_json::to_string(config).unwrap(),
        format!("{:?}", config.exposed()),
        values.join("\n"),
    ];
    for text in shown {
        for secret in ["Wr1ter", "S3cret", "Ph4se", "T0ken", "Hid1"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    has(
        &values.join("\n"),
        &["readers.connection_settings.password \"***REDACTED***\""],
    );
    // The redacted form is no file.
    let redacted = serde_json::to_string(config).unwrap();
    let error = load(&redacted).unwrap_err().to_string();
    has(
        &error,
        &["readers.connection_settings.password", "placeholder"],
    );
    let wrong = bad("readers: { connection_settings: { user: 'postgres://app:S3cret@r/' } }");
    assert!(!wrong.contains("S3cret"), "{wrong}");
}

#[test]
fn the_writers_fingerprint_does_not_know_it() {
    let with =
        good("connection_settings: { host: w }\nreaders: { connection_settings: { host: r } }");
    let without = good("connection_settings: { host: w }");
    for kind in ConnectionType::ALL {
        assert_eq!(with.fingerprint(kind), without.fingerprint(kind));
        let own = *of(&with).config.fingerprint(kind);
        assert_ne!(own, *with.fingerprint(kind));
        let plain = good(
            "connection_settings: { host: r, target_session_attrs: prefer-standby, load_balance_hosts: random }",
        );
        assert_eq!(own, *plain.fingerprint(kind));
    }
    assert_ne!(with, without);
}

#[test]
fn what_is_written_loads_as_the_same() {
    for yaml in [
        "readers: {}",
        "connection_settings: { host: w, hostaddr: 10.0.0.1, port: 5433 }\nreaders: { connection_settings: { host: r } }",
        "connection_settings: { url: 'postgres://app:S3cret@w/shop' }\nreaders: { connection_settings: { url: 'postgres://r' }, max_lag: 1.5, fallback: false }",
        "sync_settings: { a: 1 }\nasync_settings: {}\nreaders: { sync_settings: { b: 2 } }",
        "connection_type: async_pool\nreaders: { connection_settings: { target_session_attrs: any, password: '$${X}' } }",
    ] {
        let config = good(yaml);
        let json = serde_json::to_string(&config.exposed()).unwrap();
        assert_eq!(load(&json).unwrap(), config, "{json}");
        let toml = toml::to_string(&config.exposed()).unwrap();
        assert_eq!(loader(&[]).toml(&toml).load().unwrap(), config);
        assert_eq!(Config::new(config.to_settings()).unwrap(), config);
        let valid = jsonschema::draft202012::new(&json_schema()).unwrap();
        assert!(
            valid.is_valid(&serde_json::from_str(&json).unwrap()),
            "{json}"
        );
    }
}

#[test]
fn another_type_is_that_of_the_readers_too() {
    let config = good("readers: {}").with_connection_type(ConnectionType::AsyncPool);
    assert_eq!(
        of(&config).config.connection_type,
        ConnectionType::AsyncPool
    );
    let mut settings = Settings::default();
    settings.connection_type = ConnectionType::Pool;
    settings.readers = Some(of(&config));
    let config = Config::new(settings.clone()).unwrap();
    assert_eq!(of(&config).config.connection_type, ConnectionType::Pool);
    // Readers have no readers, and the rules of a file hold for what is set in code.
    let mut nested = of(&config);
    nested.config = config.clone();
    settings.readers = Some(nested);
    assert!(
        of(&Config::new(settings.clone()).unwrap())
            .config
            .readers
            .is_none()
    );
    let mut wrong = of(&config);
    wrong.max_lag = Some(Duration::ZERO);
    settings.readers = Some(wrong);
    has(
        &Config::new(settings).unwrap_err().to_string(),
        &["readers.max_lag"],
    );
}

#[test]
fn the_sources_are_told() {
    let yaml = "connection_settings:\n  host: w\n  user: app\nreaders:\n  connection_settings:\n    host: r\n  max_lag: 5\n";
    let loaded = loader(&[("PGDATABASE", "shop"), ("PGTARGETSESSIONATTRS", "primary")])
        .yaml(yaml)
        .load_with_sources()
        .unwrap();
    let source = |key: &str| {
        loaded
            .source(key)
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    assert_eq!(
        source("readers.connection_settings.host"),
        "line 6, column 5"
    );
    assert_eq!(source("readers.max_lag"), "line 7, column 3");
    assert_eq!(
        source("readers.connection_settings.user"),
        "connection_settings (line 3, column 3)"
    );
    assert_eq!(
        source("readers.connection_settings.dbname"),
        "environment variable PGDATABASE"
    );
    assert_eq!(
        source("readers.connection_settings.target_session_attrs"),
        ""
    );
    let rows: Vec<String> = loaded.values().into_iter().map(|value| value.key).collect();
    for key in [
        "readers.connection_settings.host",
        "readers.pool_settings.max_size",
        "readers.max_lag",
        "readers.fallback",
    ] {
        assert!(rows.iter().any(|row| row == key), "{key} in {rows:?}");
    }
    let value = loaded
        .values()
        .into_iter()
        .find(|value| value.key == "readers.connection_settings.host");
    let place = value.unwrap().source.unwrap();
    let line = place
        .excerpt(yaml, "readers.connection_settings.host")
        .unwrap();
    assert_eq!(line.text, "    host: r");
}
