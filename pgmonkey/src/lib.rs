// The examples need both; docs are built with every feature.
#![cfg_attr(all(feature = "sync", feature = "async"), doc = include_str!("../README.md"))]
#![cfg_attr(
    not(all(feature = "sync", feature = "async")),
    doc = "One configuration file, four connection types for PostgreSQL, one cached handle each."
)]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod manager;

pub use manager::ConnectionManager;
#[cfg(any(feature = "sync", feature = "async"))]
pub use manager::ManagerBuilder;
pub use pgmonkey_cache as cache;
pub use pgmonkey_config as config;
pub use pgmonkey_config::{Config, ConnectionType, Secret};
pub use pgmonkey_connect::credentials::{
    AsyncPasswordProvider, PasswordProvider, PasswordRequest, ProviderError,
};
pub use pgmonkey_connect::sources::ConfigSource;
/// For the `pgmonkey` CLI; not part of the public API.
#[doc(hidden)]
pub use pgmonkey_connect::sql;
pub use pgmonkey_connect::transaction::{IsolationLevel, Retry};
pub use pgmonkey_connect::{
    AsStatement, CacheEntry, ClusterStatus, Deadline, DeadlineExceeded, DeadlineStage, Error,
    ErrorKind, HookFailure, HookVerdict, InvalidToken, LastFailure, ListenEvent, Report,
    RetriesExhausted, Role, SessionEnd, StandbyStatus, StatementCacheStatus, StatementEnd,
    StatementStatus, Status, Tls, Token, TopStatement,
};
pub use pgmonkey_connect::{failure, printable};
#[doc(no_inline)]
/// The types of parameters and columns: [`ToSql`](types::ToSql), [`FromSql`](types::FromSql) and more.
///
/// The features `with-uuid-1`, `with-chrono-0_4` and so on add those of other crates; `derive` adds the
/// derive macros, whose code needs `postgres-types` among the dependencies of the program.
pub use postgres_types as types;

/// Connections and pools for tasks. The module is called `aio` because `async` is a keyword; its types
/// are also here, most with the prefix `Async`.
#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async as aio;

/// Connections and pools for threads. Its types are also here, under the same names.
#[cfg(feature = "sync")]
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync as sync;

#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(no_inline)]
pub use pgmonkey_async::tokio_postgres;
#[cfg(feature = "sync")]
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(no_inline)]
pub use pgmonkey_sync::postgres;

#[cfg(feature = "async")]
pub use self::tasks::*;
#[cfg(feature = "sync")]
pub use self::threads::*;

#[cfg(feature = "async")]
mod tasks;

#[cfg(feature = "sync")]
mod threads;
