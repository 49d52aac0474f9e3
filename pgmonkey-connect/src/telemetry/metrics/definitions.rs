//! The name, unit and meaning of every metric.

/// One metric: `docs/observability.md` lists them.
#[cfg_attr(
    not(feature = "otel"),
    allow(dead_code, reason = "the crate `metrics` takes no boundaries")
)]
pub(super) struct Definition {
    pub(super) name: &'static str,
    /// As the conventions write it: `s`, `By`, or what is counted, in braces.
    pub(super) unit: &'static str,
    pub(super) description: &'static str,
    /// The boundaries of a histogram's buckets; empty for other metrics.
    pub(super) boundaries: &'static [f64],
}

const fn count(name: &'static str, unit: &'static str, description: &'static str) -> Definition {
    histogram(name, unit, description, &[])
}

const fn histogram(
    name: &'static str,
    unit: &'static str,
    description: &'static str,
    boundaries: &'static [f64],
) -> Definition {
    Definition {
        name,
        unit,
        description,
        boundaries,
    }
}

/// The boundaries that the conventions advise for the duration of an operation. They advise none
/// for the other times: one list is easier to configure.
const SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
const ROWS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0,
];

pub(super) const COUNT: Definition = count(
    "db.client.connection.count",
    "{connection}",
    "open sessions, by state",
);
pub(super) const MAX: Definition = count(
    "db.client.connection.max",
    "{connection}",
    "maximum number of sessions",
);
pub(super) const IDLE_MAX: Definition = count(
    "db.client.connection.idle.max",
    "{connection}",
    "maximum number of idle sessions",
);
pub(super) const IDLE_MIN: Definition = count(
    "db.client.connection.idle.min",
    "{connection}",
    "number of sessions that stay open when no caller needs one",
);
pub(super) const PENDING_REQUESTS: Definition = count(
    "db.client.connection.pending_requests",
    "{request}",
    "callers waiting for a session",
);
pub(super) const TIMEOUTS: Definition = count(
    "db.client.connection.timeouts",
    "{timeout}",
    "callers that gave up waiting for a session",
);
pub(super) const CREATE_TIME: Definition = histogram(
    "db.client.connection.create_time",
    "s",
    "time from the first attempt to an open session",
    SECONDS,
);
pub(super) const WAIT_TIME: Definition = histogram(
    "db.client.connection.wait_time",
    "s",
    "time from the request to the acquired session",
    SECONDS,
);
pub(super) const USE_TIME: Definition = histogram(
    "db.client.connection.use_time",
    "s",
    "time from acquire to release",
    SECONDS,
);
pub(super) const OPENED: Definition = count(
    "pgmonkey.connection.opened",
    "{connection}",
    "sessions opened",
);
pub(super) const OPEN_FAILURES: Definition = count(
    "pgmonkey.connection.open_failures",
    "{failure}",
    "searches for a server that opened no session",
);
pub(super) const CLOSED: Definition = count(
    "pgmonkey.connection.closed",
    "{connection}",
    "sessions closed, by reason",
);
pub(super) const STANDBY_LAG: Definition = histogram(
    "pgmonkey.standby.lag",
    "s",
    "how old the data of a standby is, each time that it is asked",
    SECONDS,
);
pub(super) const STANDBY_USED: Definition = count(
    "pgmonkey.standby.used",
    "{server}",
    "standbys that are read from",
);
pub(super) const OPERATION_DURATION: Definition = histogram(
    "db.client.operation.duration",
    "s",
    "duration of statements",
    SECONDS,
);
pub(super) const FIRST_BYTE_TIME: Definition = histogram(
    "pgmonkey.operation.first_byte_time",
    "s",
    "time until the first byte of a statement's answer",
    SECONDS,
);
pub(super) const RETURNED_ROWS: Definition = histogram(
    "db.client.response.returned_rows",
    "{row}",
    "rows returned by statements",
    ROWS,
);
pub(super) const AFFECTED_ROWS: Definition = count(
    "pgmonkey.operation.rows",
    "{row}",
    "rows returned, changed or copied by statements",
);
pub(super) const SENT: Definition =
    count("pgmonkey.operation.sent", "By", "bytes sent for statements");
pub(super) const RECEIVED: Definition = count(
    "pgmonkey.operation.received",
    "By",
    "bytes received for statements",
);

/// The attributes.
pub(super) const POOL_NAME: &str = "db.client.connection.pool.name";
pub(super) const STATE: &str = "db.client.connection.state";
pub(super) const REASON: &str = "pgmonkey.reason";
pub(super) const SYSTEM_NAME: &str = "db.system.name";
pub(super) const NAMESPACE: &str = "db.namespace";
pub(super) const SERVER_ADDRESS: &str = "server.address";
pub(super) const SERVER_PORT: &str = "server.port";
pub(super) const OPERATION_NAME: &str = "db.operation.name";
pub(super) const STATUS_CODE: &str = "db.response.status_code";
pub(super) const ERROR_TYPE: &str = "error.type";
