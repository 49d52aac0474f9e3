//! User-supplied hooks that run at points in a session's lifecycle.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pgmonkey_connect::notices::NoticeHook;
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{Error, HookFailure, HookVerdict};
use postgres::Client;

use crate::session::connect::Connected;

/// Runs on each session right after it was opened, before any caller gets it.
///
/// It may run statements, for instance to load what every caller needs. A transaction must be ended
/// here; one left open counts as a failure. The statements must complete within the host's
/// `connect_timeout`; other work is not limited.
///
/// Implemented by every function with a matching signature.
///
/// ```
/// use pgmonkey_sync::{Error, Hooks};
/// use pgmonkey_sync::postgres::Client;
///
/// let hooks = Hooks::new("mine").after_connect(|client: &mut Client| -> Result<(), Error> {
///     Ok(client.batch_execute("LOAD 'auto_explain'")?)
/// });
/// ```
pub trait AfterConnect: Send + Sync + 'static {
    /// Prepares a new session.
    ///
    /// # Errors
    ///
    /// Any reason why the session is of no use. It is closed and counts as one that could not be
    /// opened. A transient error is retried like any other; a panic is final.
    fn after_connect(&self, client: &mut Client) -> Result<(), Error>;
}

/// Runs on each session before it is handed out, and may veto it.
///
/// A veto, an error, a panic or a transaction left open closes the session. If the session was used
/// before, another one is tried at once. If it is new, it counts as one that could not be opened:
/// after a veto or a transient error the call retries until its time-out; any other error is
/// returned to the caller. The time that the hook takes is not limited.
///
/// Implemented by every function with a matching signature.
///
/// ```
/// use pgmonkey_sync::{Error, HookVerdict, Hooks};
/// use pgmonkey_sync::postgres::Client;
///
/// let hooks = Hooks::new("mine").before_acquire(|client: &mut Client| -> Result<HookVerdict, Error> {
///     let row = client.query_one("SELECT pg_is_in_recovery()", &[])?;
///     Ok(if row.get(0) { HookVerdict::Discard } else { HookVerdict::Keep })
/// });
/// ```
pub trait BeforeAcquire: Send + Sync + 'static {
    /// Decides whether a session may be handed out.
    ///
    /// # Errors
    ///
    /// Any reason why it cannot decide.
    fn before_acquire(&self, client: &mut Client) -> Result<HookVerdict, Error>;
}

/// Runs on each released session after it was reset, and may close it.
///
/// An error or a panic closes it too. A transaction that the hook leaves open is rolled back. The
/// hook runs on the thread that released the session; the time that it takes is not limited. Inside
/// an async task, where it must not block, the session is closed without running the hook.
///
/// Implemented by every function with a matching signature.
///
/// ```
/// use pgmonkey_sync::{Error, HookVerdict, Hooks};
/// use pgmonkey_sync::postgres::Client;
///
/// let hooks = Hooks::new("mine").after_release(|client: &mut Client| -> Result<HookVerdict, Error> {
///     client.batch_execute("DISCARD TEMP")?;
///     Ok(HookVerdict::Keep)
/// });
/// ```
pub trait AfterRelease: Send + Sync + 'static {
    /// Decides whether a session is kept.
    ///
    /// # Errors
    ///
    /// Any reason why it cannot decide.
    fn after_release(&self, client: &mut Client) -> Result<HookVerdict, Error>;
}

impl<F> AfterConnect for F
where
    F: Fn(&mut Client) -> Result<(), Error> + Send + Sync + 'static,
{
    fn after_connect(&self, client: &mut Client) -> Result<(), Error> {
        self(client)
    }
}

impl<F> BeforeAcquire for F
where
    F: Fn(&mut Client) -> Result<HookVerdict, Error> + Send + Sync + 'static,
{
    fn before_acquire(&self, client: &mut Client) -> Result<HookVerdict, Error> {
        self(client)
    }
}

impl<F> AfterRelease for F
where
    F: Fn(&mut Client) -> Result<HookVerdict, Error> + Send + Sync + 'static,
{
    fn after_release(&self, client: &mut Client) -> Result<HookVerdict, Error> {
        self(client)
    }
}

/// The hooks of a handle: code of the program that runs on its sessions.
///
/// A handle without hooks pays nothing for them. The statements of hooks are sent in addition to
/// those of callers.
///
/// ```no_run
/// use pgmonkey_sync::{Builder, Config, Error, HookVerdict, Hooks};
/// use pgmonkey_sync::postgres::Client;
///
/// fn main() -> Result<(), Error> {
///     let config = Config::from_file("pgmonkey.yaml")?;
///     let hooks = Hooks::new("tenants")
///         .after_connect(|client: &mut Client| {
///             Ok(client.batch_execute("SELECT load_extension_settings()")?)
///         })
///         .before_acquire(|client: &mut Client| {
///             let row = client.query_one("SELECT NOT pg_is_in_recovery()", &[])?;
///             Ok(if row.get(0) { HookVerdict::Keep } else { HookVerdict::Discard })
///         });
///     let pool = Builder::new(&config).hooks(hooks).pool()?;
///     println!("{}", pool.ping()?);
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
    /// use pgmonkey_sync::Hooks;
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
    /// use pgmonkey_sync::Hooks;
    ///
    /// let hooks = Hooks::new("warnings").on_notice(|notice| {
    ///     if notice.severity() == "WARNING" {
    ///         eprintln!("{}: {}", notice.code().code(), notice.message());
    ///     }
    /// });
    /// ```
    pub fn on_notice(
        mut self,
        hook: impl Fn(&postgres::error::DbError) + Send + Sync + 'static,
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

    pub(crate) fn asks_after_connect(&self) -> bool {
        self.after_connect.is_some()
    }

    pub(crate) fn asks_before_acquire(&self) -> bool {
        self.before_acquire.is_some()
    }

    pub(crate) fn asks_after_release(&self) -> bool {
        self.after_release.is_some()
    }

    /// Runs the hook for a new session; the stream's deadline limits its statements.
    pub(crate) fn prepare(&self, opened: &mut Connected) -> Result<(), HookFailure> {
        const HOOK: &str = "after_connect";
        let Some(hook) = &self.after_connect else {
            return Ok(());
        };
        caught(HOOK, || hook.after_connect(&mut opened.client))?;
        // Waits for everything that the hook has sent but may not have waited for.
        let rest = opened.client.batch_execute("");
        match (rest, opened.state()) {
            (Ok(()), WireState::Idle) => Ok(()),
            (Err(error), _) => Err(HookFailure::Failed {
                hook: HOOK,
                error: error.into(),
            }),
            _ => Err(HookFailure::LeftOpen { hook: HOOK }),
        }
    }

    pub(crate) fn ask_before_acquire(
        &self,
        client: &mut Client,
    ) -> Result<HookVerdict, HookFailure> {
        match &self.before_acquire {
            Some(hook) => caught("before_acquire", || hook.before_acquire(client)),
            None => Ok(HookVerdict::Keep),
        }
    }

    pub(crate) fn ask_after_release(
        &self,
        client: &mut Client,
    ) -> Result<HookVerdict, HookFailure> {
        match &self.after_release {
            Some(hook) => caught("after_release", || hook.after_release(client)),
            None => Ok(HookVerdict::Keep),
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hooks").field(&self.identity).finish()
    }
}

/// Returns the result of `work`. A panic stops here: it must neither end a background thread nor
/// start during another unwind.
fn caught<T>(
    hook: &'static str,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, HookFailure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| HookFailure::Failed { hook, error }),
        Err(panic) => Err(HookFailure::panicked(hook, &*panic)),
    }
}
