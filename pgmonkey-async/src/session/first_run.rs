//! The first run of a text in a session, if another session of the pool knows it.

use std::sync::Arc;

use pgmonkey_connect::Error;
use pgmonkey_connect::parameter_types::typed;
use pgmonkey_connect::sql::{self, Effects};
use pgmonkey_connect::stale_statements;
use tokio_postgres::types::Type;

use super::Session;
use super::answer::{Answer, Params};

impl Session {
    /// The types of a text's parameters, if another session has prepared it in the state in which
    /// this one is: with other settings, names could have another meaning.
    pub(super) fn types_known(&self, text: &str, params: Params<'_>) -> Option<Arc<[Type]>> {
        let known = self.prepared().types.get(text)?;
        let fits = known.len() == params.len();
        // A server that waits for a copy's data ends the session if another request comes.
        let can_be_followed = !sql::takes_data(text);
        (fits && can_be_followed && self.is_known_as_opened()).then_some(known)
    }

    /// Whether nothing was changed in the session that gives names another meaning.
    pub(super) fn is_known_as_opened(&self) -> bool {
        self.observer.left_behind() == Effects::NONE
    }

    /// Runs a text unnamed, and prepares it for the next time, in one round trip.
    pub(super) async fn run_first<A: Answer>(
        &self,
        text: &str,
        params: Params<'_>,
        types: &[Type],
    ) -> Result<A::Output, Error> {
        let values = typed(params, types);
        let sending = self.sending();
        let run = A::run_typed(self.client(), text, &values);
        // Queued in this order when they are first polled, and so sent together.
        let (done, prepared) = tokio::join!(run, self.prepare(text, &[]));
        let error = match (done, &prepared) {
            (Ok(output), _) => return Ok(output),
            (Err(error), Ok(statement)) if statement.params() != types => error,
            (Err(error), _) => {
                // It may no longer be what the other session has prepared.
                self.prepared().types.forget(text);
                return Err(self.explain_statement(error, A::TAKES, (sending, Some(text))));
            }
        };
        // The schema has changed since.
        let seen = self.observer.last_failure();
        let helps = stale_statements::has_not_run(&error, seen.as_ref());
        match prepared {
            Ok(statement) if helps && self.runs_again().await => {
                let sending = self.sending();
                let done = A::run(self.client(), &statement, params).await;
                done.map_err(|error| {
                    self.forget_if_to_blame(&error, &statement);
                    self.explain_statement(error, A::TAKES, (sending, Some(text)))
                })
            }
            _ => Err(self.explain_statement(error, A::TAKES, (sending, Some(text)))),
        }
    }
}
