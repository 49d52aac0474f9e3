//! `cargo xtask fuzz`: runs each fuzz target for some time, from its kept corpus.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, bail, ensure};

use crate::install::in_ci;
use crate::process::{self, cargo};

/// The targets in `fuzz/fuzz_targets`, in the order in which they are paired.
const TARGETS: [&str; 6] = ["wire", "loader", "url", "csv", "service", "hba"];

/// How many targets run concurrently.
const AT_ONCE: usize = 2;

/// The limit of one input in seconds, and of the whole run in megabytes.
const LIMITS: [&str; 2] = ["-timeout=10", "-rss_limit_mb=1024"];

/// The longest input, in bytes: interesting inputs are small.
const LONGEST: &str = "-max_len=4096";

/// How many lines of a failed run are shown.
const SHOWN: usize = 60;

/// Builds the targets and runs the requested ones, or all, for `seconds` each.
pub(crate) fn run(seconds: u32, targets: &[String], install: bool) -> anyhow::Result<()> {
    let chosen = chosen(targets)?;
    find_cargo_fuzz(install)?;
    let build = process::target_dir().join("fuzz");
    // Without a sanitizer a stable compiler is enough, and the fuzzed code has no unsafe code.
    let mut command = cargo(&["fuzz", "build", "--sanitizer", "none", "--target-dir"]);
    process::run(command.arg(&build)).context("cannot build the fuzz targets")?;
    let programs = build.join(host()?).join("release");
    let queue = Mutex::new(chosen.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(target) = next() {
                    if let Err(error) = fuzz(&programs, target, seconds) {
                        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                        failed.push(format!("{target}: {error:#}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(failed.is_empty(), "{}", failed.join("\n\n"));
    Ok(())
}

fn chosen(targets: &[String]) -> anyhow::Result<Vec<&'static str>> {
    let find = |name: &String| {
        let known = TARGETS.into_iter().find(|target| target == name);
        known.with_context(|| format!("unknown target `{name}`: {}", TARGETS.join(", ")))
    };
    match targets {
        [] => Ok(TARGETS.to_vec()),
        names => names.iter().map(find).collect(),
    }
}

/// New inputs go to the target directory; a finding goes to `fuzz/artifacts`.
fn fuzz(programs: &Path, target: &str, seconds: u32) -> anyhow::Result<()> {
    let folder = process::root().join("fuzz");
    let found = process::target_dir().join("fuzz-corpus").join(target);
    let artifacts = folder.join("artifacts").join(target);
    for folder in [&found, &artifacts] {
        fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    let ran = Command::new(programs.join(target))
        .args(LIMITS)
        .arg(LONGEST)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([&found, &folder.join("corpus").join(target)])
        .stdin(Stdio::null())
        .output()
        .context("cannot be run")?;
    let log = String::from_utf8_lossy(&ran.stderr);
    let lines: Vec<&str> = log.lines().collect();
    if !ran.status.success() {
        let tail = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
        bail!(
            "{}\n{tail}\nto reproduce: cargo fuzz run --sanitizer none {target} INPUT, with the input named above",
            ran.status
        );
    }
    eprintln!("    {target}: {}", lines.last().unwrap_or(&"no output"));
    Ok(())
}

fn find_cargo_fuzz(install: bool) -> anyhow::Result<()> {
    let mut version = cargo(&["fuzz", "--version"]);
    let version = version.stdout(Stdio::null()).stderr(Stdio::null()).status();
    if version.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    ensure!(
        install || in_ci(),
        "cargo-fuzz is not installed: add --install, or run `cargo install --locked cargo-fuzz`"
    );
    process::run(&mut cargo(&[
        "install",
        "--quiet",
        "--locked",
        "cargo-fuzz",
    ]))
    .context("cannot install cargo-fuzz")
}

/// The host triple, after which cargo-fuzz names its output directory.
fn host() -> anyhow::Result<String> {
    let said = Command::new("rustc").arg("-vV").output();
    let said = String::from_utf8(said.context("cannot run rustc")?.stdout)?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_known_and_has_a_corpus() {
        let folder = process::root().join("fuzz");
        let mut files: Vec<_> = fs::read_dir(folder.join("fuzz_targets"))
            .unwrap()
            .map(|file| file.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        files.sort_unstable();
        let mut known = TARGETS;
        known.sort_unstable();
        assert_eq!(files, known);
        for target in TARGETS {
            let kept = fs::read_dir(folder.join("corpus").join(target)).unwrap();
            assert!(kept.count() > 0, "{target}");
        }
    }

    #[test]
    fn an_unknown_target_is_named() {
        let error = chosen(&["wier".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("`wier`"), "{error}");
        assert_eq!(chosen(&["csv".to_owned()]).unwrap(), ["csv"]);
    }
}
