//! A session that never leaves its transaction, for tests.

use std::sync::atomic::{AtomicBool, Ordering};

use pgmonkey_connect::Error;
use pgmonkey_connect::savepoint::{self, Found, Mark};
use pgmonkey_connect::test_transaction::{KEEP, KEEP_MORE, UNDO};
use pgmonkey_connect::wire::WireState;
use tokio::sync::Mutex;

use super::Session;

/// The outermost transaction.
pub(super) struct Outer {
    mark: Mark,
    /// Whether a caller has begun a transaction, which is a savepoint here.
    begun: AtomicBool,
    /// Savepoints cannot overlap, so statements that would be pipelined run one after another.
    turn: Mutex<()>,
}

impl Session {
    /// Begins the outermost transaction.
    pub(crate) async fn begin_outer(&mut self) -> Result<(), Error> {
        let begin = savepoint::begin(0);
        self.run(&self.connected_to().begin_text(0, &begin)).await?;
        let mark = self.mark(0);
        self.run(KEEP).await?;
        self.outer = Some(Outer {
            mark,
            begun: AtomicBool::new(false),
            turn: Mutex::new(()),
        });
        Ok(())
    }

    /// The depth at which a caller's transaction begins.
    pub(crate) fn outermost(&self) -> u32 {
        u32::from(self.outer.is_some())
    }

    pub(crate) fn note_begun(&self, depth: u32) {
        self.note(depth, true);
    }

    pub(crate) fn note_ended(&self, depth: u32) {
        self.note(depth, false);
    }

    fn note(&self, depth: u32, begun: bool) {
        if let Some(outer) = self.outer.as_ref().filter(|_| depth == 1) {
            outer.begun.store(begun, Ordering::Relaxed);
        }
    }

    /// Checks that a statement runs with the session's settings: if they are sent with each
    /// transaction, it must be in one.
    pub(crate) fn check_settings(&self) -> Result<(), Error> {
        let inside = self.outer.is_some();
        self.connected_to()
            .check_settings(Some(&self.observer), inside)
    }

    /// Whether a statement needs a savepoint of its own.
    pub(crate) fn is_standalone(&self) -> bool {
        let outer = self.outer.as_ref();
        outer.is_some_and(|outer| !outer.begun.load(Ordering::Relaxed))
    }

    /// Runs `work` in a savepoint of its own, which is kept if `work` succeeds.
    pub(crate) async fn in_savepoint<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let Some(outer) = &self.outer else {
            return work.await;
        };
        let _turn = outer.turn.lock().await;
        self.run(&savepoint::begin(1)).await?;
        let mark = self.mark(1);
        match work.await {
            Ok(value) => self.commit(mark).await.map(|()| value),
            // If a statement has ended the whole transaction, that error takes precedence.
            Err(error) => self.roll_back_to(mark).await.and(Err(error)),
        }
    }

    /// Prepares the session for the next caller: keeps the work of this one, except what it left
    /// open and what failed. Returns whether the outermost transaction is still open.
    pub(super) async fn keep_outer(&self, outer: &Outer) -> bool {
        if outer.begun.swap(false, Ordering::Relaxed)
            && self.run(&savepoint::rollback(1)).await.is_err()
        {
            return false;
        }
        let next = match self.idle_state().await {
            Ok(WireState::Failed) => UNDO,
            _ => KEEP_MORE,
        };
        let kept = self.run(next).await.is_ok();
        kept && matches!(self.look(outer.mark).await, Ok(Found::Open))
    }
}
