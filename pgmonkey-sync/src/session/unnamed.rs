//! Statements sent unnamed, for `statement_cache: 0`.

use std::sync::Arc;

use pgmonkey_connect::Error;
use pgmonkey_connect::parameter_types::{
    Bracket, NAMES_TRIED, TypedParameter, check_count, is_name_taken, typed,
};
use pgmonkey_connect::stale_statements::{self, Blame, blame};
use pgmonkey_connect::wire::WireState;
use postgres::types::Type;

use crate::session::Session;
use crate::session::answer::{Answer, Params};

impl Session {
    /// Runs one statement without preparing it. A pooler in transaction mode supports this, because
    /// everything is in one request.
    pub(super) fn run_unnamed<A: Answer>(
        &mut self,
        text: &str,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        if params.is_empty() {
            let sending = self.sending();
            let done = self.send_unnamed::<A>(text, &[]);
            return done
                .map_err(|error| self.explain_statement(error, A::TAKES, (sending, Some(text))));
        }
        let known = self.prepared_mut().types.get(text);
        let remembered = known.is_some();
        let types = match known {
            Some(types) => types,
            None => self.learn_types(text)?,
        };
        check_count(params.len(), &types)?;
        let sending = self.sending();
        match self.send_unnamed::<A>(text, &typed(params, &types)) {
            Ok(output) => Ok(output),
            Err(error) => {
                let forgotten =
                    blame(&error) != Blame::Nothing && self.prepared_mut().types.forget(text);
                if forgotten {
                    self.client().clear_type_cache();
                }
                let seen = self.last_failure();
                let helps =
                    forgotten && remembered && stale_statements::has_not_run(&error, seen.as_ref());
                if !helps || !self.runs_again() {
                    return Err(self.explain_statement(error, A::TAKES, (sending, Some(text))));
                }
                let types = self.learn_types(text)?;
                let sending = self.sending();
                let done = self.send_unnamed::<A>(text, &typed(params, &types));
                done.map_err(|error| self.explain_statement(error, A::TAKES, (sending, Some(text))))
            }
        }
    }

    fn send_unnamed<A: Answer>(
        &mut self,
        text: &str,
        params: &[TypedParameter<'_>],
    ) -> Result<A::Output, postgres::Error> {
        let text = self.label().text_to_send(text);
        A::run_typed(self.client_mut(), &text, params)
    }

    /// Returns the types of a text's parameters.
    pub(crate) fn types_of(&mut self, text: &str) -> Result<Arc<[Type]>, Error> {
        match self.prepared_mut().types.get(text) {
            Some(types) => Ok(types),
            None => self.learn_types(text),
        }
    }

    /// Asks the server for the types of a text's parameters. The transaction keeps a pooler on one
    /// server until the statement prepared for this is closed.
    fn learn_types(&mut self, text: &str) -> Result<Arc<[Type]>, Error> {
        let bracket = self.bracket()?;
        for tried in 1.. {
            if let Some(opening) = bracket.opening() {
                self.run(opening)?;
            }
            let prepared = self.client_mut().prepare(text);
            let learnt =
                prepared.map(|statement| self.prepared_mut().types.learn(text, &statement));
            if let Some(closing) = bracket.closing(learnt.as_ref().err()) {
                self.run(closing)?;
            }
            match learnt {
                Err(error) if is_name_taken(&error) && tried < NAMES_TRIED => {}
                learnt => return learnt.map_err(|error| self.explain_prepare(error)),
            }
        }
        unreachable!("the last name is not tried again")
    }

    fn bracket(&mut self) -> Result<Bracket, Error> {
        if !self.prepared_mut().has_transactions {
            return Ok(Bracket::Nothing);
        }
        Ok(match self.idle_state()? {
            WireState::Idle => Bracket::Transaction,
            _ => Bracket::Savepoint,
        })
    }
}
