//! TLS keys and their combinations.

use pgmonkey_config::{RootCert, SslMode};

use super::{bad, connection, good, has};

#[test]
fn modes_are_those_of_libpq() {
    for (word, mode) in [
        ("disable", SslMode::Disable),
        ("allow", SslMode::Allow),
        ("prefer", SslMode::Prefer),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ] {
        let config = good(&connection(&format!("sslmode: {word}")));
        assert_eq!(config.connection_settings.sslmode, mode);
        assert_eq!(mode.to_string(), word);
    }
    // For libpq the empty text is an error; here it means "not set", as for every key.
    let config = good(&connection("sslmode: ''"));
    assert_eq!(config.connection_settings.sslmode, SslMode::Prefer);
}

#[test]
fn empty_paths_are_not_set() {
    let config = good(&connection("sslcert: ''\n  sslkey: ''\n  sslrootcert: ''"));
    let c = &config.connection_settings;
    assert_eq!(
        (&c.sslcert, &c.sslkey, &c.sslrootcert),
        (&None, &None, &None)
    );
}

#[test]
fn system_roots_need_verify_full() {
    let config = good(&connection("sslrootcert: system\n  sslmode: verify-full"));
    assert_eq!(
        config.connection_settings.sslrootcert,
        Some(RootCert::System)
    );
    for mode in ["disable", "allow", "prefer", "require", "verify-ca"] {
        let error = bad(&connection(&format!(
            "sslrootcert: system\n  sslmode: {mode}"
        )));
        has(&error, &["line 2", "sslrootcert", "verify-full", mode]);
    }
    // As in libpq, it is the default mode in this case.
    let config = good(&connection("sslrootcert: system"));
    assert_eq!(config.connection_settings.sslmode, SslMode::VerifyFull);
}

#[test]
fn certificate_and_key_come_together() {
    has(
        &bad(&connection("sslcert: /c")),
        &["line 2", "sslcert", "sslkey"],
    );
    has(
        &bad(&connection("sslkey: /k")),
        &["line 2", "sslkey", "sslcert"],
    );
    good(&connection("sslcert: /c\n  sslkey: /k"));
}

#[test]
fn versions_must_leave_one() {
    let error = bad(&connection(
        "ssl_min_protocol_version: TLSv1.3\n  ssl_max_protocol_version: TLSv1.2",
    ));
    has(&error, &["line 3", "ssl_max_protocol_version", "TLSv1.3"]);
    good(&connection(
        "ssl_min_protocol_version: TLSv1.3\n  ssl_max_protocol_version: TLSv1.3",
    ));
}

#[test]
fn direct_negotiation_needs_tls() {
    for mode in ["disable", "allow", "prefer"] {
        let error = bad(&connection(&format!(
            "sslnegotiation: direct\n  sslmode: {mode}"
        )));
        has(&error, &["sslnegotiation", "require", mode]);
    }
    good(&connection("sslnegotiation: direct\n  sslmode: verify-ca"));
}

#[test]
fn channel_binding_needs_tls() {
    let error = bad(&connection("channel_binding: require\n  sslmode: disable"));
    has(&error, &["channel_binding", "TLS"]);
    good(&connection("channel_binding: require"));
}
