//! The metrics of the statements that a handle's sessions run.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use pgmonkey_config::{ConnectionSettings, Target};

use super::definitions as all;
use super::instrument::{Attributes, Counter, ENABLED, Histogram};

/// The port that the conventions leave out.
const DEFAULT_PORT: u16 = 5432;

/// How many names of operations a handle keeps apart; the rest is reported as [`OTHER`].
const NAMES: usize = 32;
const OTHER: &str = "OTHER";

/// The operations whose rows are returned, rather than changed or copied.
const RETURNS_ROWS: [&str; 6] = ["EXPLAIN", "FETCH", "SELECT", "SHOW", "TABLE", "VALUES"];

/// One statement that has ended.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Operation<'a> {
    /// `db.operation.name`: the statement's command, such as `SELECT`, never its text.
    pub name: &'static str,
    /// From the last byte of the request to the end of its answer.
    pub duration: Duration,
    /// From the last byte of the request to the first byte of its answer.
    pub first_byte: Option<Duration>,
    /// How many rows it returned, changed or copied.
    pub rows: u64,
    /// Bytes sent for it.
    pub sent: u64,
    /// Bytes received for it.
    pub received: u64,
    /// `db.response.status_code`: the SQLSTATE of its error.
    pub status_code: Option<&'a str>,
    /// `error.type`: the SQLSTATE, or a name for the kind of failure. `None` if it succeeded.
    pub error_type: Option<&'a str>,
}

impl Operation<'_> {
    /// A statement that succeeded.
    pub fn new(name: &'static str, duration: Duration) -> Self {
        Self {
            name,
            duration,
            ..Self::default()
        }
    }
}

/// The metrics of the statements that a handle's sessions run.
///
/// Those of a name are looked up when it succeeds for the first time, those of a failure each time.
pub struct Operations {
    of_server: Attributes,
    known: [OnceLock<Box<Known>>; NAMES],
}

impl Operations {
    /// Whether operations are reported at all.
    pub const ENABLED: bool = ENABLED;

    /// The metrics of statements on the servers of these settings.
    pub fn new(settings: &ConnectionSettings) -> Self {
        Self {
            of_server: of_server(&settings.targets(), &settings.effective_dbname()),
            known: [const { OnceLock::new() }; NAMES],
        }
    }

    /// Records a statement.
    #[inline]
    pub fn record(&self, operation: &Operation<'_>) {
        if !ENABLED {
            return;
        }
        if operation.error_type.is_some() || operation.status_code.is_some() {
            self.failed(operation);
        } else {
            self.known(operation.name).record(operation);
        }
    }

    fn failed(&self, operation: &Operation<'_>) {
        let mut attributes = self.named(operation.name);
        if let Some(code) = operation.status_code {
            attributes = attributes.with(all::STATUS_CODE, code);
        }
        if let Some(kind) = operation.error_type.or(operation.status_code) {
            attributes = attributes.with(all::ERROR_TYPE, kind);
        }
        Known::new(operation.name, &attributes).record(operation);
    }

    fn known(&self, name: &'static str) -> &Known {
        let (last, others) = self.known.split_last().expect("an array of NAMES");
        for slot in others {
            let known = slot.get_or_init(|| Box::new(Known::new(name, &self.named(name))));
            if known.name == name {
                return known;
            }
        }
        last.get_or_init(|| Box::new(Known::new(OTHER, &self.named(OTHER))))
    }

    fn named(&self, name: &'static str) -> Attributes {
        self.of_server.clone().with(all::OPERATION_NAME, name)
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Operations")
    }
}

/// The metrics of one name of an operation.
struct Known {
    name: &'static str,
    duration: Histogram,
    first_byte: Histogram,
    /// Of operations that return rows.
    returned: Option<Histogram>,
    rows: Counter,
    sent: Counter,
    received: Counter,
}

impl Known {
    fn new(name: &'static str, attributes: &Attributes) -> Self {
        Self {
            name,
            duration: Histogram::new(&all::OPERATION_DURATION, attributes),
            first_byte: Histogram::new(&all::FIRST_BYTE_TIME, attributes),
            returned: RETURNS_ROWS
                .contains(&name)
                .then(|| Histogram::new(&all::RETURNED_ROWS, attributes)),
            rows: Counter::new(&all::AFFECTED_ROWS, attributes),
            sent: Counter::new(&all::SENT, attributes),
            received: Counter::new(&all::RECEIVED, attributes),
        }
    }

    #[inline]
    fn record(&self, operation: &Operation<'_>) {
        self.duration.record_time(operation.duration);
        if let Some(first_byte) = operation.first_byte {
            self.first_byte.record_time(first_byte);
        }
        if let Some(returned) = &self.returned {
            returned.record(operation.rows as f64);
        }
        self.rows.add(operation.rows);
        self.sent.add(operation.sent);
        self.received.add(operation.received);
    }
}

/// The attributes of the configured servers, whichever of them serves a session.
fn of_server(targets: &[Target], dbname: &str) -> Attributes {
    let (address, port) = server(targets);
    let attributes = Attributes::none()
        .with(all::SYSTEM_NAME, "postgresql")
        .with(all::NAMESPACE, dbname)
        .with(all::SERVER_ADDRESS, &address);
    match port {
        Some(port) => attributes.with_number(all::SERVER_PORT, port),
        None => attributes,
    }
}

/// `server.address` and `server.port`: a port of 5432 is left out, and ports that differ are part of
/// the address.
fn server(targets: &[Target]) -> (String, Option<u16>) {
    let first = targets.first().map_or(DEFAULT_PORT, |target| target.port);
    let is_one = targets.iter().all(|target| target.port == first);
    let addresses: Vec<_> = targets
        .iter()
        .map(|target| match is_one {
            true => target.host.to_string(),
            false => target.to_string(),
        })
        .collect();
    let port = (is_one && first != DEFAULT_PORT).then_some(first);
    (addresses.join(","), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(yaml: &str) -> (String, Option<u16>) {
        let yaml = format!("connection_settings: {{ {yaml}, user: u, dbname: d }}\n");
        let config = pgmonkey_config::Loader::new()
            .yaml(yaml)
            .libpq_sources(false)
            .load();
        server(&config.expect("a file").connection_settings.targets())
    }

    #[test]
    fn the_address_is_the_configured_one() {
        for (yaml, address, port) in [
            ("host: a", "a", None),
            ("host: a, port: 5432", "a", None),
            ("host: a, port: 15432", "a", Some(15432)),
            ("host: '::1', port: 15432", "::1", Some(15432)),
            ("host: /run/pg", "/run/pg", None),
            ("host: 'b,a'", "b,a", None),
            ("host: 'b,a', port: 6432", "b,a", Some(6432)),
            ("host: 'b,a', port: '5432,6432'", "b:5432,a:6432", None),
            (
                "host: 'b,::1', port: '5432,6432'",
                "b:5432,[::1]:6432",
                None,
            ),
        ] {
            assert_eq!(of(yaml), (address.to_owned(), port), "{yaml}");
        }
    }

    #[test]
    fn names_beyond_the_limit_are_reported_together() {
        let config = pgmonkey_config::Loader::new()
            .yaml("connection_settings: { host: h, user: u, dbname: d }\n")
            .load();
        let operations = Operations::new(&config.expect("a file").connection_settings);
        for number in 0..NAMES * 2 {
            let name: &'static str = Box::leak(format!("C{number}").into_boxed_str());
            let expected = if number < NAMES - 1 { name } else { OTHER };
            for _ in 0..2 {
                assert_eq!(operations.known(name).name, expected);
            }
        }
        assert_eq!(operations.known("C0").name, "C0");
    }
}
