//! Installs PostgreSQL if it is missing.

use std::fs;
use std::io::{IsTerminal, stdin};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

#[cfg(feature = "checks")]
use pgmonkey_testserver::{Haproxy, Pgbouncer, Pgpool};

use crate::process::run;

/// Otherwise Debian's package would create and start a server of its own.
const CLUSTER_CONF: &str = "/etc/postgresql-common/createcluster.conf";

/// Installs the distribution's PostgreSQL, if possible and allowed.
///
/// Possible: as root on a system with `apt-get`. Allowed: by `allowed` (`--install`), by
/// `CI=true`, or by a person at the terminal.
pub(crate) fn postgres(allowed: bool, missing: &anyhow::Error) -> anyhow::Result<()> {
    eprintln!("PostgreSQL: {missing:#}");
    let system = System::find();
    if !(system.can_install() && (allowed || in_ci() || agreed()?)) {
        bail!(system.advice());
    }
    eprintln!("PostgreSQL: installing the distribution's packages with apt-get");
    apt_install().context("cannot install PostgreSQL")
}

/// Installs PgBouncer, Pgpool-II and HAProxy if no confirmation is needed. Without one of them some
/// tests are skipped with a message, so a failure is only reported.
#[cfg(feature = "checks")]
pub(crate) fn poolers(allowed: bool) {
    let packages = [
        ("pgbouncer", Pgbouncer::find()),
        ("pgpool2", Pgpool::find()),
        ("haproxy", Haproxy::find()),
    ];
    let missing = packages.iter().filter(|(_, found)| found.is_none());
    let missing: Vec<&str> = missing.map(|(package, _)| *package).collect();
    if missing.is_empty() || !System::find().can_install() || !(allowed || in_ci()) {
        return;
    }
    let names = missing.join(", ");
    eprintln!("Poolers: installing the distribution's packages with apt-get: {names}");
    if let Err(error) = apt_get(&missing) {
        eprintln!("Poolers: {error:#}; the tests of {names} are skipped");
    }
}

/// What the cluster of `cargo xtask ha` needs besides PostgreSQL: a program, and the packages of
/// Debian that it comes with.
#[cfg(feature = "checks")]
const CLUSTER: [(&str, &[&str]); 5] = [
    ("patroni", &["patroni", "python3-etcd"]),
    ("patronictl", &["patroni", "python3-etcd"]),
    ("etcd", &["etcd-server"]),
    ("ip", &["iproute2"]),
    ("nft", &["nftables"]),
];

/// Installs Patroni and what belongs to it, if possible and allowed.
#[cfg(feature = "checks")]
pub(crate) fn patroni(allowed: bool) -> anyhow::Result<()> {
    let missing: Vec<_> = CLUSTER
        .iter()
        .filter(|(program, _)| !is_on_path(program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
    let names = names.join(", ");
    let needed = missing.iter().flat_map(|(_, names)| names.iter().copied());
    let mut packages: Vec<&str> = needed.collect();
    packages.sort_unstable();
    packages.dedup();
    if !(System::find().can_install() && (allowed || in_ci())) {
        bail!(
            "not found: {names}; on Debian: apt-get install {}, or as root add --install; \
             elsewhere: etcd from its releases, and pip install 'patroni[etcd3]' psycopg2-binary",
            packages.join(" ")
        );
    }
    eprintln!("Patroni: installing {names} with apt-get");
    apt_get(&packages)
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn apt_install() -> anyhow::Result<()> {
    keep_servers_off()?;
    apt_get(&["postgresql"])
}

fn apt_get(packages: &[&str]) -> anyhow::Result<()> {
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command)
    };
    apt(&["update"])?;
    let install = ["install", "--yes", "--no-install-recommends"];
    apt(&[&install, packages].concat())
}

fn keep_servers_off() -> anyhow::Result<()> {
    let conf = Path::new(CLUSTER_CONF);
    if conf.exists() {
        return Ok(());
    }
    let dir = conf.parent().context("the file has a directory")?;
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(conf, "create_main_cluster = false\n"))
        .with_context(|| format!("cannot write {CLUSTER_CONF}"))
}

pub(crate) fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true")
}

fn agreed() -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("Install it now with apt-get? [y/N] ");
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// The facts that decide how to install PostgreSQL.
#[derive(Clone, Copy, Debug)]
struct System {
    root: bool,
    manager: Option<Manager>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manager {
    Apt,
    Dnf,
    Pacman,
    Apk,
    Zypper,
    Brew,
}

const MANAGERS: [(Manager, &str, &str); 6] = [
    (
        Manager::Apt,
        "apt-get",
        "apt-get update && apt-get install --yes postgresql",
    ),
    (
        Manager::Dnf,
        "dnf",
        "dnf install --assumeyes postgresql-server",
    ),
    (Manager::Pacman, "pacman", "pacman -S postgresql"),
    (Manager::Apk, "apk", "apk add postgresql"),
    (
        Manager::Zypper,
        "zypper",
        "zypper install postgresql-server",
    ),
    (Manager::Brew, "brew", "brew install postgresql@17"),
];

impl System {
    fn find() -> Self {
        let id = Command::new("id").arg("-u").output();
        let manager = MANAGERS.iter().find(|(_, program, _)| is_on_path(program));
        Self {
            root: id.is_ok_and(|output| output.stdout == b"0\n"),
            manager: manager.map(|(manager, ..)| *manager),
        }
    }

    fn can_install(self) -> bool {
        self.root && self.manager == Some(Manager::Apt)
    }

    /// What a user can do, with the exact commands.
    fn advice(self) -> String {
        let mut ways = Vec::new();
        if self.can_install() {
            ways.push("let this task install it: add --install, or set CI=true".to_owned());
        }
        if let Some(command) = self.install_command() {
            ways.push(format!("install it: {command}"));
        }
        ways.push("set the directory of its programs: PGMONKEY_PG_BIN=/path/to/bin".to_owned());
        ways.push("start a Docker engine and run: docker pull postgres:17".to_owned());
        ways.push("name a server: --postgres postgres://user:password@host:port/dbname".to_owned());
        format!(
            "no PostgreSQL found for the tests; do one of the following\n  - {}",
            ways.join("\n  - ")
        )
    }

    fn install_command(self) -> Option<String> {
        let (manager, _, command) = MANAGERS
            .iter()
            .find(|(manager, ..)| Some(*manager) == self.manager)?;
        if self.root || *manager == Manager::Brew {
            return Some((*command).to_owned());
        }
        Some(format!("sudo {}", command.replace("&& ", "&& sudo ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(root: bool, manager: Option<Manager>) -> System {
        System { root, manager }
    }

    #[test]
    fn only_root_with_apt_can_install() {
        assert!(system(true, Some(Manager::Apt)).can_install());
        assert!(!system(false, Some(Manager::Apt)).can_install());
        assert!(!system(true, Some(Manager::Dnf)).can_install());
        assert!(!system(true, None).can_install());
    }

    #[test]
    fn the_advice_is_the_exact_command() {
        let advice = system(false, Some(Manager::Apt)).advice();
        let command = "sudo apt-get update && sudo apt-get install --yes postgresql";
        assert!(advice.contains(command), "{advice}");
        assert!(!advice.contains("--install,"), "{advice}");
        let advice = system(false, Some(Manager::Brew)).advice();
        assert!(advice.contains(": brew install"), "{advice}");
    }

    #[test]
    fn root_is_told_that_the_task_can_do_it() {
        let advice = system(true, Some(Manager::Apt)).advice();
        assert!(advice.contains("--install") && advice.contains("CI=true"));
        assert!(!advice.contains("sudo"));
    }
}
