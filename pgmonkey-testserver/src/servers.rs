//! The servers that are already running for a test binary.

use std::env;
use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Context, anyhow};

use crate::certs::Certificates;
use crate::cluster::Cluster;
use crate::endpoint::Endpoint;
use crate::locate::Binaries;
use crate::settings::Kind;

const PLAIN: &str = "PGMONKEY_TEST_PLAIN_URL";
const PLAIN_LOG: &str = "PGMONKEY_TEST_PLAIN_LOG";
const PLAIN_SOCKET: &str = "PGMONKEY_TEST_PLAIN_SOCKET_DIR";
const TLS: &str = "PGMONKEY_TEST_TLS_URL";
const CLIENT_CERT: &str = "PGMONKEY_TEST_CLIENTCERT_URL";
const CERTS: &str = "PGMONKEY_TEST_CERTS";
const PG_BIN: &str = "PGMONKEY_TEST_PG_BIN";

/// The servers that `cargo xtask test` started, as it passes them to the test binaries.
///
/// | variable | contents |
/// |---|---|
/// | `PGMONKEY_TEST_PLAIN_URL` | the plain server, as `postgres://…` |
/// | `PGMONKEY_TEST_TLS_URL` | the TLS server |
/// | `PGMONKEY_TEST_CLIENTCERT_URL` | the server that requires client certificates |
/// | `PGMONKEY_TEST_CERTS` | directory of the [`Certificates`] of both |
/// | `PGMONKEY_TEST_PG_BIN` | server programs, for tests that start their own [`Cluster`] |
/// | `PGMONKEY_TEST_PLAIN_LOG` | the plain server's log file, if it runs on this machine |
/// | `PGMONKEY_TEST_PLAIN_SOCKET_DIR` | its Unix socket's directory, if it runs on this machine |
#[derive(Clone, Debug)]
pub struct TestServers {
    /// The server without TLS.
    pub plain: Endpoint,
    /// The server with TLS.
    pub tls: Option<Endpoint>,
    /// The server that requires a client certificate.
    pub client_cert: Option<Endpoint>,
    /// The certificates of the servers with TLS and their clients.
    pub certificates: Option<Certificates>,
    /// The programs for tests that start their own server.
    pub binaries: Option<Binaries>,
}

impl TestServers {
    /// Reads the variables above; `None` if `PGMONKEY_TEST_PLAIN_URL` is not set.
    ///
    /// # Panics
    ///
    /// When a variable has an invalid value, because a test run without the expected servers proves
    /// nothing.
    #[must_use]
    pub fn from_env() -> Option<Self> {
        let mut plain = endpoint(PLAIN)?;
        plain.log_file = path(PLAIN_LOG);
        plain.socket_dir = path(PLAIN_SOCKET);
        Some(Self {
            plain,
            tls: endpoint(TLS),
            client_cert: endpoint(CLIENT_CERT),
            certificates: path(CERTS).map(Certificates::at),
            binaries: path(PG_BIN).map(|dir| {
                Binaries::at(dir).unwrap_or_else(|error| panic!("${PG_BIN}: {error:#}"))
            }),
        })
    }

    /// Returns the variables that pass these servers to a child process.
    #[must_use]
    pub fn to_env(&self) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let plain = &self.plain;
        [
            (PLAIN, Some(plain.url())),
            (PLAIN_LOG, plain.log_file.clone().map(text)),
            (PLAIN_SOCKET, plain.socket_dir.clone().map(text)),
            (TLS, self.tls.as_ref().map(Endpoint::url)),
            (CLIENT_CERT, self.client_cert.as_ref().map(Endpoint::url)),
            (
                CERTS,
                self.certificates.as_ref().map(|c| text(c.dir().into())),
            ),
            (PG_BIN, self.binaries.as_ref().map(|b| text(b.dir().into()))),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// Returns the plain server from the environment, or starts one, once per process.
///
/// This makes `cargo test` work without `cargo xtask test`. The server is removed when the process
/// exits.
///
/// # Errors
///
/// When the environment has none and none can be started, for example because PostgreSQL is not
/// installed on this machine.
pub fn plain_or_start() -> anyhow::Result<&'static Endpoint> {
    static PLAIN: OnceLock<Result<Source, String>> = OnceLock::new();
    let source = PLAIN.get_or_init(|| Source::find().map_err(|error| format!("{error:#}")));
    match source {
        Ok(Source::Named(endpoint)) => Ok(endpoint),
        Ok(Source::Started(cluster)) => Ok(cluster),
        Err(error) => Err(anyhow!("{error}")),
    }
}

enum Source {
    Named(Endpoint),
    Started(Box<Cluster>),
}

impl Source {
    fn find() -> anyhow::Result<Self> {
        match TestServers::from_env() {
            Some(servers) => Ok(Self::Named(servers.plain)),
            None => Ok(Self::Started(Box::new(
                Cluster::builder().kind(Kind::Plain).start().context(
                    "PGMONKEY_TEST_PLAIN_URL is not set (`cargo xtask test` sets it) and no server can be started",
                )?,
            ))),
        }
    }
}

fn endpoint(variable: &str) -> Option<Endpoint> {
    let url = env::var(variable).ok().filter(|url| !url.is_empty())?;
    Some(Endpoint::from_url(&url).unwrap_or_else(|error| panic!("${variable}: {error:#}")))
}

fn path(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}
