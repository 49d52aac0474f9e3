//! Starts throw-away PostgreSQL servers for tests and injects faults into them.
//!
//! A [`Cluster`] is a real server that runs the binaries on this machine, with its own data
//! directory, port and password. It is removed afterwards, even if the test panics or its process
//! is killed. A [`Container`] is the same from a Docker image.
//! A [`Proxy`] between client and server cuts, stalls and delays connections; a [`FarServer`] drops
//! packets.
//!
//! ```no_run
//! use pgmonkey_testserver::{Cluster, Kind, StopMode};
//!
//! # fn main() -> anyhow::Result<()> {
//! let cluster = Cluster::builder().kind(Kind::Plain).start()?;
//! println!("{} with password {}", cluster.port(), cluster.password());
//! cluster.stop(StopMode::Immediate)?;
//! cluster.start_again()?;
//! assert!(cluster.log().contains("ready to accept connections"));
//! # Ok(())
//! # }
//! ```
//!
//! `cargo xtask test` starts servers once for all test binaries and passes their addresses in the
//! environment; [`TestServers::from_env`] and [`plain_or_start`] read them.
//!
//! Features, both on by default: `certificates` ([`Certificates::generate`], for servers with TLS) and
//! `faults` (proxies and servers that misbehave). Without them a plain server is built quickly.
//!
//! Unix only: the crate relies on process groups, `sh` and Unix sockets.

#![forbid(unsafe_code)]

mod account;
mod between;
mod certs;
mod cleanup;
mod cluster;
mod docker;
mod endpoint;
#[cfg(all(feature = "faults", target_os = "linux"))]
mod far;
#[cfg(feature = "faults")]
mod front;
#[cfg(feature = "faults")]
mod hostile;
mod locate;
mod ports;
#[cfg(feature = "faults")]
mod proxy;
mod servers;
mod settings;
mod standin;

pub use account::{give_to_servers, server_command, servers_reach};
pub use between::{Haproxy, Pgbouncer, Pgpool};
pub use certs::Certificates;
pub use cleanup::{ScratchDir, Watchdog, signal, signal_group};
pub use cluster::{Builder, Cluster, StopMode};
pub use docker::{Container, Docker};
pub use endpoint::Endpoint;
#[cfg(all(feature = "faults", target_os = "linux"))]
pub use far::{FarServer, Silence};
#[cfg(feature = "faults")]
pub use front::{Handshake, TlsFront};
#[cfg(feature = "faults")]
pub use hostile::{Behaviour, ESCAPES, Hostile};
pub use locate::Binaries;
pub use ports::free_port;
#[cfg(feature = "faults")]
pub use proxy::{At, Cut, Proxy};
pub use servers::{TestServers, plain_or_start};
pub use settings::Kind;
