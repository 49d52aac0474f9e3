//! The questions of a transaction whose commit is to be confirmed.

use std::sync::Arc;
use std::time::Instant;

use pgmonkey_connect::savepoint::{Found, Mark};
use pgmonkey_connect::transaction::confirmation::{
    ASK, Answer, Confirmation, Ticket, UNDO, may_go_on,
};
use pgmonkey_connect::{Error, LostAnswer};

use super::Session;

/// A `COMMIT` that was sent and not answered, and what identifies its transaction, or why nothing
/// does.
pub(crate) type Lost = (Result<Ticket, String>, Arc<LostAnswer>);

impl Session {
    /// Commits as [`commit`](Self::commit) does, after one round trip that asks which transaction it
    /// is. Returns what is needed to find out the outcome, if the answer was lost.
    pub(crate) async fn commit_with_ticket(&self, mark: Mark) -> Result<Option<Lost>, Error> {
        // A transaction that is not open is not committed, so there is nothing to confirm.
        let ticket = match self.look(mark).await? {
            Found::Open => match self.ask_ticket().await {
                Ok(ticket) => ticket,
                Err(error) => {
                    // It was not committed, and must not stay open.
                    let _ = self.roll_back_to(mark).await;
                    return Err(error);
                }
            },
            _ => Err(String::new()),
        };
        self.commit_known(mark, ticket).await
    }

    /// Commits a transaction whose ticket was asked for.
    pub(super) async fn commit_known(
        &self,
        mark: Mark,
        ticket: Result<Ticket, String>,
    ) -> Result<Option<Lost>, Error> {
        match self.commit(mark).await {
            Ok(()) => Ok(None),
            Err(Error::CommitUnknown(lost)) => Ok(Some((ticket, lost))),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn ask_ticket(&self) -> Result<Result<Ticket, String>, Error> {
        let error = match self.client().simple_query(ASK).await {
            Ok(answer) => {
                let ticket = Ticket::of(&answer);
                return Ok(ticket.ok_or_else(|| "the server gave no ticket".to_owned()));
            }
            Err(error) => self.explain(error),
        };
        match may_go_on(&error) {
            Some(why) => self.run(UNDO).await.map(|()| Err(why)),
            None => Err(error),
        }
    }

    /// Asks what became of a transaction of another session.
    pub(crate) async fn ask_outcome(
        &self,
        confirmation: &Confirmation,
    ) -> Result<Option<Answer>, Error> {
        let error = match self
            .ask_within(confirmation, &confirmation.question())
            .await
        {
            Err(error) => error,
            answer => return answer,
        };
        match confirmation.question_after(&error) {
            Some(question) => self.ask_within(confirmation, &question).await,
            None => Err(error),
        }
    }

    async fn ask_within(
        &self,
        confirmation: &Confirmation,
        question: &str,
    ) -> Result<Option<Answer>, Error> {
        self.make_ready().await?;
        let limit = confirmation.deadline().remaining(Instant::now());
        let asked = self.within(limit, self.client().simple_query(question));
        match asked.await {
            Some(Ok(answer)) => Ok(Answer::of(&answer)),
            Some(Err(error)) => Err(self.explain(error)),
            None => Err(self.unanswered(limit)),
        }
    }
}
