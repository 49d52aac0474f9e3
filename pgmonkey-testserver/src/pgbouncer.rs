//! PgBouncer in front of a server, in transaction mode.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::account::Account;
use crate::certs::Certificates;
use crate::cleanup::Watchdog;
use crate::endpoint::Endpoint;
use crate::ports::free_port;

const SETTINGS: &str = "pgbouncer.ini";
const START_LIMIT: Duration = Duration::from_secs(10);

/// Kills the pooler whose files are in `$1`, and removes them. The pid file may outlive its pooler
/// and the pid be reused by another process, hence the check of the command line.
const TEAR_DOWN: &str = r#"
{ read -r pid; } 2>/dev/null <"$1/pgbouncer.pid" &&
  { tr '\0' ' ' <"/proc/$pid/cmdline" || ps -o command= -p "$pid"; } 2>/dev/null |
  grep -qF "$1/pgbouncer.ini" && kill -s KILL "$pid"
rm -rf "$1"
"#;

/// A throw-away PgBouncer. It is stopped when this is dropped and when this process exits.
///
/// It runs in transaction mode with five sessions on the server for all clients, and uses the
/// server's user and password.
#[derive(Debug)]
pub struct Pgbouncer {
    endpoint: Endpoint,
    dir: PathBuf,
    child: Child,
    watchdog: Option<Watchdog>,
}

impl Pgbouncer {
    /// Returns the path of the program: the one that `PGMONKEY_TEST_PGBOUNCER` names, or the
    /// installed one, if any.
    #[must_use]
    pub fn find() -> Option<PathBuf> {
        if let Some(program) = std::env::var_os("PGMONKEY_TEST_PGBOUNCER") {
            return Some(program.into());
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
            .map(|dir| dir.join("pgbouncer"))
            .find(|program| program.is_file())
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
    /// `name`.
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
        let pair = (certificates.certificate(name), certificates.key(name));
        Self::start_with(program, server, settings, Some(pair))
    }

    fn start_with(
        program: &Path,
        server: &Endpoint,
        settings: &[(&str, &str)],
        certificate: Option<(PathBuf, PathBuf)>,
    ) -> anyhow::Result<Self> {
        let account = Account::choose()?;
        let dir = tempfile::Builder::new()
            .prefix("pgmonkey-bouncer-")
            .tempdir_in("/tmp")?
            .keep();
        let watchdog = Watchdog::start(TEAR_DOWN, [dir.as_os_str()])?;
        let port = free_port()?;
        let mut settings = settings.to_vec();
        if let Some((certificate, key)) = certificate {
            for (from, name) in [(certificate, "server.pem"), (key, "server.key")] {
                let copy = dir.join(name);
                fs::copy(&from, &copy).with_context(|| format!("{}", from.display()))?;
                account.own(&copy)?;
            }
            settings.extend([
                ("client_tls_sslmode", "require"),
                ("client_tls_cert_file", "server.pem"),
                ("client_tls_key_file", "server.key"),
            ]);
        }
        write_files(&account, &dir, server, port, &settings)?;
        let mut command = account.command(program);
        command
            .arg(dir.join(SETTINGS))
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().context("cannot run pgbouncer")?;
        let endpoint = Endpoint {
            host: "127.0.0.1".to_owned(),
            port,
            socket_dir: None,
            log_file: Some(dir.join("pgbouncer.log")),
            ..server.clone()
        };
        let mut started = Self {
            endpoint,
            dir,
            child,
            watchdog: Some(watchdog),
        };
        started.wait_ready()?;
        Ok(started)
    }

    /// The process id of the pooler.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file with its settings.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.dir.join(SETTINGS)
    }

    /// Its address and credentials.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Reads its log instead of connecting: another process may have taken the port first.
    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let listens = format!("listening on 127.0.0.1:{}", self.endpoint.port());
        let deadline = Instant::now() + START_LIMIT;
        while !self.endpoint.log_contains(&listens) {
            let ended = self.child.try_wait()?;
            ensure!(
                ended.is_none() && Instant::now() < deadline,
                "pgbouncer does not listen ({ended:?}): {}",
                self.endpoint.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        drop(self.watchdog.take());
    }
}

fn write_files(
    account: &Account,
    dir: &Path,
    server: &Endpoint,
    port: u16,
    settings: &[(&str, &str)],
) -> anyhow::Result<()> {
    let mut ini = format!(
        "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = users.txt\npool_mode = transaction\n\
         default_pool_size = 5\nmax_client_conn = 500\nlogfile = pgbouncer.log\npidfile = pgbouncer.pid\n",
        server.host(),
        server.port(),
    );
    for (name, value) in settings {
        writeln!(ini, "{name} = {value}")?;
    }
    let user = format!("\"{}\" \"{}\"\n", server.user(), server.password());
    for (name, text) in [(SETTINGS, ini), ("users.txt", user)] {
        let path = dir.join(name);
        fs::write(&path, text)?;
        account.own(&path)?;
    }
    account.own(dir)
}
