// The example needs `sync`; docs are built with every feature.
#![cfg_attr(feature = "sync", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "sync"),
    doc = "One configuration file, four ways to reach PostgreSQL, one cached handle each."
)]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod manager;

pub use manager::ConnectionManager;
pub use pgmonkey_cache as cache;
pub use pgmonkey_config as config;
pub use pgmonkey_config::{Config, ConnectionType, Secret};
pub use pgmonkey_connect::credentials::{
    AsyncPasswordProvider, PasswordProvider, PasswordRequest, ProviderError,
};
/// For the program; not part of the API.
#[doc(hidden)]
pub use pgmonkey_connect::sql;
pub use pgmonkey_connect::{
    AsStatement, CacheEntry, Error, ErrorKind, Heard, HookFailure, HookVerdict, Report, Role,
    SessionEnd, StatementCacheStatus, Status, Tls,
};
pub use pgmonkey_connect::{failure, printable};

/// Connections and pools for threads.
#[cfg(feature = "sync")]
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync as sync;

/// Connections and pools for tasks. (`async` is a keyword.)
#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async as aio;

#[cfg(feature = "sync")]
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(no_inline)]
pub use pgmonkey_sync::{
    ClientGuard, Connection, Database, Execute, Hooks, Listener, Nested, OpenTransaction, Pool,
    Transaction, postgres,
};

#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(no_inline)]
pub use pgmonkey_async::{
    ClientGuard as AsyncClientGuard, Connection as AsyncConnection, Database as AsyncDatabase,
    Execute as AsyncExecute, Hooks as AsyncHooks, Listener as AsyncListener, Nested as AsyncNested,
    OpenTransaction as AsyncOpenTransaction, Pool as AsyncPool, Transaction as AsyncTransaction,
    tokio_postgres,
};
