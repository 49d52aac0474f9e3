//! Runs a load against a pool and measures it.

use std::fmt;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pgmonkey::aio::Pool;
use pgmonkey::{Config, ConnectionType};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::transfer::relation::database;
use crate::ui::statements::{self, Statement};

/// The share of the time used as warm-up, so that statements are prepared and caches are warm.
const WARM_UP: u32 = 5;
/// Latencies are recorded in microseconds up to a minute, with three digits.
const LONGEST: u64 = 60_000_000;

/// The results for one pool size.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    pub(crate) size: u32,
    pub(crate) operations: u64,
    pub(crate) per_second: f64,
    pub(crate) latency_ms: Latency,
    /// The statements that took the most time, without the wait for a session.
    pub(crate) statements: Vec<Statement>,
}

/// From requesting a session to the response.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Latency {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// How many sessions the server can still give to this role and database.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Room {
    pub(crate) max_connections: u32,
    /// Reserved for superusers and by `reserved_connections`.
    pub(crate) reserved: u32,
    /// Sessions of others at this moment.
    pub(crate) in_use: u32,
    pub(crate) free: u32,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            max_connections,
            reserved,
            in_use,
            free,
        } = self;
        write!(
            f,
            "max_connections {max_connections}, {reserved} of them reserved, {in_use} in use, room for {free}"
        )
    }
}

const ROOM: &str = "SELECT current_setting('max_connections')::int8, \
    current_setting('superuser_reserved_connections')::int8 \
        + coalesce(current_setting('reserved_connections', true)::int8, 0), \
    (SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
        AND coalesce(backend_type, 'client backend') = 'client backend'), \
    (SELECT CASE WHEN rolconnlimit < 0 THEN NULL ELSE rolconnlimit - (SELECT count(*) - 1 \
        FROM pg_stat_activity WHERE usename = current_user) END FROM pg_roles WHERE rolname = current_user), \
    (SELECT CASE WHEN datconnlimit < 0 THEN NULL ELSE datconnlimit - (SELECT count(*) - 1 \
        FROM pg_stat_activity a WHERE a.datname = current_database()) END \
        FROM pg_database WHERE datname = current_database())";

/// Queries how many sessions the server can still give.
pub(crate) async fn room(config: &Config) -> Result<Room, Error> {
    let pool = pool(config, 1).await?;
    let client = pool.acquire().await?;
    let row = client.query_typed_one(ROOM, &[]).await.map_err(database)?;
    let number = |index: usize| u32::try_from(row.get::<_, i64>(index).max(0)).unwrap_or(u32::MAX);
    let limit = |index: usize| {
        let limit: Option<i64> = row.get(index);
        limit.map_or(u32::MAX, |limit| {
            u32::try_from(limit.max(0)).unwrap_or(u32::MAX)
        })
    };
    let (max_connections, reserved, in_use) = (number(0), number(1), number(2));
    let free = max_connections
        .saturating_sub(reserved)
        .saturating_sub(in_use);
    pool.close();
    Ok(Room {
        max_connections,
        reserved,
        in_use,
        free: free.min(limit(3)).min(limit(4)),
    })
}

/// The file's pool with another size.
async fn pool(config: &Config, size: u32) -> Result<Pool, Error> {
    let kind = match config.connection_type.is_async() {
        true => ConnectionType::AsyncPool,
        false => ConnectionType::Pool,
    };
    let mut settings = config.to_settings();
    settings.async_settings = settings.session_settings(kind).clone();
    let mut pool = settings.pool_settings_for(kind).clone();
    pool.min_size = size;
    pool.max_size = size;
    pool.max_waiting = None;
    pool.leak_warning = None;
    settings.async_pool_settings = pool;
    settings.connection_type = ConnectionType::AsyncPool;
    Ok(Pool::new(&Config::new(settings)?).await?)
}

/// Measures one size.
pub(crate) async fn size(
    config: &Config,
    size: u32,
    callers: u32,
    query: &str,
    time: Duration,
) -> Result<Measured, Error> {
    let pool = pool(config, size).await?;
    let begin = Instant::now() + time / WARM_UP;
    let end = begin + time;
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        tasks.spawn(call(pool.clone(), query.to_owned(), begin, end));
    }
    let mut all = histogram();
    while let Some(done) = tasks.join_next().await {
        let counted = done.map_err(|error| Error::failed(error.to_string()))??;
        all.add(counted).expect("equal bounds");
    }
    let top = pool.top_statements(statements::SHOWN);
    pool.close();
    let millis = |micros: u64| micros as f64 / 1000.0;
    Ok(Measured {
        size,
        operations: all.len(),
        per_second: all.len() as f64 / time.as_secs_f64(),
        latency_ms: Latency {
            mean: all.mean() / 1000.0,
            p50: millis(all.value_at_quantile(0.5)),
            p99: millis(all.value_at_quantile(0.99)),
            max: millis(all.max()),
        },
        statements: statements::rows(top),
    })
}

/// Runs one caller: counts the operations that end between `begin` and `end`.
async fn call(
    pool: Pool,
    query: String,
    begin: Instant,
    end: Instant,
) -> Result<Histogram<u64>, Error> {
    let mut counted = histogram();
    loop {
        let asked = Instant::now();
        pool.query(&query, &[]).await?;
        let answered = Instant::now();
        if answered >= end {
            return Ok(counted);
        }
        if answered >= begin {
            let micros = u64::try_from((answered - asked).as_micros()).unwrap_or(LONGEST);
            counted.saturating_record(micros);
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("valid bounds")
}
