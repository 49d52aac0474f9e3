//! The logic of a PostgreSQL session's lifecycle, shared by the blocking and the async driver.
//!
//! **Semver exempt:** an implementation detail of `pgmonkey-sync` and `pgmonkey-async`; its API
//! may change in any release.
//!
//! You probably want the `pgmonkey` crate, or `pgmonkey-sync` or `pgmonkey-async`. Decisions are
//! pure functions that receive the current time and do no I/O; the driver crates carry them out.
//! A *session* is one server connection with its state.
//!
//! On its own, this crate gives a bare `tokio-postgres` client libpq's TLS and one deadline for
//! the whole login: [`Connector::bare`].
//!
//! | question | answered by |
//! |---|---|
//! | which servers to try, in which order | [`plan`], [`ServerSearch`] |
//! | which password to use | [`credentials`] |
//! | whether the server has the requested role | [`role`] |
//! | whether sessions are given up because another host has taken over | [`failover`] |
//! | how a socket becomes an encrypted session whose state is known | [`Connector`], [`wire`] |
//! | why no session could be opened | [`failure`] |
//! | why a session ended | [`SessionEnd`] |
//! | how session settings reach the server | [`startup`] |
//! | how text is quoted in a statement | [`sql`] |
//! | by when a call must have ended, and how it is ended | [`deadline`] |
//! | how a transaction begins, and when it is run again | [`transaction`] |
//! | how a returned session is reset | [`recycle`] |
//! | when a session reaches its maximum lifetime | [`expiry`] |
//! | what a hook's answer means for a session | [`hook`] |
//! | which statements are already prepared | [`statement_cache`] |
//! | which prepared statements a schema change made stale | [`stale_statements`] |
//! | what a statement's text can do to the session | [`sql`] |
//! | which statements may share a session | [`sharing`] |
//! | which rows of a statement's answer a call returns | [`answer`] |
//! | how rows are fetched in chunks | [`cursor`] |
//! | what is left of a stream that was dropped | [`unread`] |
//! | how statements are sent without being prepared | [`parameter_types`] |
//! | which channels a listener subscribes to, and when it reconnects | [`listening`] |
//! | which guard holds the single session of a pool for tests | [`test_transaction`] |
//! | which caller gets a session, and when a pool opens or retries one | [`pool`] |
//! | which handle serves the callers of a retired one | [`succession`] |
//! | which file gave which handle | [`sources`] |
//! | when a watched file is loaded again | [`watched`] |
//! | which handles of a manager sleep, or leave its cache | [`tenants`] |
//! | which standbys a cluster reads from, and how sessions are spread over them | [`standbys`] |
//! | how a reader waits for what was written | [`token`], [`cluster`] |
//! | which events are emitted | [`events`] |
//! | which metrics a statement has | [`operations`] |
//! | what happens with a notice from the server | [`notices`] |
//! | how text from the server is shown | [`printable`] |
//! | what is closed when the process exits | [`exit`] |
//! | what a child of `fork` must not touch | [`process`] |
//!
//! The modules in the folders `search`, `session` and `telemetry`, and some in `error`, `pool` and
//! `process`, are re-exported at the root, so that their paths do not depend on the folder.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod attempt;
mod backoff;
pub mod cluster;
pub mod deadline;
pub mod error;
mod files;
#[cfg(feature = "__fuzz")]
#[doc(hidden)]
pub mod fuzz;
mod inventory;
pub mod limits;
pub mod pool;
pub mod printable;
pub mod process;
mod random;
pub mod role;
mod search;
mod session;
pub mod sources;
pub mod sql;
mod status;
mod stream;
pub mod succession;
mod telemetry;
pub mod tenants;
#[cfg(feature = "tls")]
mod tls;
pub mod token;
pub mod transaction;
mod verdict;
pub mod watched;
pub mod wire;

pub use cluster::ClusterStatus;
pub use deadline::Deadline;
pub use error::failure;
pub use pool::{expiry, hook, recycle};
pub use process::exit;
pub use search::{credentials, failover, plan, standbys, startup};
pub use session::{
    answer, cursor, listening, outcome, parameter_types, savepoint, sharing, stale_statements,
    statement_cache, test_transaction, unread,
};
pub use telemetry::statements::{StatementLog, TopStatement};
pub use telemetry::{events, notices, operations};

pub use error::{
    DeadlineExceeded, DeadlineStage, Error, ErrorKind, HookFailure, LostAnswer, RetriesExhausted,
    SessionEnd, StatementEnd,
};
pub use files::{ConfigFiles, Loaded, Stamp};
pub use inventory::{CacheEntry, LastFailure, Listed};
pub use pool::hook::HookVerdict;
pub use process::Origin;
pub use role::Role;
pub use search::bare::ConnectorFactory;
pub use search::connect_attempt::{ConnectAttempt, OpenFailure};
pub use search::connected_to::ConnectedTo;
pub use search::rotation::SecretRead;
pub use search::server_search::{ServerSearch, Step};
pub use search::target::{ConnectTarget, SettingsMode};
pub use session::listening::ListenEvent;
pub use session::report::{PING, Report};
pub use session::statement_cache::{AsStatement, StatementRef};
pub use status::{
    CloseReason, Closed, StandbyStatus, StatementCacheStatus, StatementStatus, Status,
};
pub use stream::connector::Connector;
pub use stream::encryption::{MaybeTls, Tls};
pub use token::{InvalidToken, Token};

/// Compiles the README's example.
#[cfg(all(doctest, feature = "tls"))]
#[doc = include_str!("../README.md")]
struct Readme;
