//! Statements sent unnamed, for `statement_cache: 0`.

use std::sync::Arc;

use pgmonkey_connect::Error;
use pgmonkey_connect::parameter_types::{
    Bracket, NAMES_TRIED, TypedParameter, check_count, is_name_taken, typed,
};
use pgmonkey_connect::stale_statements::{self, Blame, blame};
use pgmonkey_connect::wire::WireState;
use tokio_postgres::types::Type;

use crate::session::Session;
use crate::session::answer::{Answer, Params};
use crate::session::prepared::Exclusivity;

impl Session {
    /// Runs one statement without preparing it. A pooler in transaction mode supports this, because
    /// everything is in one request.
    pub(crate) async fn run_unnamed<A: Answer>(
        &self,
        text: &str,
        params: Params<'_>,
        exclusivity: Exclusivity,
    ) -> Result<A::Output, Error> {
        if params.is_empty() {
            let sending = self.sending();
            let done = self.send_unnamed::<A>(text, &[]).await;
            return done
                .map_err(|error| self.explain_statement(error, A::TAKES, (sending, Some(text))));
        }
        let known = self.prepared().types.get(text);
        let remembered = known.is_some();
        let types = match known {
            Some(types) => types,
            None => self.learn_types(text, exclusivity).await?,
        };
        check_count(params.len(), &types)?;
        let sending = self.sending();
        match self.send_unnamed::<A>(text, &typed(params, &types)).await {
            Ok(output) => Ok(output),
            Err(error) => {
                let forgotten =
                    blame(&error) != Blame::Nothing && self.prepared().types.forget(text);
                if forgotten {
                    self.client().clear_type_cache();
                }
                let seen = self.observer().last_failure();
                let helps =
                    forgotten && remembered && stale_statements::has_not_run(&error, seen.as_ref());
                // Asking for the types takes a transaction.
                if !helps || exclusivity == Exclusivity::Shared || !self.runs_again().await {
                    return Err(self.explain_statement(error, A::TAKES, (sending, Some(text))));
                }
                let types = self.learn_types(text, exclusivity).await?;
                let sending = self.sending();
                let done = self.send_unnamed::<A>(text, &typed(params, &types)).await;
                done.map_err(|error| self.explain_statement(error, A::TAKES, (sending, Some(text))))
            }
        }
    }

    async fn send_unnamed<A: Answer>(
        &self,
        text: &str,
        params: &[TypedParameter<'_>],
    ) -> Result<A::Output, tokio_postgres::Error> {
        let text = self.label().text_to_send(text);
        A::run_typed(self.client(), &text, params).await
    }

    /// Returns the types of a text's parameters.
    pub(crate) async fn types_of(
        &self,
        text: &str,
        exclusivity: Exclusivity,
    ) -> Result<Arc<[Type]>, Error> {
        match self.prepared().types.get(text) {
            Some(types) => Ok(types),
            None => self.learn_types(text, exclusivity).await,
        }
    }

    /// Asks the server for the types of a text's parameters. The transaction keeps a pooler on one
    /// server until the statement prepared for this is closed.
    async fn learn_types(
        &self,
        text: &str,
        exclusivity: Exclusivity,
    ) -> Result<Arc<[Type]>, Error> {
        let bracket = self.bracket(exclusivity).await?;
        for tried in 1.. {
            if let Some(opening) = bracket.opening() {
                self.run(opening).await?;
            }
            let prepared = self.client().prepare(text).await;
            let learnt = prepared.map(|statement| self.prepared().types.learn(text, &statement));
            if let Some(closing) = bracket.closing(learnt.as_ref().err()) {
                self.run(closing).await?;
            }
            match learnt {
                Err(error) if is_name_taken(&error) && tried < NAMES_TRIED => {}
                learnt => return learnt.map_err(|error| self.explain_prepare(error)),
            }
        }
        unreachable!("the last name is not tried again")
    }

    async fn bracket(&self, exclusivity: Exclusivity) -> Result<Bracket, Error> {
        if exclusivity == Exclusivity::Shared || !self.prepared().has_transactions {
            return Ok(Bracket::Nothing);
        }
        Ok(match self.idle_state().await? {
            WireState::Idle => Bracket::Transaction,
            _ => Bracket::Savepoint,
        })
    }
}
