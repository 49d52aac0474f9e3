//! Statements by text, prepared once per session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pgmonkey_connect::Error;
use pgmonkey_connect::answer::Takes;
use pgmonkey_connect::outcome::Sending;
use pgmonkey_connect::parameter_types::{ParameterTypes, check_count, too_many};
use pgmonkey_connect::pool::Label;
use pgmonkey_connect::sql::Effects;
use pgmonkey_connect::stale_statements::{self, Blame, Kept, blame};
use pgmonkey_connect::statement_cache::{StatementCache, StatementCounts};
use postgres::Statement;
use postgres::types::Type;

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

    /// Creates the state of a new session.
    pub(crate) fn begin(&self) -> Prepared {
        Prepared {
            capacity: self.capacity,
            has_transactions: self.has_transactions,
            counts: Arc::clone(&self.counts),
            forgets: Arc::clone(&self.forgets),
            forgotten: self.forgets.load(Ordering::Relaxed),
            cache: StatementCache::new(self.capacity, Arc::clone(&self.counts)),
            ran_once: StatementCache::new(self.capacity, Arc::default()),
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
    forgotten: u32,
    cache: StatementCache,
    /// Texts that were run unnamed, and are prepared when they are run again.
    pub(super) ran_once: StatementCache<()>,
    /// For the first run of a text, and for every run while the cache is off.
    pub(super) types: Arc<ParameterTypes>,
}

impl Prepared {
    pub(crate) fn is_off(&self) -> bool {
        self.cache.is_off()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether the types are to be forgotten. Returns `true` once for each request.
    fn take_forget(&mut self) -> bool {
        let forgets = self.forgets.load(Ordering::Relaxed);
        std::mem::replace(&mut self.forgotten, forgets) != forgets
    }
}

/// A failed run of a statement.
pub(crate) struct Failed {
    pub(crate) error: postgres::Error,
    pub(crate) statement: Statement,
    /// Whether the statement came from the cache.
    pub(crate) kept: bool,
    pub(crate) sending: Sending,
}

impl Session {
    /// Returns the statement for this text, if the session has it and it need not be prepared
    /// again.
    pub(crate) fn find_prepared(&mut self, text: &str, types: &[Type]) -> Option<Statement> {
        if self.take_stale() {
            // A stale statement was met where we do not run it ourselves.
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

    /// The text of a statement that is still in the cache.
    #[cold]
    pub(crate) fn text_of(&mut self, statement: &Statement) -> Option<Box<str>> {
        let cache = &self.prepared_mut().cache;
        cache.text_where(|kept| kept.is(statement))
    }

    /// Forgets all statements, and the types that the driver has looked up.
    pub(crate) fn forget_statements(&mut self) {
        drop(self.prepared_mut().cache.clear());
        self.client().clear_type_cache();
    }

    /// Forgets the statements that use user-defined types, and the types.
    fn forget_foreign(&mut self) {
        drop(self.prepared_mut().cache.remove_where(Kept::is_foreign));
        self.client().clear_type_cache();
    }

    /// Prepares a statement and caches it.
    pub(crate) fn prepare(&mut self, text: &str, types: &[Type]) -> Result<Statement, Error> {
        let prepared = self.client_mut().prepare_typed(text, types);
        let statement = prepared.map_err(|error| self.explain_prepare(error))?;
        if types.is_empty() && self.is_known_as_opened() {
            self.prepared_mut().types.learn_plain(text, &statement);
        }
        let kept = Kept::new(statement.clone());
        drop(self.prepared_mut().cache.insert(text, types, kept));
        Ok(statement)
    }

    /// Converts an error of preparing. Checks for too many parameters, and whether the driver's own
    /// statements have been deallocated.
    pub(super) fn explain_prepare(&self, error: postgres::Error) -> Error {
        if let Some(error) = too_many(&error) {
            return error;
        }
        let forgot = self.left_behind().has(Effects::FORGETS);
        match forgot && blame(&error) == Blame::All {
            true => Error::TypeLookupsLost(Arc::new(error)),
            false => self.explain(error),
        }
    }

    /// As the driver's `prepare_typed`, but takes the statement from the cache if it is there.
    pub(crate) fn prepare_cached(
        &mut self,
        text: &str,
        types: &[Type],
    ) -> Result<Statement, Error> {
        self.make_ready()?;
        self.check_settings()?;
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
        self.make_ready()?;
        self.check_text(text, A::TAKES)?;
        if self.prepared_mut().cache.is_off() {
            return self.run_unnamed::<A>(text, params);
        }
        let found = self.find_prepared(text, &[]);
        let kept = found.is_some();
        let statement = match found {
            Some(statement) => statement,
            None => {
                if let Some(types) = self.types_known(text, params) {
                    return self.run_first::<A>(text, params, &types);
                }
                self.prepare(text, &[])?
            }
        };
        check_count(params.len(), statement.params())?;
        let sending = self.sending();
        match A::run(self.client_mut(), &statement, params) {
            Ok(output) => Ok(output),
            Err(error) => {
                let failed = Failed {
                    error,
                    statement,
                    kept,
                    sending,
                };
                self.run_anew::<A>(text, params, failed)
            }
        }
    }

    /// Runs a failed statement again, if [`prepare_anew`](Self::prepare_anew) allows it.
    fn run_anew<A: Answer>(
        &mut self,
        text: &str,
        params: Params<'_>,
        failed: Failed,
    ) -> Result<A::Output, Error> {
        let statement = self.prepare_anew(text, failed, A::TAKES)?;
        let sending = self.sending();
        match A::run(self.client_mut(), &statement, params) {
            Ok(output) => {
                self.count_healed();
                Ok(output)
            }
            Err(error) => {
                self.forget_if_to_blame(&error, &statement);
                Err(self.explain_statement(error, A::TAKES, (sending, Some(text))))
            }
        }
    }

    /// Forgets the failed statement if it is to blame, and prepares it again if running it again is
    /// safe and can help: no part of it has run, and its error has not ended an open transaction.
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
            sending,
        } = failed;
        let seen = self.last_failure();
        let helps = self.forget_if_to_blame(&error, &statement)
            && stale_statements::has_not_run(&error, seen.as_ref())
            && stale_statements::can_do_better(
                &error,
                kept,
                stale_statements::is_foreign(&statement),
            );
        if !helps || !self.runs_again() {
            return Err(self.explain_statement(error, takes, (sending, Some(text))));
        }
        self.prepare(text, &[])
    }

    pub(crate) fn count_healed(&mut self) {
        self.prepared_mut().counts.count_healed();
    }

    /// Forgets what must not be used again after this error. Returns whether there was anything to
    /// forget.
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
        // The observer has seen the failure too; it is handled now.
        self.take_stale();
        true
    }
}

/// Generates the methods that use the session's statement cache, for a type with `session_mut()`.
macro_rules! prepares {
    ($($kind:tt)*) => {
        impl $($kind)* {
            /// Prepares a statement, or takes it from the session's cache if this text was prepared
            /// before; see [`postgres::Client::prepare`].
            ///
            /// The cache holds `statement_cache` statements; the least recently used are closed.
            /// With `statement_cache: 0` this method prepares each time.
            ///
            /// A statement whose result type has changed with the schema fails once and is
            /// forgotten: prepare it again after the transaction. On a Unix socket, where the wire
            /// is not observed, only the statement methods of this crate notice this, not those of
            /// the driver.
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
                self.session_mut().bounded(|session| session.prepare_cached(text, &[]))
            }

            /// As [`prepare_cached`](Self::prepare_cached), with parameter types; see
            /// [`postgres::Client::prepare_typed`].
            ///
            /// # Errors
            ///
            /// [`Error::Database`].
            pub fn prepare_typed_cached(
                &mut self,
                text: &str,
                types: &[::postgres::types::Type],
            ) -> Result<::postgres::Statement, Error> {
                self.session_mut().bounded(|session| session.prepare_cached(text, types))
            }
        }
    };
}

pub(crate) use prepares;
