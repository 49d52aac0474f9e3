//! Managers for programs that keep another pool: r2d2.
//!
//! [`SessionManager`] opens and cleans sessions as the pools of this crate do, but the other pool
//! decides how many there are, who waits and how long. [`bare_manager`] builds the manager of
//! r2d2_postgres, for files that need no more than that.
//!
//! A session is cleaned on the thread that returns it to r2d2. A session that is returned inside an
//! async task, where nothing may block, is closed unless it is clean.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Instant;

use pgmonkey_config::{Config, ConnectionType, PoolSettings};
use pgmonkey_connect::hook::Approval;
use pgmonkey_connect::pool::Label;
use pgmonkey_connect::{CloseReason, ConnectTarget, Error, Report, limits};

use crate::context;
use crate::options::HandleOptions;
use crate::session::Session;
use crate::session::engine::SessionFactory;
use crate::session::prepared::{Statements, prepares};

mod bare;

pub use bare::{BareManager, bare_manager};

/// Opens sessions for another pool, from a file of this crate: with its search for a server, its
/// roles, its TLS, its password for each session, its session settings and its hooks.
///
/// Of `pool_settings`, `reset`, `check_on_checkout` and `statement_cache` apply. Sizes, waiting,
/// timeouts and lifetimes are those of the other pool. A session that a caller left unclean is reset
/// or closed, as in the pools of this crate, before another caller gets it.
///
/// [`Builder::session_manager`](crate::Builder::session_manager) adds a password provider, hooks and
/// a name.
///
/// ```no_run
/// use pgmonkey_sync::Config;
/// use pgmonkey_sync::managers::SessionManager;
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     let manager = SessionManager::new(&Config::from_file("pgmonkey.yaml")?)?;
///     let pool = r2d2::Pool::builder().max_size(8).build(manager)?;
///     let mut session = pool.get()?;
///     let rows = session.query("SELECT id, name FROM users", &[])?;
///     println!("{} users", rows.len());
///     Ok(())
/// }
/// ```
pub struct SessionManager {
    factory: SessionFactory,
    settings: PoolSettings,
    statements: Statements,
}

impl SessionManager {
    /// Creates a manager with the `pool_settings` and `sync_settings` of `config`. Opens nothing.
    ///
    /// # Errors
    ///
    /// [`Error::SessionSetting`] or [`Error::Unsupported`] with the name of the key;
    /// [`Error::Connect`] if a file named in the settings cannot be used.
    pub fn new(config: &Config) -> Result<Self, Error> {
        Self::with(config, HandleOptions::default())
    }

    pub(crate) fn with(config: &Config, options: HandleOptions) -> Result<Self, Error> {
        let mut settings = config.pool_settings_for(ConnectionType::Pool).clone();
        // The sizes in metrics: those of the other pool are not known.
        (settings.min_size, settings.max_size) = (0, 0);
        let connect_target = ConnectTarget::new(config, ConnectionType::Pool)?
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
        })
    }

    /// Opens a session; blocks.
    fn open(&self) -> Result<ManagedSession, Error> {
        context::check("opening a session for r2d2", "pgmonkey_async")?;
        let factory = &self.factory;
        let opened = factory.open()?;
        let restore = opened.restore(&factory.connect_target);
        let (label, prepared) = (Arc::clone(&factory.label), self.statements.begin());
        let session = Session::new(opened, None, restore, label, prepared);
        Ok(ManagedSession(Box::new(session)))
    }

    /// Checks a session before it is handed out.
    fn examine(&self, session: &mut Session) -> Result<(), Error> {
        context::check("checking a session of r2d2", "pgmonkey_async")?;
        let not_reused = |reason| Err(Error::NotReused { reason });
        session.check_usable()?;
        if let Some(reason) = session.end_reason(Instant::now()) {
            return not_reused(reason);
        }
        if session.is_lost() || self.settings.check_on_checkout && !session.answers(limits::LOOK) {
            return not_reused(CloseReason::Dead);
        }
        let hooks = self.factory.hooks.as_ref();
        let Some(hooks) = hooks.filter(|hooks| hooks.asks_before_acquire()) else {
            return Ok(());
        };
        match session.ask_before_acquire(hooks, self.settings.reset, None) {
            Approval::Accept => Ok(()),
            Approval::TryAnother => not_reused(CloseReason::Hook),
            Approval::Fail(error) => Err(error),
        }
    }

    /// Cleans a returned session, or returns why it is not kept.
    fn clean(&self, session: &mut Session) -> Result<(), CloseReason> {
        session.recycle(self.settings.reset)?;
        let hooks = self.factory.hooks.as_ref();
        if let Some(hooks) = hooks.filter(|hooks| hooks.asks_after_release()) {
            session.ask_after_release(hooks)?;
        }
        session.is_back();
        Ok(())
    }
}

#[cfg_attr(docsrs, doc(cfg(feature = "r2d2")))]
impl r2d2::ManageConnection for SessionManager {
    type Connection = ManagedSession;
    type Error = Error;

    fn connect(&self) -> Result<ManagedSession, Error> {
        self.open()
    }

    fn is_valid(&self, managed: &mut ManagedSession) -> Result<(), Error> {
        self.examine(&mut managed.0)
    }

    /// Called when a session is returned.
    fn has_broken(&self, managed: &mut ManagedSession) -> bool {
        self.clean(&mut managed.0).is_err()
    }
}

impl fmt::Debug for SessionManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionManager")
            .field("name", self.factory.label.name())
            .finish_non_exhaustive()
    }
}

/// A session that another pool holds. Dereferences to the driver's [`postgres::Client`].
///
/// ```no_run
/// # fn example(pool: r2d2::Pool<pgmonkey_sync::managers::SessionManager>) -> Result<(), Box<dyn std::error::Error>> {
/// let mut session = pool.get()?;
/// let by_id = session.prepare_cached("SELECT name FROM users WHERE id = $1")?;
/// let row = session.query_one(&by_id, &[&42])?;
/// # Ok(())
/// # }
/// ```
pub struct ManagedSession(Box<Session>);

impl ManagedSession {
    /// Pings the server and reports which server answered. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Unanswered`], [`Error::Database`].
    pub fn ping(&mut self) -> Result<Report, Error> {
        self.0.ping(limits::LOOK)
    }

    fn session_mut(&mut self) -> &mut Session {
        &mut self.0
    }
}

prepares!(ManagedSession);

impl Deref for ManagedSession {
    type Target = postgres::Client;

    fn deref(&self) -> &postgres::Client {
        self.0.client()
    }
}

impl DerefMut for ManagedSession {
    fn deref_mut(&mut self) -> &mut postgres::Client {
        self.0.client_mut()
    }
}

impl fmt::Debug for ManagedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedSession")
            .field("at", &self.0.connected_to().address().to_string())
            .finish_non_exhaustive()
    }
}
