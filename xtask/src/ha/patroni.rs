//! A Patroni cluster of three nodes and its etcd, on loopback addresses.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use pgmonkey_testserver::{give_to_servers, server_command, signal};

pub(crate) const NODES: usize = 3;
pub(crate) const USER: &str = "postgres";
/// Of servers that are reachable from their own namespace only.
pub(crate) const PASSWORD: &str = "ha";
pub(crate) const PORT: u16 = 5432;
const SCOPE: &str = "ha";
/// A cluster that is not whole by then will not be.
const LIMIT: Duration = Duration::from_secs(180);
/// How many lines of each log an error shows.
const TAIL: usize = 15;
const POLL: Duration = Duration::from_millis(100);

/// Short times, so that a run takes minutes: a leader that is gone is replaced after `ttl` seconds.
/// Later versions of Patroni raise them to their minimum. `synchronous_mode` loses no acknowledged
/// row.
const SHARED: &str = "bootstrap:
  dcs:
    ttl: 6
    loop_wait: 1
    retry_timeout: 2
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      parameters: { max_connections: 100, wal_log_hints: 'on' }
  initdb: [ { encoding: UTF8 }, { locale: C }, no-sync ]
";

/// The running cluster.
pub(crate) struct Patroni {
    dir: PathBuf,
    path: OsString,
    etcd: Child,
    nodes: RefCell<[Option<Child>; NODES]>,
}

impl Patroni {
    /// Starts it and waits until it is whole.
    pub(crate) fn start(dir: PathBuf, programs: &Path, path: &OsStr) -> anyhow::Result<Self> {
        let etcd = etcd(&dir)?;
        let cluster = Self {
            dir,
            path: path.to_owned(),
            etcd,
            nodes: RefCell::default(),
        };
        for node in 0..NODES {
            let sockets = cluster.dir.join(format!("s{node}"));
            fs::create_dir(&sockets)?;
            give_to_servers(&sockets)?;
            fs::write(cluster.file(node), cluster.config(node, programs))?;
            cluster.start_node(node)?;
        }
        let whole = cluster.until_whole();
        whole.with_context(|| cluster.log_tails())?;
        Ok(cluster)
    }

    /// The address for Patroni and for replication.
    pub(crate) fn inner(node: usize) -> String {
        format!("127.0.0.{}", 11 + node)
    }

    /// The address for the callers, so that they can be cut off alone.
    pub(crate) fn outer(node: usize) -> String {
        format!("127.0.1.{}", 11 + node)
    }

    /// The address for the readers of clusters.
    pub(crate) fn readers(node: usize) -> String {
        format!("127.0.2.{}", 11 + node)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts a node that has been killed.
    pub(crate) fn start_node(&self, node: usize) -> anyhow::Result<()> {
        let mut command = self.command("patroni")?;
        command.arg(self.file(node));
        let child = logged(command, &self.dir.join(format!("n{node}.log")))?;
        self.nodes.borrow_mut()[node] = Some(child);
        Ok(())
    }

    /// Kills Patroni and the postmaster, whose backends then end by themselves.
    pub(crate) fn kill_node(&self, node: usize) -> anyhow::Result<()> {
        // Patroni first: it would start the server again.
        if let Some(mut patroni) = self.nodes.borrow_mut()[node].take() {
            patroni.kill()?;
            patroni.wait()?;
        }
        signal(self.postmaster(node)?, "KILL")
    }

    /// Stops all processes of a node, as a machine that has frozen; its kernel goes on.
    pub(crate) fn freeze(&self, node: usize) -> anyhow::Result<Frozen> {
        let patroni = self.nodes.borrow()[node].as_ref().map(Child::id);
        let first = [Some(self.postmaster(node)?), patroni];
        let mut frozen = Frozen(BTreeSet::new());
        // Until a round finds no new process: one that still ran may have started another.
        loop {
            let found = descendants(first.into_iter().flatten());
            let new: Vec<u32> = found.difference(&frozen.0).copied().collect();
            if new.is_empty() {
                return Ok(frozen);
            }
            for pid in new {
                // One that ended in the meantime is no process of the node any more.
                let _ = signal(pid, "STOP");
                frozen.0.insert(pid);
            }
        }
    }

    /// Runs `patronictl`.
    pub(crate) fn control(&self, args: &[&str]) -> anyhow::Result<()> {
        let mut command = self.command("patronictl")?;
        command.arg("-c").arg(self.file(0)).args(args);
        let output = command.stdin(Stdio::null()).output()?;
        ensure!(
            output.status.success(),
            "patronictl {}: {}{}",
            args.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// From the leader, which is the default and has another option in each version of Patroni.
    pub(crate) fn switchover(&self, to: usize) -> anyhow::Result<()> {
        self.control(&["switchover", SCOPE, "--candidate", &name(to), "--force"])
    }

    pub(crate) fn failover(&self, to: usize) -> anyhow::Result<()> {
        self.control(&["failover", SCOPE, "--candidate", &name(to), "--force"])
    }

    pub(crate) fn restart(&self, node: usize) -> anyhow::Result<()> {
        self.control(&["restart", SCOPE, &name(node), "--force"])
    }

    /// Waits for a leader other than `old`, and returns it.
    pub(crate) fn until_other_leader(&self, old: usize) -> anyhow::Result<usize> {
        let found = self.until("another leader", || {
            self.with_role("leader").find(|node| *node != old)
        })?;
        Ok(found)
    }

    /// Waits for a leader, a synchronous standby and another standby, both of which receive what the
    /// leader writes; returns the first two. What Patroni says of a node may be a moment old.
    pub(crate) fn until_whole(&self) -> anyhow::Result<(usize, usize)> {
        self.until("a whole cluster", || {
            let leaders: Vec<_> = self.with_role("leader").collect();
            let standbys = self.with_role("replica").count();
            let (&[leader], Some(standby)) = (&leaders[..], self.with_role("synchronous").next())
            else {
                return None;
            };
            let streaming = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
            let is_whole = standbys == NODES - 1 && self.ask(leader, streaming).ok()? == "2";
            is_whole.then_some((leader, standby))
        })
    }

    /// Runs a query at a node, by its inner address.
    pub(crate) fn ask(&self, node: usize, query: &str) -> anyhow::Result<String> {
        let conninfo = Self::conninfo(&Self::inner(node));
        let mut command = Command::new("psql");
        let output = command
            .args(["-X", "-A", "-t", "-c", query, &conninfo])
            .env("PATH", &self.path)
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            output.status.success(),
            "{query}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// As libpq and the drivers take it, for one host or several.
    pub(crate) fn conninfo(hosts: &str) -> String {
        format!(
            "host={hosts} port={PORT} user={USER} password={PASSWORD} dbname=postgres \
             sslmode=disable connect_timeout=3 keepalives_idle=5 keepalives_interval=2"
        )
    }

    pub(crate) fn log_tails(&self) -> String {
        let names = (0..NODES).map(|node| format!("n{node}.log"));
        let tail = |name: String| {
            let log = fs::read_to_string(self.dir.join(&name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(TAIL)..].join("\n");
            format!("{name}:\n{last}")
        };
        let tails: Vec<_> = names.chain(["etcd.log".to_owned()]).map(tail).collect();
        tails.join("\n")
    }

    fn until<T>(&self, what: &str, found: impl Fn() -> Option<T>) -> anyhow::Result<T> {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(found) = found() {
                return Ok(found);
            }
            ensure!(Instant::now() < end, "not within {LIMIT:?}: {what}");
            thread::sleep(POLL);
        }
    }

    /// The nodes for which Patroni says that they have this role and work.
    fn with_role(&self, role: &str) -> impl Iterator<Item = usize> {
        let path = format!("/{role}");
        (0..NODES).filter(move |node| says_yes(*node, &path).unwrap_or(false))
    }

    fn postmaster(&self, node: usize) -> anyhow::Result<u32> {
        let file = self.dir.join(format!("n{node}")).join("postmaster.pid");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let first = text
            .lines()
            .next()
            .and_then(|line| line.trim().parse().ok());
        first.with_context(|| format!("{} has no process id", file.display()))
    }

    fn command(&self, program: &str) -> anyhow::Result<Command> {
        let mut command = server_command(program.as_ref())?;
        command.env("PATH", &self.path).env("HOME", &self.dir);
        command.current_dir(&self.dir);
        Ok(command)
    }

    fn file(&self, node: usize) -> PathBuf {
        self.dir.join(format!("n{node}.yml"))
    }

    fn config(&self, node: usize, programs: &Path) -> String {
        let (name, inner) = (name(node), Self::inner(node));
        let (outer, readers) = (Self::outer(node), Self::readers(node));
        let (dir, programs) = (self.dir.display(), programs.display());
        format!(
            "scope: {SCOPE}
name: {name}
restapi: {{ listen: '{inner}:8008', connect_address: '{inner}:8008' }}
etcd3: {{ host: '127.0.0.1:2379' }}
{SHARED}postgresql:
  listen: '{inner},{outer},{readers}:{PORT}'
  connect_address: '{inner}:{PORT}'
  data_dir: {dir}/n{node}
  bin_dir: {programs}
  pgpass: {dir}/pgpass{node}
  authentication:
    superuser: {{ username: {USER}, password: {PASSWORD} }}
    replication: {{ username: replicator, password: {PASSWORD} }}
  parameters: {{ unix_socket_directories: {dir}/s{node}, fsync: 'off' }}
  pg_hba:
  - local all all trust
  - host replication replicator 127.0.0.0/8 scram-sha-256
  - host all all 127.0.0.0/8 scram-sha-256
"
        )
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        // The rest ends with the namespace.
        let _ = self.etcd.kill();
        let _ = self.etcd.wait();
    }
}

/// Processes that are stopped until this is dropped.
pub(crate) struct Frozen(BTreeSet<u32>);

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = signal(*pid, "CONT");
        }
    }
}

fn name(node: usize) -> String {
    format!("n{node}")
}

fn etcd(dir: &Path) -> anyhow::Result<Child> {
    let mut command = server_command("etcd".as_ref())?;
    command
        .current_dir(dir)
        .arg("--data-dir")
        .arg(dir.join("etcd"));
    command.args(["--listen-client-urls", "http://127.0.0.1:2379"]);
    command.args(["--advertise-client-urls", "http://127.0.0.1:2379"]);
    command.args(["--listen-peer-urls", "http://127.0.0.1:2380"]);
    logged(command, &dir.join("etcd.log"))
}

fn logged(mut command: Command, file: &Path) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(file)?;
    let name = command.get_program().to_string_lossy().into_owned();
    let command = command.stdin(Stdio::null());
    let command = command.stdout(log.try_clone()?).stderr(log);
    command
        .spawn()
        .with_context(|| format!("cannot run `{name}`"))
}

/// Asks Patroni's REST API, whose status code is the answer.
fn says_yes(node: usize, path: &str) -> anyhow::Result<bool> {
    let address: SocketAddr = format!("{}:8008", Patroni::inner(node)).parse()?;
    let limit = Duration::from_secs(1);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.0 200"))
}

/// These processes and all that they have started.
fn descendants(first: impl Iterator<Item = u32>) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut left: Vec<u32> = first.collect();
    while let Some(pid) = left.pop() {
        if found.insert(pid) {
            let children = format!("/proc/{pid}/task/{pid}/children");
            let children = fs::read_to_string(children).unwrap_or_default();
            left.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    found
}
