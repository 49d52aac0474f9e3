//! What handles cost beside the drivers and the other pools, side by side in one process against
//! one server.
//!
//! `cargo xtask bench [NAME]...`, or `pgmonkey-bench FILE [NAME]...` with a configuration file.
//! Each round runs every contestant once, in turns, so that what disturbs the machine disturbs
//! all of them; medians of the rounds, and of their ratios, are printed.

#![forbid(unsafe_code)]

mod handles;
mod observer;
mod pinned;
mod report;
mod round;
mod tasks;
mod threads;

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use pgmonkey::Config;
use pgmonkey::tokio_postgres::config::{Config as DriverConfig, SslMode};

/// How often everybody has a turn.
const ROUNDS: usize = 25;
/// How long a turn takes.
const SPAN: Duration = Duration::from_millis(100);
/// How many sessions each pool has.
const SESSIONS: u32 = 8;
/// How many callers there are at once.
const CALLERS: [usize; 3] = [1, 16, 128];

const BENCHES: [&str; 4] = ["pools", "pinned", "handles", "observer"];

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let path = args
        .next()
        .context("usage: pgmonkey-bench FILE [NAME]...")?;
    let config = Config::from_file(&path)?;
    let wanted: Vec<String> = args.collect();
    if let Some(unknown) = wanted.iter().find(|name| !BENCHES.contains(&name.as_str())) {
        anyhow::bail!("there is no bench `{unknown}`: {}", BENCHES.join(", "));
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    if is_wanted("handles") {
        handles::run(&config)?;
    }
    if is_wanted("pools") {
        let mut contests = tasks::run(&config)?;
        contests.extend(threads::run(&config)?);
        contests.iter().for_each(report::Contest::print);
        report::write(&contests, Path::new("docs/benchmark"))?;
    }
    // Last, for they keep this process to one core from then on: there is the least noise.
    if is_wanted("observer") || is_wanted("pinned") {
        pinned::pin(&config)?;
    }
    if is_wanted("observer") {
        println!(
            "\nthe wire observed and not, on one core, in turns; medians of rounds, and of their ratios"
        );
        observer::run(&config)?;
    }
    if is_wanted("pinned") {
        let contests = tasks::run_pinned(&config)?;
        contests.iter().for_each(report::Contest::print);
    }
    Ok(())
}

/// A contestant's name and its time for one query, round by round.
struct Times(&'static str, Vec<Duration>);

/// The same place with pools of the size that all pools have here.
fn with_pools(config: &Config, multiplex: bool) -> anyhow::Result<Config> {
    let sizes = format!("max_size: {SESSIONS}, timeout: 60");
    let pools = format!(
        "pool_settings: {{ {sizes} }}\nasync_pool_settings: {{ {sizes}, multiplex: {multiplex} }}\n"
    );
    // The JSON form with its secrets is YAML too.
    let whole = serde_json::to_string(&config.exposed())?;
    Ok(Config::loader().json(whole).yaml(pools).load()?)
}

/// The same place and credentials for the driver alone.
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
        driver.password(password.expose());
    }
    driver
}

/// As [`report`], with ratios taken round by round and shorter lines.
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
