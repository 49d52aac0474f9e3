//! Statements by text: prepared once for a session, or sent without a name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pgmonkey_connect::Error;
use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::healing::{self, Blame, Kept, blame};
use pgmonkey_connect::ledger::Ledger;
use pgmonkey_connect::parameter_types::{ParameterTypes, check_count, too_many, typed};
use pgmonkey_connect::sql::Effects;
use pgmonkey_connect::statement_cache::{StatementCache, StatementCounts};
use pgmonkey_connect::wire::WireState;
use postgres::Statement;
use postgres::types::Type;

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

    /// For a session that begins.
    pub(crate) fn begin(&self) -> Prepared {
        Prepared {
            capacity: self.capacity,
            counts: Arc::clone(&self.counts),
            forgets: Arc::clone(&self.forgets),
            forgotten: self.forgets.load(Ordering::Relaxed),
            cache: StatementCache::new(self.capacity, Arc::clone(&self.counts)),
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
    forgotten: u32,
    cache: StatementCache,
    /// Used while the cache is off.
    types: Arc<ParameterTypes>,
}

impl Prepared {
    pub(crate) fn is_off(&self) -> bool {
        self.cache.is_off()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether the types are to be forgotten, once.
    fn take_forget(&mut self) -> bool {
        let forgets = self.forgets.load(Ordering::Relaxed);
        std::mem::replace(&mut self.forgotten, forgets) != forgets
    }
}

/// A run that failed.
pub(crate) struct Failed {
    pub(crate) error: postgres::Error,
    pub(crate) statement: Statement,
    /// Whether its statement came from the cache.
    pub(crate) kept: bool,
}

impl Session {
    /// The statement for this text, if the session has it and it need not be learnt again.
    pub(crate) fn find_prepared(&mut self, text: &str, types: &[Type]) -> Option<Statement> {
        if self.take_stale() {
            // Somebody met a stale statement outside of what we see.
            self.forget_statements();
        }
        if self.prepared_mut().take_forget() {
            self.forget_foreign();
        }
        let kept = self.prepared_mut().cache.get(text, types)?;
        if kept.is_due() {
            self.forget_foreign();
            return None;
        }
        Some(kept.statement)
    }

    /// Forgets all statements, and the types that the driver has learnt.
    pub(crate) fn forget_statements(&mut self) {
        drop(self.prepared_mut().cache.clear());
        self.client().clear_type_cache();
    }

    /// Forgets what has types of the database's own.
    fn forget_foreign(&mut self) {
        drop(self.prepared_mut().cache.remove_where(Kept::is_foreign));
        self.client().clear_type_cache();
    }

    /// Prepares a statement and keeps it.
    pub(crate) fn prepare(&mut self, text: &str, types: &[Type]) -> Result<Statement, Error> {
        let prepared = self.client_mut().prepare_typed(text, types);
        let statement = prepared.map_err(|error| self.explain_prepare(error))?;
        let kept = Kept::new(statement.clone());
        drop(self.prepared_mut().cache.insert(text, types, kept));
        Ok(statement)
    }

    /// An error of preparing: whether the driver's own statements are gone, or there are too many
    /// parameters.
    fn explain_prepare(&self, error: postgres::Error) -> Error {
        if let Some(error) = too_many(&error) {
            return error;
        }
        let forgot = self.left_behind().has(Effects::FORGETS);
        match forgot && blame(&error) == Blame::All {
            true => Error::TypeLookupsLost(Arc::new(error)),
            false => self.explain(error),
        }
    }

    /// As the driver's `prepare_typed`, from the cache if it is there.
    pub(crate) fn prepare_cached(
        &mut self,
        text: &str,
        types: &[Type],
    ) -> Result<Statement, Error> {
        self.check_usable()?;
        if self.prepared_mut().cache.is_off() {
            let prepared = self.client_mut().prepare_typed(text, types);
            return prepared.map_err(|error| self.explain_prepare(error));
        }
        match self.find_prepared(text, types) {
            Some(statement) => Ok(statement),
            None => self.prepare(text, types),
        }
    }

    /// Runs one statement by its text.
    pub(crate) fn run_text<A: Answer>(
        &mut self,
        text: &str,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        self.check_usable()?;
        self.check_text(text, A::TAKES)?;
        if self.prepared_mut().cache.is_off() {
            return self.run_unnamed::<A>(text, params);
        }
        let found = self.find_prepared(text, &[]);
        let kept = found.is_some();
        let statement = match found {
            Some(statement) => statement,
            None => self.prepare(text, &[])?,
        };
        check_count(params.len(), statement.params())?;
        match A::run(self.client_mut(), &statement, params) {
            Ok(output) => Ok(output),
            Err(error) => {
                let failed = Failed {
                    error,
                    statement,
                    kept,
                };
                self.run_anew::<A>(text, params, failed)
            }
        }
    }

    /// Runs a statement that failed once more if [`prepare_anew`](Self::prepare_anew) allows it.
    fn run_anew<A: Answer>(
        &mut self,
        text: &str,
        params: Params<'_>,
        failed: Failed,
    ) -> Result<A::Output, Error> {
        let statement = self.prepare_anew(text, failed, A::TAKES)?;
        match A::run(self.client_mut(), &statement, params) {
            Ok(output) => {
                self.count_healed();
                Ok(output)
            }
            Err(error) => {
                self.forget_if_to_blame(&error, &statement);
                Err(self.explain_answer(error, A::TAKES))
            }
        }
    }

    /// Forgets a failed statement if it is to blame, and prepares it anew if to run it once more is
    /// safe and can help: nothing of it has run, and no transaction was open that its error has
    /// ended.
    pub(crate) fn prepare_anew(
        &mut self,
        text: &str,
        failed: Failed,
        takes: Takes,
    ) -> Result<Statement, Error> {
        let Failed {
            error,
            statement,
            kept,
        } = failed;
        let seen = self.last_failure();
        let helps = self.forget_if_to_blame(&error, &statement)
            && healing::has_not_run(&error, seen.as_ref())
            && healing::can_do_better(&error, kept, healing::is_foreign(&statement));
        if !helps || !matches!(self.state_at_rest(), Ok(WireState::Idle)) {
            return Err(self.explain_answer(error, takes));
        }
        self.prepare(text, &[])
    }

    pub(crate) fn count_healed(&mut self) {
        self.prepared_mut().counts.count_healed();
    }

    /// Forgets what must not be used again after this error; whether that was anything.
    pub(crate) fn forget_if_to_blame(
        &mut self,
        error: &postgres::Error,
        statement: &Statement,
    ) -> bool {
        match blame(error) {
            Blame::Nothing => return false,
            Blame::All => self.forget_statements(),
            _ => {
                let is_it = |kept: &Kept| kept.is(statement);
                drop(self.prepared_mut().cache.remove_where(is_it));
                self.client().clear_type_cache();
            }
        }
        // The observer has seen it too; it is dealt with.
        self.take_stale();
        true
    }

    /// Runs one statement without preparing it: what a pooler in transaction mode can follow,
    /// for everything is in one request.
    fn run_unnamed<A: Answer>(
        &mut self,
        text: &str,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        if params.is_empty() {
            let done = A::run_typed(self.client_mut(), text, &[]);
            return done.map_err(|error| self.explain_answer(error, A::TAKES));
        }
        let known = self.prepared_mut().types.get(text);
        let remembered = known.is_some();
        let types = match known {
            Some(types) => types,
            None => self.learn_types(text)?,
        };
        check_count(params.len(), &types)?;
        match A::run_typed(self.client_mut(), text, &typed(params, &types)) {
            Ok(output) => Ok(output),
            Err(error) => {
                let forgotten =
                    blame(&error) != Blame::Nothing && self.prepared_mut().types.forget(text);
                if forgotten {
                    self.client().clear_type_cache();
                }
                let seen = self.last_failure();
                let helps = forgotten && remembered && healing::has_not_run(&error, seen.as_ref());
                if !helps || !matches!(self.state_at_rest(), Ok(WireState::Idle)) {
                    return Err(self.explain_answer(error, A::TAKES));
                }
                let types = self.learn_types(text)?;
                let done = A::run_typed(self.client_mut(), text, &typed(params, &types));
                done.map_err(|error| self.explain_answer(error, A::TAKES))
            }
        }
    }

    /// The types of a text's parameters.
    pub(crate) fn types_of(&mut self, text: &str) -> Result<Arc<[Type]>, Error> {
        match self.prepared_mut().types.get(text) {
            Some(types) => Ok(types),
            None => self.learn_types(text),
        }
    }

    /// Asks the server for the types of a text's parameters. A transaction keeps a pooler on
    /// one server until the statement that was prepared for it is closed again.
    fn learn_types(&mut self, text: &str) -> Result<Arc<[Type]>, Error> {
        let inside = self.state_at_rest()? != WireState::Idle;
        if !inside {
            self.run("BEGIN")?;
        }
        let prepared = self.client_mut().prepare(text);
        let learnt = prepared.map(|statement| self.prepared_mut().types.learn(text, &statement));
        if !inside {
            self.run("ROLLBACK")?;
        }
        learnt.map_err(|error| self.explain_prepare(error))
    }
}

/// Gives a type with `session_mut()` the methods that use the session's statement cache.
macro_rules! prepares {
    ($($kind:tt)*) => {
        impl $($kind)* {
            /// Prepares a statement, or takes it from the session's cache if this text was
            /// prepared before; see [`postgres::Client::prepare`].
            ///
            /// The cache keeps as many as `statement_cache` says; those that were not used for
            /// the longest time are closed. With `statement_cache: 0` this prepares each time.
            ///
            /// A statement whose result has changed with the schema fails once and is forgotten:
            /// prepare it again, after the transaction. On a Unix socket, where nobody watches
            /// the wire, only a standalone statement notices.
            ///
            /// ```no_run
            /// # fn example(pool: pgmonkey_sync::Pool) -> Result<(), pgmonkey_sync::Error> {
            /// let mut client = pool.acquire()?;
            /// let by_id = client.prepare_cached("SELECT name FROM users WHERE id = $1")?;
            /// let row = client.query_one(&by_id, &[&42])?;
            /// # Ok(())
            /// # }
            /// ```
            ///
            /// # Errors
            ///
            /// [`Error::Database`].
            pub fn prepare_cached(&mut self, text: &str) -> Result<::postgres::Statement, Error> {
                self.session_mut().prepare_cached(text, &[])
            }

            /// As [`prepare_cached`](Self::prepare_cached), with types for the parameters; see
            /// [`postgres::Client::prepare_typed`].
            ///
            /// ```no_run
            /// # fn example(mut client: pgmonkey_sync::ClientGuard) -> Result<(), pgmonkey_sync::Error> {
            /// let by_id = client.prepare_typed_cached(
            ///     "SELECT name FROM users WHERE id = $1",
            ///     &[pgmonkey_sync::postgres::types::Type::INT8],
            /// )?;
            /// # Ok(()) }
            /// ```
            ///
            /// # Errors
            ///
            /// [`Error::Database`].
            pub fn prepare_typed_cached(
                &mut self,
                text: &str,
                types: &[::postgres::types::Type],
            ) -> Result<::postgres::Statement, Error> {
                self.session_mut().prepare_cached(text, types)
            }
        }
    };
}

pub(crate) use prepares;
