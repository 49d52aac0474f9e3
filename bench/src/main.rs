//! What a handle costs over the bare driver, and what the engines cost as they come, side by
//! side in one process against one server.
//!
//! `cargo xtask bench [pools] [observer]`, or `pgmonkey-bench FILE [pools] [observer]` with a
//! configuration file. Each round runs every contestant once, in turns, so that what disturbs the
//! machine disturbs all of them; the medians of the rounds and their ratios to the bare driver
//! are printed.

#![forbid(unsafe_code)]

mod observer;

use std::time::{Duration, Instant};

use anyhow::Context;
use mobc_postgres::PgConnectionManager;
use pgmonkey::tokio_postgres::NoTls;
use pgmonkey::tokio_postgres::config::{Config as DriverConfig, SslMode};
use pgmonkey::{Config, ConnectionManager, postgres};
use r2d2_postgres::PostgresConnectionManager;

const ROUNDS: usize = 15;
const QUERIES: u32 = 2_000;
const SELECT: &str = "SELECT 1";

fn main() -> anyhow::Result<()> {
    let path = std::env::args()
        .nth(1)
        .context("usage: pgmonkey-bench FILE")?;
    let config = Config::from_file(&path)?;
    let wanted: Vec<String> = std::env::args().skip(2).collect();
    let all = ["pools", "observer"];
    if let Some(unknown) = wanted.iter().find(|name| !all.contains(&name.as_str())) {
        anyhow::bail!("there is no bench `{unknown}`: {}", all.join(", "));
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    if is_wanted("pools") {
        pools(&config)?;
    }
    if is_wanted("observer") {
        println!("\nthe wire observed and not, in turns; medians of rounds, and of their ratios");
        observer::run(&config)?;
    }
    Ok(())
}

fn pools(config: &Config) -> anyhow::Result<()> {
    println!(
        "acquire, simple query {SELECT:?}, release; one caller; median of {ROUNDS} rounds of {QUERIES}, in turns"
    );
    report("threads", &threads(config)?);
    report("tasks, one thread", &tasks(config)?);
    Ok(())
}

/// A contestant's name and its time for one query, round by round.
struct Times(&'static str, Vec<Duration>);

fn threads(config: &Config) -> anyhow::Result<Vec<Times>> {
    let mut bare = postgres::Config::from(driver(config)).connect(NoTls)?;
    let ours = ConnectionManager::global().pool(config)?;
    let manager = PostgresConnectionManager::new(driver(config).into(), NoTls);
    let builder = r2d2::Pool::builder().max_size(8).min_idle(Some(1));
    let checked = builder.test_on_check_out(true).build(manager)?;
    let manager = PostgresConnectionManager::new(driver(config).into(), NoTls);
    let builder = r2d2::Pool::builder().max_size(8).min_idle(Some(1));
    let unchecked = builder.test_on_check_out(false).build(manager)?;
    let mut times = [
        Times("postgres, bare", Vec::new()),
        Times("pgmonkey pool", Vec::new()),
        Times("r2d2_postgres, as it comes", Vec::new()),
        Times("r2d2_postgres, check off", Vec::new()),
    ];
    for _ in 0..ROUNDS {
        let mut round: [&mut dyn FnMut() -> anyhow::Result<()>; 4] = [
            &mut || Ok(bare.simple_query(SELECT).map(drop)?),
            &mut || Ok(ours.acquire()?.simple_query(SELECT).map(drop)?),
            &mut || Ok(checked.get()?.simple_query(SELECT).map(drop)?),
            &mut || Ok(unchecked.get()?.simple_query(SELECT).map(drop)?),
        ];
        for (times, work) in times.iter_mut().zip(&mut round) {
            let began = Instant::now();
            for _ in 0..QUERIES {
                work()?;
            }
            times.1.push(began.elapsed() / QUERIES);
        }
    }
    Ok(times.into())
}

fn tasks(config: &Config) -> anyhow::Result<Vec<Times>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (bare, connection) = driver(config).connect(NoTls).await?;
        tokio::spawn(connection);
        let ours = ConnectionManager::global().async_pool(config).await?;
        let manager = || PgConnectionManager::new(driver(config), NoTls);
        let checked = mobc::Pool::builder().max_open(8).build(manager());
        let builder = mobc::Pool::builder().max_open(8).test_on_check_out(false);
        let unchecked = builder.build(manager());
        let mut times = [
            Times("tokio-postgres, bare", Vec::new()),
            Times("pgmonkey async_pool", Vec::new()),
            Times("mobc-postgres, as it comes", Vec::new()),
            Times("mobc-postgres, check off", Vec::new()),
        ];
        for _ in 0..ROUNDS {
            times[0]
                .1
                .push(round(async || Ok(bare.simple_query(SELECT).await.map(drop)?)).await?);
            times[1].1.push(
                round(async || Ok(ours.acquire().await?.simple_query(SELECT).await.map(drop)?))
                    .await?,
            );
            times[2].1.push(
                round(async || Ok(checked.get().await?.simple_query(SELECT).await.map(drop)?))
                    .await?,
            );
            times[3].1.push(
                round(async || {
                    Ok(unchecked
                        .get()
                        .await?
                        .simple_query(SELECT)
                        .await
                        .map(drop)?)
                })
                .await?,
            );
        }
        Ok(times.into())
    })
}

async fn round(work: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let began = Instant::now();
    for _ in 0..QUERIES {
        work().await?;
    }
    Ok(began.elapsed() / QUERIES)
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

fn report(title: &str, contestants: &[Times]) {
    println!("\n{title}");
    let bare = median(&contestants[0].1);
    for Times(name, times) in contestants {
        let time = median(times);
        println!(
            "  {name:<28} {:>7.1} µs   ratio {:.3}",
            time.as_secs_f64() * 1e6,
            time.as_secs_f64() / bare.as_secs_f64(),
        );
    }
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
