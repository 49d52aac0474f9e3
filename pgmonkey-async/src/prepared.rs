//! Statements by text: prepared once for a session, or sent without a name.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgmonkey_connect::Error;
use pgmonkey_connect::healing::{self, Blame, Kept, blame};
use pgmonkey_connect::ledger::Ledger;
use pgmonkey_connect::parameter_types::{ParameterTypes, check_count, too_many, typed};
use pgmonkey_connect::sql::Effects;
use pgmonkey_connect::statement_cache::{StatementCache, StatementCounts};
use pgmonkey_connect::wire::WireState;
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use crate::answer::{Answer, Params};
use crate::session::Session;

/// What the sessions of a pool have in common of their statements.
#[derive(Clone)]
pub(crate) struct Statements {
    capacity: usize,
    counts: Arc<StatementCounts>,
    types: Arc<ParameterTypes>,
    /// How often the program had the types forgotten.
    forgets: Arc<AtomicU32>,
}

impl Statements {
    pub(crate) fn new(capacity: usize, ledger: &Ledger) -> Self {
        Self {
            capacity,
            counts: Arc::clone(ledger.statements()),
            types: Arc::default(),
            forgets: Arc::default(),
        }
    }

    /// Has each session forget its statements with types of the database's own, and those types,
    /// before it runs the next one.
    pub(crate) fn forget_types(&self) {
        self.types.clear();
        self.forgets.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether statements are sent without a name, so that the types of their parameters must
    /// be known.
    pub(crate) fn are_unnamed(&self) -> bool {
        self.capacity == 0
    }

    pub(crate) fn types(&self) -> &ParameterTypes {
        &self.types
    }

    /// For a session that begins.
    pub(crate) fn begin(&self) -> Prepared {
        Prepared {
            capacity: self.capacity,
            counts: Arc::clone(&self.counts),
            forgets: Arc::clone(&self.forgets),
            forgotten: AtomicU32::new(self.forgets.load(Ordering::Relaxed)),
            cache: Mutex::new(StatementCache::new(self.capacity, Arc::clone(&self.counts))),
            types: Arc::clone(&self.types),
        }
    }
}

/// A session's statements.
pub(crate) struct Prepared {
    capacity: usize,
    counts: Arc<StatementCounts>,
    /// How often the program had the types forgotten, and how often this session has done so.
    forgets: Arc<AtomicU32>,
    forgotten: AtomicU32,
    cache: Mutex<StatementCache>,
    /// Used while the cache is off.
    types: Arc<ParameterTypes>,
}

impl Prepared {
    /// Held for a lookup or an entry; never while something is sent or dropped.
    pub(crate) fn cache(&self) -> MutexGuard<'_, StatementCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_off(&self) -> bool {
        self.capacity == 0
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether the types are to be forgotten, once.
    fn take_forget(&self) -> bool {
        let forgets = self.forgets.load(Ordering::Relaxed);
        self.forgotten.load(Ordering::Relaxed) != forgets
            && self.forgotten.swap(forgets, Ordering::Relaxed) != forgets
    }
}

/// Whom a session serves while a statement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// The one caller, who may have left a transaction open.
    Alone,
    /// Others as well, none of whom can open a transaction.
    Shared,
}

/// A run that failed.
pub(crate) struct Failed {
    pub(crate) error: tokio_postgres::Error,
    pub(crate) statement: Statement,
    /// Whether its statement came from the cache.
    pub(crate) kept: bool,
    pub(crate) company: Company,
}

impl Session {
    /// The statement for this text, if the session has it and it need not be learnt again.
    pub(crate) fn find_prepared(&self, text: &str, types: &[Type]) -> Option<Statement> {
        if self.observer().take_stale() {
            // Somebody met a stale statement outside of what we see.
            self.forget_statements();
        }
        if self.prepared().take_forget() {
            self.forget_foreign();
        }
        let kept = self.prepared().cache().get(text, types)?;
        if kept.is_due() {
            self.forget_foreign();
            return None;
        }
        Some(kept.statement)
    }

    /// Forgets all statements, and the types that the driver has learnt.
    pub(crate) fn forget_statements(&self) {
        let forgotten = self.prepared().cache().clear();
        drop(forgotten);
        self.client().clear_type_cache();
    }

    /// Forgets what has types of the database's own.
    fn forget_foreign(&self) {
        let forgotten = self.prepared().cache().remove_where(Kept::is_foreign);
        drop(forgotten);
        self.client().clear_type_cache();
    }

    /// Prepares a statement and keeps it.
    pub(crate) async fn prepare(&self, text: &str, types: &[Type]) -> Result<Statement, Error> {
        let prepared = self.client().prepare_typed(text, types).await;
        let statement = prepared.map_err(|error| self.explain_prepare(error))?;
        let kept = Kept::new(statement.clone());
        let evicted = self.prepared().cache().insert(text, types, kept);
        drop(evicted);
        Ok(statement)
    }

    /// An error of preparing: whether the driver's own statements are gone, or there are too many
    /// parameters.
    fn explain_prepare(&self, error: tokio_postgres::Error) -> Error {
        if let Some(error) = too_many(&error) {
            return error;
        }
        let forgot = self.observer().left_behind().has(Effects::FORGETS);
        match forgot && blame(&error) == Blame::All {
            true => Error::TypeLookupsLost(Arc::new(error)),
            false => self.explain(error),
        }
    }

    /// As the driver's `prepare_typed`, from the cache if it is there.
    pub(crate) async fn prepare_cached(
        &self,
        text: &str,
        types: &[Type],
    ) -> Result<Statement, Error> {
        self.check_usable()?;
        if self.prepared().is_off() {
            let prepared = self.client().prepare_typed(text, types).await;
            return prepared.map_err(|error| self.explain_prepare(error));
        }
        match self.find_prepared(text, types) {
            Some(statement) => Ok(statement),
            None => self.prepare(text, types).await,
        }
    }

    /// Runs one statement by its text.
    pub(crate) async fn run_text<A: Answer>(
        &self,
        text: &str,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        if self.prepared().is_off() {
            return self.run_unnamed::<A>(text, params, Company::Alone).await;
        }
        let found = self.find_prepared(text, &[]);
        let kept = found.is_some();
        let statement = match found {
            Some(statement) => statement,
            None => self.prepare(text, &[]).await?,
        };
        check_count(params.len(), statement.params())?;
        match A::run(self.client(), &statement, params).await {
            Ok(output) => Ok(output),
            Err(error) => {
                let failed = Failed {
                    error,
                    statement,
                    kept,
                    company: Company::Alone,
                };
                Box::pin(self.run_anew::<A>(text, params, failed)).await
            }
        }
    }

    /// Forgets a failed statement if it is to blame, and runs it once more, prepared anew, if that
    /// is safe and can help: nothing of it has run, and no transaction was open that its error has
    /// ended.
    pub(crate) async fn run_anew<A: Answer>(
        &self,
        text: &str,
        params: Params<'_>,
        failed: Failed,
    ) -> Result<A::Output, Error> {
        let Failed {
            error,
            statement,
            kept,
            company,
        } = failed;
        let seen = self.observer().last_failure();
        let helps = self.forget_if_to_blame(&error, &statement)
            && healing::has_not_run(&error, seen.as_ref())
            && healing::can_do_better(&error, kept, healing::is_foreign(&statement));
        let is_safe = || async {
            company == Company::Shared || matches!(self.state_at_rest().await, Ok(WireState::Idle))
        };
        if !helps || !is_safe().await {
            return Err(self.explain_answer(error, A::TAKES));
        }
        let statement = self.prepare(text, &[]).await?;
        match A::run(self.client(), &statement, params).await {
            Ok(output) => {
                self.prepared().counts.count_healed();
                Ok(output)
            }
            Err(error) => {
                self.forget_if_to_blame(&error, &statement);
                Err(self.explain_answer(error, A::TAKES))
            }
        }
    }

    /// Forgets what must not be used again after this error; whether that was anything.
    pub(crate) fn forget_if_to_blame(
        &self,
        error: &tokio_postgres::Error,
        statement: &Statement,
    ) -> bool {
        match blame(error) {
            Blame::Nothing => return false,
            Blame::All => self.forget_statements(),
            _ => {
                let is_it = |kept: &Kept| kept.is(statement);
                let forgotten = self.prepared().cache().remove_where(is_it);
                drop(forgotten);
                self.client().clear_type_cache();
            }
        }
        // The observer has seen it too; it is dealt with.
        self.observer().take_stale();
        true
    }

    /// Runs one statement without preparing it: what a pooler in transaction mode can follow,
    /// for everything is in one request.
    pub(crate) async fn run_unnamed<A: Answer>(
        &self,
        text: &str,
        params: Params<'_>,
        company: Company,
    ) -> Result<A::Output, Error> {
        if params.is_empty() {
            let done = A::run_typed(self.client(), text, &[]).await;
            return done.map_err(|error| self.explain_answer(error, A::TAKES));
        }
        let known = self.prepared().types.get(text);
        let remembered = known.is_some();
        let types = match known {
            Some(types) => types,
            None => self.learn_types(text, company).await?,
        };
        check_count(params.len(), &types)?;
        match A::run_typed(self.client(), text, &typed(params, &types)).await {
            Ok(output) => Ok(output),
            Err(error) => {
                let forgotten =
                    blame(&error) != Blame::Nothing && self.prepared().types.forget(text);
                if forgotten {
                    self.client().clear_type_cache();
                }
                let seen = self.observer().last_failure();
                let helps = forgotten && remembered && healing::has_not_run(&error, seen.as_ref());
                // Asking for the types takes a transaction.
                if !helps
                    || company == Company::Shared
                    || !matches!(self.state_at_rest().await, Ok(WireState::Idle))
                {
                    return Err(self.explain_answer(error, A::TAKES));
                }
                let types = self.learn_types(text, company).await?;
                let done = A::run_typed(self.client(), text, &typed(params, &types)).await;
                done.map_err(|error| self.explain_answer(error, A::TAKES))
            }
        }
    }

    /// Asks the server for the types of a text's parameters. A transaction keeps a pooler on
    /// one server until the statement that was prepared for it is closed again.
    async fn learn_types(&self, text: &str, company: Company) -> Result<Arc<[Type]>, Error> {
        let inside = company == Company::Shared || self.state_at_rest().await? != WireState::Idle;
        if !inside {
            self.run("BEGIN").await?;
        }
        let prepared = self.client().prepare(text).await;
        let learnt = prepared.map(|statement| self.prepared().types.learn(text, &statement));
        if !inside {
            self.run("ROLLBACK").await?;
        }
        learnt.map_err(|error| self.explain_prepare(error))
    }
}

/// Gives a type with `session()` the methods that use the session's statement cache.
macro_rules! prepares {
    ($($kind:tt)*) => {
        impl $($kind)* {
            /// Prepares a statement, or takes it from the session's cache if this text was
            /// prepared before; see [`tokio_postgres::Client::prepare`].
            ///
            /// The cache keeps as many as `statement_cache` says; those that were not used for
            /// the longest time are closed. With `statement_cache: 0` this prepares each time.
            ///
            /// A statement whose result has changed with the schema fails once and is forgotten:
            /// prepare it again, after the transaction.
            ///
            /// ```no_run
            /// # async fn example(pool: pgmonkey_async::Pool) -> Result<(), pgmonkey_async::Error> {
            /// let client = pool.acquire().await?;
            /// let by_id = client.prepare_cached("SELECT name FROM users WHERE id = $1").await?;
            /// let row = client.query_one(&by_id, &[&42]).await?;
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// [`Error::Database`].
            pub async fn prepare_cached(
                &self,
                text: &str,
            ) -> Result<::tokio_postgres::Statement, Error> {
                self.session().prepare_cached(text, &[]).await
            }

            /// As [`prepare_cached`](Self::prepare_cached), with types for the parameters; see
            /// [`tokio_postgres::Client::prepare_typed`].
            ///
            /// ```no_run
            /// # async fn example(client: pgmonkey_async::ClientGuard) -> Result<(), pgmonkey_async::Error> {
            /// let by_id = client.prepare_typed_cached(
            ///     "SELECT name FROM users WHERE id = $1",
            ///     &[pgmonkey_async::tokio_postgres::types::Type::INT8],
            /// ).await?;
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// [`Error::Database`].
            pub async fn prepare_typed_cached(
                &self,
                text: &str,
                types: &[::tokio_postgres::types::Type],
            ) -> Result<::tokio_postgres::Statement, Error> {
                self.session().prepare_cached(text, types).await
            }
        }
    };
}

pub(crate) use prepares;
