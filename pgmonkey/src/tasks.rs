//! The names of the async twin, each with a sentence in front of its documentation.

/// For tasks: a hook that prepares each new session.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::AfterConnect as AsyncAfterConnect;
/// For tasks: a hook that decides whether a released session is kept.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::AfterRelease as AsyncAfterRelease;
/// For tasks: a hook that decides whether a session is handed out.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::BeforeAcquire as AsyncBeforeAcquire;
/// For tasks: opens a handle with options that a file cannot hold: a password provider, hooks, a name.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::Builder as AsyncBuilder;
/// For tasks: the rows of a transaction's `stream`, fetched in chunks.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::ChunkedRows as AsyncChunkedRows;
/// For tasks: a session in use; dropping it releases the session.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::ClientGuard as AsyncClientGuard;
/// For tasks: a writer and its readers.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::Cluster as AsyncCluster;
/// For tasks: one session, shared by its clones.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::Connection as AsyncConnection;
/// For tasks: takes the data of a `COPY … FROM STDIN`.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::CopyInSink;
/// For tasks: the data of a `COPY … TO STDOUT`.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::CopyOutStream;
/// For tasks: a connection or a pool, as the file's `connection_type` says.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::Database as AsyncDatabase;
/// For tasks: runs statements on a pool, a session or a transaction: for code that works on any of them.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::Execute as AsyncExecute;
/// For tasks: the hooks of a handle.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::Hooks as AsyncHooks;
/// For tasks: a session for LISTEN that reconnects by itself.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::Listener as AsyncListener;
/// For tasks: an open transaction or savepoint, from `Execute::begin`.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::OpenTransaction as AsyncOpenTransaction;
/// For tasks: a pool of sessions; cloning it is cheap.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::Pool as AsyncPool;
/// For tasks: the rows of a query, one at a time.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::RowStream;
/// For tasks: a transaction on a session in use, or a savepoint in one.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::Savepoint as AsyncSavepoint;
/// For tasks: builds a transaction with options on a session in use.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::SavepointBuilder as AsyncSavepointBuilder;
/// For tasks: a transaction or session for the duration of a closure.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::Scoped;
/// For tasks: a handle whose calls end by a deadline.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::TimedHandle as AsyncTimedHandle;
/// For tasks: a session or transaction whose statements end by a deadline.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::TimedSession as AsyncTimedSession;
/// For tasks: an open transaction with a session of its own.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::Transaction as AsyncTransaction;
/// For tasks: builds a transaction with options: isolation, read only, retries.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::TransactionBuilder as AsyncTransactionBuilder;
/// For tasks: the watch of a configuration file, which reloads its handles.
#[cfg_attr(docsrs, doc(cfg(feature = "async")))]
#[doc(inline)]
pub use pgmonkey_async::Watch as AsyncWatch;
