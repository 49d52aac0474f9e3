//! Transactions and savepoints of one session; each is ended only if it is still open.

use pgmonkey_connect::Error;
use pgmonkey_connect::savepoint::{self, Found, Mark};
use pgmonkey_connect::standbys::Reach;
use pgmonkey_connect::token::{self, Token};
use pgmonkey_connect::wire::{TransactionEnd, Unbegun, WireState};
use tokio_postgres::SimpleQueryMessage;

use super::Session;

impl Session {
    /// Begins a transaction at depth 0, a savepoint at greater depths.
    pub(crate) async fn begin(&self, depth: u32) -> Result<Mark, Error> {
        self.begin_with(depth, &savepoint::begin(depth)).await
    }

    /// As [`begin`](Self::begin), with this text.
    pub(crate) async fn begin_with(&self, depth: u32, text: &str) -> Result<Mark, Error> {
        let text = self.connected_to().begin_text(depth, text);
        if depth > 0 || !self.defer_begin(&text).await? {
            self.run(&text).await?;
        }
        self.note_begun(depth);
        Ok(self.mark(depth))
    }

    pub(crate) fn mark(&self, depth: u32) -> Mark {
        let ends = self.observer.transaction_ends().count;
        Mark { depth, ends }
    }

    /// Commits the transaction or releases the savepoint, if it is still the one that was begun.
    ///
    /// # Errors
    ///
    /// [`Error::CommitUnknown`] if the session was lost between `COMMIT` and its answer.
    pub(crate) async fn commit(&self, mark: Mark) -> Result<(), Error> {
        self.commit_asking(mark, None).await.map(drop)
    }

    /// As [`commit`](Self::commit); a question is sent in the same message and answered behind it, if
    /// `COMMIT` is sent at all.
    async fn commit_asking(
        &self,
        mark: Mark,
        question: Option<&str>,
    ) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.note_ended(mark.depth);
        match self.cancel_begin(mark).await {
            Some(Unbegun::Unsent) => return Ok(Vec::new()),
            Some(Unbegun::Failed) => return Err(Error::RolledBack),
            None => {}
        }
        match self.look(mark).await? {
            Found::Open => {
                // If the server has ended the session, let that be seen before anything is sent.
                tokio::task::yield_now().await;
                let sending = self.sending();
                let commit = savepoint::commit(mark.depth);
                let (done, answer) = match question.filter(|_| mark.depth == 0) {
                    None => (self.run(&commit).await, Vec::new()),
                    Some(question) => match self.ask(&format!("{commit}; {question}")).await {
                        Ok(answer) => (Ok(()), answer),
                        Err(error) => (Err(error), Vec::new()),
                    },
                };
                let committed = sending.committed(mark, done, Some(&self.observer));
                committed.map(|()| answer)
            }
            Found::Failed => {
                self.run(&savepoint::rollback(mark.depth)).await?;
                Err(Error::RolledBack)
            }
            Found::Over(by) => {
                let over = self.is_over_already("commit", mark, by);
                over.await.map(|()| Vec::new())
            }
        }
    }

    /// As [`commit`](Self::commit), and finds out how far the server had written by then. The
    /// position costs no round trip, except where nothing was sent, or a savepoint is released.
    pub(crate) async fn commit_with_token(&self, mark: Mark) -> Result<Token, Error> {
        let answer = self.commit_asking(mark, Some(token::ASK)).await?;
        match Token::of(&answer) {
            Some(token) => Ok(token),
            None => Ok(self.ask_token().await),
        }
    }

    /// Asks how far the server has written. What was committed stays so if that fails.
    pub(crate) async fn ask_token(&self) -> Token {
        let answer = self.ask(token::ASK).await;
        let token = answer.ok().and_then(|answer| Token::of(&answer));
        token.unwrap_or(Token::UNKNOWN)
    }

    /// Asks whether the session's server has what `token` stands for, unless that is known.
    pub(crate) async fn reaches(&self, token: Token) -> Result<Reach, Error> {
        let connected_to = self.connected_to();
        match connected_to.reaches(token) {
            Reach::Behind => {
                let answer = self.ask(connected_to.position_question()).await?;
                connected_to.answered_position(&answer);
                Ok(connected_to.reaches(token))
            }
            known => Ok(known),
        }
    }

    async fn ask(&self, question: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.make_ready().await?;
        let answer = self.client().simple_query(question).await;
        answer.map_err(|error| self.explain(error))
    }

    /// Rolls back the transaction, or rolls back to the savepoint, if it is still the one that was
    /// begun.
    pub(crate) async fn roll_back_to(&self, mark: Mark) -> Result<(), Error> {
        self.note_ended(mark.depth);
        if self.cancel_begin(mark).await.is_some() {
            return Ok(());
        }
        self.make_ready_to_roll_back().await?;
        match self.look(mark).await? {
            Found::Open | Found::Failed => {
                self.run(&savepoint::rollback(mark.depth)).await?;
                mark.rolled_back(self.observer.transaction_ends())
            }
            Found::Over(by) => self.is_over_already("rollback", mark, by).await,
        }
    }

    /// Rolls back a transaction that a statement has opened in its place, and returns the error.
    async fn is_over_already(
        &self,
        action: &'static str,
        mark: Mark,
        by: Option<TransactionEnd>,
    ) -> Result<(), Error> {
        if mark.depth == 0 && self.idle_state().await? != WireState::Idle {
            self.run("ROLLBACK").await?;
        }
        Err(savepoint::ended(action, by))
    }

    pub(super) async fn look(&self, mark: Mark) -> Result<Found, Error> {
        let state = self.idle_state().await?;
        if state == WireState::Closed {
            // Fails with the driver's reason.
            self.run("").await?;
        }
        Ok(mark.look(state, self.observer.transaction_ends()))
    }

    /// Returns the mark of a transaction that was begun by an SQL text.
    ///
    /// # Errors
    ///
    /// [`Error::NoTransaction`] if none is open.
    pub(crate) async fn mark_open(&self, action: &'static str) -> Result<Mark, Error> {
        match self.idle_state().await? {
            WireState::Idle => Err(Error::NoTransaction { action }),
            // In a test, the open transaction does not belong to the caller.
            _ if self.outermost() > 0 => Err(Error::NoTransaction { action }),
            _ => Ok(self.mark(0)),
        }
    }
}
