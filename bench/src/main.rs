//! What a handle costs over the bare driver, side by side in one process against one server.
//!
//! `cargo xtask bench`, or `pgmonkey-bench FILE` with a configuration file. Each round runs every
//! contestant once, in turns, so that what disturbs the machine disturbs all of them; medians
//! of the rounds and their ratio to the bare driver are printed.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use anyhow::Context;
use pgmonkey::tokio_postgres::config::{Config as DriverConfig, SslMode};
use pgmonkey::{Config, ConnectionManager, postgres, tokio_postgres};

const ROUNDS: usize = 15;
const QUERIES: u32 = 2_000;
const SELECT: &str = "SELECT 1";

fn main() -> anyhow::Result<()> {
    let path = std::env::args()
        .nth(1)
        .context("usage: pgmonkey-bench FILE")?;
    let config = Config::from_file(&path)?;
    let (blocking, tasks) = (threads(&config)?, tasks(&config)?);
    println!(
        "simple query {SELECT:?}, one caller, median of {ROUNDS} rounds of {QUERIES}, in turns"
    );
    report("postgres", &blocking);
    report("tokio-postgres", &tasks);
    Ok(())
}

/// Times of the bare driver and of ours, round by round.
struct Times {
    bare: Vec<Duration>,
    ours: Vec<Duration>,
}

fn threads(config: &Config) -> anyhow::Result<Times> {
    let mut bare = postgres::Config::from(driver(config)).connect(postgres::NoTls)?;
    let pool = ConnectionManager::global().pool(config)?;
    let mut times = Times {
        bare: Vec::new(),
        ours: Vec::new(),
    };
    for _ in 0..ROUNDS {
        times
            .bare
            .push(time(|| bare.simple_query(SELECT).map(drop))?);
        times.ours.push(time(|| {
            pool.acquire()?.simple_query(SELECT)?;
            Ok::<_, pgmonkey::Error>(())
        })?);
    }
    Ok(times)
}

fn tasks(config: &Config) -> anyhow::Result<Times> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (bare, connection) = driver(config).connect(tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let pool = ConnectionManager::global().async_pool(config).await?;
        let mut times = Times {
            bare: Vec::new(),
            ours: Vec::new(),
        };
        for _ in 0..ROUNDS {
            let began = Instant::now();
            for _ in 0..QUERIES {
                bare.simple_query(SELECT).await?;
            }
            times.bare.push(began.elapsed() / QUERIES);
            let began = Instant::now();
            for _ in 0..QUERIES {
                pool.acquire().await?.simple_query(SELECT).await?;
            }
            times.ours.push(began.elapsed() / QUERIES);
        }
        Ok(times)
    })
}

fn time<E>(mut work: impl FnMut() -> Result<(), E>) -> Result<Duration, E> {
    let began = Instant::now();
    for _ in 0..QUERIES {
        work()?;
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

fn report(name: &str, times: &Times) {
    let (bare, ours) = (median(&times.bare), median(&times.ours));
    println!(
        "{name:<15} bare {:>7.1} µs   acquire + query + release {:>7.1} µs   ratio {:.3}",
        bare.as_secs_f64() * 1e6,
        ours.as_secs_f64() * 1e6,
        ours.as_secs_f64() / bare.as_secs_f64(),
    );
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
