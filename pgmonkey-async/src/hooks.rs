//! What the program does to sessions at the turns of their life.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{Error, HookFailure, HookVerdict};
use tokio_postgres::Client;

use crate::dial::Opened;

/// How long a hook may take with a session that is open. Opening one has a limit of its own.
const LIMIT: Duration = Duration::from_secs(5);

/// Gets each session right after it was opened, before anybody has it.
///
/// It may run statements, for instance to load what every borrower needs. It runs within the
/// time that `connect_timeout` gives the host. A transaction must be ended here; one that is
/// left open counts as a failure.
///
/// Implemented with the attribute [`async_trait`](mod@async_trait).
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
    /// Whatever keeps it from being of use: the session ends, and counts as one that could not
    /// be opened. A transient error is tried again as any other; a panic counts as a final one.
    async fn after_connect(&self, client: &mut Client) -> Result<(), Error>;
}

/// Gets each session before it is lent, and may veto it.
///
/// A veto, an error, a panic, a transaction left open and a hook that takes longer than 5 s end
/// the session. If it was lent before, another is tried at once. A new one counts as one that
/// could not be opened: after a veto or a transient error the call tries again until its
/// time-out, any other error is the caller's.
///
/// Implemented with the attribute [`async_trait`](mod@async_trait).
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
    /// Says whether a session may be lent.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from saying so.
    async fn before_acquire(&self, client: &mut Client) -> Result<HookVerdict, Error>;
}

/// Gets each session that came back, after it was made clean, and may end it.
///
/// An error, a panic and a hook that takes longer than 5 s end it too. A transaction that it
/// leaves open is rolled back. The next borrower waits for it.
///
/// Implemented with the attribute [`async_trait`](mod@async_trait).
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
    /// Says whether a session is kept.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from saying so.
    async fn after_release(&self, client: &mut Client) -> Result<HookVerdict, Error>;
}

/// The hooks of a handle: what the program does to its sessions.
///
/// A handle without hooks pays nothing for them. What they send comes on top of the borrowers'
/// statements.
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
#[must_use = "hooks do nothing until a builder or a manager has them"]
pub struct Hooks {
    identity: Arc<str>,
    after_connect: Option<Arc<dyn AfterConnect>>,
    before_acquire: Option<Arc<dyn BeforeAcquire>>,
    after_release: Option<Arc<dyn AfterRelease>>,
}

impl Hooks {
    /// No hooks yet. `identity` is what tells them from others: part of the key of a
    /// [`ConnectionManager`](crate::ConnectionManager)'s cache, so that the same file with hooks
    /// of the same identity is the same pool. No secret may be in it.
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
        }
    }

    /// Has `hook` prepare each new session.
    ///
    /// ```
    /// # use pgmonkey_async::tokio_postgres::Client;
    /// # use pgmonkey_async::{AfterConnect, Error, Hooks};
    /// struct Mine;
    ///
    /// #[async_trait::async_trait]
    /// impl AfterConnect for Mine {
    ///     async fn after_connect(&self, client: &mut Client) -> Result<(), Error> {
    ///         Ok(client.batch_execute("SELECT load_settings()").await?)
    ///     }
    /// }
    ///
    /// let hooks = Hooks::new("mine").after_connect(Mine);
    /// ```
    pub fn after_connect(mut self, hook: impl AfterConnect) -> Self {
        self.after_connect = Some(Arc::new(hook));
        self
    }

    /// Has `hook` asked before each session is lent.
    ///
    /// ```
    /// # use pgmonkey_async::tokio_postgres::Client;
    /// # use pgmonkey_async::{BeforeAcquire, Error, Hooks, HookVerdict};
    /// struct Mine;
    ///
    /// #[async_trait::async_trait]
    /// impl BeforeAcquire for Mine {
    ///     async fn before_acquire(&self, client: &mut Client) -> Result<HookVerdict, Error> {
    ///         let row = client.query_one("SELECT NOT pg_is_in_recovery()", &[]).await?;
    ///         Ok(if row.get(0) { HookVerdict::Keep } else { HookVerdict::Discard })
    ///     }
    /// }
    ///
    /// let hooks = Hooks::new("mine").before_acquire(Mine);
    /// ```
    pub fn before_acquire(mut self, hook: impl BeforeAcquire) -> Self {
        self.before_acquire = Some(Arc::new(hook));
        self
    }

    /// Has `hook` asked about each session that came back.
    ///
    /// ```
    /// # use pgmonkey_async::tokio_postgres::Client;
    /// # use pgmonkey_async::{AfterRelease, Error, Hooks, HookVerdict};
    /// struct Mine;
    ///
    /// #[async_trait::async_trait]
    /// impl AfterRelease for Mine {
    ///     async fn after_release(&self, client: &mut Client) -> Result<HookVerdict, Error> {
    ///         client.batch_execute("RESET app.tenant").await?;
    ///         Ok(HookVerdict::Keep)
    ///     }
    /// }
    ///
    /// let hooks = Hooks::new("mine").after_release(Mine);
    /// ```
    pub fn after_release(mut self, hook: impl AfterRelease) -> Self {
        self.after_release = Some(Arc::new(hook));
        self
    }

    /// What tells them from others.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), pgmonkey_async::Error> {
    /// assert_eq!(&**pgmonkey_async::Hooks::new("tenants").identity(), "tenants");
    /// # Ok(()) }
    /// ```
    pub fn identity(&self) -> &Arc<str> {
        &self.identity
    }

    pub(crate) fn asks_before_acquire(&self) -> bool {
        self.before_acquire.is_some()
    }

    pub(crate) fn asks_after_release(&self) -> bool {
        self.after_release.is_some()
    }

    /// Runs the hook for a new session; within the deadline of its caller.
    pub(crate) async fn prepare(&self, opened: &mut Opened) -> Result<(), HookFailure> {
        const HOOK: &str = "after_connect";
        let Some(hook) = &self.after_connect else {
            return Ok(());
        };
        let client = &mut opened.client;
        caught(HOOK, hook.after_connect(client)).await?;
        // Behind everything that the hook has sent, and may not have waited for.
        let rest = client.batch_execute("").await;
        match (rest, opened.route.observer().state()) {
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
    ) -> Result<HookVerdict, HookFailure> {
        match &self.before_acquire {
            Some(hook) => limited("before_acquire", hook.before_acquire(client)).await,
            None => Ok(HookVerdict::Keep),
        }
    }

    pub(crate) async fn ask_after_release(
        &self,
        client: &mut Client,
    ) -> Result<HookVerdict, HookFailure> {
        match &self.after_release {
            Some(hook) => limited("after_release", hook.after_release(client)).await,
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
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, HookFailure> {
    let timed_out = HookFailure::TimedOut { hook, limit: LIMIT };
    tokio::time::timeout(LIMIT, caught(hook, work))
        .await
        .unwrap_or(Err(timed_out))
}

/// What `work` comes to. A panic ends here: it must neither take a background task with it nor
/// begin while another unwinds.
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
