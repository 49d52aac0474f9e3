//! Tests one connection type against the real server.

use std::time::{Duration, Instant};

use pgmonkey::{
    AsyncConnection, AsyncPool, Config, Connection, ConnectionType, Error, ErrorKind, Pool, Report,
    Status, TopStatement,
};
use serde::Serialize;

use crate::error::advice;
use crate::ui::statements::{self, Statement};

/// The result of testing one connection type.
#[derive(Debug, Serialize)]
pub(crate) struct Trial {
    pub(crate) connection_type: &'static str,
    pub(crate) ok: bool,
    pub(crate) error: Option<Failure>,
    #[serde(flatten)]
    pub(crate) findings: Option<Findings>,
}

/// Why the trial failed.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Failure {
    pub(crate) message: String,
    /// `transient`, `authentication`, `tls`, `configuration` or `other`.
    pub(crate) kind: &'static str,
    pub(crate) sqlstate: Option<String>,
    pub(crate) hint: Option<String>,
}

/// What the trial found. Times are milliseconds.
#[derive(Debug, Serialize)]
pub(crate) struct Findings {
    /// Time to open the handle, including all sessions of `min_size`.
    pub(crate) open_ms: f64,
    pub(crate) latency_ms: Percentiles,
    pub(crate) server_version: String,
    /// `primary` or `standby`.
    pub(crate) role: String,
    pub(crate) host: String,
    pub(crate) address: String,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) backend_pid: i32,
    /// The authentication method, if it could be observed.
    pub(crate) auth: Option<String>,
    pub(crate) tls: Option<Encryption>,
    pub(crate) pool: Option<Sizes>,
    /// The statements that took the most time.
    pub(crate) statements: Vec<Statement>,
}

/// How the session is encrypted.
#[derive(Debug, Serialize)]
pub(crate) struct Encryption {
    pub(crate) version: String,
    pub(crate) cipher: String,
    /// The name in the server's certificate.
    pub(crate) peer: Option<String>,
}

/// How many sessions were acquired from the pool at the same time.
#[derive(Debug, Serialize)]
pub(crate) struct Sizes {
    pub(crate) min_size: u32,
    pub(crate) max_size: u32,
    pub(crate) reached: u32,
}

/// The latency of a ping.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) count: usize,
    pub(crate) min: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// What both families measure.
struct Seen {
    opened: Duration,
    report: Report,
    latencies: Vec<Duration>,
    status: Option<Status>,
    top: Vec<TopStatement>,
}

/// Tests one type: opens it, acquires the sessions to be held from a pool, and pings the server.
pub(crate) fn run(config: &Config, kind: ConnectionType, count: u32) -> Trial {
    let seen = match kind {
        ConnectionType::Normal => normal(config, count),
        ConnectionType::Pool => pool(config, count),
        _ => in_runtime(config, kind, count),
    };
    let connection_type = kind.as_str();
    match seen {
        Ok(seen) => Trial {
            connection_type,
            ok: true,
            error: None,
            findings: Some(findings(seen)),
        },
        Err(error) => Trial {
            connection_type,
            ok: false,
            error: Some(failure(&error)),
            findings: None,
        },
    }
}

impl Trial {
    pub(crate) fn is_async(&self) -> bool {
        self.connection_type.starts_with("async")
    }
}

/// One more than `min_size`, so that the test sees the pool grow.
fn held(config: &Config, kind: ConnectionType) -> u32 {
    let settings = config.pool_settings_for(kind);
    settings.max_size.min(settings.min_size.saturating_add(1))
}

fn normal(config: &Config, count: u32) -> Result<Seen, Error> {
    let began = Instant::now();
    let connection = Connection::new(config)?;
    let opened = began.elapsed();
    let mut guard = connection.acquire()?;
    let report = guard.ping()?;
    let mut latencies = vec![report.latency];
    for _ in 1..count {
        latencies.push(guard.ping()?.latency);
    }
    Ok(Seen {
        opened,
        report,
        latencies,
        status: None,
        top: connection.top_statements(statements::SHOWN),
    })
}

fn pool(config: &Config, count: u32) -> Result<Seen, Error> {
    let began = Instant::now();
    let pool = Pool::new(config)?;
    let opened = began.elapsed();
    let held = held(config, ConnectionType::Pool);
    let mut guards = (0..held)
        .map(|_| pool.acquire())
        .collect::<Result<Vec<_>, _>>()?;
    for guard in &mut guards {
        guard.ping()?;
    }
    let status = pool.status();
    drop(guards);
    let report = pool.ping()?;
    let mut latencies = vec![report.latency];
    for _ in 1..count {
        latencies.push(pool.ping()?.latency);
    }
    Ok(Seen {
        opened,
        report,
        latencies,
        status: Some(status),
        top: pool.top_statements(statements::SHOWN),
    })
}

fn in_runtime(config: &Config, kind: ConnectionType, count: u32) -> Result<Seen, Error> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().map_err(Error::other)?;
    runtime.block_on(async {
        match kind {
            ConnectionType::Async => async_normal(config, count).await,
            _ => async_pool(config, count).await,
        }
    })
}

async fn async_normal(config: &Config, count: u32) -> Result<Seen, Error> {
    let began = Instant::now();
    let connection = AsyncConnection::new(config).await?;
    let opened = began.elapsed();
    let mut guard = connection.acquire().await?;
    let report = guard.ping().await?;
    let mut latencies = vec![report.latency];
    for _ in 1..count {
        latencies.push(guard.ping().await?.latency);
    }
    Ok(Seen {
        opened,
        report,
        latencies,
        status: None,
        top: connection.top_statements(statements::SHOWN),
    })
}

async fn async_pool(config: &Config, count: u32) -> Result<Seen, Error> {
    let began = Instant::now();
    let pool = AsyncPool::new(config).await?;
    let opened = began.elapsed();
    let mut guards = Vec::new();
    for _ in 0..held(config, ConnectionType::AsyncPool) {
        guards.push(pool.acquire().await?);
    }
    for guard in &mut guards {
        guard.ping().await?;
    }
    let status = pool.status();
    drop(guards);
    let report = pool.ping().await?;
    let mut latencies = vec![report.latency];
    for _ in 1..count {
        latencies.push(pool.ping().await?.latency);
    }
    Ok(Seen {
        opened,
        report,
        latencies,
        status: Some(status),
        top: pool.top_statements(statements::SHOWN),
    })
}

fn findings(seen: Seen) -> Findings {
    let report = seen.report;
    Findings {
        open_ms: milliseconds(seen.opened),
        latency_ms: Percentiles::of(seen.latencies),
        server_version: report.server_version,
        role: report.role.to_string(),
        host: report.host,
        address: report.address,
        user: report.user,
        database: report.database,
        backend_pid: report.backend_pid,
        auth: report.auth_method.map(|method| method.to_string()),
        tls: report.tls.map(|tls| Encryption {
            version: tls.version,
            cipher: tls.cipher,
            peer: tls.peer,
        }),
        pool: seen.status.map(|status| Sizes {
            min_size: status.min_size,
            max_size: status.max_size,
            reached: status.in_use,
        }),
        statements: statements::rows(seen.top),
    }
}

pub(super) fn failure(error: &Error) -> Failure {
    Failure {
        message: format!("{error:#}"),
        kind: match error.kind() {
            ErrorKind::Transient => "transient",
            ErrorKind::Authentication => "authentication",
            ErrorKind::Tls => "tls",
            ErrorKind::Configuration => "configuration",
            _ => "other",
        },
        sqlstate: error.code().map(|code| code.code().to_owned()),
        hint: advice::on(error),
    }
}

fn milliseconds(time: Duration) -> f64 {
    // Rounded to microseconds: network latency has no finer resolution.
    (time.as_secs_f64() * 1e6).round() / 1e3
}

impl Percentiles {
    /// Percentiles of at least one time by the nearest-rank method, so that each is a measured
    /// time.
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let rank = (share * times.len() as f64).ceil() as usize;
            let time = times.get(rank.saturating_sub(1)).or(times.last());
            milliseconds(time.copied().unwrap_or_default())
        };
        Self {
            count: times.len(),
            min: at(0.0),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let times = (1..=100).rev().map(Duration::from_millis).collect();
        let found = Percentiles::of(times);
        let expected = (100, 1.0, 50.0, 90.0, 99.0, 100.0);
        let Percentiles {
            count,
            min,
            p50,
            p90,
            p99,
            max,
        } = found;
        assert_eq!((count, min, p50, p90, p99, max), expected);
        let one = Percentiles::of(vec![Duration::from_micros(1500)]);
        assert_eq!((one.min, one.p50, one.p99, one.max), (1.5, 1.5, 1.5, 1.5));
    }
}
