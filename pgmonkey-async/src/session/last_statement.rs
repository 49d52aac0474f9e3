//! The last statement of a transaction, sent together with its `COMMIT`.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use pgmonkey_connect::outcome::Sending;
use pgmonkey_connect::parameter_types::{check_count, check_number, typed};
use pgmonkey_connect::savepoint::{self, Found, Mark};
use pgmonkey_connect::{AsStatement, Error, StatementRef};
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use super::Session;
use super::answer::{Answer, Params};
use super::confirmation::Lost;
use super::prepared::Exclusivity;

/// A statement that can be sent at once.
enum Ready<'a> {
    Prepared(Statement),
    Unnamed {
        text: &'a str,
        types: Arc<[Type]>,
        /// Whether it is prepared behind it, for the next time.
        prepares: bool,
    },
}

/// The outcome of a statement, and of what was sent behind it.
type Sent<A, T> = (
    Result<<A as Answer>::Output, tokio_postgres::Error>,
    Sending,
    T,
);

impl Session {
    /// Runs the last statement of a transaction or savepoint and commits, in one round trip. If the
    /// statement fails, so does the `COMMIT`: the server rolls back instead.
    pub(crate) async fn run_and_commit<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        mark: Mark,
        statement: &S,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let text = savepoint::commit(mark.depth);
        let commit = async {
            self.note_ended(mark.depth);
            self.run(&text).await
        };
        let sent = self.send_before::<A, S, _>(mark, statement, params, commit);
        let (done, sending, ended) = sent.await?;
        let ended = sending.committed(mark, ended, Some(&self.observer));
        match done {
            Ok(output) => ended.map(|()| output),
            // The session was lost, and it is the answer to the `COMMIT` that matters.
            Err(error) if error.as_db_error().is_none() => {
                ended.and_then(|()| Err(self.explain_answer(error, A::TAKES)))
            }
            Err(error) => Err(self.explain_answer(error, A::TAKES)),
        }
    }

    /// Runs the last statement and asks which transaction it is, in one round trip, then commits.
    /// Returns also what is needed to find out the outcome, if the answer was lost.
    pub(crate) async fn run_and_commit_with_ticket<A: Answer, S: ?Sized + Sync + AsStatement>(
        &self,
        mark: Mark,
        statement: &S,
        params: Params<'_>,
    ) -> Result<(A::Output, Option<Lost>), Error> {
        let ask = self.ask_ticket();
        let sent = self.send_before::<A, S, _>(mark, statement, params, ask);
        let (done, _, ticket) = sent.await?;
        let output = done.map_err(|error| self.explain_answer(error, A::TAKES))?;
        let lost = self.commit_known(mark, ticket?).await?;
        Ok((output, lost))
    }

    /// Sends a statement, and `behind` behind it. Fails if the statement could not be sent; then
    /// neither is `behind`.
    async fn send_before<A: Answer, S: ?Sized + Sync + AsStatement, T>(
        &self,
        mark: Mark,
        statement: &S,
        params: Params<'_>,
        behind: impl Future<Output = T>,
    ) -> Result<Sent<A, T>, Error> {
        self.make_ready().await?;
        check_number(params.len())?;
        if let StatementRef::Text(text) = statement.as_statement() {
            // The server would wait for data, and get the `COMMIT`.
            A::TAKES.check(text)?;
        }
        if self.look(mark).await? != Found::Open {
            let ended = self.commit(mark).await;
            return Err(ended.err().unwrap_or(Error::RolledBack));
        }
        match self.ready_to_send(statement, params).await? {
            Ready::Prepared(statement) => {
                check_count(params.len(), statement.params())?;
                let run = A::run(self.client(), &statement, params);
                let sent = self.send(run, async {}, behind).await?;
                if let (Err(error), ..) = &sent {
                    self.forget_if_to_blame(error, &statement);
                }
                Ok(sent)
            }
            Ready::Unnamed {
                text,
                types,
                prepares,
            } => {
                check_count(params.len(), &types)?;
                let params = typed(params, &types);
                let sent = match prepares {
                    true => Cow::Borrowed(text),
                    false => self.label().text_to_send(text),
                };
                let run = A::run_typed(self.client(), &sent, &params);
                let prepare = async {
                    if prepares {
                        // The statement may have failed, and the transaction with it.
                        let _ = self.prepare(text, &[]).await;
                    }
                };
                let sent = self.send(run, prepare, behind).await?;
                if sent.0.is_err() {
                    self.prepared().types.forget(text);
                }
                Ok(sent)
            }
        }
    }

    /// Undoes the settings of a transaction that was kept, if the server does not.
    pub(crate) async fn run_undo(&self, undo: Option<&str>) -> Result<(), Error> {
        match undo {
            Some(text) => self.run(text).await,
            None => Ok(()),
        }
    }

    /// Prepares the statement, if it must be and is not.
    async fn ready_to_send<'a, S: ?Sized + Sync + AsStatement>(
        &self,
        statement: &'a S,
        params: Params<'_>,
    ) -> Result<Ready<'a>, Error> {
        let text = match statement.as_statement() {
            StatementRef::Prepared(statement) => return Ok(Ready::Prepared(statement.clone())),
            StatementRef::Text(text) => text,
        };
        let unnamed = |types, prepares| Ready::Unnamed {
            text,
            types,
            prepares,
        };
        if self.prepared().is_off() {
            return Ok(match params {
                [] => unnamed(Arc::default(), false),
                _ => unnamed(self.types_of(text, Exclusivity::Alone).await?, false),
            });
        }
        if let Some(statement) = self.find_prepared(text, &[]) {
            return Ok(Ready::Prepared(statement));
        }
        match self.types_known(text, params) {
            Some(types) => Ok(unnamed(types, true)),
            None => self.prepare(text, &[]).await.map(Ready::Prepared),
        }
    }

    async fn send<R, T>(
        &self,
        run: impl Future<Output = Result<R, tokio_postgres::Error>>,
        beside: impl Future<Output = ()>,
        behind: impl Future<Output = T>,
    ) -> Result<(Result<R, tokio_postgres::Error>, Sending, T), Error> {
        let mut run = pin!(run);
        // If the server has ended the session, let that be seen before anything is sent.
        tokio::task::yield_now().await;
        let sending = self.sending();
        // The driver refuses some values before it sends anything.
        let sent = poll_fn(|cx| Poll::Ready(run.as_mut().poll(cx))).await;
        let done = match sent {
            Poll::Ready(Err(error)) => return Err(self.explain(error)),
            Poll::Ready(Ok(output)) => Some(output),
            Poll::Pending => None,
        };
        let run = async {
            match done {
                Some(output) => Ok(output),
                None => run.await,
            }
        };
        // Queued in this order when they are first polled, and so sent together.
        let (done, (), behind) = tokio::join!(run, beside, behind);
        Ok((done, sending, behind))
    }
}
