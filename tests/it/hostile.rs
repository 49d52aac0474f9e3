//! Servers that stall, lie or ask for more than they may have: every attempt ends in time, says why
//! and leaves nothing behind.

use std::time::{Duration, Instant};

use pgmonkey::Error;
use pgmonkey_tests::{load, twin};
use pgmonkey_testserver::{Behaviour, Hostile};

/// Far more than `connect_timeout`, which is 2 seconds, and far less than an attempt without a limit.
const LIMIT: Duration = Duration::from_secs(15);

fn yaml(server: &Hostile, settings: &str) -> String {
    format!(
        "connection_settings: {{ host: {}, port: {}, user: app, dbname: app, password: S3cret-of-app, connect_timeout: 2{settings} }}",
        server.host(),
        server.port(),
    )
}

/// What is expected of each behaviour: under `sslmode: require` if it concerns TLS, under `disable`
/// if it concerns the login.
fn expected(behaviour: Behaviour) -> Option<(&'static str, &'static str)> {
    Some(match behaviour {
        Behaviour::Silent | Behaviour::SilentInHandshake => {
            (", sslmode: require", "no session within connect_timeout")
        }
        Behaviour::ClosesInHandshake => (
            ", sslmode: require",
            "the connection ended during the TLS handshake",
        ),
        // Also where a session without TLS would be accepted.
        Behaviour::StuffsBytes => (
            ", sslmode: prefer",
            "received unencrypted data before the TLS handshake",
        ),
        Behaviour::ErrorForTls => (", sslmode: prefer", "with an error message"),
        Behaviour::GarbageForTls => (", sslmode: prefer", "with the byte 0x48"),
        Behaviour::HugeMessage => (", sslmode: disable", "announced a message of"),
        Behaviour::AsksClearText => (
            ", sslmode: disable, require_auth: scram-sha-256",
            "the server asks for password authentication, and require_auth allows scram-sha-256",
        ),
        Behaviour::AsksMd5 => (
            ", sslmode: disable, require_auth: '!password,!md5'",
            "the server asks for md5 authentication",
        ),
        Behaviour::TrustsEverybody => (
            ", sslmode: disable, require_auth: scram-sha-256",
            "let this user in without authentication",
        ),
        Behaviour::SilentAfterLogin | Behaviour::Trickles => {
            (", sslmode: disable", "no session within connect_timeout")
        }
        // The driver accepts none until the login is complete.
        Behaviour::NoticesForLogin => (", sslmode: disable", "unexpected message from server"),
        Behaviour::ShortNotices => (
            ", sslmode: disable",
            "more than 1000 messages before the login was over",
        ),
        Behaviour::LongNotices => (
            ", sslmode: disable",
            "more than 1048576 bytes before the login was over",
        ),
        Behaviour::RefusesInEscapes => (", sslmode: disable", "go away\\u{1b}]0;owned"),
        Behaviour::RefusesAtLength => (", sslmode: disable", "more bytes]"),
        Behaviour::CannotFork => (
            ", sslmode: prefer",
            "the server refused the session: could not fork new process for connection: Resource",
        ),
        Behaviour::Stumbles => (", sslmode: disable", "with an error without a text"),
        // It admits everyone; another test covers it.
        _ => return None,
    })
}

/// Threads of this process whose name starts with the library's prefix, except the two that the
/// async pools share for the lifetime of the process.
fn our_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.starts_with("pgmonkey-"))
        .filter(|name| !matches!(name.trim_end(), "pgmonkey-driver" | "pgmonkey-open"))
        .count()
}

twin! {
    fn every_attempt_ends_in_time_and_says_why(on, driver, go, work) {
        for behaviour in Behaviour::ALL {
            let server = Hostile::start(behaviour)?;
            let Some((settings, words)) = expected(behaviour) else { continue };
            let config = load(&yaml(&server, settings));
            let began = Instant::now();
            let error = go!(driver::Connection::new(&config)).expect_err("hostile");
            assert!(began.elapsed() < LIMIT, "{behaviour:?}: {:?}", began.elapsed());
            let text = error.to_string();
            assert!(matches!(error, Error::Connect(_)) && text.contains(words), "{behaviour:?}: {text}");
            assert!(!text.contains("S3cret"), "{text}");
            if matches!(behaviour, Behaviour::CannotFork | Behaviour::Stumbles) {
                assert!(error.is_transient(), "{text}");
            }
            on.until("the client hangs up", || server.open() == 0);
            assert!(server.accepted() > 0);
        }
        on.until("threads end", || our_threads() == 0);
        Ok(())
    }
}

twin! {
    fn a_session_whose_server_announces_settings_for_ever_ends(on, driver, go, work) {
        let server = Hostile::start(Behaviour::NewSettings)?;
        let config = load(&yaml(&server, ", sslmode: disable"));
        let connection = go!(driver::Connection::new(&config))?;
        let error = go!(connection.batch_execute("SELECT 1")).expect_err("flooded");
        let text = error.to_string();
        assert!(text.contains("more than 128 settings"), "{text}");
        assert!(!error.is_transient() && error.code().is_none(), "{text}");
        on.until("the client hangs up", || server.open() == 0);
        Ok(())
    }
}

twin! {
    fn a_password_never_leaves_for_a_method_that_is_not_allowed(on, driver, go, work) {
        let _ = &on;
        for (behaviour, method) in [(Behaviour::AsksClearText, "password"), (Behaviour::AsksMd5, "md5")] {
            let server = Hostile::start(behaviour)?;
            for forbidden in [format!("'!{method}'"), "scram-sha-256".to_owned(), "none".to_owned()] {
                let config = load(&yaml(&server, &format!(", sslmode: disable, require_auth: {forbidden}")));
                let error = go!(driver::Pool::new(&config)).expect_err("not allowed");
                assert!(error.is_authentication() && !error.is_transient(), "{error}");
            }
            assert!(server.received().is_empty(), "{:?}", server.received());
            // The counter-check: without the requirement it does.
            let config = load(&yaml(&server, ", sslmode: disable"));
            assert!(go!(driver::Pool::new(&config)).is_err());
            assert!(!server.received().is_empty(), "asked {method}, nothing came");
        }
        Ok(())
    }
}

twin! {
    fn a_server_that_closes_in_the_handshake_gets_a_plain_try_under_prefer_only(on, driver, go, work) {
        let _ = &on;
        for (mode, tries) in [("prefer", 2), ("require", 1), ("verify-full", 1)] {
            let server = Hostile::start(Behaviour::ClosesInHandshake)?;
            let config = load(&yaml(&server, &format!(", sslmode: {mode}")));
            let began = Instant::now();
            assert!(go!(driver::Connection::new(&config)).is_err());
            assert!(began.elapsed() < LIMIT);
            assert_eq!(server.accepted(), tries, "{mode}");
        }
        for behaviour in [Behaviour::StuffsBytes, Behaviour::ErrorForTls, Behaviour::GarbageForTls] {
            let server = Hostile::start(behaviour)?;
            let config = load(&yaml(&server, ", sslmode: prefer"));
            assert!(go!(driver::Connection::new(&config)).is_err());
            assert_eq!(server.accepted(), 1, "{behaviour:?}: no plain session after this");
        }
        Ok(())
    }
}
