//! Settings to attempts, in the order libpq tries them.
//!
//! Reference: libpq, "Connection Strings: Specifying Multiple Hosts", and the descriptions of
//! `host`, `hostaddr`, `load_balance_hosts`, `sslmode` and `sslnegotiation`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Instant;

use pgmonkey_config::{
    ChannelBinding, ConnectionSettings, Host, LoadBalanceHosts, SslMode,
    SslNegotiation as Negotiation, Target,
};
use tokio_postgres::config::{
    ChannelBinding as DriverChannelBinding, SslMode as DriverSslMode, SslNegotiation,
};

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

/// How one attempt is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encryption {
    /// Not at all.
    Plain,
    /// The server is asked for TLS.
    Tls {
        /// Whether a server that says no gets a plain session at once.
        or_plain: bool,
    },
    /// TLS is begun without asking.
    Direct,
}

/// One ordered try to reach a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The host as the settings name it.
    pub target: Target,
    /// The address tried for it.
    pub address: Address,
    /// How it is encrypted.
    pub encryption: Encryption,
    /// Its place among the kinds of encryption at its address.
    pub turn: Turn,
}

/// An attempt's place among the kinds of encryption at one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There is no other.
    Only,
    /// Another follows if this one [`goes_on`].
    First,
    /// The one that follows.
    Second,
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

/// How an attempt ended, as far as it matters for the next kind of encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// TLS could not be established.
    NoTls,
    /// The server refused the login.
    Refused,
    /// Anything else.
    Other,
}

/// Says where `target` leads, as far as the settings alone tell.
pub fn lookup(target: &Target) -> Lookup<'_> {
    let tcp = |ip: IpAddr| Lookup::Known(Address::Tcp(SocketAddr::new(ip, target.port)));
    match (target.hostaddr, &target.host) {
        (Some(ip), _) => tcp(ip),
        (None, Host::Unix(directory)) => {
            Lookup::Known(Address::Unix(directory.clone(), target.port))
        }
        (None, Host::Ip(ip)) => tcp(*ip),
        (None, Host::Name(name)) => Lookup::Name(name),
    }
}

/// The hosts in the order they are to be tried: as written, or shuffled by
/// `load_balance_hosts: random`. `draw` gives numbers in 0..1.
pub fn targets(settings: &ConnectionSettings, draw: impl FnMut() -> f64) -> Vec<Target> {
    let mut targets = settings.targets();
    balance(&mut targets, settings, draw);
    targets
}

/// The attempts for a target whose name resolved to `addresses`, in the resolver's order or
/// shuffled as the hosts are: for each address, each kind of encryption that `sslmode` allows.
/// The second kind is tried only where the first ended in a way that [`goes_on`].
pub fn attempts(
    settings: &ConnectionSettings,
    target: &Target,
    addresses: &[IpAddr],
    draw: impl FnMut() -> f64,
) -> Vec<Attempt> {
    let mut addresses: Vec<Address> = match lookup(target) {
        Lookup::Known(address) => vec![address],
        Lookup::Name(_) => addresses
            .iter()
            .map(|ip| Address::Tcp(SocketAddr::new(*ip, target.port)))
            .collect(),
    };
    balance(&mut addresses, settings, draw);
    let attempt = |address: &Address, encryption, turn| Attempt {
        target: target.clone(),
        address: address.clone(),
        encryption,
        turn,
    };
    let each = |address: &Address| match encryptions(settings, Some(address)) {
        [first, second] => vec![
            attempt(address, *first, Turn::First),
            attempt(address, *second, Turn::Second),
        ],
        kinds => vec![attempt(address, kinds[0], Turn::Only)],
    };
    addresses.iter().flat_map(each).collect()
}

/// The kinds of encryption to try at one address, in order, the address of a name where there is
/// none. Nothing is encrypted on a Unix socket.
pub fn encryptions(
    settings: &ConnectionSettings,
    address: Option<&Address>,
) -> &'static [Encryption] {
    const TLS: Encryption = Encryption::Tls { or_plain: false };
    if matches!(address, Some(Address::Unix(..))) {
        return &[Encryption::Plain];
    }
    match settings.sslmode {
        SslMode::Disable => &[Encryption::Plain],
        SslMode::Allow if cfg!(feature = "tls") => &[Encryption::Plain, TLS],
        SslMode::Prefer if cfg!(feature = "tls") => {
            &[Encryption::Tls { or_plain: true }, Encryption::Plain]
        }
        SslMode::Allow | SslMode::Prefer => &[Encryption::Plain],
        _ if settings.sslnegotiation == Negotiation::Direct => &[Encryption::Direct],
        _ => &[TLS],
    }
}

/// Whether the next kind of encryption is to be tried at the same address after this end:
/// under `allow` when the server refused a plain session, under `prefer` when TLS could not be
/// established or the server refused an encrypted one.
pub fn goes_on(encryption: Encryption, outcome: Outcome) -> bool {
    match encryption {
        Encryption::Plain => outcome == Outcome::Refused,
        Encryption::Tls { or_plain: true } => outcome != Outcome::Other,
        _ => false,
    }
}

/// The part of the time left that one of `addresses` still to be tried may take, so that a dead
/// one leaves the others their turn.
pub fn share(now: Instant, deadline: Option<Instant>, addresses: usize) -> Option<Instant> {
    let left = deadline?.saturating_duration_since(now);
    let addresses = u32::try_from(addresses.max(1)).unwrap_or(u32::MAX);
    Some(now + left / addresses)
}

fn balance<T>(items: &mut [T], settings: &ConnectionSettings, mut draw: impl FnMut() -> f64) {
    if settings.load_balance_hosts == LoadBalanceHosts::Disable {
        return;
    }
    for last in (1..items.len()).rev() {
        let drawn = (draw() * (last + 1) as f64) as usize;
        items.swap(last, drawn.min(last));
    }
}

/// Refuses what cannot be kept: encryption that this build cannot give is an error, never a
/// plain session.
///
/// Without the feature `tls`, `disable`, `allow` and `prefer` give a plain session, as they do
/// for a libpq that was built without TLS; TLS is never used on a Unix socket. There the
/// blocking driver lets nobody watch the login, so that `require_auth` cannot be kept;
/// `is_watched` says whether somebody can.
///
/// # Errors
///
/// [`Error::Unsupported`] naming the key.
pub fn check(settings: &ConnectionSettings, is_watched: bool) -> Result<(), Error> {
    let plain_allowed = matches!(
        settings.sslmode,
        SslMode::Disable | SslMode::Allow | SslMode::Prefer
    );
    let targets = settings.targets();
    let is_local = |target: &Target| matches!(lookup(target), Lookup::Known(Address::Unix(..)));
    if !is_watched && !settings.require_auth.is_any() && targets.iter().any(is_local) {
        return Err(Error::Unsupported {
            what: "connection_settings.require_auth with a Unix socket and a blocking type"
                .to_owned(),
            advice: "use host: localhost, or connection_type async or async_pool",
        });
    }
    if cfg!(feature = "tls") || plain_allowed || targets.iter().all(is_local) {
        return Ok(());
    }
    Err(Error::Unsupported {
        what: format!("connection_settings.sslmode: {}", settings.sslmode),
        advice: "this build opens plain sessions only: build with the feature tls",
    })
}

impl Attempt {
    /// The address, where it is not the host itself.
    pub fn resolved(&self) -> Option<IpAddr> {
        match (&self.address, &self.target.host) {
            (Address::Tcp(address), Host::Ip(host)) if address.ip() == *host => None,
            (Address::Tcp(address), _) => Some(address.ip()),
            _ => None,
        }
    }
}

/// The driver's settings for one host: no choice left to the driver but how to answer the
/// server's request for a login, and how to resolve a name whose address is not given.
///
/// `options` is the startup option text, see [`startup`](crate::startup). `password` is the one
/// for this host.
pub fn driver_config(
    settings: &ConnectionSettings,
    target: &Target,
    address: Option<&Address>,
    options: Option<&str>,
    password: Option<&str>,
) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .user(settings.effective_user())
        .dbname(settings.effective_dbname())
        .port(target.port);
    if let Some(Address::Unix(directory, _)) = address {
        config.host_path(directory).ssl_mode(DriverSslMode::Disable);
    } else {
        config
            .host(server_name(target))
            // The driver hands the socket to the connector at once with these two.
            .ssl_mode(DriverSslMode::Require)
            .ssl_negotiation(SslNegotiation::Direct);
    }
    if let Some(Address::Tcp(address)) = address {
        config.hostaddr(address.ip());
    }
    config.channel_binding(match settings.channel_binding {
        ChannelBinding::Disable => DriverChannelBinding::Disable,
        ChannelBinding::Require => DriverChannelBinding::Require,
        _ => DriverChannelBinding::Prefer,
    });
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

/// Who the server is to show it is: the host, or its address where the host is a directory.
pub(crate) fn server_name(target: &Target) -> String {
    match (&target.host, target.hostaddr) {
        (Host::Unix(_), Some(address)) => address.to_string(),
        (host, _) => host.to_string(),
    }
}

fn set_socket_options(config: &mut tokio_postgres::Config, settings: &ConnectionSettings) {
    if let Some(limit) = settings.connect_timeout {
        config.connect_timeout(limit);
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

#[cfg(test)]
mod tests;
