//! Managers for programs that keep another pool: mobc, deadpool or bb8.
//!
//! [`SessionManager`] opens and cleans sessions as the pools of this crate do, but the other pool
//! decides how many there are, who waits and how long. `bare_manager` builds the manager of
//! mobc-postgres, for files that need no more than that.
//!
//! A session is cleaned when the pool checks it before it is handed out. Until then a statement of
//! a dropped future goes on; so does a transaction with deadpool, which tells its manager nothing of
//! a return. Leave `test_on_check_out` of mobc and bb8 on, and do not set mobc's
//! `health_check_interval`: a pool that hands out sessions without a check has unclean ones closed
//! as soon as this is noticed, and the event `pgmonkey.recycle` warns.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use pgmonkey_config::{Config, ConnectionType, PoolSettings};
use pgmonkey_connect::hook::Approval;
use pgmonkey_connect::pool::Label;
use pgmonkey_connect::{CloseReason, ConnectTarget, Error, Report, limits};

use crate::options::HandleOptions;
use crate::session::Session;
use crate::session::engine::SessionFactory;
use crate::session::prepared::{Statements, prepares};

#[cfg(feature = "mobc")]
mod bare;
#[cfg(feature = "bb8")]
mod of_bb8;
#[cfg(feature = "deadpool")]
mod of_deadpool;
#[cfg(feature = "mobc")]
mod of_mobc;
#[cfg(any(feature = "bb8", feature = "mobc"))]
mod returns;

#[cfg(feature = "mobc")]
#[cfg_attr(docsrs, doc(cfg(feature = "mobc")))]
pub use bare::{BareManager, bare_manager};

/// Opens sessions for another pool, from a file of this crate: with its search for a server, its
/// roles, its TLS, its password for each session, its session settings and its hooks.
///
/// Of `async_pool_settings`, `reset`, `check_on_checkout` and `statement_cache` apply. Sizes,
/// waiting, timeouts and lifetimes are those of the other pool. A session that a caller left unclean
/// is reset or closed, as in the pools of this crate, before another caller gets it.
///
/// [`Builder::session_manager`](crate::Builder::session_manager) adds a password provider, hooks and
/// a name.
///
/// ```no_run
/// # #[cfg(feature = "deadpool")]
/// # mod of_deadpool {
/// use deadpool::managed::Pool;
/// use pgmonkey_async::Config;
/// use pgmonkey_async::managers::SessionManager;
///
/// #[tokio::main]
/// async fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let manager = SessionManager::new(&Config::from_file("pgmonkey.yaml")?)?;
///     let pool: Pool<SessionManager> = Pool::builder(manager).max_size(8).build()?;
///     let session = pool.get().await?;
///     let rows = session.query("SELECT id, name FROM users", &[]).await?;
///     println!("{} users", rows.len());
///     Ok(())
/// }
/// # }
/// ```
pub struct SessionManager {
    factory: SessionFactory,
    settings: PoolSettings,
    statements: Statements,
    /// Whether the pool was seen to hand out a session without a check.
    #[cfg_attr(
        not(any(feature = "bb8", feature = "mobc")),
        allow(dead_code, reason = "deadpool always checks")
    )]
    skips_checks: AtomicBool,
}

impl SessionManager {
    /// Creates a manager with the `async_pool_settings` and `async_settings` of `config`. Opens
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`Error::SessionSetting`] or [`Error::Unsupported`] with the name of the key;
    /// [`Error::Connect`] if a file named in the settings cannot be used.
    pub fn new(config: &Config) -> Result<Self, Error> {
        Self::with(config, HandleOptions::default())
    }

    pub(crate) fn with(config: &Config, options: HandleOptions) -> Result<Self, Error> {
        let mut settings = config.pool_settings_for(ConnectionType::AsyncPool).clone();
        // The sizes in metrics: those of the other pool are not known.
        (settings.min_size, settings.max_size) = (0, 0);
        let connect_target = ConnectTarget::new(config, ConnectionType::AsyncPool)?
            .asking_provider(options.provider.is_some())
            .named(options.name.clone(), options.notice_hook());
        let (name, target) = (connect_target.name(), connect_target.target());
        let label = Label::new(Arc::clone(name), Arc::clone(target), &settings);
        let label = Arc::new(label.reporting_to(connect_target.statements()));
        let has_transactions = connect_target.has_transactions();
        Ok(Self {
            statements: Statements::new(settings.statement_cache, has_transactions, &label),
            settings,
            factory: SessionFactory {
                connect_target,
                provider: options.provider,
                hooks: options.hooks,
                label,
            },
            skips_checks: AtomicBool::new(false),
        })
    }

    /// Opens a session, in the caller's runtime.
    async fn open(&self) -> Result<ManagedSession, Error> {
        let factory = &self.factory;
        let opened = factory.open().await?;
        let restore = opened.restore(&factory.connect_target);
        let (label, prepared) = (Arc::clone(&factory.label), self.statements.begin());
        let mut session = Box::new(Session::new(opened, None, restore, label, prepared));
        // Not every pool checks a new session.
        self.ask_before_acquire(&mut session).await?;
        Ok(ManagedSession {
            session: Some(session),
            is_checked: true,
        })
    }

    /// Cleans and checks a session before it is handed out. `was_returned` says whether a caller has
    /// had it.
    async fn examine(&self, managed: &mut ManagedSession, was_returned: bool) -> Result<(), Error> {
        let not_reused = |reason| Error::NotReused { reason };
        managed.is_checked = true;
        let session = managed.session_mut();
        session.check_usable()?;
        session.look_at_socket(Duration::MAX).await;
        if let Some(reason) = session.end_reason(Instant::now()) {
            return Err(not_reused(reason));
        }
        let recycled = session.recycle(self.settings.reset).await;
        recycled.map_err(not_reused)?;
        session.warn_out_of_reach(self.settings.reset);
        let hooks = self.factory.hooks.as_ref();
        if let Some(hooks) = hooks.filter(|hooks| was_returned && hooks.asks_after_release()) {
            let kept = session.ask_after_release(hooks).await;
            kept.map_err(not_reused)?;
        }
        if self.settings.check_on_checkout && !session.answers(limits::LOOK).await {
            return Err(not_reused(CloseReason::Dead));
        }
        self.ask_before_acquire(session).await
    }

    async fn ask_before_acquire(&self, session: &mut Session) -> Result<(), Error> {
        let hooks = self.factory.hooks.as_ref();
        let Some(hooks) = hooks.filter(|hooks| hooks.asks_before_acquire()) else {
            return Ok(());
        };
        let asked = session.ask_before_acquire(hooks, self.settings.reset, None);
        match asked.await {
            Approval::Accept => Ok(()),
            Approval::TryAnother => Err(Error::NotReused {
                reason: CloseReason::Hook,
            }),
            Approval::Fail(error) => Err(error),
        }
    }
}

impl fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager")
            .field("name", self.factory.label.name())
            .finish_non_exhaustive()
    }
}

/// A session that another pool holds. Dereferences to the driver's [`tokio_postgres::Client`].
///
/// ```no_run
/// # #[cfg(feature = "deadpool")]
/// # async fn example(pool: deadpool::managed::Pool<pgmonkey_async::managers::SessionManager>) -> Result<(), Box<dyn std::error::Error>> {
/// let session = pool.get().await?;
/// let by_id = session.prepare_cached("SELECT name FROM users WHERE id = $1").await?;
/// let row = session.query_one(&by_id, &[&42]).await?;
/// # Ok(())
/// # }
/// ```
pub struct ManagedSession {
    /// `None` once the pool has been told that it is not kept.
    session: Option<Box<Session>>,
    /// Whether it was checked since it was last returned.
    #[cfg_attr(
        not(any(feature = "bb8", feature = "mobc")),
        allow(dead_code, reason = "deadpool always checks")
    )]
    is_checked: bool,
}

impl ManagedSession {
    /// Pings the server and reports which server answered. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Unanswered`], [`Error::Database`].
    pub async fn ping(&self) -> Result<Report, Error> {
        self.session().ping(limits::LOOK).await
    }

    fn session(&self) -> &Session {
        let session = self.session.as_ref();
        session.expect("the pool drops a session that is not kept")
    }

    fn session_mut(&mut self) -> &mut Session {
        let session = self.session.as_mut();
        session.expect("the pool drops a session that is not kept")
    }
}

prepares!(ManagedSession);

impl Deref for ManagedSession {
    type Target = tokio_postgres::Client;

    fn deref(&self) -> &tokio_postgres::Client {
        self.session().client()
    }
}

impl DerefMut for ManagedSession {
    fn deref_mut(&mut self) -> &mut tokio_postgres::Client {
        self.session_mut().client_mut()
    }
}

impl fmt::Debug for ManagedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let session = self.session.as_ref();
        let at = session.map(|session| session.connected_to().address().to_string());
        f.debug_struct("ManagedSession")
            .field("at", &at.unwrap_or_default())
            .finish_non_exhaustive()
    }
}
