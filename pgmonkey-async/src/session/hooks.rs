//! User-supplied hooks that run at points in a session's lifecycle.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pgmonkey_connect::deadline::TimedCall;
use pgmonkey_connect::notices::NoticeHook;
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{Error, HookFailure, HookVerdict};
use tokio_postgres::Client;

use crate::session::connect::Connected;

/// How long a hook may take with an open session. Opening one has a limit of its own.
const LIMIT: Duration = Duration::from_secs(5);

/// Runs on each session right after it was opened, before any caller gets it.
///
/// It may run statements, for instance to load what every caller needs. A transaction must be ended
/// here; one left open counts as a failure. The hook must complete within the host's
/// `connect_timeout`.
///
/// Implement it with the attribute [`async_trait`](mod@async_trait).
///
/// ```
/// use pgmonkey_async::{AfterConnect, Error};
/// use pgmonkey_async::tokio_postgres::Client;
///
/// struct Mine;
///
/// #[async_trait::async_trait]
/// impl AfterConnect for Mine {
///     async fn after_connect(&self, client: &mut Client) -> Result<(), Error> {
///         Ok(client.batch_execute("LOAD 'auto_explain'").await?)
///     }
/// }
/// ```
#[async_trait]
pub trait AfterConnect: Send + Sync + 'static {
    /// Prepares a new session.
    ///
    /// # Errors
    ///
    /// Any reason why the session is of no use. It is closed and counts as one that could not be
    /// opened. A transient error is retried like any other; a panic is final.
    async fn after_connect(&self, client: &mut Client) -> Result<(), Error>;
}

/// Runs on each session before it is handed out, and may veto it.
///
/// A veto, an error, a panic or a transaction left open closes the session. If the session was used
/// before, another one is tried at once. If it is new, it counts as one that could not be opened:
/// after a veto or a transient error the call retries until its time-out; any other error is
/// returned to the caller. A hook that takes longer than 5 s, or than the deadline of the call, closes
/// the session too.
///
/// Implement it with the attribute [`async_trait`](mod@async_trait).
///
/// ```
/// use pgmonkey_async::{BeforeAcquire, Error, HookVerdict};
/// use pgmonkey_async::tokio_postgres::Client;
///
/// struct Mine;
///
/// #[async_trait::async_trait]
/// impl BeforeAcquire for Mine {
///     async fn before_acquire(&self, client: &mut Client) -> Result<HookVerdict, Error> {
///         let row = client.query_one("SELECT pg_is_in_recovery()", &[]).await?;
///         Ok(if row.get(0) { HookVerdict::Discard } else { HookVerdict::Keep })
///     }
/// }
/// ```
#[async_trait]
pub trait BeforeAcquire: Send + Sync + 'static {
    /// Decides whether a session may be handed out.
    ///
    /// # Errors
    ///
    /// Any reason why it cannot decide.
    async fn before_acquire(&self, client: &mut Client) -> Result<HookVerdict, Error>;
}

/// Runs on each released session after it was reset, and may close it.
///
/// An error or a panic closes it too. A transaction that the hook leaves open is rolled back. A
/// hook that takes longer than 5 s closes the session too. The next caller waits for the hook.
///
/// Implement it with the attribute [`async_trait`](mod@async_trait).
///
/// ```
/// use pgmonkey_async::{AfterRelease, Error, HookVerdict};
/// use pgmonkey_async::tokio_postgres::Client;
///
/// struct Mine;
///
/// #[async_trait::async_trait]
/// impl AfterRelease for Mine {
///     async fn after_release(&self, client: &mut Client) -> Result<HookVerdict, Error> {
///         client.batch_execute("DISCARD TEMP").await?;
///         Ok(HookVerdict::Keep)
///     }
/// }
/// ```
#[async_trait]
pub trait AfterRelease: Send + Sync + 'static {
    /// Decides whether a session is kept.
    ///
    /// # Errors
    ///
    /// Any reason why it cannot decide.
    async fn after_release(&self, client: &mut Client) -> Result<HookVerdict, Error>;
}

/// The hooks of a handle: code of the program that runs on its sessions.
///
/// A handle without hooks pays nothing for them. The statements of hooks are sent in addition to
/// those of callers.
///
/// ```no_run
/// use pgmonkey_async::{AfterConnect, BeforeAcquire, Builder, Config, Error, HookVerdict, Hooks};
/// use pgmonkey_async::tokio_postgres::Client;
///
/// struct Tenants;
///
/// #[async_trait::async_trait]
/// impl AfterConnect for Tenants {
///     async fn after_connect(&self, client: &mut Client) -> Result<(), Error> {
///         Ok(client.batch_execute("SELECT load_extension_settings()").await?)
///     }
/// }
///
/// #[async_trait::async_trait]
/// impl BeforeAcquire for Tenants {
///     async fn before_acquire(&self, client: &mut Client) -> Result<HookVerdict, Error> {
///         let row = client.query_one("SELECT NOT pg_is_in_recovery()", &[]).await?;
///         Ok(if row.get(0) { HookVerdict::Keep } else { HookVerdict::Discard })
///     }
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<(), Error> {
///     let config = Config::from_file("pgmonkey.yaml")?;
///     let hooks = Hooks::new("tenants").after_connect(Tenants).before_acquire(Tenants);
///     let pool = Builder::new(&config).hooks(hooks).pool().await?;
///     println!("{}", pool.ping().await?);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
#[must_use = "hooks do nothing until they are given to a builder or a manager"]
pub struct Hooks {
    identity: Arc<str>,
    after_connect: Option<Arc<dyn AfterConnect>>,
    before_acquire: Option<Arc<dyn BeforeAcquire>>,
    after_release: Option<Arc<dyn AfterRelease>>,
    on_notice: Option<NoticeHook>,
}

impl Hooks {
    /// Creates a set without hooks. `identity` distinguishes it from other sets: it is part of the
    /// cache key of a [`ConnectionManager`](crate::ConnectionManager), so the same config with
    /// hooks of the same identity is the same pool. It must not contain a secret.
    ///
    /// ```
    /// use pgmonkey_async::Hooks;
    ///
    /// let hooks = Hooks::new("tenants"); // does nothing yet
    /// assert_eq!(&**hooks.identity(), "tenants");
    /// ```
    pub fn new(identity: impl Into<Arc<str>>) -> Self {
        Self {
            identity: identity.into(),
            after_connect: None,
            before_acquire: None,
            after_release: None,
            on_notice: None,
        }
    }

    /// Sets the hook that prepares each new session.
    pub fn after_connect(mut self, hook: impl AfterConnect) -> Self {
        self.after_connect = Some(Arc::new(hook));
        self
    }

    /// Sets the hook that is asked before each session is handed out.
    pub fn before_acquire(mut self, hook: impl BeforeAcquire) -> Self {
        self.before_acquire = Some(Arc::new(hook));
        self
    }

    /// Sets the hook that is asked about each released session.
    pub fn after_release(mut self, hook: impl AfterRelease) -> Self {
        self.after_release = Some(Arc::new(hook));
        self
    }

    /// Sets the hook that gets each notice and warning of the server: from `RAISE NOTICE`, or from a
    /// statement that has no effect. The event `pgmonkey.notice` reports them too, but not all of a
    /// flood.
    ///
    /// It runs while the session is read, before the answer of the statement that caused the notice:
    /// it must not block. A panic is reported as an event.
    ///
    /// ```
    /// use pgmonkey_async::Hooks;
    ///
    /// let hooks = Hooks::new("warnings").on_notice(|notice| {
    ///     if notice.severity() == "WARNING" {
    ///         eprintln!("{}: {}", notice.code().code(), notice.message());
    ///     }
    /// });
    /// ```
    pub fn on_notice(
        mut self,
        hook: impl Fn(&tokio_postgres::error::DbError) + Send + Sync + 'static,
    ) -> Self {
        self.on_notice = Some(Arc::new(hook));
        self
    }

    pub(crate) fn notice_hook(&self) -> Option<&NoticeHook> {
        self.on_notice.as_ref()
    }

    /// Returns the identity that distinguishes these hooks from others.
    pub fn identity(&self) -> &Arc<str> {
        &self.identity
    }

    pub(crate) fn asks_before_acquire(&self) -> bool {
        self.before_acquire.is_some()
    }

    pub(crate) fn asks_after_release(&self) -> bool {
        self.after_release.is_some()
    }

    /// Runs the hook for a new session, within the deadline of the caller.
    pub(crate) async fn prepare(&self, opened: &mut Connected) -> Result<(), HookFailure> {
        const HOOK: &str = "after_connect";
        let Some(hook) = &self.after_connect else {
            return Ok(());
        };
        let client = &mut opened.client;
        caught(HOOK, hook.after_connect(client)).await?;
        // Waits for everything that the hook has sent but may not have waited for.
        let rest = client.batch_execute("").await;
        match (rest, opened.connected_to.observer().state()) {
            (Ok(()), WireState::Idle) => Ok(()),
            (Err(error), _) => Err(HookFailure::Failed {
                hook: HOOK,
                error: error.into(),
            }),
            _ => Err(HookFailure::LeftOpen { hook: HOOK }),
        }
    }

    pub(crate) async fn ask_before_acquire(
        &self,
        client: &mut Client,
        call: Option<TimedCall>,
    ) -> Result<HookVerdict, HookFailure> {
        let left = |call: TimedCall| call.deadline.remaining(Instant::now());
        let limit = call.map_or(LIMIT, |call| left(call).min(LIMIT));
        match &self.before_acquire {
            Some(hook) => limited("before_acquire", limit, hook.before_acquire(client)).await,
            None => Ok(HookVerdict::Keep),
        }
    }

    pub(crate) async fn ask_after_release(
        &self,
        client: &mut Client,
    ) -> Result<HookVerdict, HookFailure> {
        match &self.after_release {
            Some(hook) => limited("after_release", LIMIT, hook.after_release(client)).await,
            None => Ok(HookVerdict::Keep),
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hooks").field(&self.identity).finish()
    }
}

async fn limited<T>(
    hook: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, HookFailure> {
    let timed_out = HookFailure::TimedOut { hook, limit };
    tokio::time::timeout(limit, caught(hook, work))
        .await
        .unwrap_or(Err(timed_out))
}

/// Returns the result of `work`. A panic stops here: it must neither end a background task nor
/// start during another unwind.
async fn caught<T>(
    hook: &'static str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, HookFailure> {
    let mut work = pin!(work);
    std::future::poll_fn(
        |cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(done)) => {
                Poll::Ready(done.map_err(|error| HookFailure::Failed { hook, error }))
            }
            Err(panic) => Poll::Ready(Err(HookFailure::panicked(hook, &*panic))),
        },
    )
    .await
}
