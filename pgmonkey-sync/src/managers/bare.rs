//! The manager of r2d2_postgres.

use pgmonkey_config::{Config, ConnectionType};
use pgmonkey_connect::{ConnectTarget, ConnectorFactory, Error};
use r2d2_postgres::PostgresConnectionManager;

/// A manager of the driver's own crate; see [`bare_manager`].
pub type BareManager = PostgresConnectionManager<ConnectorFactory>;

/// Creates the manager of the driver's own crate, for a file that needs no search and no password
/// that changes. It gets the TLS of this crate, the session settings and the limit of
/// `connect_timeout`; sessions come back as their last caller left them.
///
/// `sslmode: prefer` makes one attempt: a server whose handshake fails is not tried without TLS. A
/// password in the passfile is read once.
///
/// # Errors
///
/// [`Error::Unsupported`] naming the key that needs a [`SessionManager`](super::SessionManager): several hosts,
/// `target_session_attrs`, `load_balance_hosts`, `follow_dns`, `sslmode: allow`, a password that is
/// read for each session, `session_settings`; otherwise as [`SessionManager::new`](super::SessionManager::new).
pub fn bare_manager(config: &Config) -> Result<BareManager, Error> {
    let (driver, connectors) = ConnectTarget::new(config, ConnectionType::Pool)?.bare()?;
    Ok(PostgresConnectionManager::new(driver.into(), connectors))
}
