//! `cargo xtask ha`: callers of all four connection types on a cluster of three nodes that changes
//! its primary, and one table.
//!
//! Everything runs in namespaces of its own (network, processes): fixed addresses and dropped
//! packets concern nothing else on this machine, and the kernel ends every process with the first.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use pgmonkey_testserver::{ScratchDir, give_to_servers};

use crate::args::Options;
use crate::install;
use crate::process;
use crate::servers::local_programs;
use crate::test;

mod callers;
mod patroni;
mod scenario;
mod table;

use callers::Callers;
use patroni::Patroni;
use table::Row;

/// The directory for the cluster; set for the run inside the namespaces.
const INSIDE: &str = "PGMONKEY_HA_DIR";
/// The server programs.
const PROGRAMS: &str = "PGMONKEY_PG_BIN";
/// The program of the callers.
const CALLERS: &str = "PGMONKEY_HA_CALLERS";
/// The first process of the namespaces: it reaps what Patroni leaves. The cluster's files are in
/// memory: etcd and `pg_rewind` wait for the disk whatever the settings are, and on a busy machine
/// that takes longer than a leader's key lasts.
const FIRST: &str = "ip link set lo up && mount -t tmpfs -o size=2g tmpfs \"$1\" || exit 1
shift
\"$@\"
exit $?";
const NAMESPACES: [&str; 5] = ["--net", "--pid", "--fork", "--kill-child", "--mount-proc"];
/// For an unprivileged user, who keeps their account: PostgreSQL refuses to run as root, also as
/// one of a namespace.
const UNPRIVILEGED: [&str; 3] = ["--user", "--map-current-user", "--keep-caps"];

/// Runs the scenarios named, or all. Fails if a guarantee was broken.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    scenario::chosen(&options.filters)?;
    if let Some(dir) = env::var_os(INSIDE) {
        let set = |name| env::var_os(name).context("set together with the directory");
        let (programs, callers) = (set(PROGRAMS)?, set(CALLERS)?);
        return inside(dir.into(), programs.into(), &callers, &options.filters);
    }
    let binaries = local_programs(options)?;
    install::patroni(options.install)?;
    let program = test::program("ha")?;
    let scratch = ScratchDir::new()?;
    let mut command = namespaces(scratch.path())?;
    command
        .arg(env::current_exe()?)
        .arg("ha")
        .args(&options.filters)
        .env(INSIDE, scratch.path())
        .env(CALLERS, program)
        .env(PROGRAMS, binaries.dir());
    process::run(&mut command)
}

/// A command that runs another one in new namespaces, with this directory in memory.
fn namespaces(dir: &Path) -> anyhow::Result<Command> {
    let command = |extra: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(extra).args(NAMESPACES);
        command.args(["sh", "-c", FIRST, "sh"]).arg(dir);
        command
    };
    let mut last = String::new();
    for extra in [&[][..], &UNPRIVILEGED] {
        match command(extra).arg("true").output() {
            Ok(output) if output.status.success() => return Ok(command(extra)),
            Ok(output) => last = String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => last = error.to_string(),
        }
    }
    bail!(
        "this task needs Linux namespaces for network and processes, and `unshare` cannot create \
         them here ({last}); run it as root, in a container with `--privileged`, or allow user \
         namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns=0)"
    )
}

fn inside(
    dir: PathBuf,
    programs: PathBuf,
    callers: &OsStr,
    filters: &[String],
) -> anyhow::Result<()> {
    let begin = Instant::now();
    give_to_servers(&dir)?;
    let mut path = OsString::from(&programs);
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let cluster = Patroni::start(dir, &programs, &path)?;
    let mut callers = Callers::start(callers.as_ref(), &cluster, &path)?;
    let mut rows = Vec::new();
    let mut failed = None;
    for scenario in scenario::chosen(filters)? {
        eprintln!("==> {}", scenario.name);
        match scenario.run(&cluster, &mut callers) {
            Ok(outcome) => rows.extend(Row::of(scenario.name, outcome)),
            Err(error) => {
                failed = Some(error.context(format!("{}\n{}", scenario.name, cluster.log_tails())));
                break;
            }
        }
    }
    println!("{}", table::markdown(&rows));
    println!("took {:.0} s", begin.elapsed().as_secs_f64());
    if let Some(failed) = failed {
        return Err(failed);
    }
    let broken: Vec<String> = rows.iter().filter_map(Row::broken).collect();
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}
