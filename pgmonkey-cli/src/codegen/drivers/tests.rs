use pgmonkey::Config;

use super::*;

fn generated(yaml: &str, kind: ConnectionType) -> Result<String, String> {
    let loader = Config::loader().libpq_sources(false).yaml(yaml);
    let loaded = loader.load_with_sources().expect("valid config");
    program(kind, &loaded, &|_| None)
}

#[test]
fn no_secret_is_part_of_a_program() {
    let yaml = "connection_settings: { host: db, user: a, password: S3cret, options: '-c my.password=S3cret' }\n\
                sync_settings: { my.api_token: S3cret, work_mem: 64MB }\n";
    for kind in ConnectionType::ALL {
        let text = generated(yaml, kind).expect("supported settings");
        assert!(!text.contains("S3cret"), "{text}");
        assert!(
            text.contains("connection_settings.options holds a secret"),
            "{text}"
        );
    }
    let text = generated(yaml, ConnectionType::Pool).expect("supported settings");
    assert!(
        text.contains("sync_settings.my.api_token holds a secret"),
        "{text}"
    );
    assert!(text.contains(r#".options("-c work_mem=64MB")"#), "{text}");
}

#[test]
fn a_program_reads_the_secret_file_itself() {
    let secret = tempfile::NamedTempFile::new().expect("a scratch file");
    std::fs::write(secret.path(), "S3cret\n").expect("it can be written");
    let path = secret.path().display().to_string();
    let yaml = format!("connection_settings: {{ host: db, password_file: '{path}' }}");
    let text = generated(&yaml, ConnectionType::Pool).expect("supported settings");
    assert!(
        text.contains(&format!("read_to_string({path:?})")),
        "{text}"
    );
    assert!(
        !text.contains("S3cret") && !text.contains("PGPASSWORD"),
        "{text}"
    );
}

#[test]
fn no_program_runs_the_command_of_a_password() {
    let yaml = "connection_settings: { host: db, password: { from_command: [vault, S3cret] } }";
    let loader = Config::loader().libpq_sources(false).yaml(yaml);
    let loaded = loader.allow_commands(true).load_with_sources();
    let loaded = loaded.expect("valid config");
    let refused = program(ConnectionType::Pool, &loaded, &|_| None);
    let text = refused.expect_err("it is not supported");
    assert_eq!(text, "connection_settings.password: from_command vault");
}

#[test]
fn what_the_drivers_cannot_do_is_refused() {
    for (wanted, told) in [
        (
            "host: db, sslmode: verify-ca",
            "sslmode: verify-ca without sslrootcert",
        ),
        (
            "host: db, sslmode: require, sslcert: a, sslkey: b, sslpassword: S3cret",
            "sslpassword: (an encrypted key",
        ),
        (
            "host: db, sslmode: verify-full, sslcrl: /a.crl",
            "sslcrl: /a.crl",
        ),
        (
            "host: 'db,/run/pg', sslmode: require",
            "sslmode: require with a Unix socket",
        ),
        (
            "host: db, sslmode: allow, channel_binding: require",
            "channel_binding: require with sslmode allow",
        ),
        (
            "host: db, target_session_attrs: standby",
            "target_session_attrs: standby",
        ),
        ("host: db, require_auth: md5", "require_auth: md5"),
    ] {
        let yaml = format!("connection_settings: {{ {wanted} }}");
        let refused = generated(&yaml, ConnectionType::Normal).expect_err(wanted);
        assert!(
            refused.contains(told) && !refused.contains("S3cret"),
            "{refused}"
        );
    }
}

#[test]
fn a_socket_is_not_encrypted() {
    let yaml = "connection_settings: { host: /run/pg, sslmode: require }";
    let text = generated(yaml, ConnectionType::Async).expect("supported settings");
    assert!(
        text.contains("SslMode::Disable") && text.contains("NoTls"),
        "{text}"
    );
}

#[test]
fn the_users_own_files_are_part_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let own = |name: &str| Some(folder.path().join(name));
    let yaml = "connection_settings: { host: db, user: a, sslmode: require }";
    let loader = Config::loader().libpq_sources(false).yaml(yaml);
    let loaded = loader.load_with_sources().expect("valid config");
    let text = program(ConnectionType::Normal, &loaded, &own).expect("supported settings");
    assert!(text.contains("AnyServer"), "{text}");
    std::fs::write(folder.path().join("root.crt"), "").expect("a file");
    let text = program(ConnectionType::Normal, &loaded, &own).expect("supported settings");
    assert!(
        text.contains("AnyName") && text.contains("/root.crt"),
        "{text}"
    );
}

#[test]
fn blanks_reach_the_server() {
    let yaml =
        "connection_settings: { host: db, user: a }\nsync_settings: { DateStyle: 'ISO, DMY' }\n";
    let text = generated(yaml, ConnectionType::Normal).expect("supported settings");
    assert!(
        text.contains(r#".options("-c DateStyle=ISO,\\ DMY")"#),
        "{text}"
    );
}
