//! What a ping tells.

use std::fmt;
use std::time::Duration;

use pgmonkey_config::AuthMethod;

use crate::printable::line;
use crate::role::Role;
use crate::route::Route;

/// One session's facts, as `ping()` found them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How long the server took to answer.
    pub latency: Duration,
    /// `server_version`, as the server says it.
    pub server_version: String,
    /// The server process that serves the session.
    pub backend_pid: i32,
    /// The user the server sees.
    pub user: String,
    /// The database the session is in.
    pub database: String,
    /// The host as configured, with its port.
    pub host: String,
    /// The address that was reached.
    pub address: String,
    /// The server's part in replication.
    pub role: Role,
    /// How the server asked who is there; `None` for a blocking session on a Unix socket, where
    /// the driver lets nobody watch.
    pub auth_method: Option<AuthMethod>,
    /// How the session is encrypted; `None` for a plain one.
    pub tls: Option<Tls>,
}

/// How a session is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: String,
    /// The cipher suite's registered name.
    pub cipher: String,
    /// Who the server's certificate says it is for: its first host name or address, else its
    /// common name.
    pub peer: Option<String>,
}

/// What `ping()` asks the server, in one statement.
pub const PING: &str = "SELECT current_setting('server_version'), pg_backend_pid(), \
     current_user::text, current_database()::text, pg_is_in_recovery()";

impl Report {
    /// Puts together what the session's way tells and what the server answered to [`PING`].
    ///
    /// # Errors
    ///
    /// The driver's, if the answer has another shape.
    pub fn from_row(
        row: &tokio_postgres::Row,
        latency: Duration,
        route: &Route,
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
            host: route.host(),
            address: route.address().to_string(),
            auth_method: route.auth_method(),
            tls: route.tls().cloned(),
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
