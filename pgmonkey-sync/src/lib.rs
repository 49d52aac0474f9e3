//! PostgreSQL connections and pools for threads, from one configuration file, cached.
//!
//! A program of threads needs nothing else.
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
//! The SQL, rows and types are those of [`postgres`], which is exported here. The twin for tasks
//! is `pgmonkey-async`; the crate `pgmonkey` has both.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
mod builder;
mod connection;
mod context;
mod coroutine;
mod database;
mod dial;
mod encoded;
mod engine;
mod execute;
mod gate;
mod guard;
mod hooks;
mod lending;
mod listener;
mod maintenance;
mod manager;
mod pool;
mod prepared;
mod session;
mod statements;
mod stream;
mod test_transaction;
mod transaction;

pub use builder::Builder;
pub use connection::Connection;
pub use database::Database;
pub use execute::{Execute, OpenTransaction};
pub use guard::ClientGuard;
pub use hooks::{AfterConnect, AfterRelease, BeforeAcquire, Hooks};
pub use listener::Listener;
pub use manager::ConnectionManager;
pub use pgmonkey_config::{Config, ConnectionType, Secret};
pub use pgmonkey_connect::credentials::{PasswordProvider, PasswordRequest, ProviderError};
pub use pgmonkey_connect::{
    AsStatement, CacheEntry, Error, ErrorKind, Heard, HookFailure, HookVerdict, Report, Role,
    StatementCacheStatus, Status, Tls,
};
pub use pool::Pool;
#[doc(no_inline)]
pub use postgres;
pub use stream::{CopyInWriter, CopyOutReader, RowIter};
pub use transaction::{Nested, Transaction};

const _: () = {
    const fn shared<T: Send + Sync + Clone>() {}
    const fn moved<T: Send>() {}
    shared::<Connection>();
    shared::<Pool>();
    shared::<Database>();
    shared::<ConnectionManager>();
    shared::<Error>();
    moved::<ClientGuard>();
    moved::<Transaction>();
    moved::<Listener>();
};

/// The README's example is compiled with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
