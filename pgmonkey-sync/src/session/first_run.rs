//! The first run of a text in a session, if another session of the pool knows it.

use std::sync::Arc;

use pgmonkey_connect::Error;
use pgmonkey_connect::parameter_types::typed;
use pgmonkey_connect::sql::Effects;
use pgmonkey_connect::stale_statements;
use postgres::types::Type;

use super::Session;
use super::answer::{Answer, Params};

impl Session {
    /// The types of a text's parameters, if another session has prepared it in the state in which
    /// this one is: with other settings, names could have another meaning. `None` from the second
    /// call for a text on.
    pub(super) fn types_known(&mut self, text: &str, params: Params<'_>) -> Option<Arc<[Type]>> {
        let known = self.prepared_mut().types.get(text)?;
        let fits = known.len() == params.len();
        if !fits || !self.is_known_as_opened() {
            return None;
        }
        let ran_once = &mut self.prepared_mut().ran_once;
        if ran_once.remove(text, &[]).is_some() {
            return None;
        }
        let _ = ran_once.insert(text, &[], ());
        Some(known)
    }

    /// Whether nothing was changed in the session that gives names another meaning; `false` if the
    /// wire is not observed.
    pub(super) fn is_known_as_opened(&self) -> bool {
        let observer = self.observer();
        observer.is_some_and(|observer| observer.left_behind() == Effects::NONE)
    }

    /// Runs a text unnamed, in one round trip. This driver cannot prepare it in the same one, so the
    /// next run does.
    pub(super) fn run_first<A: Answer>(
        &mut self,
        text: &str,
        params: Params<'_>,
        types: &[Type],
    ) -> Result<A::Output, Error> {
        let sending = self.sending();
        let error = match A::run_typed(self.client_mut(), text, &typed(params, types)) {
            Ok(output) => return Ok(output),
            Err(error) => error,
        };
        // It may no longer be what the other session has prepared.
        self.prepared_mut().types.forget(text);
        let seen = self.last_failure();
        let helps = stale_statements::has_not_run(&error, seen.as_ref());
        if !helps || !self.runs_again() {
            return Err(self.explain_statement(error, A::TAKES, (sending, Some(text))));
        }
        let statement = self.prepare(text, &[])?;
        if statement.params() == types {
            return Err(self.explain_statement(error, A::TAKES, (sending, Some(text))));
        }
        // The schema has changed since.
        let sending = self.sending();
        let done = A::run(self.client_mut(), &statement, params);
        done.map_err(|error| {
            self.forget_if_to_blame(&error, &statement);
            self.explain_statement(error, A::TAKES, (sending, Some(text)))
        })
    }
}
