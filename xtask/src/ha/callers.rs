//! The program with the callers, which runs during all scenarios.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};

use super::patroni::{NODES, PASSWORD, PORT, Patroni, USER};

/// A caller that has not ended its call by then waits for something that does not come.
const LIMIT: Duration = Duration::from_secs(90);

/// `connect_timeout` and keepalives as in docs/deployment/patroni.md. Each type has its own
/// application name, by which the server's sessions are counted.
fn config(hosts: &str, readers: &str) -> String {
    let mut text = format!(
        "connection_settings:
  host: '{hosts}'
  port: {PORT}
  user: {USER}
  password: '{PASSWORD}'
  dbname: postgres
  sslmode: disable
  target_session_attrs: read-write
  connect_timeout: 3
  keepalives_idle: 5
  keepalives_interval: 2
  keepalives_count: 3
pool_settings: {{ min_size: 1, max_size: 4, timeout: 60 }}
async_pool_settings: {{ min_size: 1, max_size: 4, timeout: 60 }}
profiles:
"
    );
    for kind in ["normal", "pool", "async", "async_pool"] {
        text +=
            &format!("  {kind}: {{ connection_settings: {{ application_name: ha_{kind} }} }}\n");
    }
    // Other addresses of the same nodes, so that their sessions are told from those of the writer:
    // they may go to the old primary, when it is a standby.
    for kind in ["cluster", "async_cluster"] {
        text += &format!(
            "  {kind}:
    connection_settings: {{ application_name: ha_{kind} }}
    readers: {{ connection_settings: {{ host: '{readers}', port: {PORT}, application_name: reader }} }}
"
        );
    }
    text
}

/// What the callers of one type saw, as the program prints it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) kind: String,
    pub(crate) longest: Duration,
    /// From the promotion to the first row of the caller that was last.
    pub(crate) after: Option<Duration>,
    /// The most errors of one caller.
    pub(crate) errors: u64,
    pub(crate) transient: u64,
    pub(crate) unknown: u64,
    pub(crate) refused: u64,
    pub(crate) arrived: u64,
    pub(crate) acknowledged: u64,
    pub(crate) lost: u64,
    /// Writes of a cluster that reached a reader.
    pub(crate) misled: u64,
    /// Reads with a token that saw less than was acknowledged.
    pub(crate) stale: u64,
}

impl Seen {
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut words = line.split('\t');
        let kind = words.next()?.to_owned();
        let mut numbers = words.map(|word| word.parse::<u64>().ok());
        Some(Self {
            kind,
            longest: Duration::from_millis(numbers.next()??),
            after: numbers.next()?.map(Duration::from_millis),
            errors: numbers.next()??,
            transient: numbers.next()??,
            unknown: numbers.next()??,
            refused: numbers.next()??,
            arrived: numbers.next()??,
            acknowledged: numbers.next()??,
            lost: numbers.next()??,
            misled: numbers.next()??,
            stale: numbers.next()??,
        })
    }
}

pub(crate) struct Callers {
    child: Child,
    commands: ChildStdin,
    lines: Receiver<String>,
}

impl Callers {
    pub(crate) fn start(program: &Path, cluster: &Patroni, path: &OsStr) -> anyhow::Result<Self> {
        let addresses: Vec<String> = (0..NODES).map(Patroni::outer).collect();
        let hosts = addresses.join(",");
        let readers: Vec<String> = (0..NODES).map(Patroni::readers).collect();
        let file = cluster.dir().join("pgmonkey.yaml");
        fs::write(&file, config(&hosts, &readers.join(",")))?;
        let all = format!(
            "{} target_session_attrs=read-write",
            Patroni::conninfo(&hosts)
        );
        let nodes = (0..NODES).map(|node| Patroni::conninfo(&Patroni::inner(node)));
        let mut child = Command::new(program)
            .arg(&file)
            .arg(all)
            .args(nodes)
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let commands = child.stdin.take().context("it is piped")?;
        let output = child.stdout.take().context("it is piped")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            commands,
            lines,
        })
    }

    /// Makes all callers begin.
    pub(crate) fn begin(&mut self) -> anyhow::Result<()> {
        Ok(writeln!(self.commands, "run")?)
    }

    /// Makes all callers stop; returns what they saw.
    pub(crate) fn end(&mut self) -> anyhow::Result<Vec<Seen>> {
        writeln!(self.commands, "stop")?;
        let mut seen = Vec::new();
        loop {
            let line = self.lines.recv_timeout(LIMIT);
            let line = line.context("the program with the callers printed nothing")?;
            match line.split_once('\t') {
                Some(("note", text)) => eprintln!("    {text}"),
                None if line == "done" => return Ok(seen),
                _ => match Seen::read(&line) {
                    Some(one) => seen.push(one),
                    None => bail!("the program with the callers printed {line:?}"),
                },
            }
        }
    }

    /// How many connections to this address the program has established.
    pub(crate) fn connections_to(&self, address: &str) -> anyhow::Result<usize> {
        let mut own = HashSet::new();
        for entry in fs::read_dir(format!("/proc/{}/fd", self.child.id()))? {
            let target = fs::read_link(entry?.path()).unwrap_or_default();
            let target = target.to_string_lossy().into_owned();
            if let Some(inode) = target.strip_prefix("socket:[") {
                own.insert(inode.trim_end_matches(']').to_owned());
            }
        }
        let remote = in_table(address)?;
        let table = fs::read_to_string("/proc/net/tcp")?;
        Ok(table
            .lines()
            .filter(|line| established(line, &remote).is_some_and(|inode| own.contains(inode)))
            .count())
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address with the servers' port, as in `/proc/net/tcp`.
fn in_table(address: &str) -> anyhow::Result<String> {
    let address: std::net::Ipv4Addr = address.parse()?;
    let number = u32::from_ne_bytes(address.octets());
    Ok(format!("{number:08X}:{PORT:04X}"))
}

/// The inode of this line's socket, if it is an established connection to `remote`.
fn established<'a>(line: &'a str, remote: &str) -> Option<&'a str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let matches = *words.get(2)? == remote && *words.get(3)? == "01";
    words.get(9).copied().filter(|_| matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_type_is_read() {
        let seen = Seen::read("async_pool\t1200\t80\t1\t2\t3\t4\t2\t500\t6\t7\t8").unwrap();
        assert_eq!(seen.kind, "async_pool");
        assert_eq!(seen.longest, Duration::from_millis(1200));
        assert_eq!(seen.after, Some(Duration::from_millis(80)));
        assert_eq!((seen.errors, seen.transient, seen.unknown), (1, 2, 3));
        assert_eq!((seen.refused, seen.arrived), (4, 2));
        assert_eq!((seen.acknowledged, seen.lost), (500, 6));
        assert_eq!((seen.misled, seen.stale), (7, 8));
        let without = Seen::read("psql\t1\t-\t0\t0\t0\t0\t0\t5\t0\t0\t0").unwrap();
        assert_eq!(without.after, None);
        assert!(Seen::read("psql\t1").is_none());
    }

    #[test]
    fn an_established_connection_is_told_from_others() {
        let remote = in_table("127.0.1.11").unwrap();
        let line = format!("1: 0100007F:1538 {remote} 01 0:0 00:0 0 0 0 4711 1 0");
        let closed = line.replace(" 01 ", " 05 ");
        assert_eq!(established(&line, &remote), Some("4711"));
        assert_eq!(established(&closed, &remote), None);
        let other = in_table("127.0.1.12").unwrap();
        assert_eq!(established(&line, &other), None);
    }
}
