//! The report of a ping.

use std::fmt;
use std::time::Duration;

use pgmonkey_config::AuthMethod;

use crate::printable::line;
use crate::role::Role;
use crate::search::connected_to::ConnectedTo;
use crate::stream::encryption::Tls;

/// Facts about one session, as found by `ping()`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How long the server took to answer.
    pub latency: Duration,
    /// The server's `server_version`.
    pub server_version: String,
    /// The id of the server process.
    pub backend_pid: i32,
    /// The current user.
    pub user: String,
    /// The current database.
    pub database: String,
    /// The host as configured, with its port.
    pub host: String,
    /// The address that was reached.
    pub address: String,
    /// The server's role in replication.
    pub role: Role,
    /// The authentication method; `None` for a blocking session on a Unix socket, where the driver
    /// does not let the login be observed.
    pub auth_method: Option<AuthMethod>,
    /// How the session is encrypted; `None` for a plain one.
    pub tls: Option<Tls>,
}

/// The query of `ping()`, in one statement.
pub const PING: &str = "SELECT current_setting('server_version'), pg_backend_pid(), \
     current_user::text, current_database()::text, pg_is_in_recovery()";

impl Report {
    /// Creates a report from how the session was opened and the server's answer to [`PING`].
    ///
    /// # Errors
    ///
    /// The driver's error if the answer has another shape.
    pub fn from_row(
        row: &tokio_postgres::Row,
        latency: Duration,
        connected_to: &ConnectedTo,
    ) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            latency,
            server_version: row.try_get(0)?,
            backend_pid: row.try_get(1)?,
            user: row.try_get(2)?,
            database: row.try_get(3)?,
            role: match row.try_get(4)? {
                true => Role::Standby,
                false => Role::Primary,
            },
            host: connected_to.host(),
            address: connected_to.address().to_string(),
            auth_method: connected_to.auth_method(),
            tls: connected_to.tls().cloned(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "PostgreSQL {} ({}) at {} ({}), {}@{}, backend {}, {:.1?}, ",
            line(&self.server_version),
            self.role,
            self.host,
            self.address,
            line(&self.user),
            line(&self.database),
            self.backend_pid,
            self.latency
        )?;
        if let Some(method) = self.auth_method {
            write!(f, "authentication {method}, ")?;
        }
        match &self.tls {
            Some(tls) => write!(f, "{} {}", tls.version, tls.cipher),
            None => f.write_str("not encrypted"),
        }
    }
}
