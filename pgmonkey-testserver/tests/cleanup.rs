//! Servers are removed when the process that started them exits, for whatever reason.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pgmonkey_testserver::{Cluster, Pgbouncer};

mod needs;

const LIMIT: Duration = Duration::from_secs(20);

/// Another process that runs a server.
struct Holder {
    process: Child,
    server: u32,
    data: PathBuf,
}

impl Holder {
    fn start(argument: &str) -> Option<Self> {
        let binaries = needs::binaries()?;
        if argument == "pgbouncer" && Pgbouncer::find().is_none() {
            eprintln!("SKIPPED, nothing was tested: pgbouncer is not installed");
            return None;
        }
        let mut process = Command::new(env!("CARGO_BIN_EXE_throw-away-postgres"))
            .arg(argument)
            .env("PGMONKEY_PG_BIN", binaries.dir())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut line = || lines.next().unwrap().unwrap();
        let (server, data) = (line().parse().unwrap(), PathBuf::from(line()));
        assert!(runs(server, &data) && data.exists());
        Some(Self {
            process,
            server,
            data,
        })
    }

    fn assert_nothing_is_left(&self) {
        let root = self.data.parent().unwrap();
        let deadline = Instant::now() + LIMIT;
        while runs(self.server, &self.data) || root.exists() {
            let left = (runs(self.server, &self.data), root.exists());
            assert!(Instant::now() < deadline, "server, directory: {left:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A pid may be reused by another process, hence the check of the command line.
fn runs(pid: u32, data: &Path) -> bool {
    let ps = Command::new("ps")
        .args(["-o", "command=", "-p", &pid.to_string()])
        .output();
    let command = match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(bytes) => bytes,
        Err(_) => ps.map(|output| output.stdout).unwrap_or_default(),
    };
    String::from_utf8_lossy(&command).contains(&*data.to_string_lossy())
}

#[test]
fn a_dropped_cluster_leaves_nothing() {
    let Some(binaries) = needs::binaries() else {
        return;
    };
    let cluster = Cluster::builder().binaries(binaries).start().unwrap();
    let (pid, data) = (cluster.pid().unwrap(), cluster.data_dir());
    assert!(runs(pid, &data));
    drop(cluster);
    assert!(!runs(pid, &data));
    assert!(!data.parent().unwrap().exists());
}

#[test]
fn a_stopped_cluster_leaves_nothing_either() {
    let Some(binaries) = needs::binaries() else {
        return;
    };
    let cluster = Cluster::builder().binaries(binaries).start().unwrap();
    let data = cluster.data_dir();
    cluster
        .stop(pgmonkey_testserver::StopMode::Immediate)
        .unwrap();
    drop(cluster);
    assert!(!data.parent().unwrap().exists());
}

#[test]
fn a_normal_end_leaves_nothing() {
    let Some(mut holder) = Holder::start("") else {
        return;
    };
    drop(holder.process.stdin.take());
    assert!(holder.process.wait().unwrap().success());
    holder.assert_nothing_is_left();
}

#[test]
fn a_panic_leaves_nothing() {
    let Some(mut holder) = Holder::start("panic") else {
        return;
    };
    drop(holder.process.stdin.take());
    assert_eq!(holder.process.wait().unwrap().code(), Some(101));
    holder.assert_nothing_is_left();
}

#[test]
fn a_killed_process_leaves_nothing() {
    let Some(mut holder) = Holder::start("") else {
        return;
    };
    holder.process.kill().unwrap();
    assert_eq!(holder.process.wait().unwrap().signal(), Some(9));
    holder.assert_nothing_is_left();
}

#[test]
fn an_interrupted_process_leaves_nothing() {
    let Some(mut holder) = Holder::start("") else {
        return;
    };
    let pid = holder.process.id().to_string();
    let mut kill = Command::new("sh");
    kill.args(["-c", "kill -s INT \"$1\"", "kill", &pid]);
    assert!(kill.status().unwrap().success());
    assert_eq!(holder.process.wait().unwrap().signal(), Some(2));
    holder.assert_nothing_is_left();
}

#[test]
fn a_killed_process_leaves_no_pooler() {
    let Some(mut holder) = Holder::start("pgbouncer") else {
        return;
    };
    holder.process.kill().unwrap();
    assert_eq!(holder.process.wait().unwrap().signal(), Some(9));
    holder.assert_nothing_is_left();
}

#[test]
fn a_dropped_pooler_leaves_nothing() {
    let (Some(binaries), Some(program)) = (needs::binaries(), Pgbouncer::find()) else {
        eprintln!("SKIPPED, nothing was tested: pgbouncer is not installed");
        return;
    };
    let cluster = Cluster::builder().binaries(binaries).start().unwrap();
    let pooler = Pgbouncer::start(&program, &cluster, &[]).unwrap();
    let (pid, files) = (pooler.pid(), pooler.file());
    assert!(runs(pid, &files));
    drop(pooler);
    assert!(!runs(pid, &files) && !files.parent().unwrap().exists());
}
