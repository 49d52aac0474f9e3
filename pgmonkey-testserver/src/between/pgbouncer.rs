//! PgBouncer in front of a server, in transaction mode.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{Program, find};
use crate::certs::Certificates;
use crate::endpoint::Endpoint;
use crate::ports::free_port;

const SETTINGS: &str = "pgbouncer.ini";
const LOG: &str = "pgbouncer.log";

/// A throw-away PgBouncer. It is stopped when this is dropped and when this process exits.
///
/// It runs in transaction mode with five sessions on the server for all clients, and uses the
/// server's user and password.
#[derive(Debug)]
pub struct Pgbouncer {
    endpoint: Endpoint,
    program: Program,
}

impl Pgbouncer {
    /// Returns the path of the program: the one that `PGMONKEY_TEST_PGBOUNCER` names, or the
    /// installed one, if any.
    #[must_use]
    pub fn find() -> Option<PathBuf> {
        find("PGMONKEY_TEST_PGBOUNCER", "pgbouncer")
    }

    /// Starts `program` in front of `server`, with additional settings in its section
    /// `[pgbouncer]`.
    ///
    /// # Errors
    ///
    /// When it does not start; the error includes its log.
    pub fn start(
        program: &Path,
        server: &Endpoint,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        Self::start_with(program, server, settings, None)
    }

    /// Like [`start`](Self::start), for clients with TLS: it presents the certificate called
    /// `name`. The file `ca.pem` in its directory has the certificate authority, for settings of the
    /// server's side.
    ///
    /// # Errors
    ///
    /// When it does not start; the error includes its log.
    pub fn start_tls(
        program: &Path,
        server: &Endpoint,
        settings: &[(&str, &str)],
        certificates: &Certificates,
        name: &str,
    ) -> anyhow::Result<Self> {
        Self::start_with(program, server, settings, Some((certificates, name)))
    }

    fn start_with(
        program: &Path,
        server: &Endpoint,
        settings: &[(&str, &str)],
        tls: Option<(&Certificates, &str)>,
    ) -> anyhow::Result<Self> {
        let mut program = Program::new(program, "KILL")?;
        let port = free_port()?;
        let mut settings = settings.to_vec();
        if let Some((certificates, name)) = tls {
            program.copy(&certificates.certificate(name), "server.pem")?;
            program.copy(&certificates.key(name), "server.key")?;
            program.copy(&certificates.ca(), "ca.pem")?;
            settings.extend([
                ("client_tls_sslmode", "require"),
                ("client_tls_cert_file", "server.pem"),
                ("client_tls_key_file", "server.key"),
            ]);
        }
        program.write(SETTINGS, &ini(server, port, &settings))?;
        let user = format!("\"{}\" \"{}\"\n", server.user(), server.password());
        program.write("users.txt", &user)?;
        let file = program.file(SETTINGS);
        program.start(&[&file.to_string_lossy()])?;
        let endpoint = Endpoint {
            host: "127.0.0.1".to_owned(),
            port,
            socket_dir: None,
            log_file: Some(program.file(LOG)),
            ..server.clone()
        };
        let mut started = Self { endpoint, program };
        started.wait_ready(0)?;
        Ok(started)
    }

    /// The process id of the pooler; 0 while it is stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.program.pid().unwrap_or_default()
    }

    /// The file with its settings.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.program.file(SETTINGS)
    }

    /// Its address and credentials.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its console, which takes `PAUSE`, `RESUME`, `RECONNECT` and other commands as simple queries.
    #[must_use]
    pub fn console(&self) -> Endpoint {
        Endpoint {
            dbname: "pgbouncer".to_owned(),
            ..self.endpoint.clone()
        }
    }

    /// Ends it with SIGKILL, as a crash does.
    ///
    /// # Errors
    ///
    /// When it is stopped already.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.program.stop("KILL")
    }

    /// Starts it again on the same port, after [`kill`](Self::kill).
    ///
    /// # Errors
    ///
    /// When it does not start; the error includes its log.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        let seen = self.endpoint.log().len();
        // The killed one left its own, and it refuses to start beside another.
        let _ = std::fs::remove_file(self.program.file("pgbouncer.pid"));
        self.program.spawn()?;
        self.wait_ready(seen)
    }

    /// Reads its log instead of connecting: another process may have taken the port first.
    fn wait_ready(&mut self, seen: usize) -> anyhow::Result<()> {
        let endpoint = self.endpoint.clone();
        let listens = format!("listening on 127.0.0.1:{}", endpoint.port());
        self.program
            .wait(|_| endpoint.log()[seen..].contains(&listens))
    }
}

fn ini(server: &Endpoint, port: u16, settings: &[(&str, &str)]) -> String {
    let mut ini = format!(
        "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = users.txt\nadmin_users = {}\n\
         pool_mode = transaction\ndefault_pool_size = 5\nmax_client_conn = 500\nlogfile = {LOG}\n\
         pidfile = pgbouncer.pid\n",
        server.host(),
        server.port(),
        server.user(),
    );
    for (name, value) in settings {
        // Writing to a `String` cannot fail.
        let _ = writeln!(ini, "{name} = {value}");
    }
    ini
}
