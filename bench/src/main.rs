//! Compares the cost of handles with the drivers and the other pools, in one process against one
//! server.
//!
//! `cargo xtask bench [NAME]...`, or `pgmonkey-bench FILE [NAME]...` with a configuration file.
//! Each round runs every contestant once, in rotation, so that a disturbance of the machine affects
//! all of them; medians of the rounds, and of their ratios, are printed.

#![forbid(unsafe_code)]

mod contention;
mod handles;
mod homes;
mod observer;
mod pinned;
mod readers;
mod report;
mod round;
mod round_trips;
mod statements;
mod switches;
mod tasks;
mod threads;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use pgmonkey::Config;
use pgmonkey::tokio_postgres::config::{Config as DriverConfig, SslMode};

use crate::round::Work;

/// How many rounds to run, unless `BENCH_ROUNDS` is set.
const ROUNDS: usize = 25;
/// How many sessions each pool has.
const SESSIONS: u32 = 8;
/// The numbers of concurrent callers.
const CALLERS: [usize; 3] = [1, 16, 128];
/// The same without a single caller, which would show nothing.
const CROWDS: [usize; 2] = [16, 128];

const SIMPLE: Work = Work {
    what: "simple query",
    statement: "SELECT 1",
    span: Duration::from_millis(100),
};
const EXTENDED: Work = Work {
    what: "extended query, prepared once where the pool can",
    statement: "SELECT $1::int4",
    span: Duration::from_millis(100),
};
/// PostgreSQL rounds up to whole milliseconds, and the last digit of its clock turns 0.001 into
/// two. The span is longer than the others, so that each of 128 callers has some thirty turns per
/// round.
const MILLISECOND: Work = Work {
    what: "simple query of a millisecond",
    statement: "SELECT pg_sleep(0.0009)",
    span: Duration::from_millis(400),
};

const BENCHES: [&str; 11] = [
    "pools",
    "cluster",
    "millisecond",
    "contention",
    "handles",
    "homes",
    "observer",
    "roundtrips",
    "pinned",
    "statements",
    "instructions",
];

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let path = args
        .next()
        .context("usage: pgmonkey-bench FILE [NAME]...")?;
    let config = Config::from_file(&path)?;
    let wanted: Vec<String> = args.collect();
    match wanted.split_first() {
        Some((first, rest)) if first == statements::COUNTED => {
            return statements::run_counted(&config, rest);
        }
        _ => {}
    }
    if let Some(unknown) = wanted.iter().find(|name| !BENCHES.contains(&name.as_str())) {
        anyhow::bail!("unknown bench `{unknown}`: {}", BENCHES.join(", "));
    }
    // Only if it is named: it needs valgrind, and takes minutes.
    if wanted.iter().any(|one| one == "instructions") {
        statements::count_instructions(&path)?;
    }
    // Only if it is named: it starts servers of its own.
    if wanted.iter().any(|one| one == "cluster") {
        readers::run()?;
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    run(&config, is_wanted)?;
    // Last, because they pin this process to one core, where there is the least noise.
    run_pinned(&config, is_wanted)
}

fn run(config: &Config, is_wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    if is_wanted("handles") {
        handles::run(config)?;
    }
    if is_wanted("contention") {
        let contests = contention::run(config)?;
        contests.iter().for_each(report::Contest::print);
    }
    if is_wanted("homes") {
        let contests = homes::run(config)?;
        contests.iter().for_each(report::Contest::print);
    }
    if is_wanted("roundtrips") {
        let contests = round_trips::run(config)?;
        contests.iter().for_each(report::Contest::print);
    }
    let mut contests = Vec::new();
    if is_wanted("pools") {
        contests.extend(tasks::run(config)?);
        contests.extend(threads::run(config)?);
    }
    if is_wanted("pools") || is_wanted("millisecond") {
        contests.extend(tasks::run_millisecond(config)?);
        contests.extend(threads::run_millisecond(config)?);
    }
    contests.iter().for_each(report::Contest::print);
    // Fewer rounds, or some of the contests, only give an impression.
    if is_wanted("pools") && std::env::var_os(ROUNDS_VARIABLE).is_none() {
        report::write(&contests, Path::new("docs/benchmark"))?;
    }
    Ok(())
}

fn run_pinned(config: &Config, is_wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    if ["observer", "statements", "pinned"]
        .into_iter()
        .any(&is_wanted)
    {
        pinned::pin(config)?;
    }
    if is_wanted("observer") {
        println!(
            "\nwith and without the wire observer, on one core, in rotation; medians of rounds, and of their ratios"
        );
        observer::run(config)?;
    }
    if is_wanted("statements") {
        println!("\nstatements followed or not, on one core, in rotation; medians as before");
        statements::run(config)?;
    }
    if is_wanted("pinned") {
        let contests = tasks::run_pinned(config)?;
        contests.iter().for_each(report::Contest::print);
    }
    Ok(())
}

const ROUNDS_VARIABLE: &str = "BENCH_ROUNDS";

/// The number of rounds: `usual`, unless `BENCH_ROUNDS` is set.
fn rounds(usual: usize) -> anyhow::Result<usize> {
    let Ok(text) = std::env::var(ROUNDS_VARIABLE) else {
        return Ok(usual);
    };
    let rounds = text.parse().ok().filter(|rounds| *rounds > 0);
    rounds.with_context(|| format!("{ROUNDS_VARIABLE} is not a number of rounds: `{text}`"))
}

/// A contestant's name and its time per query, one value per round.
struct Times(&'static str, Vec<Duration>);

/// The same server with pools of the common size.
fn with_pools(config: &Config, multiplex: bool) -> anyhow::Result<Config> {
    let sizes = format!("max_size: {SESSIONS}, timeout: 60");
    let pools = format!(
        "pool_settings: {{ {sizes} }}\nasync_pool_settings: {{ {sizes}, multiplex: {multiplex} }}\n"
    );
    // The JSON form with its secrets is also YAML.
    let whole = serde_json::to_string(&config.exposed())?;
    Ok(Config::loader().json(whole).yaml(pools).load()?)
}

/// The same server and credentials for the driver alone.
fn driver(config: &Config) -> DriverConfig {
    let settings = &config.connection_settings;
    let target = &settings.targets()[0];
    let mut driver = DriverConfig::new();
    driver
        .host(target.host.to_string())
        .port(target.port)
        .user(settings.effective_user())
        .dbname(settings.effective_dbname())
        .ssl_mode(SslMode::Disable);
    if let Some(password) = &settings.password {
        driver.password(password.value().expect("a literal password").expose());
    }
    driver
}

/// Like [`report`], with ratios per round and shorter lines.
fn report_as(title: &str, contestants: &[Times]) {
    println!("\n{title}");
    for Times(name, times) in contestants {
        println!(
            "  {name:<28} {:>9.1} µs   ratio {:.3}",
            median(times).as_secs_f64() * 1e6,
            observer::paired(&contestants[0].1, times),
        );
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
