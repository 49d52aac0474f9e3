//! Statements by text: prepared once for a session, or sent without a name.

use std::sync::Arc;

use pgmonkey_connect::Error;
use pgmonkey_connect::ledger::Ledger;
use pgmonkey_connect::parameter_types::{ParameterTypes, typed};
use pgmonkey_connect::statement_cache::{Condition, StatementCache, StatementCounts, condition};
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
}

impl Statements {
    pub(crate) fn new(capacity: usize, ledger: &Ledger) -> Self {
        Self {
            capacity,
            counts: Arc::clone(ledger.statements()),
            types: Arc::default(),
        }
    }

    /// For a session that begins.
    pub(crate) fn begin(&self) -> Prepared {
        Prepared {
            cache: StatementCache::new(self.capacity, Arc::clone(&self.counts)),
            types: Arc::clone(&self.types),
        }
    }
}

/// A session's statements.
pub(crate) struct Prepared {
    cache: StatementCache,
    /// Used while the cache is off.
    types: Arc<ParameterTypes>,
}

impl Prepared {
    pub(crate) fn is_off(&self) -> bool {
        self.cache.is_off()
    }
}

/// A run that failed.
pub(crate) struct Failed {
    pub(crate) error: postgres::Error,
    /// Whether its statement came from the cache.
    pub(crate) kept: bool,
}

impl Failed {
    /// Whether it can end otherwise with the statement prepared anew. A value that does not fit
    /// a statement just prepared will not fit the next one; but the schema may have changed
    /// since.
    fn may_do_better(&self) -> bool {
        match condition(&self.error) {
            Condition::Stale => self.kept || self.error.as_db_error().is_some(),
            Condition::Lost => true,
            _ => false,
        }
    }
}

impl Session {
    /// The statement for this text, if the session has it.
    pub(crate) fn find_prepared(&mut self, text: &str, types: &[Type]) -> Option<Statement> {
        if self.take_stale() {
            // Somebody met a stale statement outside of what we see.
            drop(self.prepared_mut().cache.clear());
        }
        self.prepared_mut().cache.get(text, types)
    }

    /// Prepares a statement and keeps it.
    pub(crate) fn prepare(
        &mut self,
        text: &str,
        types: &[Type],
    ) -> Result<Statement, postgres::Error> {
        let statement = self.client_mut().prepare_typed(text, types)?;
        let kept = statement.clone();
        drop(self.prepared_mut().cache.insert(text, types, kept));
        Ok(statement)
    }

    /// As the driver's `prepare_typed`, from the cache if it is there.
    pub(crate) fn prepare_cached(
        &mut self,
        text: &str,
        types: &[Type],
    ) -> Result<Statement, Error> {
        self.check_given_up()?;
        if self.prepared_mut().cache.is_off() {
            return Ok(self.client_mut().prepare_typed(text, types)?);
        }
        match self.find_prepared(text, types) {
            Some(statement) => Ok(statement),
            None => Ok(self.prepare(text, types)?),
        }
    }

    /// Runs one statement by its text.
    pub(crate) fn run_text<A: Answer>(
        &mut self,
        text: &str,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        self.check_given_up()?;
        if self.prepared_mut().cache.is_off() {
            return self.run_unnamed::<A>(text, params);
        }
        let found = self.find_prepared(text, &[]);
        let kept = found.is_some();
        let statement = match found {
            Some(statement) => statement,
            None => self.prepare(text, &[])?,
        };
        match A::run(self.client_mut(), &statement, params) {
            Ok(output) => Ok(output),
            Err(error) => self.run_anew::<A>(text, params, Failed { error, kept }),
        }
    }

    /// Runs a statement that failed once more if [`prepare_anew`](Self::prepare_anew) allows it.
    fn run_anew<A: Answer>(
        &mut self,
        text: &str,
        params: Params<'_>,
        failed: Failed,
    ) -> Result<A::Output, Error> {
        let statement = self.prepare_anew(text, failed)?;
        match A::run(self.client_mut(), &statement, params) {
            Ok(output) => Ok(output),
            Err(error) => Err(self.give_up_on(text, error)),
        }
    }

    /// Takes a failed statement out of the cache if it is to blame, and prepares it anew if to run
    /// it once more is safe and can help: nothing of it has run, and no transaction was open that
    /// its error has ended.
    pub(crate) fn prepare_anew(&mut self, text: &str, failed: Failed) -> Result<Statement, Error> {
        let helps = failed.may_do_better();
        let error = self.give_up_on(text, failed.error);
        if !helps || !matches!(self.state_at_rest(), Ok(WireState::Idle)) {
            return Err(error);
        }
        Ok(self.prepare(text, &[])?)
    }

    /// Takes out what must not be used again after this error.
    pub(crate) fn give_up_on(&mut self, text: &str, error: postgres::Error) -> Error {
        let cache = &mut self.prepared_mut().cache;
        match condition(&error) {
            Condition::Sound => {}
            Condition::Lost => drop(cache.clear()),
            _ => drop(cache.remove(text, &[])),
        }
        // The observer has seen it too; it is dealt with.
        self.take_stale();
        error.into()
    }

    /// Runs one statement without preparing it: what a pooler in transaction mode can follow,
    /// for everything is in one request.
    fn run_unnamed<A: Answer>(
        &mut self,
        text: &str,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        if params.is_empty() {
            return Ok(A::run_typed(self.client_mut(), text, &[])?);
        }
        let known = self.prepared_mut().types.get(text);
        let remembered = known.is_some();
        let types = match known {
            Some(types) => types,
            None => self.learn_types(text)?,
        };
        match A::run_typed(self.client_mut(), text, &typed(params, &types)) {
            Ok(output) => Ok(output),
            Err(error) => {
                let condition = condition(&error);
                let forgotten =
                    condition != Condition::Sound && self.prepared_mut().types.forget(text);
                // The driver refused a value: nothing was sent.
                if !(forgotten && remembered && condition == Condition::Stale) {
                    return Err(error.into());
                }
                let types = self.learn_types(text)?;
                Ok(A::run_typed(
                    self.client_mut(),
                    text,
                    &typed(params, &types),
                )?)
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
        Ok(learnt?)
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
