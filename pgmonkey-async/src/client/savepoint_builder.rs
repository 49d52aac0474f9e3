//! Builds a transaction, or a savepoint, on a session that a guard holds.

use pgmonkey_connect::Error;
use pgmonkey_connect::deadline::TimeLimit;
use pgmonkey_connect::transaction::Options;

use crate::client::guard::ClientGuard;
use crate::client::transaction::{Savepoint, Transaction};

/// Builds a transaction with options on a session that a guard holds; a savepoint if a transaction
/// is open. Ends in [`begin`](Self::begin).
///
/// `BEGIN` and the options are one text: they cost no round trip. A savepoint has no options but
/// [`label`](Self::label). A closure that may run more than once is for
/// [`TransactionBuilder`](crate::TransactionBuilder), which gives each run a session.
///
/// ```no_run
/// use pgmonkey_async::IsolationLevel;
///
/// # async fn example(mut client: pgmonkey_async::ClientGuard) -> Result<(), pgmonkey_async::Error> {
/// let report = client
///     .build_transaction()
///     .isolation_level(IsolationLevel::RepeatableRead)
///     .read_only(true)
///     .begin()
///     .await?;
/// report.query("SELECT count(*) FROM visits", &[]).await?;
/// report.commit().await?;
/// # Ok(()) }
/// ```
#[must_use = "a builder sends nothing until `begin` is called"]
#[derive(Debug)]
pub struct SavepointBuilder<'a> {
    guard: &'a mut ClientGuard,
    /// The depth of the savepoint; `None` if it is unknown whether a transaction is open.
    depth: Option<u32>,
    options: Options,
    /// The limit of the view that it was built on.
    limit: Option<TimeLimit>,
}

::pgmonkey_connect::transaction_options!(SavepointBuilder<'_>);

impl<'a> SavepointBuilder<'a> {
    pub(super) fn new(
        guard: &'a mut ClientGuard,
        depth: Option<u32>,
        limit: Option<TimeLimit>,
    ) -> Self {
        Self {
            guard,
            depth,
            options: Options::default(),
            limit,
        }
    }

    /// Begins the transaction or the savepoint. It ends when the returned value is committed,
    /// rolled back or dropped.
    ///
    /// # Errors
    ///
    /// [`Error::TransactionOption`] if an option is invalid, or if a savepoint cannot have it;
    /// [`Error::Database`].
    pub async fn begin(self) -> Result<Savepoint<'a>, Error> {
        let outermost = self.guard.session().outermost();
        let depth = match self.depth {
            Some(depth) => depth,
            None => outermost + u32::from(self.guard.is_inside().await?),
        };
        if depth > outermost {
            self.options.check_savepoint()?;
        }
        if let Some(label) = &self.options.label {
            self.guard.set_label(label);
        }
        Savepoint::open(self.guard, depth, &self.options, self.limit).await
    }
}

impl ClientGuard {
    /// Builds a transaction with options; a savepoint if a transaction is open.
    pub fn build_transaction(&mut self) -> SavepointBuilder<'_> {
        SavepointBuilder::new(self, None, None)
    }
}

impl Transaction {
    /// Builds a savepoint, which has no options but a label.
    pub fn build_transaction(&mut self) -> SavepointBuilder<'_> {
        let (guard, mark) = self.parts();
        SavepointBuilder::new(guard, Some(mark.depth + 1), None)
    }
}

impl Savepoint<'_> {
    /// Builds a nested savepoint, which has no options but a label.
    pub fn build_transaction(&mut self) -> SavepointBuilder<'_> {
        let (guard, mark) = self.parts();
        SavepointBuilder::new(guard, Some(mark.depth + 1), None)
    }
}
