//! A pool of sessions, each used by one caller at a time.

use std::fmt;
use std::mem;
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use pgmonkey_cache::Sharded;
use pgmonkey_config::{Config, ConnectionType, PoolSettings};
use pgmonkey_connect::exit::{self, CloseAtExit};
use pgmonkey_connect::pool;
use pgmonkey_connect::succession::Succession;
use pgmonkey_connect::{Error, Report, Status, TopStatement};

use crate::client::guard::ClientGuard;
use crate::client::transaction::Transaction;
use crate::context;
use crate::handle::queries::statements_of_handle;
use crate::handle::timed::timed;
use crate::options::HandleOptions;
use crate::pool::Shared;

/// A pool of sessions for threads.
///
/// Clones are cheap and share one pool. Its sessions are closed when the last clone and the last
/// guard are dropped, or by [`close`](Self::close). Every acquired session is clean: a transaction
/// that the previous caller left open has been rolled back.
///
/// A pool that its manager replaced, after a reload or a change of its file, has a successor. Its
/// clones stay usable: every method acts on the successor.
///
/// Most programs get their pool from a [`ConnectionManager`](crate::ConnectionManager), which
/// returns the same pool for the same configuration.
///
/// ```no_run
/// use pgmonkey_sync::{Config, Error, Pool};
///
/// fn main() -> Result<(), Error> {
///     let pool = Pool::new(&Config::from_file("pgmonkey.yaml")?)?;
///     let mut client = pool.acquire()?; // a `postgres::Client` until it is dropped
///     client.batch_execute("REFRESH MATERIALIZED VIEW sales")?;
///     println!("{}", pool.status());
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Pool(Sharded<Handle>);

/// One clone of the pool, which keeps it open.
#[derive(Clone)]
struct Handle {
    shared: Arc<Shared>,
    owner: Arc<Owner>,
}

/// Shared by all clones of a pool; dropping the last clone closes it. Guards and background work
/// hold only `shared`.
struct Owner {
    shared: Arc<Shared>,
    /// Here and not in `shared`: a guard of a retired pool does not keep the successor open.
    succession: Arc<Succession<Pool>>,
}

impl Pool {
    /// Opens a pool with the `pool_settings` and `sync_settings` of `config`, and its first
    /// `min_size` sessions. The pool belongs to the caller and is not cached.
    ///
    /// # Errors
    ///
    /// [`Error::Connect`] with the reason if a session cannot be opened; [`Error::SessionSetting`]
    /// or [`Error::Unsupported`] with the name of the key. [`Error::InsideAsync`] inside an async
    /// task.
    pub fn new(config: &Config) -> Result<Self, Error> {
        Self::with(config, HandleOptions::default())
    }

    pub(crate) fn with(config: &Config, options: HandleOptions) -> Result<Self, Error> {
        let settings = config.pool_settings_for(ConnectionType::Pool).clone();
        Self::open("pool", config, ConnectionType::Pool, settings, options)
    }

    pub(crate) fn open(
        what: &'static str,
        config: &Config,
        connection_type: ConnectionType,
        settings: PoolSettings,
        options: HandleOptions,
    ) -> Result<Self, Error> {
        context::check("opening a blocking pool", "pgmonkey_async::Pool")?;
        let budgets = options.budgets.clone();
        let shared = Shared::new(what, config, connection_type, settings, options)?;
        let owner = Owner {
            shared: Arc::new(shared),
            succession: Arc::default(),
        };
        let shared = &owner.shared;
        shared.share(budgets.as_deref());
        shared.start_maintenance();
        shared.fill()?;
        if shared.is_kept {
            shared.core.keep_min_size();
        }
        exit::register(Arc::downgrade(shared) as Weak<dyn CloseAtExit>);
        Ok(Self(Sharded::new(Handle {
            shared: Arc::clone(shared),
            owner: Arc::new(owner),
        })))
    }

    /// Returns a clone; with a reference count of its own, unless memory matters more.
    pub(crate) fn shard(&self) -> Self {
        match self.0.shared.is_one_of_many {
            true => self.clone(),
            false => Self(self.0.shard()),
        }
    }

    /// Acquires a session, waiting for at most `timeout` if all are in use; dropping the guard
    /// releases it.
    ///
    /// Sends nothing to the server if an idle session is available, unless `check_on_checkout` is
    /// on. A session that died or reached its `max_lifetime` is replaced first. If the server goes
    /// away after the first successful connection, the call retries until `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] that says which callers hold the sessions, [`Error::QueueFull`],
    /// [`Error::Closed`], [`Error::OpenedBeforeFork`] in a child process that inherited the pool,
    /// [`Error::Connect`] without further attempts if no retry can help. [`Error::InsideAsync`]
    /// inside an async task.
    #[track_caller]
    pub fn acquire(&self) -> Result<ClientGuard, Error> {
        self.hold(Location::caller())
    }

    pub(crate) fn pool(&self) -> &Self {
        self
    }

    /// The state of this pool itself, even if it has a successor.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    pub(crate) fn own_succession(&self) -> &Arc<Succession<Self>> {
        &self.0.owner.succession
    }

    /// Runs `f` in a transaction on a session of its own: commits if `f` returns `Ok`, rolls back
    /// if it returns `Err` or panics.
    ///
    /// ```no_run
    /// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
    /// let id: i64 = pool.transaction(|tx| {
    ///     let row = tx.query_one("INSERT INTO orders DEFAULT VALUES RETURNING id", &[])?;
    ///     Ok(row.get(0))
    /// })?;
    /// println!("order {id}");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The error that `f` returned; the errors of [`acquire`](Self::acquire); [`Error::RolledBack`]
    /// if `f` returned `Ok` although one of its statements failed.
    #[track_caller]
    pub fn transaction<T>(
        &self,
        f: impl FnOnce(&mut Transaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.try_transaction(f)
    }

    /// As [`transaction`](Self::transaction), for a closure with its own error type.
    ///
    /// ```no_run
    /// enum Refused {
    ///     Poor,
    ///     Database(pgmonkey_sync::Error),
    /// }
    ///
    /// impl From<pgmonkey_sync::Error> for Refused {
    ///     fn from(error: pgmonkey_sync::Error) -> Self {
    ///         Self::Database(error)
    ///     }
    /// }
    ///
    /// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), Refused> {
    /// let take = "UPDATE accounts SET money = money - 5 WHERE name = $1 AND money >= 5";
    /// pool.try_transaction(|tx| match tx.execute(take, &[&"ann"])? {
    ///     0 => Err(Refused::Poor), // rolled back
    ///     _ => Ok(()),
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`transaction`](Self::transaction).
    #[track_caller]
    pub fn try_transaction<T, E: From<Error>>(
        &self,
        f: impl FnOnce(&mut Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut transaction = self.begin()?;
        let value = f(&mut transaction)?;
        transaction.commit()?;
        Ok(value)
    }

    /// Begins a transaction that holds a session of its own until it is committed, rolled back or
    /// dropped. Dropping it rolls back.
    ///
    /// ```no_run
    /// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
    /// let mut transaction = pool.begin()?;
    /// transaction.execute("DELETE FROM visits", &[])?;
    /// transaction.commit()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`acquire`](Self::acquire) and of `BEGIN`; a task gets these by the first statement.
    #[track_caller]
    pub fn begin(&self) -> Result<Transaction, Error> {
        Transaction::begin(self.acquire()?)
    }

    /// Pings the server and reports which server answered. One round trip.
    ///
    /// ```no_run
    /// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
    /// let report = pool.ping()?;
    /// println!("{} answered after {:?}", report.address, report.latency);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    #[track_caller]
    pub fn ping(&self) -> Result<Report, Error> {
        self.acquire()?.ping()
    }

    /// Returns the pool's current numbers. Sends nothing.
    pub fn status(&self) -> Status {
        self.current().0.shared.core.status()
    }

    /// Returns the texts whose statements have taken the most time since the pool was opened, at
    /// most `most` of them, with their numbers. Counts every statement of its sessions, whatever
    /// sent it; none with `statement_stats: false`. Sends nothing.
    ///
    /// ```no_run
    /// # fn example(pool: pgmonkey_sync::Pool) {
    /// for top in pool.top_statements(10) {
    ///     println!("{:>8} x {:?}, p99 {:?}: {}", top.count, top.mean(), top.p99, top.summary);
    /// }
    /// # }
    /// ```
    pub fn top_statements(&self, most: usize) -> Vec<TopStatement> {
        let pool = self.current();
        let log = pool.0.shared.core.label().statement_log();
        log.map_or_else(Vec::new, |log| log.top(most))
    }

    /// Has every session look up user-defined types (enums, domains, composites) again, and prepare
    /// again the statements that use them. Sends nothing by itself.
    ///
    /// A change that makes a statement fail is detected automatically. Call this after a change
    /// that does not, such as `ALTER TYPE … ADD VALUE`, before `Row::get` reads the new value.
    /// Without this call, such statements are prepared again after five minutes.
    ///
    /// ```no_run
    /// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
    /// pool.batch_execute("ALTER TYPE mood ADD VALUE 'great'")?;
    /// pool.forget_types();
    /// # Ok(()) }
    /// ```
    pub fn forget_types(&self) {
        self.current().0.shared.statements.forget_types();
    }

    /// Returns `user@host:port/database`, as configured.
    pub fn target(&self) -> Arc<str> {
        Arc::clone(self.current().0.shared.core.label().target())
    }

    /// Sets the bounds of the pool's size: at least `min_size` and at most `max_size` sessions.
    ///
    /// Growing takes effect at once: waiting callers are admitted, and missing sessions are opened
    /// in the background. Shrinking takes no session from a caller: surplus sessions are closed
    /// once they are idle.
    ///
    /// ```no_run
    /// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
    /// pool.resize(2, 50)?;
    /// assert_eq!(pool.status().max_size, 50);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Sizes`] if `min_size` exceeds `max_size`, or if `max_size` is 0 or exceeds 262,143;
    /// [`Error::OpenedBeforeFork`].
    pub fn resize(&self, min_size: u32, max_size: u32) -> Result<(), Error> {
        pool::check_sizes(min_size, max_size)?;
        let shared = &self.current().0.shared;
        shared.core.check_origin()?;
        pool::resize(shared, min_size, max_size);
        Ok(())
    }

    /// Closes the pool: waiting and new callers get [`Error::Closed`], idle sessions are closed
    /// now, sessions in use when they are released. Does not wait for them. Closing twice is
    /// harmless.
    pub fn close(&self) {
        self.current().0.shared.close();
    }

    /// [`close`](Self::close)s the pool and waits until every session in use has been released and
    /// closed, for at most `timeout`. Returns whether all have.
    ///
    /// ```no_run
    /// # fn example(pool: pgmonkey_sync::Pool) {
    /// if !pool.close_timeout(std::time::Duration::from_secs(10)) {
    ///     eprintln!("still in use: {}", pool.status());
    /// }
    /// # }
    /// ```
    pub fn close_timeout(&self, timeout: Duration) -> bool {
        self.close();
        let now = Instant::now();
        let deadline = now.checked_add(timeout).unwrap_or(now + YEAR);
        // A retired pool may have sessions in use too.
        [self.clone(), self.current()].iter().all(|pool| {
            let drained = pool::drained(&*pool.0.shared);
            drained.is_none_or(|drained| drained.wait(deadline))
        })
    }

    /// Returns whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.is_over() && self.successor().is_none_or(|next| next.is_closed())
    }

    /// Returns whether both are handles of the same pool; a replaced one counts as its successor.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.current().0.shared, &other.current().0.shared)
    }
}

statements_of_handle!(Pool);
timed!(Pool);

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("target", &self.target())
            .field("status", &self.status())
            .finish()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if !self.shared.core.origin().is_here() {
            // Dropping it would write to the parent's sockets, and wait for its threads.
            return mem::forget(Arc::clone(&self.shared));
        }
        self.shared.close();
    }
}

/// Longer than any wait, and short enough to be added to the clock.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
