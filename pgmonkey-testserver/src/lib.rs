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
//! Unix only: the crate relies on process groups, `sh` and Unix sockets.

#![forbid(unsafe_code)]

mod account;
mod certs;
mod cleanup;
mod cluster;
mod docker;
mod endpoint;
#[cfg(target_os = "linux")]
mod far;
mod front;
mod hostile;
mod locate;
mod pgbouncer;
mod ports;
mod proxy;
mod servers;
mod settings;
mod standin;

pub use account::servers_reach;
pub use certs::Certificates;
pub use cleanup::{ScratchDir, Watchdog, signal, signal_group};
pub use cluster::{Builder, Cluster, StopMode};
pub use docker::{Container, Docker};
pub use endpoint::Endpoint;
#[cfg(target_os = "linux")]
pub use far::{FarServer, Silence};
pub use front::{Handshake, TlsFront};
pub use hostile::{Behaviour, ESCAPES, Hostile};
pub use locate::Binaries;
pub use pgbouncer::Pgbouncer;
pub use ports::free_port;
pub use proxy::{At, Cut, Proxy};
pub use servers::{TestServers, plain_or_start};
pub use settings::Kind;
