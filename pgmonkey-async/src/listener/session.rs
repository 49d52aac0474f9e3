//! The session of a listener: opened, read and pinged.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pgmonkey_connect::{ConnectTarget, Error, events};
use tokio::runtime::{self, Handle};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, Notification};
use tracing::Instrument;

use crate::options::HandleOptions;
use crate::runtimes;
use crate::session::connect::{ConnectOptions, connect};

/// A subscribed session.
pub(super) struct Live {
    pub(super) client: Arc<Client>,
    pub(super) inbox: UnboundedReceiver<Result<Notification, tokio_postgres::Error>>,
    /// Completes when the server does not answer.
    pub(super) watch: Option<Begun<()>>,
}

/// Work that is continued by later calls. It uses the clock of the runtime it began in, so a caller
/// in another runtime begins again.
pub(super) struct Begun<T> {
    runtime: runtime::Id,
    pub(super) work: Pin<Box<dyn Future<Output = T> + Send>>,
}

impl<T> Begun<T> {
    pub(super) fn here(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            runtime: Handle::current().id(),
            work: Box::pin(work),
        }
    }

    pub(super) fn is_here(&self) -> bool {
        self.runtime == Handle::current().id()
    }
}

/// Opens a session that outlives the runtime that requests it.
pub(super) async fn open(
    connect_target: Arc<ConnectTarget>,
    options: HandleOptions,
    subscribe: String,
) -> Result<Live, Error> {
    let (sender, inbox) = unbounded_channel();
    let opened = runtimes::opening(async move {
        let options = ConnectOptions {
            provider: options.provider.as_ref(),
            hooks: options.hooks.as_ref(),
            inbox: Some(&sender),
            subscribe: &subscribe,
        };
        let span = events::connect(connect_target.name());
        connect(&connect_target, options).instrument(span).await
    });
    Ok(Live {
        client: Arc::new(opened.await?.client),
        inbox,
        watch: None,
    })
}

impl Live {
    /// Returns the next notification or, after the last one, why no more will arrive.
    pub(super) async fn next(
        &mut self,
        ping_every: Option<Duration>,
    ) -> Result<Notification, String> {
        self.watch = match (self.watch.take(), ping_every) {
            (Some(begun), _) if begun.is_here() => Some(begun),
            (_, Some(interval)) => Some(Begun::here(watch(Arc::clone(&self.client), interval))),
            (_, None) => None,
        };
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Notification, String>> {
        if let Poll::Ready(item) = self.inbox.poll_recv(cx) {
            return Poll::Ready(match item {
                Some(item) => item.map_err(|error| Error::from(error).to_string()),
                None => Err("the session has ended".to_owned()),
            });
        }
        match &mut self.watch {
            Some(watch) => watch
                .work
                .as_mut()
                .poll(cx)
                .map(|()| Err("the server does not answer".to_owned())),
            None => Poll::Pending,
        }
    }
}

/// Pings the server until it does not answer.
async fn watch(client: Arc<Client>, interval: Duration) {
    loop {
        sleep(interval).await;
        if !matches!(
            timeout(interval, client.batch_execute("")).await,
            Ok(Ok(()))
        ) {
            return;
        }
    }
}
