//! The names of the blocking twin, each with a sentence in front of its documentation.

/// For threads: a hook that prepares each new session.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::AfterConnect;
/// For threads: a hook that decides whether a released session is kept.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::AfterRelease;
/// For threads: a hook that decides whether a session is handed out.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::BeforeAcquire;
/// For threads: opens a handle with options that a file cannot hold: a password provider, hooks, a name.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::Builder;
/// For threads: the rows of a transaction's `stream`, fetched in chunks.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::ChunkedRows;
/// For threads: a session in use; dropping it releases the session.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::ClientGuard;
/// For threads: a writer and its readers.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::Cluster;
/// For threads: one session, shared by its clones.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::Connection;
/// For threads: takes the data of a `COPY … FROM STDIN`.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::CopyInWriter;
/// For threads: the data of a `COPY … TO STDOUT`.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::CopyOutReader;
/// For threads: a connection or a pool, as the file's `connection_type` says.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::Database;
/// For threads: runs statements on a pool, a session or a transaction: for code that works on any of them.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::Execute;
/// For threads: the hooks of a handle.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::Hooks;
/// For threads: a session for LISTEN that reconnects by itself.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::Listener;
/// For threads: an open transaction or savepoint, from `Execute::begin`.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::OpenTransaction;
/// For threads: a pool of sessions; cloning it is cheap.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::Pool;
/// For threads: the rows of a query, one at a time.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::RowIter;
/// For threads: a transaction on a session in use, or a savepoint in one.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::Savepoint;
/// For threads: builds a transaction with options on a session in use.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::SavepointBuilder;
/// For threads: a handle whose calls end by a deadline.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::TimedHandle;
/// For threads: a session or transaction whose statements end by a deadline.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::TimedSession;
/// For threads: an open transaction with a session of its own.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::Transaction;
/// For threads: builds a transaction with options: isolation, read only, retries.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::TransactionBuilder;
/// For threads: the watch of a configuration file, which reloads its handles.
#[cfg_attr(docsrs, doc(cfg(feature = "sync")))]
#[doc(inline)]
pub use pgmonkey_sync::Watch;
