//! Features that are off. This package is built by itself, so they are off here; the workspace's other
//! tests have all of them.

#![cfg(unix)]
#![forbid(unsafe_code)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use pgmonkey::{AsyncPool, Config};

#[test]
fn an_encrypted_key_is_an_error_that_names_the_feature_encrypted_keys() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, kind: &str| {
        let path = folder.path().join(name);
        let text = format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
        fs::write(&path, text).expect("it can be written");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
        path.display().to_string()
    };
    let loader = Config::loader()
        .yaml("connection_settings: { host: db.invalid, user: app, sslmode: require }")
        .libpq_sources(false)
        .set(
            "connection_settings.sslcert",
            write("client.pem", "CERTIFICATE"),
        )
        .set(
            "connection_settings.sslkey",
            write("client.key", "ENCRYPTED PRIVATE KEY"),
        )
        .set("connection_settings.sslpassword", "secret");
    let config = loader.load().expect("the file is right");
    let system = actix_web::rt::System::new();
    let error = system.block_on(AsyncPool::new(&config));
    let error = error.expect_err("the feature is off").to_string();
    let expected = "client.key is encrypted, which needs the feature `encrypted-keys` of pgmonkey";
    assert!(error.contains(expected), "{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
fn a_file_in_toml_is_an_error_that_names_the_feature_toml() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pgmonkey.toml");
    fs::write(&path, "[connection_settings]\nhost = 'db'\n").expect("it can be written");
    let error = Config::from_file(&path).expect_err("the feature is off");
    assert!(error.to_string().contains("feature `toml`"), "{error}");
}
