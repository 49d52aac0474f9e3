//! A server made from the binaries on this machine.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::account::Account;
use crate::certs::Certificates;
use crate::cleanup::{Watchdog, signal};
use crate::endpoint::Endpoint;
use crate::locate::Binaries;
use crate::settings::{self, Kind};

mod making;
mod standby;

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(10);

/// How a server is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Waits for all sessions to end by themselves.
    Smart,
    /// Ends the sessions in an orderly way.
    Fast,
    /// Ends at once, as in a crash; recovers at the next start.
    Immediate,
}

impl StopMode {
    fn signal(self) -> &'static str {
        match self {
            Self::Smart => "TERM",
            Self::Fast => "INT",
            Self::Immediate => "QUIT",
        }
    }
}

/// Says what server to make; comes from [`Cluster::builder`].
#[derive(Clone, Debug, Default)]
pub struct Builder {
    kind: Kind,
    binaries: Option<Binaries>,
    certificates: Option<Certificates>,
    settings: Vec<(String, String)>,
}

impl Builder {
    /// What the server asks of clients; default [`Kind::Plain`].
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// The server programs; default those that [`Binaries::find`] finds.
    #[must_use]
    pub fn binaries(mut self, binaries: Binaries) -> Self {
        self.binaries = Some(binaries);
        self
    }

    /// The certificates of a server with TLS; default new ones.
    #[must_use]
    pub fn certificates(mut self, certificates: Certificates) -> Self {
        self.certificates = Some(certificates);
        self
    }

    /// A line for `postgresql.conf`, after the ones every server gets.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes the server and waits until it takes connections; about a second and a half.
    ///
    /// # Errors
    ///
    /// When there are no server programs, or the server does not come up; the text then has the
    /// end of its log.
    pub fn start(self) -> anyhow::Result<Cluster> {
        let cluster = Cluster::prepare(self)?;
        cluster.start_on_any_port()
    }
}

/// A throw-away PostgreSQL server made from the binaries on this machine.
///
/// As root the server runs under an unprivileged account. Dropping the value ends the server and
/// removes its files; so does the end of this process, whatever the cause.
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
    /// Starts describing a server.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// How to reach the server.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What the server asks of clients.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The certificates, when the server has TLS.
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// The programs it was made with.
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

    /// Stops the server and waits for its end; nothing happens when it is stopped already.
    ///
    /// # Errors
    ///
    /// When it still runs after a minute, for example with [`StopMode::Smart`] and open sessions.
    pub fn stop(&self, mode: StopMode) -> anyhow::Result<()> {
        let mut server = self.server();
        let Some(child) = server.as_mut() else {
            return Ok(());
        };
        signal(child.id(), mode.signal())?;
        let deadline = Instant::now() + STOP_LIMIT;
        while child.try_wait()?.is_none() {
            ensure!(
                Instant::now() < deadline,
                "the server still runs {STOP_LIMIT:?} after the order to stop ({mode:?})"
            );
            thread::sleep(POLL);
        }
        *server = None;
        Ok(())
    }

    /// Starts the stopped server on the same port with the same data.
    ///
    /// # Errors
    ///
    /// When it runs already or does not come up.
    pub fn start_again(&self) -> anyhow::Result<()> {
        ensure!(self.pid().is_none(), "the server runs already");
        self.launch()
    }

    /// Stops the server ([`StopMode::Fast`]) and starts it again.
    ///
    /// # Errors
    ///
    /// Those of [`stop`](Self::stop) and [`start_again`](Self::start_again).
    pub fn restart(&self) -> anyhow::Result<()> {
        self.stop(StopMode::Fast)?;
        self.start_again()
    }

    /// Has the server read `postgresql.conf` and `pg_hba.conf` again, and waits until it is
    /// through with that. Sessions see the new settings within moments.
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

    /// Waits until a connection made now is served: the server first finishes what it is at, such
    /// as a reload that it has only announced in its log.
    fn wait_served(&self) -> anyhow::Result<()> {
        /// Length 8, then the code that asks for TLS; any server answers it with a letter.
        const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
        let mut socket = TcpStream::connect((self.host(), self.port()))?;
        socket.set_read_timeout(Some(START_LIMIT))?;
        socket.write_all(&SSL_REQUEST)?;
        socket.read_exact(&mut [0])?;
        Ok(())
    }

    /// Has the running server present the certificate called `name` from now on; sessions that
    /// are open keep theirs. The table of [`Certificates`] has the names.
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
            "the server does not take {name}: {}",
            self.log_tail()
        );
        Ok(())
    }

    /// Adds a line to `postgresql.conf`; takes effect at the next reload, or restart for some.
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

    /// Replaces `pg_hba.conf` and reloads, when the server runs.
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

    /// Runs SQL through `psql` over the Unix socket and gives back what it prints, a line a row,
    /// columns apart by `|`.
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

    /// The text of a pgmonkey file for this server, with the TLS settings it asks for.
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
        // The watchdog waits for the server to be gone, and a dead child stays until its parent
        // has asked for it: so ask meanwhile.
        let watchdog = self.watchdog.take().map(|dog| thread::spawn(|| drop(dog)));
        if let Some(mut child) = self.server().take() {
            let _ = child.wait();
        }
        let _ = watchdog.map(thread::JoinHandle::join);
    }
}

/// Running it.
impl Cluster {
    fn launch(&self) -> anyhow::Result<()> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.root.join("server.log"))?;
        let child = self
            .command("postgres")
            .arg("-D")
            .arg(self.data_dir())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .context("cannot run postgres")?;
        *self.server() = Some(child);
        self.wait_ready()
    }

    /// The server itself writes into its pid file when it is ready; so no client is needed.
    fn wait_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while !self.is_ready()? {
            ensure!(
                Instant::now() < deadline,
                "the server is not ready after {START_LIMIT:?}: {}",
                self.log_tail()
            );
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn is_ready(&self) -> anyhow::Result<bool> {
        let mut server = self.server();
        let child = server.as_mut().context("the server is stopped")?;
        if let Some(status) = child.try_wait()? {
            *server = None;
            bail!("the server ended ({status}): {}", self.log_tail());
        }
        let text = fs::read_to_string(self.data_dir().join("postmaster.pid")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let pid = child.id().to_string();
        Ok(lines.first() == Some(&pid.as_str()) && lines.get(7) == Some(&"ready"))
    }

    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The account may not be allowed into the current directory.
    fn command(&self, program: &str) -> Command {
        let mut command = self.account.command(&self.binaries.program(program));
        command.current_dir(&self.root);
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
