// The example needs `sync`; docs are built with every feature.
#![cfg_attr(feature = "sync", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "sync"),
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
    AsStatement, CacheEntry, Deadline, DeadlineExceeded, DeadlineStage, Error, ErrorKind,
    HookFailure, HookVerdict, LastFailure, ListenEvent, Report, RetriesExhausted, Role, SessionEnd,
    StatementCacheStatus, StatementEnd, StatementStatus, Status, Tls, TopStatement,
};
pub use pgmonkey_connect::{failure, printable};
#[doc(no_inline)]
/// The types of parameters and columns: [`ToSql`](types::ToSql), [`FromSql`](types::FromSql) and more.
///
/// The features `with-uuid-1`, `with-chrono-0_4` and so on add those of other crates; `derive` adds the
/// derive macros, whose code needs `postgres-types` among the dependencies of the program.
pub use postgres_types as types;

/// Connections and pools for threads.
#[cfg(feature = "sync")]
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync as sync;

/// Connections and pools for tasks. The module is called `aio` because `async` is a keyword.
#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async as aio;

#[cfg(feature = "sync")]
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(no_inline)]
pub use pgmonkey_sync::{
    AfterConnect, AfterRelease, BeforeAcquire, Builder, ChunkedRows, ClientGuard, Connection,
    CopyInWriter, CopyOutReader, Database, Execute, Hooks, Listener, OpenTransaction, Pool,
    RowIter, Savepoint, SavepointBuilder, TimedHandle, TimedSession, Transaction,
    TransactionBuilder, Watch, postgres,
};

#[cfg(feature = "async")]
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(no_inline)]
pub use pgmonkey_async::{
    AfterConnect as AsyncAfterConnect, AfterRelease as AsyncAfterRelease,
    BeforeAcquire as AsyncBeforeAcquire, Builder as AsyncBuilder, ChunkedRows as AsyncChunkedRows,
    ClientGuard as AsyncClientGuard, Connection as AsyncConnection, CopyInSink, CopyOutStream,
    Database as AsyncDatabase, Execute as AsyncExecute, Hooks as AsyncHooks,
    Listener as AsyncListener, OpenTransaction as AsyncOpenTransaction, Pool as AsyncPool,
    RowStream, Savepoint as AsyncSavepoint, SavepointBuilder as AsyncSavepointBuilder, Scoped,
    TimedHandle as AsyncTimedHandle, TimedSession as AsyncTimedSession,
    Transaction as AsyncTransaction, TransactionBuilder as AsyncTransactionBuilder,
    Watch as AsyncWatch, tokio_postgres,
};
