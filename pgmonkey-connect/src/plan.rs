//! Settings to attempts, in the order libpq tries them.
//!
//! Reference: libpq, "Connection Strings: Specifying Multiple Hosts", and the descriptions of
//! `host`, `hostaddr` and `sslmode`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use pgmonkey_config::{ConnectionSettings, Host, SslMode, Target};
use tokio_postgres::config::{SslMode as DriverSslMode, SslNegotiation};

use crate::Error;

/// Where one attempt connects to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket: its directory and the port that is part of its name.
    Unix(PathBuf, u16),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(directory, port) => {
                write!(f, "{}/.s.PGSQL.{port}", directory.display())
            }
        }
    }
}

/// One ordered try to reach a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The host as the settings name it.
    pub target: Target,
    /// The address tried for it.
    pub address: Address,
}

/// What must be asked of the resolver before a target can be tried.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lookup<'a> {
    /// Nothing: the address is known.
    Known(Address),
    /// The addresses of this name.
    Name(&'a str),
}

/// Says where `target` leads, as far as the settings alone tell.
pub fn lookup(target: &Target) -> Lookup<'_> {
    let tcp = |ip: IpAddr| Lookup::Known(Address::Tcp(SocketAddr::new(ip, target.port)));
    match (target.hostaddr, &target.host) {
        (_, Host::Unix(directory)) => Lookup::Known(Address::Unix(directory.clone(), target.port)),
        (Some(ip), _) => tcp(ip),
        (None, Host::Ip(ip)) => tcp(*ip),
        (None, Host::Name(name)) => Lookup::Name(name),
    }
}

/// The attempts for a target whose name resolved to `addresses`, in the resolver's order.
pub fn attempts(target: &Target, addresses: &[IpAddr]) -> Vec<Attempt> {
    let attempt = |address| Attempt {
        target: target.clone(),
        address,
    };
    match lookup(target) {
        Lookup::Known(address) => vec![attempt(address)],
        Lookup::Name(_) => addresses
            .iter()
            .map(|ip| attempt(Address::Tcp(SocketAddr::new(*ip, target.port))))
            .collect(),
    }
}

/// Refuses what cannot be kept: encryption that this build cannot give is an error, never a
/// plain session.
///
/// `disable`, `allow` and `prefer` allow a plain session, as they do for a libpq that was built
/// without TLS; TLS is never used on a Unix socket.
///
/// # Errors
///
/// [`Error::Unsupported`] naming the key.
pub fn check(settings: &ConnectionSettings) -> Result<(), Error> {
    let plain_allowed = matches!(
        settings.sslmode,
        SslMode::Disable | SslMode::Allow | SslMode::Prefer
    );
    let all_local = settings
        .targets()
        .iter()
        .all(|target| matches!(target.host, Host::Unix(_)));
    if plain_allowed || all_local {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: format!("connection_settings.sslmode: {}", settings.sslmode),
        advice: "this build opens plain sessions only: use sslmode disable or prefer, or a Unix socket",
    })
}

impl Attempt {
    /// The driver's settings for this attempt alone: one host, one address, no choice left to
    /// the driver but how to authenticate.
    ///
    /// `options` is the startup option text, see [`startup`](crate::startup). `password` is the
    /// one for this host.
    pub fn driver_config(
        &self,
        settings: &ConnectionSettings,
        options: Option<&str>,
        password: Option<&str>,
    ) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .user(settings.effective_user())
            .dbname(settings.effective_dbname())
            .port(self.target.port);
        match &self.address {
            Address::Tcp(address) => {
                config
                    .host(self.target.host.to_string())
                    .hostaddr(address.ip())
                    // The driver hands the socket to the connector at once with these two.
                    .ssl_mode(DriverSslMode::Require)
                    .ssl_negotiation(SslNegotiation::Direct);
            }
            Address::Unix(directory, _) => {
                config.host_path(directory).ssl_mode(DriverSslMode::Disable);
            }
        }
        if let Some(password) = password {
            config.password(password);
        }
        if let Some(options) = options {
            config.options(options);
        }
        if let Some(name) = &settings.application_name {
            config.application_name(name);
        }
        set_socket_options(&mut config, settings);
        config
    }
}

fn set_socket_options(config: &mut tokio_postgres::Config, settings: &ConnectionSettings) {
    if let Some(timeout) = settings.connect_timeout {
        config.connect_timeout(timeout);
    }
    if let Some(timeout) = settings.tcp_user_timeout {
        config.tcp_user_timeout(timeout);
    }
    config.keepalives(settings.keepalives);
    if let Some(idle) = settings.keepalives_idle {
        config.keepalives_idle(idle);
    }
    if let Some(interval) = settings.keepalives_interval {
        config.keepalives_interval(interval);
    }
    if let Some(count) = settings.keepalives_count {
        config.keepalives_retries(count);
    }
}
