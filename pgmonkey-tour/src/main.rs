//! Opens all four connection types from one config file, twice, runs statements on each and prints
//! the results.
//!
//! With `readers` behind the file it shows a writer and its readers instead.
//!
//! `cargo xtask demo` runs it; with a server of your own:
//! `cargo run --package pgmonkey-tour -- pgmonkey.yaml`

#![forbid(unsafe_code)]

mod readers;

use std::hint::black_box;
use std::time::{Duration, Instant};

use pgmonkey::{
    AsyncConnection, AsyncPool, Config, Connection, ConnectionManager, Error, Pool, Report,
};

/// How often the cached handle is requested, to average out the time of one request.
const HITS: u32 = 10_000;

struct Row {
    kind: &'static str,
    opened: Duration,
    cached: Duration,
    same: bool,
    report: Report,
    kept: i64,
    undone: i64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: tour CONFIG_FILE")?;
    let config = Config::from_file(&path)?;
    if std::env::args()
        .nth(2)
        .is_some_and(|what| what == "readers")
    {
        return readers::show(&config);
    }
    let manager = ConnectionManager::global();

    let mut rows = vec![connection(manager, &config)?, pool(manager, &config)?];
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        rows.push(async_connection(manager, &config).await?);
        rows.push(async_pool(manager, &config).await?);
        Ok::<_, Error>(())
    })?;
    print(&rows);

    println!("\ncached:");
    for entry in manager.cache_info() {
        println!("  {entry}");
    }
    let closed = runtime.block_on(manager.clear_cache_async());
    println!("closed {closed} handles");
    Ok(())
}

const TABLE: &str = "CREATE TEMP TABLE IF NOT EXISTS tour (n int)";
const INSERT: &str = "INSERT INTO tour VALUES (1)";
const COUNT: &str = "SELECT count(*) FROM tour";

fn connection(manager: &ConnectionManager, config: &Config) -> Result<Row, Error> {
    let began = Instant::now();
    let handle: Connection = manager.connection(config)?;
    let opened = began.elapsed();
    let began = Instant::now();
    for _ in 0..HITS {
        black_box(manager.connection(config)?);
    }
    let cached = began.elapsed() / HITS;
    let same = handle.is_same(&manager.connection(config)?);
    let (kept, undone) = work(&mut *handle.acquire()?)?;
    let report = handle.ping()?;
    Ok(Row {
        kind: "normal",
        opened,
        cached,
        same,
        report,
        kept,
        undone,
    })
}

fn pool(manager: &ConnectionManager, config: &Config) -> Result<Row, Error> {
    let began = Instant::now();
    let handle: Pool = manager.pool(config)?;
    let opened = began.elapsed();
    let began = Instant::now();
    for _ in 0..HITS {
        black_box(manager.pool(config)?);
    }
    let cached = began.elapsed() / HITS;
    let same = handle.is_same(&manager.pool(config)?);
    let (kept, undone) = work(&mut *handle.acquire()?)?;
    let report = handle.ping()?;
    Ok(Row {
        kind: "pool",
        opened,
        cached,
        same,
        report,
        kept,
        undone,
    })
}

/// Commits one transaction, rolls another one back, and returns the number of rows after each.
fn work(client: &mut pgmonkey::postgres::Client) -> Result<(i64, i64), Error> {
    client.batch_execute(TABLE)?;
    let mut transaction = client.transaction()?;
    transaction.execute(INSERT, &[])?;
    transaction.commit()?;
    let kept = client.query_one(COUNT, &[])?.get(0);
    let mut transaction = client.transaction()?;
    transaction.execute(INSERT, &[])?;
    transaction.rollback()?;
    Ok((kept, client.query_one(COUNT, &[])?.get(0)))
}

async fn async_connection(manager: &ConnectionManager, config: &Config) -> Result<Row, Error> {
    let began = Instant::now();
    let handle: AsyncConnection = manager.async_connection(config).await?;
    let opened = began.elapsed();
    let began = Instant::now();
    for _ in 0..HITS {
        black_box(manager.async_connection(config).await?);
    }
    let cached = began.elapsed() / HITS;
    let same = handle.is_same(&manager.async_connection(config).await?);
    let (kept, undone) = work_async(&mut *handle.acquire().await?).await?;
    let report = handle.ping().await?;
    Ok(Row {
        kind: "async",
        opened,
        cached,
        same,
        report,
        kept,
        undone,
    })
}

async fn async_pool(manager: &ConnectionManager, config: &Config) -> Result<Row, Error> {
    let began = Instant::now();
    let handle: AsyncPool = manager.async_pool(config).await?;
    let opened = began.elapsed();
    let began = Instant::now();
    for _ in 0..HITS {
        black_box(manager.async_pool(config).await?);
    }
    let cached = began.elapsed() / HITS;
    let same = handle.is_same(&manager.async_pool(config).await?);
    let (kept, undone) = work_async(&mut *handle.acquire().await?).await?;
    let report = handle.ping().await?;
    Ok(Row {
        kind: "async_pool",
        opened,
        cached,
        same,
        report,
        kept,
        undone,
    })
}

async fn work_async(client: &mut pgmonkey::tokio_postgres::Client) -> Result<(i64, i64), Error> {
    client.batch_execute(TABLE).await?;
    let transaction = client.transaction().await?;
    transaction.execute(INSERT, &[]).await?;
    transaction.commit().await?;
    let kept = client.query_one(COUNT, &[]).await?.get(0);
    let transaction = client.transaction().await?;
    transaction.execute(INSERT, &[]).await?;
    transaction.rollback().await?;
    Ok((kept, client.query_one(COUNT, &[]).await?.get(0)))
}

fn print(rows: &[Row]) {
    println!(
        "{:<11} {:>10} {:>11}  {:<12} {:>8}  {:<11} {:<9} {:<11} TLS",
        "type",
        "first open",
        "cached open",
        "server",
        "pid",
        "same handle",
        "committed",
        "rolled back"
    );
    for row in rows {
        let (yes, no) = ("yes", "NO");
        println!(
            "{:<11} {:>7.2} ms {:>8.3} µs  {:<12} {:>8}  {:<11} {:<9} {:<11} {}",
            row.kind,
            row.opened.as_secs_f64() * 1e3,
            row.cached.as_secs_f64() * 1e6,
            short(&row.report.server_version),
            row.report.backend_pid,
            if row.same { yes } else { no },
            if row.kept == 1 { yes } else { no },
            if row.undone == row.kept { yes } else { no },
            row.report.tls.as_ref().map_or("none", |tls| &tls.version),
        );
    }
}

/// Returns the version without the packager's suffix.
fn short(version: &str) -> &str {
    version.split_whitespace().next().unwrap_or(version)
}
