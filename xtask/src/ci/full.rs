//! `cargo xtask ci --full`: what takes too long for every change.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::args::Options;
use crate::{fuzz, ha, matrix, soak};

/// The versions of PostgreSQL that the other checks do not run on.
const VERSIONS: [u32; 4] = [14, 16, 17, 18];

/// How long the soak test runs, as in its option.
const SOAK_MINUTES: &str = "10";

/// Runs all of it, also after a failure, and prints one table.
pub(crate) fn run(options: Options, seconds: u32) -> anyhow::Result<()> {
    let cluster = Options {
        filters: Vec::new(),
        ..options.clone()
    };
    let mut servers = options;
    if servers.versions.is_empty() {
        servers.versions = VERSIONS.to_vec();
    }
    let versions: Vec<_> = servers.versions.iter().map(u32::to_string).collect();
    let rows = [
        Row::of("a cluster that changes its primary", || ha::run(&cluster)),
        Row::of(&format!("PostgreSQL {}", versions.join(", ")), || {
            matrix::run(&servers)
        }),
        Row::of(&format!("fuzzing, {seconds} s a target"), || {
            fuzz::run(seconds, &[], cluster.install)
        }),
        Row::of(&format!("soak test, {SOAK_MINUTES} min"), || {
            soak::run(&cluster, SOAK_MINUTES)
        }),
    ];
    println!("{}", table(&rows));
    let failed: Vec<_> = rows.iter().filter(|row| row.error.is_some()).collect();
    let names: Vec<_> = failed.iter().map(|row| row.check.as_str()).collect();
    ensure!(names.is_empty(), "failed: {}", names.join("; "));
    Ok(())
}

struct Row {
    check: String,
    took: Duration,
    error: Option<String>,
}

impl Row {
    fn of(check: &str, run: impl FnOnce() -> anyhow::Result<()>) -> Self {
        eprintln!("==> {check}");
        let begin = Instant::now();
        let error = run().err().map(|error| format!("{error:#}"));
        if let Some(error) = &error {
            eprintln!("{check}: {error}");
        }
        Self {
            check: check.to_owned(),
            took: begin.elapsed(),
            error,
        }
    }
}

/// With the first line of each error; the rest was printed when it occurred.
fn table(rows: &[Row]) -> String {
    let mut text = "| check | result | time |\n|---|---|---|".to_owned();
    for row in rows {
        let result = match &row.error {
            Some(error) => error.lines().next().unwrap_or("failed"),
            None => "passed",
        };
        let minutes = row.took.as_secs_f64() / 60.0;
        text += &format!("\n| {} | {result} | {minutes:.1} min |", row.check);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_shows_its_first_line_and_hides_no_other_check() {
        let passed = Row::of("one", || Ok(()));
        let failed = Row::of("two", || Err(anyhow::anyhow!("why\nand where")));
        let text = table(&[passed, failed]);
        assert!(text.contains("| one | passed | 0.0 min |"), "{text}");
        assert!(text.contains("| two | why | 0.0 min |"), "{text}");
    }
}
