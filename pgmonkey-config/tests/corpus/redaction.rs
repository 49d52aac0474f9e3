//! No human-readable form shows a secret, and no serialised form loses one.

use pgmonkey_config::{Config, REDACTED, redact};
use serde_json::json;

use super::{connection, good, has, load, loader};

const SECRETS: &str = "
connection_type: pool
connection_settings:
  url: 'postgres://app:S3cret-url@db/shop'
  sslpassword: S3cret-key
sync_settings: { my.api_token: S3cret-token, work_mem: 64MB }
async_settings: { my.client_secret: [S3cret-a, S3cret-b] }
profiles: { test: { connection_settings: { password: S3cret-test } } }
";

#[test]
fn every_human_form_of_a_config() {
    for profile in [false, true] {
        let loader = loader(&[]).yaml(SECRETS);
        let loader = if profile {
            loader.profile("test")
        } else {
            loader
        };
        assert!(!format!("{loader:?}").contains("S3cret"));
        let config = loader.load().unwrap();
        let json = serde_json::to_string(&config).unwrap();
        let shown = format!(
            "{config} {config:?} {config:#?} {json} {:?} {:?}",
            config.exposed(),
            config.to_settings()
        );
        assert!(!shown.contains("S3cret"), "{shown}");
        has(&json, &[REDACTED, "64MB", "app", "db"]);
        let exposed = serde_json::to_string(&config.exposed()).unwrap();
        has(
            &exposed,
            &["S3cret-key", "S3cret-token", "S3cret-a,S3cret-b"],
        );
    }
}

#[test]
fn paths_of_certificates_are_shown() {
    let config = good(&connection(
        "sslcert: /etc/c.crt\n  sslkey: /etc/c.key\n  passfile: /p",
    ));
    has(
        &serde_json::to_string(&config).unwrap(),
        &["/etc/c.crt", "/etc/c.key", "/p"],
    );
}

#[test]
fn a_redacted_file_is_refused() {
    let config = good(SECRETS);
    let redacted = serde_json::to_string(&config).unwrap();
    let error = load(&redacted).unwrap_err().to_string();
    has(
        &error,
        &[
            "connection_settings.password",
            "connection_settings.sslpassword",
            "the placeholder that hides",
        ],
    );
    has(&error, &["sync_settings.my.api_token"]);
    let error = serde_json::from_str::<Config>(&redacted)
        .unwrap_err()
        .to_string();
    has(&error, &["the placeholder that hides"]);
}

#[test]
fn serialising_goes_both_ways() {
    let config = good(SECRETS);
    let text = serde_json::to_string(&config.exposed()).unwrap();
    assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    assert_eq!(load(&text).unwrap(), config);
    let toml = toml::to_string(&config.exposed()).unwrap();
    assert_eq!(loader(&[]).toml(toml).load().unwrap(), config);
    let sections = r#"{"connection_settings": null, "pool_settings": {"max_size": null}}"#;
    assert_eq!(
        serde_json::from_str::<Config>(sections).unwrap(),
        good("{}")
    );
    let error = serde_json::from_str::<Config>(r#"{"connection_settings": {"port": 0}}"#);
    has(
        &error.unwrap_err().to_string(),
        &["connection_settings.port"],
    );
}

#[test]
fn trees_of_values() {
    let tree = json!({
        "connection_settings": { "password": "S3cret", "sslpassword": "S3cret", "PASSWORD": "S3cret" },
        "other": [{ "passwd": "S3cret" }, [{ "api_key": "S3cret" }]],
        "credentials": { "pw": "S3cret" },
        "secret_list": ["S3cret"],
        "pgpassword": "S3cret",
        "5": { "passphrase": "S3cret" },
    });
    let shown = redact(&tree);
    assert!(!shown.to_string().contains("S3cret"), "{shown}");
    assert_eq!(shown["secret_list"], REDACTED);
    assert_eq!(
        redact(&json!([{ "password": "S3cret" }]))[0]["password"],
        REDACTED
    );
    let kept = json!({ "password": "", "token": null, "secret": 0, "credential": false, "user": "S3cret" });
    assert_eq!(redact(&kept), kept);
}

#[test]
fn errors_do_not_show_what_stands_in_the_wrong_place() {
    for text in [
        "connection_settings: { host: 'postgres://a:S3cret@b' }",
        "connection_settings: { port: 'postgres://a:S3cret@b' }",
        "connection_settings: { sslmode: 'postgres://a:S3cret@b' }",
        "connection_settings: { dbname: [S3cret] }",
        "connection_settings: { connect_timeout: 'host=a password=S3cret' }",
        "pool_settings: { min_size: { password: S3cret } }",
        "S3cret",
        "[S3cret]",
        "connection_settings: S3cret",
        "profiles: S3cret",
        "sync_settings: { my.token: { a: S3cret } }",
        "connection_settings: { password: half,S3cret }",
        "connection_settings: { password S3cret, host: a }",
        "{ password S3cret, connection_type: pool }",
        "connection_settings: { password S3cret: x }",
        "connection_settings: { password=S3cret: x }",
        "{ connection_type: pool, S3cret }",
        "pool_settings: { S3cret }",
        "sync_settings: { my.token: \"S3cret\\0\" }",
    ] {
        let error = load(text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("S3cret"), "{text}: {shown}");
    }
}
