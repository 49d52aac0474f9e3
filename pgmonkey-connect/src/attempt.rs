//! One attempt to reach a server.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use pgmonkey_config::{Host, Target};

/// The address of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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

/// The encryption of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encryption {
    /// No encryption.
    Plain,
    /// Ask the server for TLS.
    Tls {
        /// Whether to continue without TLS on the same connection if the server declines.
        or_plain: bool,
    },
    /// Start TLS without asking.
    Direct,
}

/// One attempt to reach a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// The host as configured.
    pub target: Target,
    /// The address to try.
    pub address: Address,
    /// The encryption.
    pub encryption: Encryption,
    /// Its turn among the kinds of encryption at its address.
    pub turn: Turn,
}

/// An attempt's turn among the kinds of encryption at one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// The only kind.
    Only,
    /// The first kind; the second follows if [`goes_on`](crate::plan::goes_on) allows it.
    First,
    /// The second kind.
    Second,
}

impl Attempt {
    /// The IP address, if the host is not that address itself.
    pub fn resolved(&self) -> Option<IpAddr> {
        match (&self.address, &self.target.host) {
            (Address::Tcp(address), Host::Ip(host)) if address.ip() == *host => None,
            (Address::Tcp(address), _) => Some(address.ip()),
            _ => None,
        }
    }
}
