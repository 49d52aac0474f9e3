//! Starts and breaks throw-away PostgreSQL servers for tests.
//!
//! A [`Cluster`] is a real server made from the binaries on this machine, with its own data
//! directory, port and password. It is gone afterwards, also when the test panics or its process
//! is killed. A [`Container`] is the same made from a Docker image.
//! A [`Proxy`] between client and server cuts, stalls and delays what passes through it.
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
//! `cargo xtask test` starts servers once for all test binaries and names them in the
//! environment; [`TestServers::from_env`] and [`plain_or_start`] find them.
//!
//! Unix only: it relies on process groups, `sh` and Unix sockets.

#![forbid(unsafe_code)]

mod account;
mod certs;
mod cleanup;
mod cluster;
mod docker;
mod endpoint;
mod front;
mod hostile;
mod locate;
mod pgbouncer;
mod ports;
mod proxy;
mod servers;
mod settings;
mod standin;

pub use certs::Certificates;
pub use cleanup::{ScratchDir, Watchdog, signal, signal_group};
pub use cluster::{Builder, Cluster, StopMode};
pub use docker::{Container, Docker};
pub use endpoint::Endpoint;
pub use front::{Handshake, TlsFront};
pub use hostile::{Behaviour, ESCAPES, Hostile};
pub use locate::Binaries;
pub use pgbouncer::Pgbouncer;
pub use ports::free_port;
pub use proxy::{Cut, Proxy};
pub use servers::{TestServers, plain_or_start};
pub use settings::Kind;
