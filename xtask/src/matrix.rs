//! `cargo xtask test --server`: the integration tests on several versions of PostgreSQL, and one
//! table.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::args::{Options, Postgres};
use crate::battery::{BATTERY, NEWEST, OTHERS};
use crate::install;
use crate::process::{self, cargo};
use crate::programs::{self, Programs};
use crate::servers::{Servers, Wanted};
use crate::test;

/// The integration tests. The programs that they run are built with them.
const TARGETS: [&str; 2] = ["--test", "it"];

/// With the packages of `cargo xtask test`: others would have other features, and be built again.
fn tested() -> Vec<&'static str> {
    [&test::TESTED[..], &["--all-features"]].concat()
}

/// What runs on a version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    All,
    Battery,
}

/// Runs the tests on each version that was named, all of them even if one fails.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let extent = if options.battery {
        Extent::Battery
    } else {
        Extent::All
    };
    let runs: Vec<_> = options
        .versions
        .iter()
        .map(|major| (*major, extent))
        .collect();
    table_of(&runs, options)
}

/// Runs all tests on the newest version and the battery on the others.
pub(crate) fn everywhere(options: &Options) -> anyhow::Result<()> {
    let others = OTHERS.map(|major| (major, Extent::Battery));
    let runs: Vec<_> = [(NEWEST, Extent::All)].into_iter().chain(others).collect();
    table_of(&runs, options)
}

fn table_of(runs: &[(u32, Extent)], options: &Options) -> anyhow::Result<()> {
    // First, so that a version which cannot be had is known before anything takes time.
    let server = |major: u32| match &options.postgres {
        Postgres::Docker => Ok(Server::Image(major)),
        _ => programs::of(major).map(Server::Programs),
    };
    let servers = runs.iter().map(|(major, _)| server(*major));
    let servers = servers.collect::<anyhow::Result<Vec<_>>>()?;
    install::poolers(options.install);
    // Not part of any version's time.
    process::run(cargo(&["build", "--quiet"]).args(tested()).args(TARGETS))?;
    let mut rows = Vec::new();
    for (server, (_, extent)) in servers.iter().zip(runs) {
        rows.push(Row::of(server, *extent, options)?);
    }
    println!("{}", table(&rows));
    let failed: Vec<_> = rows.iter().filter(|row| !row.passed()).collect();
    let names: Vec<_> = failed.iter().map(|row| row.server.as_str()).collect();
    ensure!(names.is_empty(), "tests failed on {}", names.join(", "));
    Ok(())
}

enum Server {
    Programs(Programs),
    Image(u32),
}

impl Server {
    fn start(&self) -> anyhow::Result<Servers> {
        match self {
            Self::Programs(programs) => {
                Servers::from_programs(&programs.binaries, Wanted::AllKinds)
            }
            Self::Image(major) => {
                Servers::from_docker(&format!("postgres:{major}"), Wanted::AllKinds)
            }
        }
    }
}

/// The outcome on one version.
struct Row {
    server: String,
    from: &'static str,
    counts: Counts,
    took: Duration,
    /// Why there is no complete outcome.
    error: Option<String>,
}

impl Row {
    fn of(server: &Server, extent: Extent, options: &Options) -> anyhow::Result<Self> {
        let (name, from) = match server {
            Server::Programs(programs) => (programs.binaries.version()?, programs.from),
            Server::Image(major) => (format!("postgres:{major}"), "image"),
        };
        eprintln!("==> {name}");
        let begin = Instant::now();
        let servers = server.start()?;
        let mut command = test::runner(&tested(), &TARGETS);
        command.envs(servers.env());
        if let Server::Programs(programs) = server {
            command.env("PGMONKEY_PG_BIN", programs.binaries.dir());
        }
        let filters = options.filters.iter().map(String::as_str);
        let is_battery = extent == Extent::Battery;
        let battery = BATTERY.into_iter().filter(|_| is_battery);
        let filters: Vec<_> = filters.chain(battery).collect();
        if !filters.is_empty() {
            command.arg("--").args(filters);
        }
        let mut counts = Counts::default();
        let ran = process::run_lines(command, |line| counts.read(line));
        let error = match ran {
            // The error itself names the whole command.
            Err(_) if counts.ran > 0 && counts.failed == 0 => Some("the run failed".to_owned()),
            _ if counts.ran == 0 => Some("no test ran".to_owned()),
            _ if is_battery && (counts.ran as usize) < BATTERY.len() => {
                Some("not every check of the battery ran".to_owned())
            }
            _ => None,
        };
        Ok(Self {
            server: name.replace("postgres (PostgreSQL) ", "PostgreSQL "),
            from,
            counts,
            took: begin.elapsed(),
            error,
        })
    }

    fn passed(&self) -> bool {
        self.counts.failed == 0 && self.error.is_none()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = &self.counts;
        let mut failed: Vec<&str> = counts.names.iter().map(String::as_str).collect();
        failed.extend(self.error.as_deref());
        write!(
            f,
            "| {} | {} | {} | {} | {} | {} | {:.0} s | {} |",
            self.server,
            self.from,
            counts.ran,
            counts.passed,
            counts.flaky,
            counts.failed,
            self.took.as_secs_f64(),
            failed.join(", ")
        )
    }
}

fn table(rows: &[Row]) -> String {
    let mut text =
        "| server | from | tests | passed | of them flaky | failed | time | failed tests |\n\
                    |---|---|---|---|---|---|---|---|"
            .to_owned();
    for row in rows {
        text.push('\n');
        text.push_str(&row.to_string());
    }
    text
}

/// What the output of cargo-nextest or `cargo test` says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    ran: u32,
    passed: u32,
    flaky: u32,
    failed: u32,
    names: BTreeSet<String>,
    /// Whether the rest lists what did not pass.
    is_summary: bool,
}

impl Counts {
    fn read(&mut self, line: &str) {
        // cargo-nextest indents the output of a failed test, which has a result of its own.
        let is_quoted = line.starts_with("    ");
        let line = line.trim();
        if line.starts_with("Summary [") {
            self.is_summary = true;
            self.add(line);
        } else if let Some(result) = line.strip_prefix("test result: ").filter(|_| !is_quoted) {
            self.add(result);
            self.ran = self.passed + self.failed;
        } else if self.is_summary && !line.starts_with("FLAKY") && !line.starts_with("error") {
            // For example `FAIL [   0.1s] (12/40) pgmonkey-tests::it roles::name`.
            let name = line.contains("] ").then(|| line.rsplit(' ').next());
            self.names.extend(name.flatten().map(str::to_owned));
        } else if let Some(name) = line.strip_suffix(" ... FAILED").filter(|_| !is_quoted) {
            self.names
                .insert(name.trim_start_matches("test ").to_owned());
        }
    }

    /// Adds each number that stands before one of these words.
    fn add(&mut self, text: &str) {
        let words: Vec<&str> = text.split([' ', ',', ';', '(', ')', ':', '.']).collect();
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u32>() else {
                continue;
            };
            match pair[1] {
                "tests" | "test" => self.ran += number,
                "passed" => self.passed += number,
                "flaky" => self.flaky += number,
                "failed" | "timed" | "exec" => self.failed += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(output: &str) -> Counts {
        let mut counts = Counts::default();
        output.lines().for_each(|line| counts.read(line));
        counts
    }

    #[test]
    fn the_summary_of_nextest_is_read() {
        let read = counts(
            "        PASS [   1.0s] (1/5) pgmonkey-tests::it roles::one\n\
             TRY 1 FAIL [   0.1s] (2/5) pgmonkey-tests::it roles::two\n\
             \x20   test roles::two ... FAILED\n\
             \x20   test result: FAILED. 0 passed; 1 failed; 0 ignored\n\
             ------------\n     \
             Summary [  46.9s] 5 tests run: 3 passed (1 flaky), 1 failed, 1 timed out, 30 skipped\n   \
             FLAKY 2/2 [   0.1s] (2/5) pgmonkey-tests::it roles::two\n  \
             TRY 2 FAIL [   0.1s] (3/5) pgmonkey-tests::it roles::three::sync\n     \
             TIMEOUT [ 240.0s] (4/5) pgmonkey-tests::it tls::four\nerror: test run failed",
        );
        assert_eq!(
            (read.ran, read.passed, read.flaky, read.failed),
            (5, 3, 1, 2)
        );
        let names: Vec<_> = read.names.iter().collect();
        assert_eq!(names, ["roles::three::sync", "tls::four"]);
    }

    #[test]
    fn the_results_of_cargo_test_are_added_up() {
        let read = counts(
            "test roles::one ... ok\ntest roles::two ... FAILED\n\
             test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 9 filtered out; finished in 0.10s\n\
             test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s",
        );
        assert_eq!((read.ran, read.passed, read.failed), (6, 5, 1));
        assert_eq!(read.names.iter().collect::<Vec<_>>(), ["roles::two"]);
    }

    #[test]
    fn a_run_without_tests_did_not_pass() {
        let row = Row {
            server: "PostgreSQL 16.1".to_owned(),
            from: "PyPI",
            counts: Counts::default(),
            took: Duration::ZERO,
            error: Some("no test ran".to_owned()),
        };
        assert!(!row.passed());
        assert!(table(&[row]).ends_with("| no test ran |"));
    }
}
