//! mobc, which opens at most `num_workers` sessions in parallel. The only file that knows mobc.
//!
//! A session leaves mobc as soon as it is open. The pool's state decides which sessions are idle,
//! which callers wait and which sessions are closed, because mobc's sizes cannot be changed, its
//! queue cannot be closed, and its lifetimes act only at checkout.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use async_trait::async_trait;
use metrics::{NoopRecorder, with_local_recorder};
use pgmonkey_connect::pool::Label;
use pgmonkey_connect::{ConnectTarget, Error, events};
use tracing::Instrument;

use crate::runtimes::Task;
use crate::session::connect::Provider;
use crate::session::connect::{ConnectOptions, Connected, connect};
use crate::session::hooks::Hooks;

/// Opens sessions.
pub(crate) struct Engine {
    pool: mobc::Pool<Manager>,
    what: &'static str,
}

/// What is needed to open sessions.
pub(crate) struct SessionFactory {
    pub(crate) connect_target: ConnectTarget,
    pub(crate) provider: Option<Provider>,
    pub(crate) hooks: Option<Hooks>,
    pub(crate) label: Arc<Label>,
}

impl Engine {
    /// Opens nothing yet.
    pub(crate) fn new(what: &'static str, factory: Arc<SessionFactory>, num_workers: u32) -> Self {
        let builder = mobc::Pool::builder()
            // Twice as many: sessions being opened in a runtime that was the only one at the time,
            // and that may be busy for long, must not block others.
            .max_open(2 * u64::from(num_workers.max(1)))
            .max_idle(0)
            .get_timeout(None)
            .health_check_interval(None)
            .test_on_check_out(false);
        let pool = quietly(|| builder.build(Manager(factory)));
        Self { pool, what }
    }

    /// Opens a session.
    ///
    /// # Errors
    ///
    /// The errors of connecting; [`Error::Panicked`].
    pub(crate) async fn open(&self) -> Result<Connected, Error> {
        let mut get = Quiet(Some(Box::pin(self.pool.get())));
        match poll_fn(|cx| get.poll(cx)).await {
            Ok(opened) => Ok(quietly(|| opened.into_inner())),
            Err(mobc::Error::Inner(error)) => Err(error),
            Err(_) => Err(Error::Closed { what: self.what }),
        }
    }
}

/// Runs a part of mobc without the metrics that it records: they would count openings as sessions,
/// under names that are not ours.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    with_local_recorder(&NoopRecorder, work)
}

/// A future of mobc, polled and dropped without its metrics.
struct Quiet<F>(Option<Pin<Box<F>>>);

impl<F: Future> Quiet<F> {
    fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<F::Output> {
        match &mut self.0 {
            Some(future) => quietly(|| future.as_mut().poll(cx)),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Quiet<F> {
    fn drop(&mut self) {
        let future = self.0.take();
        quietly(|| drop(future));
    }
}

/// Opens sessions on behalf of mobc.
struct Manager(Arc<SessionFactory>);

#[async_trait]
impl mobc::Manager for Manager {
    type Connection = Connected;
    type Error = Error;

    /// Runs in a task of its own, so that the code in it has the program's recorder.
    async fn connect(&self) -> Result<Connected, Error> {
        let factory = Arc::clone(&self.0);
        Task::here(async move { factory.open().await })
            .outcome()
            .await
    }

    /// Never called, because nothing is returned to mobc.
    async fn check(&self, opened: Connected) -> Result<Connected, Error> {
        Ok(opened)
    }
}

impl SessionFactory {
    /// Opens a session, in the current task.
    pub(crate) async fn open(&self) -> Result<Connected, Error> {
        let began = Instant::now();
        let options = ConnectOptions {
            provider: self.provider.as_ref(),
            hooks: self.hooks.as_ref(),
            ..ConnectOptions::default()
        };
        let opened = connect(&self.connect_target, options)
            .instrument(events::connect(self.label.name()))
            .await?;
        self.label.connected(began);
        Ok(opened)
    }
}
