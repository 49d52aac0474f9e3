//! A server that runs the binaries on this machine.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::account::Account;
use crate::certs::Certificates;
use crate::cleanup::{Watchdog, signal};
use crate::endpoint::Endpoint;
use crate::locate::Binaries;
use crate::settings::{self, Kind};

mod lifecycle;
mod making;
mod standby;

pub use lifecycle::StopMode;

const START_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// Configures a server; created by [`Cluster::builder`].
#[derive(Clone, Debug, Default)]
pub struct Builder {
    kind: Kind,
    binaries: Option<Binaries>,
    certificates: Option<Certificates>,
    settings: Vec<(String, String)>,
}

impl Builder {
    /// The authentication the server requires; default [`Kind::Plain`].
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The server programs; default: the result of [`Binaries::find`].
    #[must_use]
    pub fn binaries(mut self, binaries: Binaries) -> Self {
        self.binaries = Some(binaries);
        self
    }

    /// The certificates of a server with TLS; default: new ones.
    #[must_use]
    pub fn certificates(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// Adds a line to `postgresql.conf`, after the settings common to all servers.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Creates and starts the server and waits until it accepts connections; about a second and a
    /// half.
    ///
    /// # Errors
    ///
    /// When there are no server programs, or the server does not start; the error then includes the
    /// end of its log.
    pub fn start(self) -> anyhow::Result<Cluster> {
        let cluster = Cluster::prepare(self)?;
        cluster.start_on_any_port()
    }
}

/// A throw-away PostgreSQL server that runs the binaries on this machine.
///
/// If this process is root, the server runs under an unprivileged account. Dropping the value stops
/// the server and removes its files; so does the exit of this process, whatever the cause.
///
/// It derefs to its [`Endpoint`], which has the host, port, user, password, URL and log.
#[derive(Debug)]
pub struct Cluster {
    endpoint: Endpoint,
    kind: Kind,
    root: PathBuf,
    account: Account,
    binaries: Binaries,
    certificates: Option<Certificates>,
    server: Mutex<Option<Child>>,
    watchdog: Option<Watchdog>,
}

impl Cluster {
    /// Returns a builder for a server.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The server's address and credentials.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The authentication the server requires.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The certificates, if the server has TLS.
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// The programs it runs.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The process id of the server (the postmaster), while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server().as_ref().map(Child::id)
    }

    /// Makes the server reload `postgresql.conf` and `pg_hba.conf`, and waits until it has.
    /// Sessions see the new settings within moments.
    ///
    /// # Errors
    ///
    /// When the server is stopped, or the log shows no reload within ten seconds.
    pub fn reload(&self) -> anyhow::Result<()> {
        let seen = self.log().len();
        signal(self.pid().context("the server is stopped")?, "HUP")?;
        let told = self.wait_for_log_after(seen, "reloading configuration", START_LIMIT);
        ensure!(told, "the server did not reload its configuration");
        self.wait_served().context("no answer after the reload")
    }

    /// Waits until a new connection is served: the server first finishes its current work, such as
    /// a reload that it has only announced in its log.
    fn wait_served(&self) -> anyhow::Result<()> {
        /// Length 8, then the `SSLRequest` code; any server answers it with one byte.
        const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
        let mut socket = TcpStream::connect((self.host(), self.port()))?;
        socket.set_read_timeout(Some(START_LIMIT))?;
        socket.write_all(&SSL_REQUEST)?;
        socket.read_exact(&mut [0])?;
        Ok(())
    }

    /// Makes the running server present the certificate called `name` to new sessions. The table of
    /// [`Certificates`] has the names.
    ///
    /// # Errors
    ///
    /// When the server has no TLS, there is no such certificate, or the server is stopped.
    pub fn present(&self, name: &str) -> anyhow::Result<()> {
        let certificates = self.certificates().context("the server has no TLS")?;
        self.install_certificate(certificates, name)?;
        let seen = self.log().len();
        self.reload()?;
        let refused = self.log()[seen..].contains("SSL configuration was not reloaded");
        ensure!(
            !refused,
            "the server does not accept the certificate {name}: {}",
            self.log_tail()
        );
        Ok(())
    }

    /// Adds a line to `postgresql.conf`; it takes effect at the next reload, or for some settings
    /// at the next restart.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn set(&self, name: &str, value: &str) -> anyhow::Result<()> {
        self.append("postgresql.conf", &settings::line(name, value))
    }

    /// The text of `pg_hba.conf`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn hba(&self) -> anyhow::Result<String> {
        let path = self.data_dir().join("pg_hba.conf");
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Replaces `pg_hba.conf`, and reloads if the server is running.
    ///
    /// # Errors
    ///
    /// When the file cannot be written, or those of [`reload`](Self::reload).
    pub fn set_hba(&self, text: &str) -> anyhow::Result<()> {
        let path = self.data_dir().join("pg_hba.conf");
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        if self.pid().is_some() {
            self.reload()?;
        }
        Ok(())
    }

    /// Runs SQL through `psql` over the Unix socket and returns its output: one row per line,
    /// columns separated by `|`.
    ///
    /// # Errors
    ///
    /// When there is no `psql`, the server does not answer, or the SQL fails.
    pub fn psql(&self, sql: &str) -> anyhow::Result<String> {
        let mut command = self.account.command(&self.binaries.psql()?);
        command
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg("-h")
            .arg(&self.root)
            .args(["-p", &self.port().to_string()])
            .args(["-U", self.user(), "-d", self.dbname()])
            .env("PGPASSWORD", self.password())
            .current_dir(&self.root)
            .stdin(Stdio::null());
        let output = command.output().context("cannot run psql")?;
        ensure!(
            output.status.success(),
            "psql: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Returns a pgmonkey config file for this server, with the TLS settings it requires.
    ///
    /// `connection_type` is `normal`, `pool`, `async` or `async_pool`.
    #[must_use]
    pub fn config_yaml(&self, connection_type: &str) -> String {
        match &self.certificates {
            Some(certificates) => {
                self.endpoint
                    .config_yaml_tls(connection_type, self.kind, certificates)
            }
            None => self.endpoint.config_yaml(connection_type),
        }
    }
}

impl Deref for Cluster {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The watchdog waits until the server process no longer exists, and an exited child stays a
        // zombie until its parent waits for it: so wait meanwhile.
        let watchdog = self.watchdog.take().map(|dog| thread::spawn(|| drop(dog)));
        if let Some(mut child) = self.server().take() {
            let _ = child.wait();
        }
        let _ = watchdog.map(thread::JoinHandle::join);
    }
}

impl Cluster {
    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs in the server's directory: the account may have no access to the current directory.
    fn command(&self, program: &str) -> Command {
        let mut command = self.account.command(&self.binaries.program(program));
        command.current_dir(&self.root);
        // A walreceiver would take the system's libpq, which may be older than the server.
        if let Some(libraries) = self.binaries.own_libpq() {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    fn append(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let path = self.data_dir().join(file);
        let append = |path: &Path| -> std::io::Result<()> {
            let mut file: File = OpenOptions::new().append(true).open(path)?;
            file.write_all(text.as_bytes())
        };
        append(&path).with_context(|| format!("cannot write {}", path.display()))
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}
