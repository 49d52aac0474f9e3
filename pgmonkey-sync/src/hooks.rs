//! What the program does to sessions at the turns of their life.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{Error, HookFailure, HookVerdict};
use postgres::Client;

use crate::dial::Opened;

/// Gets each session right after it was opened, before anybody has it.
///
/// It may run statements, for instance to load what every borrower needs. Its statements run
/// within the time that `connect_timeout` gives the host; nothing limits what else it does. A
/// transaction must be ended here; one that is left open counts as a failure.
///
/// Implemented by every function that can be called like it.
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
    /// Whatever keeps it from being of use: the session ends, and counts as one that could not
    /// be opened. A transient error is tried again as any other; a panic counts as a final one.
    fn after_connect(&self, client: &mut Client) -> Result<(), Error>;
}

/// Gets each session before it is lent, and may veto it.
///
/// A veto, an error, a panic and a transaction left open end the session. If it was lent before,
/// another is tried at once. A new one counts as one that could not be opened: after a veto or a
/// transient error the call tries again until its time-out, any other error is the caller's.
/// Nothing limits how long it takes.
///
/// Implemented by every function that can be called like it.
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
    /// Says whether a session may be lent.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from saying so.
    fn before_acquire(&self, client: &mut Client) -> Result<HookVerdict, Error>;
}

/// Gets each session that came back, after it was made clean, and may end it.
///
/// An error and a panic end it too. A transaction that it leaves open is rolled back. It runs on
/// the thread that gave the session back, and nothing limits how long it takes; inside an async
/// task, where it must not block, the session ends without it.
///
/// Implemented by every function that can be called like it.
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
    /// Says whether a session is kept.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from saying so.
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

/// The hooks of a handle: what the program does to its sessions.
///
/// A handle without hooks pays nothing for them. What they send comes on top of the borrowers'
/// statements.
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
        }
    }

    /// Has `hook` prepare each new session.
    ///
    /// ```
    /// # use pgmonkey_sync::postgres::Client;
    /// # use pgmonkey_sync::{Hooks};
    /// let hooks = Hooks::new("mine").after_connect(|client: &mut Client| {
    ///     Ok(client.batch_execute("SELECT load_settings()")?)
    /// });
    /// ```
    pub fn after_connect(mut self, hook: impl AfterConnect) -> Self {
        self.after_connect = Some(Arc::new(hook));
        self
    }

    /// Has `hook` asked before each session is lent.
    ///
    /// ```
    /// # use pgmonkey_sync::postgres::Client;
    /// # use pgmonkey_sync::{Hooks, HookVerdict};
    /// let hooks = Hooks::new("mine").before_acquire(|client: &mut Client| {
    ///     let keep = client.query_one("SELECT NOT pg_is_in_recovery()", &[])?.get(0);
    ///     Ok(if keep { HookVerdict::Keep } else { HookVerdict::Discard })
    /// });
    /// ```
    pub fn before_acquire(mut self, hook: impl BeforeAcquire) -> Self {
        self.before_acquire = Some(Arc::new(hook));
        self
    }

    /// Has `hook` asked about each session that came back.
    ///
    /// ```
    /// # use pgmonkey_sync::postgres::Client;
    /// # use pgmonkey_sync::{Hooks, HookVerdict};
    /// let hooks = Hooks::new("mine").after_release(|client: &mut Client| {
    ///     client.batch_execute("RESET app.tenant")?;
    ///     Ok(HookVerdict::Keep)
    /// });
    /// ```
    pub fn after_release(mut self, hook: impl AfterRelease) -> Self {
        self.after_release = Some(Arc::new(hook));
        self
    }

    /// What tells them from others.
    ///
    /// ```no_run
    /// # fn example() -> Result<(), pgmonkey_sync::Error> {
    /// assert_eq!(&**pgmonkey_sync::Hooks::new("tenants").identity(), "tenants");
    /// # Ok(()) }
    /// ```
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

    /// Runs the hook for a new session; its statements within the deadline of the stream.
    pub(crate) fn prepare(&self, opened: &mut Opened) -> Result<(), HookFailure> {
        const HOOK: &str = "after_connect";
        let Some(hook) = &self.after_connect else {
            return Ok(());
        };
        caught(HOOK, || hook.after_connect(&mut opened.client))?;
        // Behind everything that the hook has sent, and may not have waited for.
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

/// What `work` comes to. A panic ends here: it must neither take a background thread with it nor
/// begin while another unwinds.
fn caught<T>(
    hook: &'static str,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, HookFailure> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|error| HookFailure::Failed { hook, error }),
        Err(panic) => Err(HookFailure::panicked(hook, &*panic)),
    }
}
