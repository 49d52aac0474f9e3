//! PostgreSQL connections and pools for tasks, from one configuration file, cached.
//!
//! A program of Tokio tasks needs nothing else.
//!
//! ```no_run
//! use pgmonkey_async::{Config, ConnectionManager};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), pgmonkey_async::Error> {
//!     let config = Config::from_file("pgmonkey.yaml")?;
//!     let pool = ConnectionManager::global().pool(&config).await?;
//!     let rows = pool.query("SELECT id, name FROM users", &[]).await?;
//!     pool.transaction(async |tx| {
//!         tx.execute("UPDATE users SET seen = now()", &[]).await?;
//!         Ok(())
//!     })
//!     .await?;
//!     println!("{} users", rows.len());
//!     Ok(())
//! }
//! ```
//!
//! The SQL, rows and types are those of [`tokio_postgres`], which is exported here. The twin for
//! threads is `pgmonkey-sync`; the crate `pgmonkey` has both.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
mod builder;
mod connection;
mod database;
mod dial;
mod driver;
mod engine;
mod execute;
mod gate;
mod guard;
mod hooks;
mod lease;
mod lending;
mod line;
mod listener;
mod maintenance;
mod manager;
mod multiplex;
mod pool;
mod prepared;
mod scoped;
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
pub use pgmonkey_connect::credentials::{
    AsyncPasswordProvider as PasswordProvider, PasswordRequest, ProviderError,
};
pub use pgmonkey_connect::{
    AsStatement, CacheEntry, Error, ErrorKind, Heard, HookFailure, HookVerdict, Report, Role,
    StatementCacheStatus, Status, Tls,
};
pub use pool::Pool;
pub use scoped::Scoped;
pub use stream::{CopyInSink, CopyOutStream, RowStream};
#[doc(no_inline)]
pub use tokio_postgres;
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
