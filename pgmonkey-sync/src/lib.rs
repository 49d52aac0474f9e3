//! PostgreSQL connections and pools for threads, from one configuration file, cached.
//!
//! This crate is all that a threaded program needs.
//!
//! ```no_run
//! use pgmonkey_sync::{Config, ConnectionManager};
//!
//! fn main() -> Result<(), pgmonkey_sync::Error> {
//!     let config = Config::from_file("pgmonkey.yaml")?;
//!     let pool = ConnectionManager::global().pool(&config)?;
//!     let rows = pool.query("SELECT id, name FROM users", &[])?;
//!     pool.transaction(|tx| {
//!         tx.execute("UPDATE users SET seen = now()", &[])?;
//!         Ok(())
//!     })?;
//!     println!("{} users", rows.len());
//!     Ok(())
//! }
//! ```
//!
//! SQL, rows and types are those of [`postgres`], which is re-exported here. The twin for tasks is
//! `pgmonkey-async`; the crate `pgmonkey` contains both.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod client;
mod context;
mod handle;
mod listener;
mod manager;
#[cfg(feature = "r2d2")]
#[cfg_attr(docsrs, doc(cfg(feature = "r2d2")))]
pub mod managers;
mod options;
mod pool;
mod session;
mod threads;

pub use builder::Builder;
pub use client::chunks::ChunkedRows;
pub use client::copy::{CopyInWriter, CopyOutReader};
pub use client::guard::ClientGuard;
pub use client::savepoint_builder::SavepointBuilder;
pub use client::stream::RowIter;
pub use client::timed::TimedSession;
pub use client::transaction::{Savepoint, Transaction};
pub use handle::cluster::Cluster;
pub use handle::connection::Connection;
pub use handle::database::Database;
pub use handle::execute::{Execute, OpenTransaction};
pub use handle::pool::Pool;
pub use handle::timed::TimedHandle;
pub use handle::transaction_builder::TransactionBuilder;
pub use listener::Listener;
pub use manager::{ConnectionManager, ManagerBuilder, Watch};
pub use pgmonkey_config::{Config, ConnectionType, Secret};
pub use pgmonkey_connect::credentials::{PasswordProvider, PasswordRequest, ProviderError};
pub use pgmonkey_connect::sources::ConfigSource;
pub use pgmonkey_connect::transaction::{IsolationLevel, Retry};
pub use pgmonkey_connect::{
    AsStatement, CacheEntry, ClusterStatus, Deadline, DeadlineExceeded, DeadlineStage, Error,
    ErrorKind, HookFailure, HookVerdict, InvalidToken, LastFailure, ListenEvent, Report,
    RetriesExhausted, Role, StandbyStatus, StatementCacheStatus, StatementEnd, StatementStatus,
    Status, Tls, Token, TopStatement,
};
#[doc(no_inline)]
pub use postgres;
#[doc(no_inline)]
/// The types of parameters and columns: [`ToSql`](types::ToSql), [`FromSql`](types::FromSql) and more.
///
/// The features `with-uuid-1`, `with-chrono-0_4` and so on add those of other crates; `derive` adds the
/// derive macros, whose code needs `postgres-types` among the dependencies of the program.
pub use postgres_types as types;
pub use session::hooks::{AfterConnect, AfterRelease, BeforeAcquire, Hooks};

const _: () = {
    const fn shared<T: Send + Sync + Clone>() {}
    const fn moved<T: Send>() {}
    shared::<Connection>();
    shared::<Pool>();
    shared::<Database>();
    shared::<Cluster>();
    shared::<ConnectionManager>();
    shared::<Error>();
    moved::<ClientGuard>();
    moved::<Transaction>();
    moved::<Listener>();
};

/// Compiles the README's example with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
