//! Transactions and savepoints of one session; each is ended only if it is still open.

use pgmonkey_connect::Error;
use pgmonkey_connect::savepoint::{self, Found, Mark};
use pgmonkey_connect::standbys::Reach;
use pgmonkey_connect::token::{self, Token};
use pgmonkey_connect::wire::{TransactionEnd, TransactionEnds, WireState};
use postgres::SimpleQueryMessage;

use super::Session;

/// A setting local to its transaction; on a Unix socket it distinguishes one transaction from the
/// next.
const OWN_MARK: &str = "pgmonkey.transaction";

fn is_open(state: WireState) -> bool {
    matches!(state, WireState::InTransaction | WireState::Failed)
}

impl Session {
    /// Begins a transaction at depth 0, a savepoint at greater depths.
    pub(crate) fn begin(&mut self, depth: u32) -> Result<Mark, Error> {
        self.begin_with(depth, &savepoint::begin(depth))
    }

    /// As [`begin`](Self::begin), with this text.
    pub(crate) fn begin_with(&mut self, depth: u32, text: &str) -> Result<Mark, Error> {
        let text = self.connected_to().begin_text(depth, text);
        if self.observer.is_some() || depth > 0 {
            self.run_or_undo(depth, &text)?;
            self.note_begun(depth);
        } else {
            self.unwatched += 1;
            let number = self.unwatched;
            self.run_or_undo(depth, &format!("{text}; SET LOCAL {OWN_MARK} = '{number}'"))?;
            self.has_begun = true;
        }
        Ok(self.mark(depth))
    }

    /// Runs a text that begins a transaction. If one of its settings fails, the transaction has
    /// begun and failed.
    fn run_or_undo(&mut self, depth: u32, text: &str) -> Result<(), Error> {
        let begun = self.run(text);
        if begun.is_err() && text.contains(';') && self.idle_state().is_ok_and(is_open) {
            // This fails only if the session is lost.
            let _ = self.run(&savepoint::rollback(depth));
        }
        begun
    }

    pub(super) fn mark(&self, depth: u32) -> Mark {
        let ends = self.ends().map_or(self.unwatched, |ends| ends.count);
        Mark { depth, ends }
    }

    /// Commits the transaction or releases the savepoint, if it is still the one that was begun.
    ///
    /// # Errors
    ///
    /// [`Error::CommitUnknown`] if the session was lost between `COMMIT` and its answer.
    pub(crate) fn commit(&mut self, mark: Mark) -> Result<(), Error> {
        self.commit_asking(mark, None).map(drop)
    }

    /// As [`commit`](Self::commit); a question is sent in the same message and answered behind it, if
    /// the wire is observed: the outcome of `COMMIT` would not be known if the question failed.
    fn commit_asking(
        &mut self,
        mark: Mark,
        question: Option<&str>,
    ) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.note_ended(mark.depth);
        self.has_begun &= mark.depth > 0;
        match self.look(mark)? {
            Found::Open => {
                if let Some(observer) = &self.observer {
                    observer.look_before_write();
                }
                let sending = self.sending();
                let commit = savepoint::commit(mark.depth);
                let together = mark.depth == 0 && self.observer.is_some();
                let (done, answer) = match question.filter(|_| together) {
                    None => (self.run(&commit), Vec::new()),
                    Some(question) => match self.ask(&format!("{commit}; {question}")) {
                        Ok(answer) => (Ok(()), answer),
                        Err(error) => (Err(error), Vec::new()),
                    },
                };
                let committed = sending.committed(mark, done, self.observer.as_deref());
                committed.map(|()| answer)
            }
            Found::Failed => {
                self.run(&savepoint::rollback(mark.depth))?;
                Err(Error::RolledBack)
            }
            Found::Over(by) => {
                let over = self.is_over_already("commit", mark, by);
                over.map(|()| Vec::new())
            }
        }
    }

    /// As [`commit`](Self::commit), and finds out how far the server had written by then. The
    /// position costs no round trip, except where the wire is not observed, or a savepoint is
    /// released.
    pub(crate) fn commit_with_token(&mut self, mark: Mark) -> Result<Token, Error> {
        let answer = self.commit_asking(mark, Some(token::ASK))?;
        match Token::of(&answer) {
            Some(token) => Ok(token),
            None => Ok(self.ask_token()),
        }
    }

    /// Asks how far the server has written. What was committed stays so if that fails.
    pub(crate) fn ask_token(&mut self) -> Token {
        let answer = self.ask(token::ASK);
        let token = answer.ok().and_then(|answer| Token::of(&answer));
        token.unwrap_or(Token::UNKNOWN)
    }

    /// Asks whether the session's server has what `token` stands for, unless that is known.
    pub(crate) fn reaches(&mut self, token: Token) -> Result<Reach, Error> {
        match self.connected_to().reaches(token) {
            Reach::Behind => {
                let answer = self.ask(self.connected_to().position_question())?;
                self.connected_to().answered_position(&answer);
                Ok(self.connected_to().reaches(token))
            }
            known => Ok(known),
        }
    }

    fn ask(&mut self, question: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.make_ready()?;
        let answer = self.client_mut().simple_query(question);
        answer.map_err(|error| self.explain(error))
    }

    /// Rolls back the transaction, or rolls back to the savepoint, if it is still the one that was
    /// begun.
    pub(crate) fn roll_back_to(&mut self, mark: Mark) -> Result<(), Error> {
        self.note_ended(mark.depth);
        self.has_begun &= mark.depth > 0;
        self.make_ready_to_roll_back()?;
        match self.look(mark)? {
            Found::Open | Found::Failed => {
                self.run(&savepoint::rollback(mark.depth))?;
                match self.ends() {
                    Some(ends) => mark.rolled_back(ends),
                    None => Ok(()),
                }
            }
            Found::Over(by) => self.is_over_already("rollback", mark, by),
        }
    }

    /// Rolls back a transaction that a statement has opened in its place, and returns the error.
    fn is_over_already(
        &mut self,
        action: &'static str,
        mark: Mark,
        by: Option<TransactionEnd>,
    ) -> Result<(), Error> {
        if mark.depth == 0 && self.idle_state()? != WireState::Idle {
            self.run("ROLLBACK")?;
        }
        Err(savepoint::ended(action, by))
    }

    pub(super) fn look(&mut self, mark: Mark) -> Result<Found, Error> {
        let state = self.idle_state()?;
        if state == WireState::Closed {
            // Fails with the driver's reason.
            self.run("")?;
        }
        match self.ends() {
            Some(ends) => Ok(mark.look(state, ends)),
            None => self.look_unwatched(state, mark),
        }
    }

    pub(super) fn ends(&self) -> Option<TransactionEnds> {
        let observer = self.observer.as_ref();
        observer.map(|observer| observer.transaction_ends())
    }

    /// As [`look`](Self::look), on a Unix socket: a transaction-local setting shows whether it is
    /// the same transaction.
    fn look_unwatched(&mut self, state: WireState, mark: Mark) -> Result<Found, Error> {
        match state {
            WireState::InTransaction => {}
            WireState::Failed => return Ok(Found::Failed),
            _ => return Ok(Found::Over(None)),
        }
        self.check_usable()?;
        let ask = format!("SELECT pg_catalog.current_setting('{OWN_MARK}', true)");
        let answer = self.client_mut().simple_query(&ask);
        let answer = answer.map_err(|error| self.explain(error))?;
        let same = answer.iter().any(|message| match message {
            postgres::SimpleQueryMessage::Row(row) => row.get(0) == Some(&mark.ends.to_string()),
            _ => false,
        });
        Ok(match same {
            true => Found::Open,
            false => Found::Over(None),
        })
    }

    /// Returns the mark of a transaction that was begun by an SQL text.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] if none is open.
    pub(crate) fn mark_open(&mut self, action: &'static str) -> Result<Mark, Error> {
        let state = self.idle_state()?;
        // In a test, the open transaction does not belong to the caller.
        if state == WireState::Idle || self.outermost() > 0 {
            return Err(Error::NoTransaction { action });
        }
        if self.observer.is_none() && state == WireState::InTransaction {
            self.unwatched += 1;
            self.run(&format!("SET LOCAL {OWN_MARK} = '{}'", self.unwatched))?;
        }
        Ok(self.mark(0))
    }
}
