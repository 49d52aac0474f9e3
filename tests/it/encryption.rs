//! What encrypted sessions guarantee beyond their mode: keys in every format, channel binding,
//! versions, cancel, reloaded files without a restart.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgmonkey::{Report, aio, sync};
use pgmonkey_tests::{LONG, Outcome, load};
use pgmonkey_testserver::TlsFront;

use crate::observation::warnings_about;
use crate::tls::{Bench, Server, with_psql, yaml};

/// One request for a session of the bench, and the words of the refusal if it is expected to fail.
struct Ask<'a> {
    server: Server,
    settings: &'a [(&'a str, &'a str)],
    refusal: Option<&'a str>,
    /// Whether psql behaves differently, for the stated reason.
    unlike_psql: bool,
}

const fn ask<'a>(server: Server, settings: &'a [(&'a str, &'a str)]) -> Ask<'a> {
    Ask {
        server,
        settings,
        refusal: None,
        unlike_psql: false,
    }
}

impl<'a> Ask<'a> {
    const fn refused(mut self, words: &'a str) -> Self {
        self.refusal = Some(words);
        self
    }

    const fn unlike_psql(mut self) -> Self {
        self.unlike_psql = true;
        self
    }
}

fn reports(config: &pgmonkey::Config) -> Vec<Result<Report, pgmonkey::Error>> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    vec![
        sync::Connection::new(config).and_then(|connection| connection.ping()),
        runtime.block_on(async { aio::Connection::new(config).await?.ping().await }),
    ]
}

/// Tries both families, and psql where it must agree.
fn check(bench: &Bench, asks: &[Ask<'_>]) {
    for ask in asks {
        let settings = bench.with(ask.server, "require", ask.settings);
        for report in reports(&load(&yaml(&settings))) {
            let shown = format!("{:?}", ask.settings);
            match (report, ask.refusal) {
                (Ok(report), None) => assert!(report.tls.is_some(), "{shown}: {report}"),
                (Err(error), Some(words)) => {
                    let text = error.to_string();
                    assert!(text.contains(words), "{shown}: {text}");
                    assert!(!text.contains("secret\""), "{text}");
                }
                (report, words) => panic!("{shown}: {report:?}, expected {words:?}"),
            }
        }
        if let (Some(psql), false) = (&bench.psql, ask.unlike_psql) {
            let theirs = with_psql(psql, &settings);
            assert_eq!(
                theirs.is_refusal(),
                ask.refusal.is_some(),
                "{:?}: {theirs:?}",
                ask.settings
            );
        }
    }
}

#[test]
fn a_ping_tells_how_the_session_is_encrypted() -> Outcome {
    let bench = Bench::start()?;
    let root = [("sslrootcert", "ca.pem")];
    for report in reports(&load(&yaml(&bench.with(Server::Tls, "verify-full", &root)))) {
        let report = report?;
        let tls = report.tls.as_ref().expect("encrypted");
        assert_eq!(
            (tls.version.as_str(), tls.peer.as_deref()),
            ("TLSv1.3", Some("localhost"))
        );
        assert!(tls.cipher.starts_with("TLS_"), "{tls:?}");
        assert_eq!(
            report.auth_method.map(|m| m.to_string()).as_deref(),
            Some("scram-sha-256")
        );
        assert_eq!(report.role, pgmonkey::Role::Primary);
        assert!(report.to_string().contains("TLSv1.3"), "{report}");
        // As the server reports it.
        let seen = bench.tls.psql("SHOW server_version")?;
        assert_eq!(report.server_version, seen);
    }
    Ok(())
}

#[test]
fn keys_are_read_in_every_form() -> Outcome {
    let bench = Bench::start()?;
    let dir = bench.certificates.dir();
    let open = dir.join("open.key");
    fs::copy(bench.certificates.key("client"), &open)?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644))?;
    let wrong = dir.join("certificate.key");
    fs::copy(bench.certificates.certificate("client"), &wrong)?;
    fs::set_permissions(&wrong, fs::Permissions::from_mode(0o600))?;
    let group = dir.join("group.key");
    fs::copy(bench.certificates.key("client"), &group)?;
    fs::set_permissions(&group, fs::Permissions::from_mode(0o640))?;
    let client = ("sslcert", "client.pem");
    check(
        &bench,
        &[
            ask(Server::ClientCert, &[client, ("sslkey", "client.key")]),
            ask(Server::ClientCert, &[client, ("sslkey", "open.key")])
                .refused("can be read by users other than"),
            ask(
                Server::ClientCert,
                &[client, ("sslkey", "wrong-client.key")],
            )
            .refused("the key belongs to another certificate"),
            ask(Server::ClientCert, &[client, ("sslkey", "nowhere.key")]).refused("does not exist"),
            ask(Server::ClientCert, &[client, ("sslkey", "certificate.key")])
                .refused("no private key"),
            // psql continues without the certificate; pgmonkey requires what the file asks for.
            ask(
                Server::Tls,
                &[("sslcert", "nowhere.pem"), ("sslkey", "client.key")],
            )
            .refused("sslcert: ")
            .unlike_psql(),
            ask(Server::Tls, &[("sslrootcert", "nowhere.pem")])
                .refused("sslrootcert: ")
                .unlike_psql(),
            ask(Server::Tls, &[("sslrootcert", "server.key")]).refused("holds no certificate"),
            ask(
                Server::Tls,
                &[("sslrootcert", "ca.pem"), ("sslcrl", "ca.pem")],
            )
            .refused("holds no revocation list")
            .unlike_psql(),
        ],
    );
    // Reported when the pool is opened, even if it opens no session yet and none needs encryption.
    let settings = bench.with(Server::Tls, "prefer", &[("sslrootcert", "nowhere.pem")]);
    let error = sync::Pool::new(&load(&yaml(&settings))).expect_err("a file that is not there");
    assert!(
        error.is_configuration() && error.to_string().contains("sslrootcert"),
        "{error}"
    );
    // A key owned by root may be group-readable; the tests may run as another user.
    if std::os::unix::fs::MetadataExt::uid(&fs::metadata(&group)?) == 0 {
        check(
            &bench,
            &[ask(Server::ClientCert, &[client, ("sslkey", "group.key")])],
        );
    }
    if !bench.certificates.has("rsa-client") {
        println!("no openssl on this machine: keys in old forms are not tried");
        return Ok(());
    }
    bench.trust("rsa-ca")?;
    let rsa = ("sslcert", "rsa-client.pem");
    let secret = ("sslpassword", "secret");
    check(
        &bench,
        &[
            ask(Server::ClientCert, &[rsa, ("sslkey", "rsa-client.key")]),
            ask(
                Server::ClientCert,
                &[rsa, ("sslkey", "rsa-client.pkcs1.key")],
            ),
            ask(
                Server::ClientCert,
                &[rsa, ("sslkey", "rsa-client.encrypted.key"), secret],
            ),
            ask(
                Server::ClientCert,
                &[rsa, ("sslkey", "rsa-client.encrypted.key")],
            )
            .refused("is encrypted: set sslpassword"),
            ask(
                Server::ClientCert,
                &[
                    rsa,
                    ("sslkey", "rsa-client.encrypted.key"),
                    ("sslpassword", "wrong"),
                ],
            )
            .refused("sslpassword is wrong"),
            ask(
                Server::ClientCert,
                &[rsa, ("sslkey", "rsa-client.legacy.key"), secret],
            )
            .refused("openssl pkcs8 -topk8")
            .unlike_psql(),
            ask(Server::ClientCert, &[client, ("sslkey", "client.sec1.key")]),
            ask(
                Server::ClientCert,
                &[client, ("sslkey", "client.encrypted.key"), secret],
            ),
        ],
    );
    Ok(())
}

#[test]
fn a_login_is_bound_to_the_channel() -> Outcome {
    let bench = Bench::start()?;
    let require = ("channel_binding", "require");
    for certificate in ["server", "p384", "chained", "rsa", "rsa-pss"] {
        if bench.certificates.has(certificate) {
            bench.tls.present(certificate)?;
            check(
                &bench,
                &[
                    ask(Server::Tls, &[require]),
                    ask(Server::Tls, &[("channel_binding", "disable")]),
                ],
            );
        }
    }
    // Its signature names no hash, so there is nothing to bind to. psql refuses `prefer` as well.
    bench.tls.present("ed25519")?;
    check(
        &bench,
        &[
            ask(Server::Tls, &[]).unlike_psql(),
            ask(Server::Tls, &[require]).refused("server did not use channel binding"),
        ],
    );
    let plain = bench.with(Server::Plain, "prefer", &[require]);
    for report in reports(&load(&yaml(&plain))) {
        let text = report.expect_err("nothing to bind to").to_string();
        assert!(text.contains("channel binding"), "{text}");
    }
    Ok(())
}

#[test]
fn certificates_that_rustls_does_not_take_come_with_advice() -> Outcome {
    let bench = Bench::start()?;
    let root = ("sslrootcert", "ca.pem");
    bench.tls.present("cn-only")?;
    for report in reports(&load(&yaml(&bench.with(
        Server::Tls,
        "verify-full",
        &[root],
    )))) {
        let text = report.expect_err("no name to check").to_string();
        assert!(
            text.contains("reissue it with a subject alternative name"),
            "{text}"
        );
    }
    check(&bench, &[ask(Server::Tls, &[root])]);
    if bench.certificates.has("version-1") {
        bench.tls.present("version-1")?;
        check(
            &bench,
            &[ask(Server::Tls, &[root])
                .refused("X.509 version 1")
                .unlike_psql()],
        );
    }
    Ok(())
}

#[test]
fn direct_negotiation_takes_a_server_that_names_the_protocol() -> Outcome {
    let bench = Bench::start()?;
    let plain = pgmonkey_testserver::plain_or_start()?;
    let front =
        |protocols: &[&str]| TlsFront::start(&bench.certificates, "server", protocols, plain);
    let (modern, nameless) = (front(&["postgresql"])?, front(&[])?);
    let direct = ("sslnegotiation", "direct");
    let through = |front: &TlsFront, more: &[(&str, &str)]| {
        let port = front.port().to_string();
        let all = [&[("sslrootcert", "ca.pem"), ("port", port.as_str())], more].concat();
        reports(&load(&yaml(&bench.with(
            Server::Plain,
            "verify-full",
            &all,
        ))))
    };
    // The settings, and what the TLS front observes.
    type Row<'a> = (&'a [(&'a str, &'a str)], bool, Option<&'a str>);
    let rows: [Row<'_>; 4] = [
        (&[direct], true, Some("localhost")),
        (&[], false, Some("localhost")),
        (&[direct, ("sslsni", "0")], true, None),
        (&[direct, ("host", "127.0.0.1")], true, None),
    ];
    for (settings, is_direct, name) in rows {
        for report in through(&modern, settings) {
            assert!(report?.tls.is_some());
            let seen = modern.seen().pop().expect("a handshake");
            let protocol = seen.protocol.as_deref();
            assert_eq!(
                (seen.direct, protocol),
                (is_direct, Some(b"postgresql".as_slice()))
            );
            assert_eq!(seen.name.as_deref(), name, "{settings:?}");
        }
    }
    for report in through(&nameless, &[direct]) {
        let error = report.expect_err("it could be any server");
        assert!(error.is_tls(), "{error}");
        assert!(error.to_string().contains("(ALPN)"), "{error}");
    }
    for report in through(&nameless, &[]) {
        assert!(
            report?.tls.is_some(),
            "asked first, it said it is PostgreSQL"
        );
    }
    // A real server supports this from version 17 on.
    let version: u32 = bench.tls.psql("SHOW server_version_num")?.parse()?;
    for report in reports(&load(&yaml(&bench.with(
        Server::Tls,
        "verify-full",
        &[("sslrootcert", "ca.pem"), direct],
    )))) {
        match report {
            Ok(report) => assert!(version >= 170_000, "{report}"),
            Err(error) => assert!(
                version < 170_000 && error.to_string().contains("TLS handshake"),
                "{error}"
            ),
        }
    }
    Ok(())
}

#[test]
fn versions_of_tls_are_kept_to() -> Outcome {
    let bench = Bench::start()?;
    let newest = ("ssl_min_protocol_version", "TLSv1.3");
    let oldest = ("ssl_max_protocol_version", "TLSv1.2");
    for report in reports(&load(&yaml(&bench.with(Server::Tls, "require", &[oldest])))) {
        assert_eq!(report?.tls.expect("encrypted").version, "TLSv1.2");
    }
    bench.tls.set("ssl_max_protocol_version", "TLSv1.2")?;
    bench.tls.reload()?;
    check(
        &bench,
        &[
            ask(Server::Tls, &[newest]).refused("the server"),
            ask(Server::Tls, &[]),
        ],
    );
    Ok(())
}

/// A relay that records how each connection begins.
struct Relay {
    port: u16,
    begun: Arc<Mutex<Vec<[u8; 8]>>>,
}

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const CANCEL_REQUEST: [u8; 4] = [0x04, 0xd2, 0x16, 0x2e];

impl Relay {
    fn to(port: u16) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let relay = Self {
            port: listener.local_addr()?.port(),
            begun: Arc::default(),
        };
        let begun = Arc::clone(&relay.begun);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let begun = Arc::clone(&begun);
                std::thread::spawn(move || pass(client, port, &begun));
            }
        });
        Ok(relay)
    }

    fn begun(&self) -> Vec<[u8; 8]> {
        self.begun.lock().expect("no panic").clone()
    }
}

fn pass(mut client: TcpStream, port: u16, begun: &Mutex<Vec<[u8; 8]>>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    let mut first = [0; 8];
    client.read_exact(&mut first)?;
    begun.lock().expect("no panic").push(first);
    server.write_all(&first)?;
    let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Both)
    });
    std::io::copy(&mut client, &mut server)?;
    server.shutdown(Shutdown::Both)
}

#[test]
fn a_cancel_request_is_encrypted_as_its_session_is() -> Outcome {
    let bench = Bench::start()?;
    for (mode, encrypted) in [("verify-full", true), ("disable", false)] {
        let relay = Relay::to(bench.tls.port())?;
        let port = relay.port.to_string();
        let settings = bench.with(
            Server::Tls,
            mode,
            &[("sslrootcert", "ca.pem"), ("port", &port)],
        );
        let config = load(&yaml(&settings));
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            let pool = aio::Pool::new(&config).await?;
            let query = pool.query("SELECT pg_sleep(30)", &[]);
            let cut = tokio::time::timeout(Duration::from_millis(300), query).await;
            assert!(cut.is_err(), "dropped while it ran");
            pool.query("SELECT 1", &[]).await.map(drop)
        })?;
        let pool = sync::Pool::new(&config)?;
        let mut guard = pool.acquire()?;
        let sleeping = "COPY (SELECT CASE n WHEN 300 THEN pg_sleep(30)::text ELSE repeat('x', 100) END \
                        FROM generate_series(1, 300) n) TO STDOUT";
        drop(guard.copy_out(sleeping)?);
        drop(guard);
        pool.query("SELECT 1", &[])?;
        let begun = relay.begun();
        let kinds: BTreeSet<_> = begun.iter().map(|first| *first == SSL_REQUEST).collect();
        assert_eq!(kinds, BTreeSet::from([encrypted]), "{begun:?}");
        let cancels = begun
            .iter()
            .filter(|first| first[4..] == CANCEL_REQUEST)
            .count();
        assert_eq!(cancels > 0, !encrypted);
        assert!(
            begun.len() > 2,
            "a cancel is a connection of its own: {begun:?}"
        );
    }
    Ok(())
}

#[test]
fn new_files_count_without_a_new_pool() -> Outcome {
    let bench = Bench::start()?;
    let root = bench.certificates.dir().join("root-of-the-day.pem");
    fs::copy(bench.certificates.ca(), &root)?;
    let settings = bench.with(
        Server::Tls,
        "verify-full",
        &[("sslrootcert", "root-of-the-day.pem")],
    );
    let config = load(&yaml(&settings));
    let pool = sync::Pool::new(&config)?;
    let kept = pool.acquire()?;
    bench.tls.present("other-server")?;
    let error = pool.acquire().expect_err("an unknown authority");
    assert!(error.is_tls() && !error.is_transient(), "{error}");
    fs::copy(bench.certificates.certificate("other-ca"), &root)?;
    pool.acquire()?.simple_query("SELECT 1")?;
    drop(kept);
    Ok(())
}

#[test]
fn a_client_certificate_and_its_key_are_replaced_as_a_pair() -> Outcome {
    let bench = Bench::start()?;
    let dir = bench.certificates.dir();
    let of_the_day = |from: &Path, name: &str| -> std::io::Result<()> {
        // Replaced in one step, as certificate managers do.
        let (new, path) = (dir.join("new"), dir.join(name));
        fs::copy(from, &new)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600))?;
        fs::rename(new, path)
    };
    let (certificate, key) = ("pair-of-the-day.pem", "pair-of-the-day.key");
    of_the_day(&bench.certificates.certificate("client"), certificate)?;
    of_the_day(&bench.certificates.key("client"), key)?;
    let pair = [("sslcert", certificate), ("sslkey", key)];
    let settings = bench.with(Server::ClientCert, "require", &pair);
    let yaml = yaml(&settings).replacen("min_size: 0", "min_size: 0, timeout: 1", 1);
    let pool = sync::Pool::new(&load(&yaml))?;
    let kept = pool.acquire()?;
    // The key of another certificate: for now the old pair is used.
    let path = dir.join(certificate).display().to_string();
    assert_eq!(warnings_about(&path), 0);
    of_the_day(&bench.certificates.key("wrong-client"), key)?;
    let second = pool.acquire()?;
    assert_eq!(warnings_about(&path), 1);
    // The new pair is complete, and is not that of this role.
    of_the_day(&bench.certificates.certificate("wrong-client"), certificate)?;
    let error = pool.acquire().expect_err("another certificate");
    let text = error.to_string();
    assert!(text.contains("authentication failed"), "{text}");
    drop((kept, second));
    Ok(())
}

#[test]
fn a_silent_server_on_a_unix_socket_ends_with_connect_timeout_too() -> Outcome {
    let scratch = pgmonkey_testserver::ScratchDir::new()?;
    let _listener = std::os::unix::net::UnixListener::bind(scratch.path().join(".s.PGSQL.5999"))?;
    let text = format!(
        "connection_settings: {{ host: {}, port: 5999, user: app, connect_timeout: 1 }}",
        scratch.path().display()
    );
    let began = std::time::Instant::now();
    for report in reports(&load(&text)) {
        let error = report.expect_err("no answer");
        assert!(error.to_string().contains("connect_timeout"), "{error}");
    }
    assert!(began.elapsed() < LONG);
    let text = text.replace("user:", "require_auth: scram-sha-256, user:");
    let error = sync::Connection::new(&load(&text)).expect_err("cannot be kept");
    assert!(error.to_string().contains("require_auth"), "{error}");
    assert!(error.is_configuration());
    Ok(())
}
