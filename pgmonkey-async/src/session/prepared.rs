//! Statements by text, prepared once per session.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pgmonkey_connect::Error;
use pgmonkey_connect::outcome::Sending;
use pgmonkey_connect::parameter_types::{ParameterTypes, check_count, too_many};
use pgmonkey_connect::pool::Label;
use pgmonkey_connect::sql::Effects;
use pgmonkey_connect::stale_statements::{self, Blame, Kept, blame};
use pgmonkey_connect::statement_cache::{StatementCache, StatementCounts};
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use crate::session::Session;
use crate::session::answer::{Answer, Params};

/// Statement state shared by the sessions of a pool.
#[derive(Clone)]
pub(crate) struct Statements {
    capacity: usize,
    /// Whether a transaction may be opened.
    has_transactions: bool,
    counts: Arc<StatementCounts>,
    types: Arc<ParameterTypes>,
    /// How often the program called `forget_types`.
    forgets: Arc<AtomicU32>,
}

impl Statements {
    pub(crate) fn new(capacity: usize, has_transactions: bool, label: &Label) -> Self {
        Self {
            capacity,
            has_transactions,
            counts: Arc::clone(label.statements()),
            types: Arc::default(),
            forgets: Arc::default(),
        }
    }

    /// Makes each session forget user-defined types, and the statements that use them, before its
    /// next statement.
    pub(crate) fn forget_types(&self) {
        self.types.clear();
        self.forgets.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether statements are sent unnamed, so that the types of their parameters must be known.
    pub(crate) fn are_unnamed(&self) -> bool {
        self.capacity == 0
    }

    pub(crate) fn types(&self) -> &ParameterTypes {
        &self.types
    }

    /// Creates the state of a new session.
    pub(crate) fn begin(&self) -> Prepared {
        Prepared {
            capacity: self.capacity,
            has_transactions: self.has_transactions,
            counts: Arc::clone(&self.counts),
            forgets: Arc::clone(&self.forgets),
            forgotten: AtomicU32::new(self.forgets.load(Ordering::Relaxed)),
            cache: Mutex::new(StatementCache::new(self.capacity, Arc::clone(&self.counts))),
            types: Arc::clone(&self.types),
        }
    }
}

/// A session's prepared statements.
pub(crate) struct Prepared {
    capacity: usize,
    /// Whether a transaction may be opened.
    pub(super) has_transactions: bool,
    counts: Arc<StatementCounts>,
    /// How often the program called `forget_types`, and up to which of these calls this session has
    /// acted.
    forgets: Arc<AtomicU32>,
    forgotten: AtomicU32,
    cache: Mutex<StatementCache>,
    /// For the first run of a text, and for every run while the cache is off.
    pub(super) types: Arc<ParameterTypes>,
}

impl Prepared {
    /// Held for a lookup or an insertion; never while something is sent or dropped.
    pub(crate) fn cache(&self) -> MutexGuard<'_, StatementCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_off(&self) -> bool {
        self.capacity == 0
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether the types are to be forgotten. Returns `true` once for each request.
    fn take_forget(&self) -> bool {
        let forgets = self.forgets.load(Ordering::Relaxed);
        self.forgotten.load(Ordering::Relaxed) != forgets
            && self.forgotten.swap(forgets, Ordering::Relaxed) != forgets
    }
}

/// Whether other callers use the session while a statement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exclusivity {
    /// A single caller, which may have left a transaction open.
    Alone,
    /// Several callers, none of which can open a transaction.
    Shared,
}

/// A failed run of a statement.
pub(crate) struct Failed {
    pub(crate) error: tokio_postgres::Error,
    pub(crate) statement: Statement,
    /// Whether the statement came from the cache.
    pub(crate) kept: bool,
    pub(crate) exclusivity: Exclusivity,
    pub(crate) sending: Sending,
}

impl Session {
    /// Returns the statement for this text, if the session has it and it need not be prepared
    /// again.
    pub(crate) fn find_prepared(&self, text: &str, types: &[Type]) -> Option<Statement> {
        if self.observer().take_stale() {
            // A stale statement was met where we do not run it ourselves.
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

    /// The text of a statement that is still in the cache.
    #[cold]
    pub(crate) fn text_of(&self, statement: &Statement) -> Option<Box<str>> {
        self.prepared()
            .cache()
            .text_where(|kept| kept.is(statement))
    }

    /// Forgets all statements, and the types that the driver has looked up.
    pub(crate) fn forget_statements(&self) {
        let forgotten = self.prepared().cache().clear();
        drop(forgotten);
        self.client().clear_type_cache();
    }

    /// Forgets the statements that use user-defined types, and the types.
    fn forget_foreign(&self) {
        let forgotten = self.prepared().cache().remove_where(Kept::is_foreign);
        drop(forgotten);
        self.client().clear_type_cache();
    }

    /// Prepares a statement and caches it.
    pub(crate) async fn prepare(&self, text: &str, types: &[Type]) -> Result<Statement, Error> {
        let prepared = self.client().prepare_typed(text, types).await;
        let statement = prepared.map_err(|error| self.explain_prepare(error))?;
        if types.is_empty() && self.is_known_as_opened() {
            self.prepared().types.learn_plain(text, &statement);
        }
        let kept = Kept::new(statement.clone());
        let evicted = self.prepared().cache().insert(text, types, kept);
        drop(evicted);
        Ok(statement)
    }

    /// Converts an error of preparing. Checks for too many parameters, and whether the driver's own
    /// statements have been deallocated.
    pub(super) fn explain_prepare(&self, error: tokio_postgres::Error) -> Error {
        if let Some(error) = too_many(&error) {
            return error;
        }
        let forgot = self.observer().left_behind().has(Effects::FORGETS);
        match forgot && blame(&error) == Blame::All {
            true => Error::TypeLookupsLost(Arc::new(error)),
            false => self.explain(error),
        }
    }

    /// As the driver's `prepare_typed`, but takes the statement from the cache if it is there.
    pub(crate) async fn prepare_cached(
        &self,
        text: &str,
        types: &[Type],
    ) -> Result<Statement, Error> {
        self.make_ready().await?;
        self.check_settings()?;
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
            return self
                .run_unnamed::<A>(text, params, Exclusivity::Alone)
                .await;
        }
        let found = self.find_prepared(text, &[]);
        let kept = found.is_some();
        let statement = match found {
            Some(statement) => statement,
            None => {
                if A::COLLECTS
                    && let Some(types) = self.types_known(text, params)
                {
                    return Box::pin(self.run_first::<A>(text, params, &types)).await;
                }
                self.prepare(text, &[]).await?
            }
        };
        check_count(params.len(), statement.params())?;
        let sending = self.sending();
        match A::run(self.client(), &statement, params).await {
            Ok(output) => Ok(output),
            Err(error) => {
                let failed = Failed {
                    error,
                    statement,
                    kept,
                    exclusivity: Exclusivity::Alone,
                    sending,
                };
                Box::pin(self.run_anew::<A>(text, params, failed)).await
            }
        }
    }

    /// Forgets the failed statement if it is to blame, and runs it again, newly prepared, if that
    /// is safe and can help: no part of it has run, and its error has not ended an open
    /// transaction.
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
            exclusivity,
            sending,
        } = failed;
        let seen = self.observer().last_failure();
        let helps = self.forget_if_to_blame(&error, &statement)
            && stale_statements::has_not_run(&error, seen.as_ref())
            && stale_statements::can_do_better(
                &error,
                kept,
                stale_statements::is_foreign(&statement),
            );
        let is_safe = || async { exclusivity == Exclusivity::Shared || self.runs_again().await };
        if !helps || !is_safe().await {
            return Err(self.explain_statement(error, A::TAKES, (sending, Some(text))));
        }
        let statement = self.prepare(text, &[]).await?;
        let sending = self.sending();
        match A::run(self.client(), &statement, params).await {
            Ok(output) => {
                self.prepared().counts.count_healed();
                Ok(output)
            }
            Err(error) => {
                self.forget_if_to_blame(&error, &statement);
                Err(self.explain_statement(error, A::TAKES, (sending, Some(text))))
            }
        }
    }

    /// Forgets what must not be used again after this error. Returns whether there was anything to
    /// forget.
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
        // The observer has seen the failure too; it is handled now.
        self.observer().take_stale();
        true
    }
}

/// Generates the methods that use the session's statement cache, for a type with `session()`.
macro_rules! prepares {
    ($($kind:tt)*) => {
        impl $($kind)* {
            /// Prepares a statement, or takes it from the session's cache if this text was prepared
            /// before; see [`tokio_postgres::Client::prepare`].
            ///
            /// The cache holds `statement_cache` statements; the least recently used are closed.
            /// With `statement_cache: 0` this method prepares each time.
            ///
            /// A statement whose result type has changed with the schema fails once and is
            /// forgotten: prepare it again after the transaction.
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
                let session = self.session();
                session.bounded(session.prepare_cached(text, &[])).await
            }

            /// As [`prepare_cached`](Self::prepare_cached), with parameter types; see
            /// [`tokio_postgres::Client::prepare_typed`].
            ///
            /// # Errors
            ///
            /// [`Error::Database`].
            pub async fn prepare_typed_cached(
                &self,
                text: &str,
                types: &[::tokio_postgres::types::Type],
            ) -> Result<::tokio_postgres::Statement, Error> {
                let session = self.session();
                session.bounded(session.prepare_cached(text, types)).await
            }
        }
    };
}

pub(crate) use prepares;
