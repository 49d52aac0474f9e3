//! A session that several callers use at the same time, and the texts they prepare on it.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Instant;

use pgmonkey_connect::Error;
use pgmonkey_connect::parameter_types::check_count;
use pgmonkey_connect::pool::Home;
use tokio::sync::{Notify, watch};
use tokio_postgres::Statement;

use crate::pool::acquire::InUse;
use crate::session::Session;
use crate::session::answer::{Answer, Params};
use crate::session::prepared::{Exclusivity, Failed};

/// A session shared by several callers.
pub(super) struct SharedSession {
    in_use: InUse,
    pub(super) callers: AtomicU32,
    /// Notified when the last caller has gone.
    pub(super) left: Notify,
    pub(super) since: Instant,
    /// Texts that are being prepared.
    preparing: Mutex<Vec<Preparing>>,
    pub(super) retired: AtomicBool,
    retiring: Arc<AtomicU32>,
}

struct Preparing {
    text: Box<str>,
    prepared: Outcome,
}

/// `None` until the outcome is known.
type Outcome = watch::Receiver<Option<Result<Statement, Error>>>;

impl SharedSession {
    /// With one caller.
    pub(super) fn new(in_use: InUse, retiring: &Arc<AtomicU32>) -> Self {
        Self {
            in_use,
            callers: AtomicU32::new(1),
            left: Notify::new(),
            since: Instant::now(),
            preparing: Mutex::default(),
            retired: AtomicBool::new(false),
            retiring: Arc::clone(retiring),
        }
    }

    pub(super) fn session(&self) -> &Session {
        &self.in_use
    }

    pub(super) fn serves(&self, home: Home) -> bool {
        self.session().home().serves(home)
    }

    /// Runs a text beside the statements of other callers.
    pub(super) async fn run<A: Answer>(
        self: &Arc<Self>,
        text: &str,
        params: Params<'_>,
    ) -> Result<A::Output, Error> {
        let session = self.session();
        if session.prepared().is_off() {
            return session
                .run_unnamed::<A>(text, params, Exclusivity::Shared)
                .await;
        }
        let found = session.find_prepared(text, &[]);
        let kept = found.is_some();
        let statement = match found {
            Some(statement) => statement,
            None => Box::pin(self.prepare_once(text)).await?,
        };
        check_count(params.len(), statement.params())?;
        let sending = session.sending();
        match A::run(session.client(), &statement, params).await {
            Ok(output) => Ok(output),
            Err(error) => {
                let failed = Failed {
                    error,
                    statement,
                    kept,
                    exclusivity: Exclusivity::Shared,
                    sending,
                };
                Box::pin(session.run_anew::<A>(text, params, failed)).await
            }
        }
    }

    /// Prepares a text once for all callers that want it at the same time.
    ///
    /// Runs in a task of its own, so that a caller that goes away or is not polled delays no other.
    async fn prepare_once(self: &Arc<Self>, text: &str) -> Result<Statement, Error> {
        let mut prepared = match self.begin_preparing(text) {
            Ok(statement) => return Ok(statement),
            Err(prepared) => prepared,
        };
        let outcome = match prepared.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        match outcome {
            Some(outcome) => outcome,
            // The runtime of the preparing task has ended.
            None => self.session().prepare(text, &[]).await,
        }
    }

    fn begin_preparing(self: &Arc<Self>, text: &str) -> Result<Statement, Outcome> {
        let mut preparing = self
            .preparing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = preparing.iter().find(|one| *one.text == *text) {
            return Err(one.prepared.clone());
        }
        // Another caller was faster: a statement is cached before it is removed from `preparing`.
        if let Some(kept) = self.session().prepared().cache().peek(text, &[]) {
            return Ok(kept.statement);
        }
        let (announce, prepared) = watch::channel(None);
        preparing.push(Preparing {
            text: text.into(),
            prepared: prepared.clone(),
        });
        drop(preparing);
        let (shared, text) = (Arc::clone(self), Box::<str>::from(text));
        self.session().runtime().spawn(async move {
            let outcome = shared
                .while_used(shared.session().prepare(&text, &[]))
                .await;
            shared.end_preparing(&text);
            let _ = announce.send(outcome);
        });
        Err(prepared)
    }

    /// Runs `work` for as long as there are callers. It keeps the session in use, so that a server
    /// that does not answer would keep it for ever.
    async fn while_used<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            let mut left = pin!(self.left.notified());
            left.as_mut().enable();
            if self.callers.load(Ordering::Acquire) == 0 {
                return None;
            }
            let done = poll_fn(|cx| match work.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending => left.as_mut().poll(cx).map(|()| None),
            });
            if let Some(done) = done.await {
                return Some(done);
            }
        }
    }

    fn end_preparing(&self, text: &str) {
        self.preparing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|one| *one.text != *text);
    }
}

impl Drop for SharedSession {
    fn drop(&mut self) {
        if *self.retired.get_mut() {
            self.retiring.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

const _: () = {
    const fn used_by_many<T: Send + Sync>() {}
    used_by_many::<SharedSession>();
};
