//! Tests the reading side: its configuration as a whole, and each of its hosts alone.

use std::time::Duration;

use pgmonkey::config::{Readers, Target, TargetSessionAttrs};
use pgmonkey::{Config, Connection, ConnectionType, Error};
use serde::Serialize;

use super::trial::{self, Failure, Trial};
use crate::error::Error as CommandError;
use crate::ui::notes;
use crate::ui::output::Output;
use crate::ui::table::Table;

/// The result for the reading side.
#[derive(Debug, Serialize)]
pub(super) struct Reading {
    /// `user@host:port/database`.
    target: String,
    /// Whether the readers can be used, or need not be.
    pub(super) ok: bool,
    fallback: bool,
    max_lag_s: Option<f64>,
    pub(super) trials: Vec<Trial>,
    hosts: Vec<Server>,
}

/// One of the readers' hosts.
#[derive(Debug, Serialize)]
struct Server {
    /// `host:port`.
    host: String,
    /// `primary` or `standby`, if it answered.
    role: Option<&'static str>,
    /// Milliseconds since the last transaction that a standby replayed; 0 if it has replayed all that it
    /// received, none if it has replayed no transaction yet.
    lag_ms: Option<f64>,
    /// Whether it is a standby within `max_lag`.
    usable: bool,
    error: Option<Failure>,
}

/// A standby that has replayed all that it received is not behind, however long ago that was.
const LAG: &str = "SELECT pg_is_in_recovery(), CASE WHEN NOT pg_is_in_recovery() THEN NULL \
     WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 \
     ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END::float8";

/// Tests the configuration with each type, and each host.
pub(super) fn run(readers: &Readers, types: &[ConnectionType], count: u32) -> Reading {
    let config = &readers.config;
    let types = types.iter();
    let trials: Vec<Trial> = types.map(|kind| trial::run(config, *kind, count)).collect();
    let targets = config.connection_settings.targets().into_iter();
    let hosts: Vec<Server> = targets.map(|target| Server::of(readers, &target)).collect();
    let works = trials.iter().all(|trial| trial.ok) && hosts.iter().any(|host| host.usable);
    Reading {
        target: config.connection_settings.describe(),
        ok: readers.fallback || works,
        fallback: readers.fallback,
        max_lag_s: readers.max_lag.map(|lag| lag.as_secs_f64()),
        trials,
        hosts,
    }
}

/// Asks one host for its role and its lag in seconds.
fn ask(config: &Config, target: &Target) -> Result<(bool, Option<f64>), Error> {
    let mut settings = config.to_settings();
    let connection = &mut settings.connection_settings;
    connection.host = vec![target.host.clone()];
    connection.hostaddr = target.hostaddr.into_iter().collect();
    connection.port = vec![target.port];
    connection.target_session_attrs = TargetSessionAttrs::Any;
    let connection = Connection::new(&Config::new(settings)?)?;
    let row = connection.acquire()?.query_one(LAG, &[])?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

impl Server {
    fn of(readers: &Readers, target: &Target) -> Self {
        let host = target.to_string();
        match ask(&readers.config, target) {
            Ok((standby, lag)) => Self {
                host,
                role: Some(if standby { "standby" } else { "primary" }),
                lag_ms: lag.map(|lag| (lag * 1e6).round() / 1e3),
                usable: standby && within(lag, readers.max_lag),
                error: None,
            },
            Err(error) => Self {
                host,
                role: None,
                lag_ms: None,
                usable: false,
                error: Some(trial::failure(&error)),
            },
        }
    }

    /// The words for its lag.
    fn lag(&self) -> String {
        match (self.lag_ms, self.role) {
            (Some(lag), _) => super::milliseconds(lag),
            (None, Some("standby")) => "unknown".to_owned(),
            (None, _) => String::new(),
        }
    }
}

/// Whether the lag, in seconds, is within the limit; one that is unknown is not.
fn within(lag: Option<f64>, limit: Option<Duration>) -> bool {
    limit.is_none_or(|limit| lag.is_some_and(|lag| lag <= limit.as_secs_f64()))
}

impl Reading {
    pub(super) fn report(&self, out: &mut Output<'_>) -> Result<(), CommandError> {
        let mut table = Table::new(["host", "role", "lag", "usable"]);
        for host in &self.hosts {
            let usable = if host.usable { "yes" } else { "no" };
            let role = host.role.unwrap_or("unreachable");
            table.row([host.host.as_str(), role, &host.lag(), usable]);
        }
        out.line("")?;
        out.table(&table)?;
        for host in &self.hosts {
            if let Some(error) = &host.error {
                let message = format!("{}: {}", host.host, error.message);
                notes::marked(notes::WARNING, "warning", message);
            }
        }
        if self.hosts.iter().any(|host| host.usable) {
            return Ok(());
        }
        if self.fallback {
            out.line("No standby can be used; the writer is read from (fallback: true).")
        } else {
            notes::marked(
                notes::ERROR,
                "error",
                "no standby can be used, and fallback is false",
            );
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_lag_is_not_within_a_limit() {
        let second = Some(Duration::from_secs(1));
        assert!(within(Some(1.0), second) && within(None, None) && within(Some(9.0), None));
        assert!(!within(Some(1.1), second) && !within(None, second));
    }
}
