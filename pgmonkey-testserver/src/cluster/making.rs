//! Creates a server: its directory, its data, its settings, its first start.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Mutex;

use anyhow::{Context, bail, ensure};

use super::{Builder, Cluster, StopMode};
use crate::account::Account;
use crate::certs::Certificates;
use crate::cleanup::Watchdog;
use crate::endpoint::Endpoint;
use crate::locate::Binaries;
use crate::ports::{free_port, has_ipv6, random};
use crate::settings::{self, Kind};

/// How many ports are tried if another process takes one first.
const PORT_TRIES: usize = 10;
/// The path of a Unix socket is limited to about 100 bytes; its file name takes 20 of them.
const LONGEST_ROOT: usize = 70;

/// Stops the server in `$1/data` and removes `$1`. The pid file may outlive its server and the pid
/// be reused by another process, hence the check of the command line.
pub(super) const TEAR_DOWN: &str = r#"
serving() {
  { read -r pid; } 2>/dev/null <"$1/data/postmaster.pid" || return 1
  { tr '\0' ' ' <"/proc/$pid/cmdline" || ps -o command= -p "$pid"; } 2>/dev/null |
    grep -qF "$1/data"
}
tries=0
while [ "$tries" -lt 200 ] && serving "$1"; do
  case $tries in
    0) kill -s QUIT "$pid" ;;
    100) kill -s KILL "$pid" ;;
  esac
  sleep 0.05
  tries=$((tries + 1))
done
tries=0
while [ "$tries" -lt 100 ] && [ -e "$1" ]; do
  rm -rf "$1"
  [ -e "$1" ] && sleep 0.05
  tries=$((tries + 1))
done
"#;

impl Cluster {
    pub(super) fn prepare(builder: Builder) -> anyhow::Result<Self> {
        let account = Account::choose()?;
        let binaries = match builder.binaries {
            Some(binaries) => binaries,
            None => Binaries::find()?,
        };
        let root = new_root(&account)?;
        let watchdog = Watchdog::start(TEAR_DOWN, [root.as_os_str()])?;
        let cluster = Self {
            endpoint: endpoint(&root),
            kind: builder.kind,
            certificates: certificates(builder.kind, builder.certificates, &root)?,
            root,
            account,
            binaries,
            server: Mutex::new(None),
            watchdog: Some(watchdog),
        };
        cluster.init()?;
        cluster.configure(&builder.settings)?;
        cluster.create_database()?;
        Ok(cluster)
    }

    fn init(&self) -> anyhow::Result<()> {
        let password = self.root.join("password");
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&password)?;
        file.write_all(self.password().as_bytes())?;
        self.account.own(&password)?;
        let mut command = self.command("initdb");
        command
            .args(["--no-sync", "--encoding=UTF8", "--locale=C"])
            .args(["--auth=scram-sha-256", "--username", settings::SUPERUSER])
            .arg("--pwfile")
            .arg(&password)
            .arg("--pgdata")
            .arg(self.data_dir());
        succeed("initdb", &command.stdin(Stdio::null()).output()?)?;
        Ok(fs::remove_file(password)?)
    }

    fn configure(&self, extra: &[(String, String)]) -> anyhow::Result<()> {
        for (name, value) in settings::COMMON {
            self.set(name, value)?;
        }
        let (addresses, networks) = loopback();
        self.set("listen_addresses", addresses)?;
        self.set("unix_socket_directories", &self.root.to_string_lossy())?;
        if let Some(certificates) = &self.certificates {
            self.install(&certificates.ca(), "ca.pem")?;
            self.install_certificate(certificates, "server")?;
            for (name, value) in settings::TLS {
                self.set(name, value)?;
            }
        }
        for (name, value) in extra {
            self.set(name, value)?;
        }
        self.set_hba(&self.kind.hba(networks))
    }

    /// Runs before the first start, so that every client finds the database.
    fn create_database(&self) -> anyhow::Result<()> {
        let mut command = self.command("postgres");
        command
            .arg("--single")
            .arg("-D")
            .arg(self.data_dir())
            .arg("postgres")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run postgres")?;
        let sql = format!("CREATE DATABASE {};\n", settings::DATABASE);
        let mut stdin = child.stdin.take().context("postgres has no input")?;
        stdin.write_all(sql.as_bytes())?;
        drop(stdin);
        succeed("postgres --single", &child.wait_with_output()?)
    }

    pub(super) fn start_on_any_port(mut self) -> anyhow::Result<Self> {
        for _ in 0..PORT_TRIES {
            self.endpoint.port = free_port()?;
            self.set("port", &self.endpoint.port.to_string())?;
            let seen = self.log().len();
            let started = self.launch();
            // With two addresses to listen on, failing on one of them is only a warning.
            let taken = self.log()[seen..].contains("Address already in use");
            if !taken {
                return started.map(|()| self);
            }
            self.stop(StopMode::Immediate)?;
        }
        bail!("no port for the server: another process took each of {PORT_TRIES} free ports first")
    }

    pub(super) fn install_certificate(
        &self,
        certificates: &Certificates,
        name: &str,
    ) -> anyhow::Result<()> {
        self.install(&certificates.certificate(name), "server.pem")?;
        self.install(&certificates.key(name), "server.key")
    }

    fn install(&self, from: &Path, name: &str) -> anyhow::Result<()> {
        let to = self.data_dir().join(name);
        fs::copy(from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        self.account.own(&to)
    }
}

/// Creates a directory that the server's account owns and can reach, for its data and its socket.
pub(super) fn new_root(account: &Account) -> anyhow::Result<PathBuf> {
    let usual = std::env::temp_dir();
    let suits = |dir: &Path| dir.as_os_str().len() < LONGEST_ROOT && account.can_reach(dir);
    let parent = if suits(&usual) {
        usual
    } else {
        PathBuf::from("/tmp")
    };
    let root = tempfile::Builder::new()
        .prefix("pgmonkey-")
        .tempdir_in(&parent)
        .with_context(|| format!("cannot make a directory in {}", parent.display()))?
        .keep();
    open_up(&root)?;
    account.own(&root)?;
    Ok(root)
}

/// Clients under other accounts need to reach the socket; the data directory stays private.
fn open_up(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?)
}

pub(super) fn endpoint(root: &Path) -> Endpoint {
    Endpoint {
        host: "127.0.0.1".into(),
        port: 0,
        user: settings::SUPERUSER.into(),
        password: format!("{:016x}", random()),
        dbname: settings::DATABASE.into(),
        socket_dir: Some(root.to_path_buf()),
        log_file: Some(root.join("server.log")),
    }
}

fn certificates(
    kind: Kind,
    given: Option<Certificates>,
    root: &Path,
) -> anyhow::Result<Option<Certificates>> {
    if !kind.has_tls() || given.is_some() {
        return Ok(given.filter(|_| kind.has_tls()));
    }
    let dir = root.join("certificates");
    fs::create_dir(&dir)?;
    Certificates::generate(dir, settings::SUPERUSER).map(Some)
}

fn loopback() -> (&'static str, &'static [&'static str]) {
    if has_ipv6() {
        ("127.0.0.1,::1", &["127.0.0.1/32", "::1/128"])
    } else {
        ("127.0.0.1", &["127.0.0.1/32"])
    }
}

pub(super) fn succeed(what: &str, output: &Output) -> anyhow::Result<()> {
    ensure!(
        output.status.success(),
        "{what} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
