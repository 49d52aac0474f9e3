//! Turns settings into attempts, in libpq's order.
//!
//! Reference: libpq, "Connection Strings: Specifying Multiple Hosts", and the descriptions of
//! `host`, `hostaddr`, `load_balance_hosts`, `sslmode` and `sslnegotiation`.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use pgmonkey_config::{
    ChannelBinding, ConnectionSettings, Host, LoadBalanceHosts, SslMode,
    SslNegotiation as Negotiation, Target,
};
use tokio_postgres::config::{
    ChannelBinding as DriverChannelBinding, SslMode as DriverSslMode, SslNegotiation,
};

use crate::Error;
use crate::error::failure::ConnectCause;

pub use crate::attempt::{Address, Attempt, Encryption, Turn};

/// What to resolve before a target can be tried.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lookup<'a> {
    /// Nothing: the address is known.
    Known(Address),
    /// The addresses of this name.
    Name(&'a str),
}

/// An attempt's outcome, as far as it matters for the next kind of encryption.
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

impl Outcome {
    /// The outcome of an attempt that failed with `cause`.
    pub(crate) fn of(cause: &ConnectCause, authenticated: bool) -> Self {
        match cause {
            ConnectCause::Tls(failure) if failure.is_attack() => Self::Other,
            ConnectCause::Tls(_) => Self::NoTls,
            ConnectCause::Driver(error) if error.code().is_some() && !authenticated => {
                Self::Refused
            }
            ConnectCause::Pooler { .. } if !authenticated => Self::Refused,
            _ => Self::Other,
        }
    }
}

/// Returns the address of `target` if the settings give it, or the name to resolve.
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

/// The hosts in the order in which to try them: as configured, or shuffled with
/// `load_balance_hosts: random`. `draw` returns random numbers in 0..1.
pub fn targets(settings: &ConnectionSettings, draw: impl FnMut() -> f64) -> Vec<Target> {
    let mut targets = settings.targets();
    balance(&mut targets, settings, draw);
    targets
}

/// The attempts for a target whose name resolved to `addresses`, in the resolver's order or
/// shuffled like the hosts: for each address, each kind of encryption that `sslmode` allows.
/// The second kind is tried only if [`goes_on`] allows it after the first.
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

/// The kinds of encryption to try at one address, in order; `None` stands for the address of a
/// name. A Unix socket is never encrypted.
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

/// Whether to try the next kind of encryption at the same address after this outcome: under `allow`
/// if the server refused a plain session, under `prefer` if TLS could not be established or the
/// server refused an encrypted session.
pub fn goes_on(encryption: Encryption, outcome: Outcome) -> bool {
    match encryption {
        Encryption::Plain => outcome == Outcome::Refused,
        Encryption::Tls { or_plain: true } => outcome != Outcome::Other,
        _ => false,
    }
}

/// The deadline of the next of `addresses` remaining addresses: an equal share of the time left, so
/// that an unresponsive address leaves time for the others.
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

/// Rejects settings that cannot be honored: encryption that this build does not support is an
/// error, never a plain session.
///
/// Without the feature `tls`, `disable`, `allow` and `prefer` give a plain session, as in a libpq
/// built without TLS; TLS is never used on a Unix socket. On a Unix socket the blocking driver does
/// not let the login be observed, so `require_auth` cannot be enforced; `is_watched` says whether
/// logins can be observed.
///
/// # Errors
///
/// [`Error::Unsupported`] naming the key; also for a Unix socket on a system without them.
pub fn check(settings: &ConnectionSettings, is_watched: bool) -> Result<(), Error> {
    let plain_allowed = matches!(
        settings.sslmode,
        SslMode::Disable | SslMode::Allow | SslMode::Prefer
    );
    let targets = settings.targets();
    let is_local = |target: &Target| matches!(lookup(target), Lookup::Known(Address::Unix(..)));
    if cfg!(not(unix)) && targets.iter().any(is_local) {
        return Err(Error::Unsupported {
            what: "connection_settings.host with the directory of a Unix socket".to_owned(),
            advice: "this system has none in the drivers: use a name or an address, such as localhost",
        });
    }
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

/// The driver's configuration for one host. It leaves the driver no choices except the answer to
/// the server's authentication request and the resolution of a name without a given address.
///
/// `options` is the startup option text, see [`startup`](crate::startup); `password` is this host's
/// password.
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
    match address {
        #[cfg(unix)]
        Some(Address::Unix(directory, _)) => {
            config.host_path(directory).ssl_mode(DriverSslMode::Disable);
        }
        _ => {
            config
                .host(server_name(target))
                // With these two, the driver hands the socket to the connector immediately.
                .ssl_mode(DriverSslMode::Require)
                .ssl_negotiation(SslNegotiation::Direct);
        }
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

/// The name that the server's certificate must match: the host, or its address if the host is a
/// directory.
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
