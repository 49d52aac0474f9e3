//! One PostgreSQL session's whole life, decided once for both drivers.
//!
//! Alone it gives a bare `tokio-postgres` client libpq's TLS, and one deadline for the whole
//! login: [`Connector::bare`].
//!
//! You probably want the `pgmonkey` crate, or `pgmonkey-sync` or `pgmonkey-async`; this crate
//! is what those two share. Everything here that decides is a pure function that is told the
//! time and does no I/O; the driver crates carry the decisions out.
//!
//! | question | answered by |
//! |---|---|
//! | what to try, in which order | [`plan`], [`Dial`] |
//! | with which password | [`credentials`] |
//! | whether the server is the one asked for | [`role`] |
//! | how to get from a socket to an encrypted session whose state is known | [`Connector`], [`wire`] |
//! | why there is no session | [`failure`] |
//! | why a session ended | [`SessionEnd`] |
//! | how session settings reach the server | [`startup`] |
//! | how a text is written into a statement | [`sql`] |
//! | what a returned session needs | [`recycle`] |
//! | when a session must go | [`expiry`] |
//! | what a program's hook means for a session | [`hook`] |
//! | whether to try again, and when | [`retry`] |
//! | which statements are prepared already | [`statement_cache`] |
//! | which of those have outlived the schema | [`healing`] |
//! | what a statement's text can do to the session | [`sql`] |
//! | which statements may share a session | [`sharing`] |
//! | what a call takes of a statement's answer | [`answer`] |
//! | how statements are sent without being prepared | [`parameter_types`] |
//! | who holds what | [`ledger`] |
//! | what a listener is subscribed to, and when it tries again | [`listening`] |
//! | which sessions are idle, and who waits for one | [`shelf`] |
//! | who holds the one session of a pool for tests | [`test_transaction`] |
//! | what a pool does by itself | [`upkeep`] |
//! | what is told of it | [`events`] |
//! | how text that a server sent is shown | [`printable`] |
//! | what is closed when the process ends | [`exit`] |
//! | what a child of `fork` must leave alone | [`process`] |

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod answer;
mod connector;
pub mod credentials;
mod dial;
mod dialing;
mod driver;
mod encryption;
pub mod error;
pub mod events;
pub mod exit;
pub mod expiry;
pub mod failure;
mod files;
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod fuzz;
pub mod healing;
pub mod hook;
mod inventory;
pub mod ledger;
pub mod limits;
pub mod listening;
mod meters;
#[cfg(feature = "tls")]
mod negotiation;
pub mod nesting;
pub mod parameter_types;
pub mod plan;
pub mod printable;
pub mod process;
pub mod recycle;
mod report;
pub mod retry;
pub mod role;
mod route;
mod session_end;
pub mod sharing;
pub mod shelf;
pub mod sql;
pub mod startup;
pub mod statement_cache;
mod status;
pub mod test_transaction;
#[cfg(feature = "tls")]
mod tls;
pub mod upkeep;
pub mod wire;

pub use connector::Connector;
pub use dial::{Dial, OpenFailure, Opening, Step};
pub use dialing::{Dialing, Way};
pub use encryption::MaybeTls;
pub use error::{Error, ErrorKind};
pub use files::ConfigFiles;
pub use hook::{HookFailure, HookVerdict};
pub use inventory::CacheEntry;
pub use listening::Heard;
pub use process::Origin;
pub use report::{PING, Report, Tls};
pub use role::Role;
pub use route::Route;
pub use session_end::SessionEnd;
pub use statement_cache::{AsStatement, StatementRef};
pub use status::{CloseReason, Closed, StatementCacheStatus, Status};

/// Compiles the example of the README.
#[cfg(all(doctest, feature = "tls"))]
#[doc = include_str!("../README.md")]
struct Readme;
