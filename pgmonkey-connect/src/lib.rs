//! One PostgreSQL session's whole life, decided once for both drivers.
//!
//! You probably want the `pgmonkey` crate, or `pgmonkey-sync` or `pgmonkey-async`; this crate
//! is what those two share. Everything here that decides is a pure function that is told the
//! time and does no I/O; the driver crates carry the decisions out.
//!
//! | question | answered by |
//! |---|---|
//! | what to try, in which order | [`plan`] |
//! | how to get from a socket to a session whose state is known | [`Connector`], [`wire`] |
//! | how session settings reach the server | [`startup`] |
//! | what a returned session needs | [`recycle`] |
//! | when a session must go | [`expiry`] |
//! | whether to try again, and when | [`retry`] |
//! | who holds what | [`ledger`] |
//! | what is closed when the process ends | [`exit`] |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod connector;
pub mod credentials;
mod dialing;
pub mod error;
pub mod exit;
pub mod expiry;
mod files;
mod inventory;
pub mod ledger;
pub mod nesting;
pub mod plan;
pub mod recycle;
mod report;
pub mod retry;
pub mod startup;
mod status;
pub mod wire;

pub use connector::Connector;
pub use dialing::{Dialing, Failures, Way};
pub use error::Error;
pub use files::ConfigFiles;
pub use inventory::CacheEntry;
pub use report::{PING, Report, Tls};
pub use status::{CloseReason, Closed, Status};
