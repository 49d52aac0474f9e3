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
    pub(crate) fn commit_with_ticket(&mut self, mark: Mark) -> Result<Option<Lost>, Error> {
        // A transaction that is not open is not committed, so there is nothing to confirm.
        let ticket = match self.look(mark)? {
            Found::Open => match self.ask_ticket() {
                Ok(ticket) => ticket,
                Err(error) => {
                    // It was not committed, and must not stay open.
                    let _ = self.roll_back_to(mark);
                    return Err(error);
                }
            },
            _ => Err(String::new()),
        };
        match self.commit(mark) {
            Ok(()) => Ok(None),
            Err(Error::CommitUnknown(lost)) => Ok(Some((ticket, lost))),
            Err(error) => Err(error),
        }
    }

    fn ask_ticket(&mut self) -> Result<Result<Ticket, String>, Error> {
        let error = match self.client_mut().simple_query(ASK) {
            Ok(answer) => {
                let ticket = Ticket::of(&answer);
                return Ok(ticket.ok_or_else(|| "the server gave no ticket".to_owned()));
            }
            Err(error) => self.explain(error),
        };
        match may_go_on(&error) {
            Some(why) => self.run(UNDO).map(|()| Err(why)),
            None => Err(error),
        }
    }

    /// Asks what became of a transaction of another session.
    pub(crate) fn ask_outcome(
        &mut self,
        confirmation: &Confirmation,
    ) -> Result<Option<Answer>, Error> {
        let error = match self.ask_within(confirmation, &confirmation.question()) {
            Err(error) => error,
            answer => return answer,
        };
        match confirmation.question_after(&error) {
            Some(question) => self.ask_within(confirmation, &question),
            None => Err(error),
        }
    }

    fn ask_within(
        &mut self,
        confirmation: &Confirmation,
        question: &str,
    ) -> Result<Option<Answer>, Error> {
        self.make_ready()?;
        let limit = confirmation.deadline().remaining(Instant::now());
        let ask = |session: &mut Self| session.client_mut().simple_query(question);
        match self.within(limit, ask) {
            Ok(answer) => Ok(Answer::of(&answer)),
            Err(_) if self.is_silent() => Err(self.unanswered(limit)),
            Err(error) => Err(self.explain(error)),
        }
    }
}
