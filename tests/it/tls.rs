//! Every sslmode against every kind of server: all four connection types do what psql does with the
//! same settings.
//!
//! `cargo xtask test tls -- --nocapture` prints the table.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use pgmonkey::{Report, aio, sync};
use pgmonkey_tests::{Outcome, load};
use pgmonkey_testserver::{
    Binaries, Certificates, Cluster, Endpoint, Kind, ScratchDir, TlsFront, plain_or_start,
};

const MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// How a server and its client are set up.
struct Row {
    name: &'static str,
    server: Server,
    /// The certificate that the server presents.
    presents: &'static str,
    host: &'static str,
    /// The client's settings besides the mode: key and file.
    files: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    Plain,
    Tls,
    ClientCert,
}

const ROOT: (&str, &str) = ("sslrootcert", "ca.pem");
const CLIENT: [(&str, &str); 3] = [ROOT, ("sslcert", "client.pem"), ("sslkey", "client.key")];

const fn row(
    name: &'static str,
    server: Server,
    presents: &'static str,
    files: &'static [(&'static str, &'static str)],
) -> Row {
    Row {
        name,
        server,
        presents,
        host: "localhost",
        files,
    }
}

const ROWS: &[Row] = &[
    row("plain", Server::Plain, "", &[]),
    row("plain, root known", Server::Plain, "", &[ROOT]),
    row("TLS", Server::Tls, "server", &[ROOT]),
    row("TLS, no root known", Server::Tls, "server", &[]),
    row("client certificate", Server::ClientCert, "server", &CLIENT),
    row(
        "client certificate, none shown",
        Server::ClientCert,
        "server",
        &[ROOT],
    ),
    row(
        "client certificate, another's",
        Server::ClientCert,
        "server",
        &[
            ROOT,
            ("sslcert", "wrong-client.pem"),
            ("sslkey", "wrong-client.key"),
        ],
    ),
    row(
        "client certificate, unknown CA",
        Server::ClientCert,
        "server",
        &[
            ROOT,
            ("sslcert", "other-client.pem"),
            ("sslkey", "other-client.key"),
        ],
    ),
    row("wrong CA", Server::Tls, "other-server", &[ROOT]),
    row("wrong name", Server::Tls, "wrong-name", &[ROOT]),
    row("expired", Server::Tls, "expired", &[ROOT]),
    row("expired, no root known", Server::Tls, "expired", &[]),
    row(
        "revoked",
        Server::Tls,
        "revoked",
        &[ROOT, ("sslcrl", "crl.pem")],
    ),
    row("revoked, no list", Server::Tls, "revoked", &[ROOT]),
    row(
        "not revoked",
        Server::Tls,
        "server",
        &[ROOT, ("sslcrl", "crl.pem")],
    ),
    row(
        "list of an unknown authority",
        Server::Tls,
        "server",
        &[ROOT, ("sslcrl", "empty-crl.pem")],
    ),
    row(
        "list out of date",
        Server::Tls,
        "server",
        &[ROOT, ("sslcrl", "expired-crl.pem")],
    ),
    row("intermediate", Server::Tls, "chained", &[ROOT]),
    row(
        "two roots in one file",
        Server::Tls,
        "server",
        &[("sslrootcert", "both-roots.pem")],
    ),
    row(
        "self-signed, its own root",
        Server::Tls,
        "self-signed",
        &[("sslrootcert", "self-signed.pem")],
    ),
    row("self-signed, unknown", Server::Tls, "self-signed", &[ROOT]),
    row(
        "SHA-384",
        Server::Tls,
        "p384",
        &[("sslrootcert", "p384-ca.pem")],
    ),
    row(
        "addresses only, asked for a name",
        Server::Tls,
        "ip-only",
        &[ROOT],
    ),
    Row {
        name: "self-signed, its own root, other name",
        server: Server::Tls,
        presents: "self-signed",
        host: "elsewhere.invalid",
        files: &[("sslrootcert", "self-signed.pem")],
    },
    Row {
        name: "addresses only, asked for one",
        server: Server::Tls,
        presents: "ip-only",
        host: "127.0.0.1",
        files: &[ROOT],
    },
    Row {
        name: "address beside names",
        server: Server::Tls,
        presents: "server",
        host: "127.0.0.1",
        files: &[ROOT],
    },
];

/// The outcome of one connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    Encrypted,
    Plain,
    Refused(String),
}

impl Session {
    fn of(report: Result<Report, pgmonkey::Error>) -> Self {
        match report {
            Ok(report) if report.tls.is_some() => Self::Encrypted,
            Ok(_) => Self::Plain,
            Err(error) => Self::Refused(error.to_string()),
        }
    }

    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused(_))
    }

    fn is_like(&self, other: &Self) -> bool {
        matches!(
            (self, other),
            (Self::Encrypted, Self::Encrypted)
                | (Self::Plain, Self::Plain)
                | (Self::Refused(_), Self::Refused(_))
        )
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Encrypted => "TLS",
            Self::Plain => "plain",
            Self::Refused(_) => "refused",
        })
    }
}

/// The servers, and what both sides need.
pub(crate) struct Bench {
    pub(crate) tls: Cluster,
    client_cert: Cluster,
    pub(crate) certificates: Certificates,
    pub(crate) psql: Option<PathBuf>,
    _scratch: ScratchDir,
}

impl Bench {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let scratch = ScratchDir::new()?;
        let certificates = Certificates::generate(scratch.path(), "postgres")?;
        let start = |kind| {
            let builder = Cluster::builder().kind(kind);
            builder.certificates(certificates.clone()).start()
        };
        let tls = start(Kind::Tls)?;
        let psql = psql(&tls);
        Ok(Self {
            client_cert: start(Kind::ClientCert)?,
            tls,
            certificates,
            psql,
            _scratch: scratch,
        })
    }

    fn endpoint(&self, server: Server) -> &Endpoint {
        match server {
            Server::Plain => plain_or_start().expect("a PostgreSQL server"),
            Server::Tls => &self.tls,
            Server::ClientCert => &self.client_cert,
        }
    }

    /// The settings of a session as keys and values, for both sides; `more` comes last, and a value
    /// that looks like a file is one of the certificates.
    pub(crate) fn with(
        &self,
        server: Server,
        mode: &str,
        more: &[(&str, &str)],
    ) -> Vec<(String, String)> {
        let endpoint = self.endpoint(server);
        let port = endpoint.port().to_string();
        let basic = [
            ("host", "localhost"),
            ("hostaddr", "127.0.0.1"),
            ("port", &port),
            ("user", endpoint.user()),
            ("password", endpoint.password()),
            ("dbname", endpoint.dbname()),
            ("sslmode", mode),
            ("connect_timeout", "10"),
        ];
        let kept = basic
            .iter()
            .filter(|(key, _)| more.iter().all(|(other, _)| other != key));
        let file = |value: &str| {
            let path = self.certificates.dir().join(value);
            path.display().to_string()
        };
        kept.chain(more)
            .map(|(key, value)| {
                let is_file = value.ends_with(".pem") || value.ends_with(".key");
                let value = if is_file {
                    file(value)
                } else {
                    (*value).to_owned()
                };
                ((*key).to_owned(), value)
            })
            .collect()
    }

    /// Makes the server that requires client certificates trust this authority as well.
    pub(crate) fn trust(&self, authority: &str) -> anyhow::Result<()> {
        let ours = std::fs::read_to_string(self.certificates.ca())?;
        let other = std::fs::read_to_string(self.certificates.certificate(authority))?;
        let file = self.client_cert.data_dir().join("ca.pem");
        std::fs::write(file, ours + &other)?;
        self.client_cert.reload()
    }
}

/// The psql to compare with: the server's own, or a later one if that is too old for the
/// comparisons. Before 15 it passes over files in `HOME`, and does not match addresses in
/// certificates.
pub(crate) fn psql(cluster: &Cluster) -> Option<PathBuf> {
    let of = |binaries: &Binaries| Some(binaries.dir().join("psql")).filter(|path| path.is_file());
    let own = cluster.binaries();
    let later = || {
        let mut later = (15..=18).rev().filter_map(Binaries::installed);
        later.find_map(|binaries| of(&binaries))
    };
    let newer = match own.major().is_some_and(|major| major < 15) {
        true => later(),
        false => None,
    };
    newer.or_else(|| of(own)).or_else(|| {
        let paths = std::env::var_os("PATH")?;
        std::env::split_paths(&paths)
            .map(|dir| dir.join("psql"))
            .find(|path| path.is_file())
    })
}

/// What psql does with the settings.
pub(crate) fn with_psql(psql: &Path, settings: &[(String, String)]) -> Session {
    let conninfo: Vec<String> = settings
        .iter()
        .map(|(key, value)| format!("{key}='{}'", value.replace('\'', "\\'")))
        .collect();
    let ask = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let output = Command::new(psql)
        .args(["-X", "-w", "-A", "-t", "-c", ask, "-d"])
        .arg(conninfo.join(" "))
        .env_clear()
        .env("HOME", "/nonexistent")
        .output()
        .expect("psql runs");
    match String::from_utf8_lossy(&output.stdout).trim() {
        "t" => Session::Encrypted,
        "f" => Session::Plain,
        _ => Session::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

pub(crate) fn yaml(settings: &[(String, String)]) -> String {
    let lines: Vec<String> = settings
        .iter()
        .map(|(key, value)| format!("  {key}: '{}'\n", value.replace('\'', "''")))
        .collect();
    format!(
        "connection_settings:\n{}pool_settings: {{ min_size: 0 }}\nasync_pool_settings: {{ min_size: 0 }}\n",
        lines.concat()
    )
}

/// What each of the four types does with the settings.
fn with_ours(settings: &[(String, String)], runtime: &tokio::runtime::Runtime) -> [Session; 4] {
    let config = load(&yaml(settings));
    [
        sync::Connection::new(&config).and_then(|connection| connection.ping()),
        sync::Pool::new(&config).and_then(|pool| pool.ping()),
        runtime.block_on(async { aio::Connection::new(&config).await?.ping().await }),
        runtime.block_on(async { aio::Pool::new(&config).await?.ping().await }),
    ]
    .map(Session::of)
}

/// The server rejects one kind of session in `pg_hba.conf`, and each mode finds what is left.
#[test]
fn each_mode_finds_what_the_server_admits() -> Outcome {
    let bench = Bench::start()?;
    let runtime = tokio::runtime::Runtime::new()?;
    for (kind, refused) in [("hostnossl", "TLS"), ("hostssl", "plain")] {
        let rules =
            format!("local all all scram-sha-256\n{kind} all all 127.0.0.1/32 scram-sha-256\n");
        bench.tls.set_hba(&rules)?;
        for mode in MODES {
            let settings = bench.with(Server::Tls, mode, &[ROOT]);
            let ours = with_ours(&settings, &runtime);
            println!(
                "{kind:10} {mode:12} {} {} {} {}",
                ours[0], ours[1], ours[2], ours[3]
            );
            assert!(
                ours.iter().all(|one| one.to_string() != refused),
                "{kind} {mode}"
            );
            if let Some(psql) = &bench.psql {
                let theirs = with_psql(psql, &settings);
                assert!(
                    ours.iter().all(|one| one.is_like(&theirs)),
                    "{kind} {mode}: {theirs:?}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn every_sslmode_against_every_server_as_psql_does() -> Outcome {
    let bench = Bench::start()?;
    let runtime = tokio::runtime::Runtime::new()?;
    if bench.psql.is_none() {
        println!("no psql on this machine: our four types are compared with each other only");
    }
    println!(
        "{:38} {:12} {:8} {:8} {:8} {:8} async_pool",
        "server", "sslmode", "psql", "normal", "pool", "async"
    );
    let mut differ = Vec::new();
    for row in ROWS {
        if !row.presents.is_empty() && row.server == Server::Tls {
            bench.tls.present(row.presents)?;
        }
        for mode in MODES {
            let more: Vec<_> = [("host", row.host)]
                .iter()
                .chain(row.files)
                .copied()
                .collect();
            let settings = bench.with(row.server, mode, &more);
            let ours = with_ours(&settings, &runtime);
            let theirs = bench.psql.as_ref().map(|psql| with_psql(psql, &settings));
            let expected = theirs.as_ref().unwrap_or(&ours[0]);
            println!(
                "{:38} {mode:12} {:8} {:8} {:8} {:8} {}",
                row.name,
                theirs.as_ref().map_or("-".to_owned(), Session::to_string),
                ours[0],
                ours[1],
                ours[2],
                ours[3]
            );
            if let Session::Refused(reason) = &ours[0] {
                println!("{:51} {reason}", "");
            }
            if !ours.iter().all(|one| one.is_like(expected)) {
                differ.push(format!(
                    "{} {mode}: psql {theirs:?}, ours {ours:?}",
                    row.name
                ));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    Ok(())
}

/// Both families, over TCP.
#[test]
fn a_certificate_that_is_too_large_is_said_to_be() -> Outcome {
    let scratch = ScratchDir::new()?;
    let certificates = Certificates::generate(scratch.path(), "postgres")?;
    let front = TlsFront::start(&certificates, "large", &["postgresql"], plain_or_start()?)?;
    let runtime = tokio::runtime::Runtime::new()?;
    for version in ["TLSv1.2", "TLSv1.3"] {
        let config = load(&format!(
            "connection_settings: {{ host: localhost, hostaddr: 127.0.0.1, port: {}, user: a, dbname: a, \
             sslmode: verify-full, sslrootcert: {}, ssl_max_protocol_version: {version} }}",
            front.port(),
            certificates.ca().display(),
        ));
        let blocking = sync::Connection::new(&config).expect_err("too large");
        let waiting = runtime.block_on(aio::Connection::new(&config));
        for error in [blocking, waiting.expect_err("too large")] {
            let text = error.to_string();
            assert!(
                error.is_tls() && text.contains("more than 64 KiB"),
                "{version}: {text}"
            );
        }
    }
    Ok(())
}
