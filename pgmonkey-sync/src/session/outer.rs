//! A session that never leaves its transaction, for tests.

use pgmonkey_connect::Error;
use pgmonkey_connect::savepoint::{self, Found, Mark};
use pgmonkey_connect::test_transaction::{KEEP, KEEP_MORE, UNDO};
use pgmonkey_connect::wire::WireState;

use super::Session;

/// The outermost transaction.
pub(super) struct Outer {
    mark: Mark,
    /// Whether a caller has begun a transaction, which is a savepoint here.
    begun: bool,
}

impl Session {
    /// Begins the outermost transaction.
    pub(crate) fn begin_outer(&mut self) -> Result<(), Error> {
        let mark = self.begin(0)?;
        self.run(KEEP)?;
        self.outer = Some(Outer { mark, begun: false });
        Ok(())
    }

    /// The depth at which a caller's transaction begins.
    pub(crate) fn outermost(&self) -> u32 {
        u32::from(self.outer.is_some())
    }

    pub(crate) fn note_begun(&mut self, depth: u32) {
        self.note(depth, true);
    }

    pub(crate) fn note_ended(&mut self, depth: u32) {
        self.note(depth, false);
    }

    fn note(&mut self, depth: u32, begun: bool) {
        if let Some(outer) = self.outer.as_mut().filter(|_| depth == 1) {
            outer.begun = begun;
        }
    }

    /// Checks that a statement runs with the session's settings: if they are sent with each
    /// transaction, it must be in one.
    pub(crate) fn check_settings(&self) -> Result<(), Error> {
        let inside = self.outer.is_some() || self.has_begun;
        let observer = self.observer.as_deref();
        self.connected_to.check_settings(observer, inside)
    }

    /// Whether a statement needs a savepoint of its own.
    pub(crate) fn is_standalone(&self) -> bool {
        self.outer.as_ref().is_some_and(|outer| !outer.begun)
    }

    /// Runs `work` in a savepoint of its own, which is kept if `work` succeeds.
    pub(crate) fn in_savepoint<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.run(&savepoint::begin(1))?;
        let mark = self.mark(1);
        match work(self) {
            Ok(value) => self.commit(mark).map(|()| value),
            // If a statement has ended the whole transaction, that error takes precedence.
            Err(error) => self.roll_back_to(mark).and(Err(error)),
        }
    }

    /// Prepares the session for the next caller: keeps the work of this one, except what it left
    /// open and what failed. Returns whether the outermost transaction is still open.
    pub(super) fn keep_outer(&mut self) -> bool {
        let Some(outer) = &mut self.outer else {
            return true;
        };
        let (mark, begun) = (outer.mark, std::mem::replace(&mut outer.begun, false));
        if begun && self.run(&savepoint::rollback(1)).is_err() {
            return false;
        }
        let next = match self.idle_state() {
            Ok(WireState::Failed) => UNDO,
            _ => KEEP_MORE,
        };
        let kept = self.run(next).is_ok();
        kept && matches!(self.look(mark), Ok(Found::Open))
    }
}
