//! Precedence of sources, and how errors name them.

use std::fs;

use pgmonkey_config::{Config, ConnectionType, Host, Loader, Place, SslMode, WarningKind};

use super::{connection, good, has, loader, password};

fn host(config: &Config) -> String {
    config.connection_settings.targets()[0].host.to_string()
}

#[test]
fn the_order_of_layers() {
    let folder = tempfile::tempdir().unwrap();
    let services = folder.path().join("services");
    fs::write(
        &services,
        "[shop]\nhost=from-service\ndbname=from-service\nuser=from-service\n",
    )
    .unwrap();
    let services = services.to_str().unwrap();
    let variables = [
        ("PGSERVICEFILE", services),
        ("PGSERVICE", "shop"),
        ("PGHOST", "from-pg"),
        ("PGPORT", "1111"),
        ("PGMONKEY_CONNECTION_SETTINGS__HOST", "from-pgmonkey"),
    ];
    let file = connection("dbname: from-file\n  host: from-file");
    let full = loader(&variables).env(true).yaml(&file);
    let config = full
        .clone()
        .set("connection_settings.host", "from-code")
        .load()
        .unwrap();
    assert_eq!(host(&config), "from-code");
    let config = full.load().unwrap();
    assert_eq!(
        config.connection_settings.describe(),
        "from-service@from-pgmonkey:1111/from-file"
    );
    let config = loader(&variables).yaml(&file).load().unwrap();
    assert_eq!(host(&config), "from-file");
    let config = loader(&variables).load().unwrap();
    assert_eq!(
        config.connection_settings.describe(),
        "from-service@from-service:1111/from-service"
    );
    let config = loader(&variables).libpq_sources(false).load().unwrap();
    assert_eq!(config, good("{}"));
    let off = loader(&variables)
        .yaml("libpq_sources: false")
        .load()
        .unwrap();
    assert_eq!(off, good("{}"));
}

#[test]
fn later_files_are_stronger_key_by_key() {
    let config = loader(&[])
        .yaml("connection_settings: { host: a, user: a, dbname: a }\nsync_settings: { x: 1, y: 1 }")
        .toml("connection_settings = { host = 'b', user = '' }\nsync_settings = { y = 2 }")
        .json(r#"{"connection_settings": {"dbname": null}}"#)
        .load()
        .unwrap();
    assert_eq!(config.connection_settings.describe(), "a@b:5432/a");
    assert_eq!(config.sync_settings.value("x"), Some("1"));
    assert_eq!(config.sync_settings.value("y"), Some("2"));
}

#[test]
fn values_are_taken_as_text() {
    let pg = loader(&[("PGPASSWORD", "007"), ("PGDATABASE", "1e5")])
        .load()
        .unwrap();
    assert_eq!(password(&pg), Some("007"));
    assert_eq!(pg.connection_settings.dbname.as_deref(), Some("1e5"));
    let ours = [
        ("PGMONKEY_CONNECTION_SETTINGS__PASSWORD", "007"),
        ("PGMONKEY_POOL_SETTINGS__MAX_SIZE", "7"),
    ];
    let config = loader(&ours).env(true).load().unwrap();
    assert_eq!(password(&config), Some("007"));
    assert_eq!(config.pool_settings.max_size, 7);
    assert_eq!(loader(&ours).load().unwrap(), good("{}"));
}

#[test]
fn empty_passwords_look_further() {
    let config = loader(&[("PGPASSWORD", "S3cret")])
        .yaml(connection("password: ''"))
        .load()
        .unwrap();
    assert_eq!(password(&config), Some("S3cret"));
}

#[test]
fn every_pg_variable_counts() {
    let folder = tempfile::tempdir().unwrap();
    let pass = folder.path().join("pass");
    let config = loader(&[
        ("PGHOST", "a,b"),
        ("PGHOSTADDR", "10.0.0.1,10.0.0.2"),
        ("PGPORT", "1,2"),
        ("PGUSER", "app"),
        ("PGPASSFILE", pass.to_str().unwrap()),
        ("PGSSLMODE", "require"),
        ("PGCONNECT_TIMEOUT", "3"),
        ("PGAPPNAME", "shop"),
        ("PGTZ", "UTC"),
        ("PGCLIENTENCODING", "utf8"),
        ("PGGSSENCMODE", "prefer"),
    ])
    .load()
    .unwrap();
    let c = &config.connection_settings;
    assert_eq!(c.describe(), "app@a:1,b:2/app");
    assert_eq!(c.passfile.as_deref(), Some(pass.as_path()));
    assert_eq!(c.sslmode, SslMode::Require);
    assert_eq!(c.application_name.as_deref(), Some("shop"));
    assert_eq!(config.sync_settings.value("TimeZone"), Some("UTC"));
    assert_eq!(config.async_settings.value("TimeZone"), Some("UTC"));
}

#[test]
fn variables_are_named_in_errors() {
    for (variable, text) in [
        ("PGPORT", "x"),
        ("PGSSLMODE", "full"),
        ("PGCLIENTENCODING", "LATIN1"),
        ("PGGSSENCMODE", "require"),
        ("PGREQUIREPEER", "postgres"),
    ] {
        let error = loader(&[(variable, text)]).load().unwrap_err().to_string();
        has(&error, &["environment variable", variable]);
    }
    let error = loader(&[("PGMONKEY_POOL_SETTINGS__MAX_SIZE", "0")])
        .env(true)
        .load()
        .unwrap_err();
    has(
        &error.to_string(),
        &[
            "environment variable PGMONKEY_POOL_SETTINGS__MAX_SIZE",
            "pool_settings.max_size",
        ],
    );
    let error = loader(&[("PGMONKEY_POOL_SETTINGS__SPEED", "0")])
        .env(true)
        .load()
        .unwrap_err();
    has(
        &error.to_string(),
        &["PGMONKEY_POOL_SETTINGS__SPEED", "unknown key"],
    );
}

#[test]
fn own_variables() {
    let variables = [
        ("PGMONKEY_CONNECTION_TYPE", "async_pool"),
        ("PGMONKEY_SYNC_SETTINGS__STATEMENT_TIMEOUT", "5"),
        ("PGMONKEY_SYNC_SETTINGS__MY__CUSTOM", "x"),
        ("PGMONKEY_CONNECTION_SETTINGS__USER", ""),
        ("PGMONKEY_CONNECTION_SETTINGS__OPTIONS", "${A}"),
        ("PGMONKEY_SOMETHING_ELSE", "x"),
    ];
    let loader = loader(&variables)
        .env(true)
        .resolve_env(true)
        .yaml(connection("user: app"));
    let (config, warnings) = loader.load_with_warnings().unwrap();
    assert_eq!(config.connection_type, ConnectionType::AsyncPool);
    assert_eq!(config.sync_settings.value("statement_timeout"), Some("5"));
    assert_eq!(config.sync_settings.value("my.custom"), Some("x"));
    assert_eq!(config.connection_settings.user.as_deref(), Some("app"));
    // Variables contain values, not templates.
    assert_eq!(config.connection_settings.options.as_deref(), Some("${A}"));
    assert_eq!(warnings.len(), 1);
    has(&warnings[0].to_string(), &["PGMONKEY_SOMETHING_ELSE"]);
}

#[test]
fn a_url_is_one_value() {
    let config = loader(&[])
        .yaml(connection(
            "url: 'postgres://old:S3cret@old/old?sslmode=require'",
        ))
        .url("postgres://new/new")
        .load()
        .unwrap();
    let c = &config.connection_settings;
    assert_eq!(
        (c.host.clone(), c.user.clone()),
        (vec![Host::Name("new".into())], None)
    );
    assert_eq!((password(&config), c.sslmode), (None, SslMode::Prefer));
}

#[test]
fn services() {
    let folder = tempfile::tempdir().unwrap();
    let services = folder.path().join("services.conf");
    fs::write(&services, "[shop]\nhost=db\nport=0\n[bad]\nspeed=1\n[tls]\ngssencmode=require\n[old]\nhost=db\nuser=app\n").unwrap();
    let file = folder.path().join("pgmonkey.yaml");
    let load = |text: &str| {
        fs::write(&file, text).unwrap();
        loader(&[]).file(&file).load()
    };
    let with = |name: &str| connection(&format!("service: {name}\n  servicefile: services.conf"));
    let config = load(&with("old")).unwrap();
    assert_eq!(config.connection_settings.describe(), "app@db:5432/app");
    for (name, part) in [("shop", "port"), ("bad", "speed"), ("tls", "gssencmode")] {
        let error = load(&with(name)).unwrap_err().to_string();
        has(&error, &["services.conf", &format!("service {name}"), part]);
    }
    let error = load(&with("none")).unwrap_err().to_string();
    has(
        &error,
        &["pgmonkey.yaml:2", "no service `none`", "services.conf"],
    );
    let error = loader(&[("PGSERVICE", "none")])
        .load()
        .unwrap_err()
        .to_string();
    has(&error, &["variable PGSERVICE", "no service `none`"]);
}

const PROFILES: &str = "
connection_settings: { host: prod, dbname: shop, password: '${PROD_PW}' }
profiles:
  test: { connection_type: pool, connection_settings: { dbname: shop_test, password: t } }
  dev:
    connection_settings: { password: '${DEV_PW}' }
  empty:
";

#[test]
fn profiles_lie_over_the_file() {
    let load = |variables: &[(&str, &str)]| loader(variables).resolve_env(true).yaml(PROFILES);
    let config = load(&[]).profile("test").load().unwrap();
    assert_eq!(
        config.connection_settings.dbname.as_deref(),
        Some("shop_test")
    );
    assert_eq!(
        (host(&config), config.connection_type),
        ("prod".into(), ConnectionType::Pool)
    );
    assert_eq!(
        load(&[("PGMONKEY_PROFILE", "test")]).load().unwrap(),
        config
    );
    let both = load(&[("PGMONKEY_PROFILE", "dev")]).profile("test");
    assert_eq!(both.load().unwrap(), config);
    let base = load(&[("PROD_PW", "p")]).load().unwrap();
    assert_eq!(password(&base), Some("p"));
    assert_eq!(
        load(&[("PROD_PW", "p")]).profile("empty").load().unwrap(),
        base
    );
    let error = load(&[]).profile("dev").load().unwrap_err().to_string();
    has(
        &error,
        &[
            "line 6",
            "profiles.dev.connection_settings.password",
            "DEV_PW",
        ],
    );
}

#[test]
fn profiles_that_do_not_exist() {
    let error = loader(&[])
        .yaml(PROFILES)
        .profile("prod")
        .load()
        .unwrap_err()
        .to_string();
    has(&error, &["no profile `prod`", "dev, empty, test"]);
    let error = loader(&[("PGMONKEY_PROFILE", "x")])
        .yaml(PROFILES)
        .load()
        .unwrap_err()
        .to_string();
    has(&error, &["PGMONKEY_PROFILE", "no profile `x`"]);
    // For a file without profiles the variable is ignored, but a caller's profile is an error.
    loader(&[("PGMONKEY_PROFILE", "x")])
        .yaml("{}")
        .load()
        .unwrap();
    let error = loader(&[])
        .yaml("{}")
        .profile("x")
        .load()
        .unwrap_err()
        .to_string();
    has(&error, &["no profile `x`", "no profiles"]);
}

#[test]
fn profiles_are_checked_even_when_not_chosen() {
    let load = |text: &str| loader(&[]).yaml(text).load();
    let error = load("profiles:\n  test:\n    connection_settings: { hots: a }\n")
        .unwrap_err()
        .to_string();
    has(
        &error,
        &["line 3", "profiles.test.connection_settings.hots", "`host`"],
    );
    has(
        &load("profiles: [a]").unwrap_err().to_string(),
        &["profiles", "overlays"],
    );
    has(
        &load("profiles: { test: 5 }").unwrap_err().to_string(),
        &["profiles.test"],
    );
    let nested = load("profiles: { test: { profiles: { x: {} } } }")
        .unwrap_err()
        .to_string();
    has(&nested, &["profiles.test.profiles", "unknown"]);
}

#[test]
fn code_sets_parameters_with_dots() {
    let config = loader(&[])
        .set("async_settings.my.custom", "x")
        .set("pool_settings.max_size", 7)
        .set("connection_settings.autocommit", true)
        .set("connection_settings.host", vec!["a", "b"])
        .set("connection_type", "async")
        .load()
        .unwrap();
    assert_eq!(config.async_settings.value("my.custom"), Some("x"));
    assert_eq!(config.pool_settings.max_size, 7);
    assert_eq!(config.connection_settings.host.len(), 2);
    let error = loader(&[])
        .set("pool_settings.speed", 1)
        .load()
        .unwrap_err()
        .to_string();
    has(&error, &["set in code", "pool_settings.speed"]);
    for path in [
        "",
        ".",
        "connection_settings.",
        "a.b.c",
        "connection_settings",
    ] {
        loader(&[]).set(path, 1).load().unwrap_err();
    }
}

#[test]
fn conflicts_between_layers_are_told() {
    let error = loader(&[("PGPORT", "1,2")])
        .yaml(connection("host: db"))
        .load()
        .unwrap_err();
    has(
        &error.to_string(),
        &["environment variable PGPORT", "number of ports (2)"],
    );
    let error = loader(&[("PGSSLROOTCERT", "system")])
        .yaml(connection("sslmode: require"))
        .load()
        .unwrap_err();
    has(&error.to_string(), &["PGSSLROOTCERT", "verify-full"]);
}

#[test]
fn warnings_are_values_too() {
    let (_, warnings) = Loader::new()
        .variables(std::iter::empty::<(String, String)>())
        .yaml("postgresql: {}")
        .load_with_warnings()
        .unwrap();
    assert_eq!(warnings[0].kind, WarningKind::LegacyWrapper);
}

#[test]
fn parameters_are_the_same_in_every_case() {
    let config = loader(&[("PGTZ", "UTC"), ("PGDATESTYLE", "ISO")])
        .yaml("sync_settings: { TIMEZONE: CET, datestyle: SQL }")
        .load()
        .unwrap();
    let all: Vec<_> = config.sync_settings.iter().collect();
    assert_eq!(all, [("TIMEZONE", "CET"), ("datestyle", "SQL")]);
    assert_eq!(config.async_settings.len(), 2);
    let error = loader(&[])
        .yaml("sync_settings: { TimeZone: a, timezone: b }")
        .load()
        .unwrap_err();
    has(&error.to_string(), &["sync_settings.timezone", "twice"]);
}

#[test]
fn every_value_knows_where_it_came_from() {
    let folder = tempfile::tempdir().unwrap();
    let services = folder.path().join("services");
    fs::write(&services, "[shop]\ndbname=from-service\n").unwrap();
    let file = folder.path().join("c.yaml");
    let text = "connection_type: pool\nconnection_settings:\n  url: postgres://from-url\n  password: S3cret\n\
                sync_settings: { work_mem: 64MB, my.api_token: S3cret }\n\
                profiles: { test: { pool_settings: { max_size: 3 } } }\n";
    fs::write(&file, text).unwrap();
    let variables = [
        ("PGSERVICEFILE", services.to_str().unwrap()),
        ("PGSERVICE", "shop"),
        ("PGUSER", "from-pg"),
        ("PGMONKEY_POOL_SETTINGS__TIMEOUT", "7"),
    ];
    let loaded = loader(&variables)
        .file(&file)
        .env(true)
        .profile("test")
        .set("connection_settings.port", 5433)
        .load_with_sources()
        .unwrap();
    let at = |line, column| Place::File {
        path: file.clone(),
        position: Some((line, column)),
    };
    let variable = |name: &str| Place::Variable(name.to_owned());
    let expected = [
        ("connection_type", Some(at(1, 1))),
        ("connection_settings.host", Some(at(3, 3))),
        ("connection_settings.password", Some(at(4, 3))),
        ("connection_settings.port", Some(Place::Code)),
        ("connection_settings.user", Some(variable("PGUSER"))),
        ("connection_settings.sslmode", None),
        ("sync_settings.work_mem", Some(at(5, 18))),
        ("pool_settings.max_size", Some(at(6, 38))),
        (
            "pool_settings.timeout",
            Some(variable("PGMONKEY_POOL_SETTINGS__TIMEOUT")),
        ),
        ("pool_settings.min_size", None),
    ];
    let values = loaded.values();
    for (key, place) in expected {
        assert_eq!(loaded.source(key), place.as_ref(), "{key}");
        let value = values.iter().find(|value| value.key == key).expect(key);
        assert_eq!(value.source, place, "{key}");
    }
    let service = loaded.source("connection_settings.dbname");
    assert!(matches!(service, Some(Place::Service { name, .. }) if name == "shop"));
    assert!(!format!("{values:?}{loaded:?}").contains("S3cret"));
    assert_eq!(values[0].key, "connection_type");
}
