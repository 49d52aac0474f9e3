//! The session of a listener: opened, read and pinged.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pgmonkey_connect::failover::FailoverStep;
use pgmonkey_connect::listening::HOST_ASKED_EVERY;
use pgmonkey_connect::wire::Observer;
use pgmonkey_connect::{ConnectTarget, Error, events};
use tokio::runtime::{self, Handle};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, Notification};
use tracing::Instrument;

use crate::options::HandleOptions;
use crate::runtimes;
use crate::session::connect::{ConnectOptions, Provider, connect};
use crate::session::hosts;

/// A subscribed session.
pub(super) struct Live {
    pub(super) client: Arc<Client>,
    pub(super) inbox: UnboundedReceiver<Result<Notification, tokio_postgres::Error>>,
    /// Completes when the server does not answer.
    pub(super) watch: Option<Begun<()>>,
    /// `None` if no other host may take over.
    pub(super) hosts: Option<Hosts>,
    observer: Arc<Observer>,
}

/// What is needed to ask the hosts whether another one has taken over.
pub(super) struct Hosts {
    connect_target: Arc<ConnectTarget>,
    provider: Option<Provider>,
    /// Never completes: a session that is given up ends the inbox.
    watch: Option<Begun<()>>,
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
    let failover = connect_target.failover();
    let hosts = failover.is_some_and(|failover| failover.has_others());
    let hosts = hosts.then(|| Hosts {
        connect_target: Arc::clone(&connect_target),
        provider: options.provider.clone(),
        watch: None,
    });
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
    let opened = opened.await?;
    Ok(Live {
        observer: Arc::clone(opened.connected_to.observer()),
        client: Arc::new(opened.client),
        inbox,
        watch: None,
        hosts,
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
        if let Some(hosts) = &mut self.hosts {
            hosts.continue_here(&self.client);
        }
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Notification, String>> {
        if let Poll::Ready(item) = self.inbox.poll_recv(cx) {
            return Poll::Ready(match item {
                Some(item) => {
                    item.map_err(|error| Error::of_session(error, &*self.observer).to_string())
                }
                None => Err("the session has ended".to_owned()),
            });
        }
        let asks = self.hosts.as_mut().and_then(|hosts| hosts.watch.as_mut());
        if let Some(asks) = asks {
            let _ = asks.work.as_mut().poll(cx);
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

impl Hosts {
    /// Has the rounds run in this runtime.
    fn continue_here(&mut self, client: &Arc<Client>) {
        if self.watch.as_ref().is_none_or(|begun| !begun.is_here()) {
            let (target, provider) = (Arc::clone(&self.connect_target), self.provider.clone());
            let rounds = watch_hosts(Arc::clone(client), target, provider);
            self.watch = Some(Begun::here(rounds));
        }
    }
}

/// Pings the server for ever; while it does not answer, asks the hosts.
async fn watch_hosts(
    client: Arc<Client>,
    connect_target: Arc<ConnectTarget>,
    provider: Option<Provider>,
) {
    let Some(failover) = connect_target.failover() else {
        return std::future::pending().await;
    };
    loop {
        sleep(HOST_ASKED_EVERY).await;
        let mut ping = std::pin::pin!(client.batch_execute(""));
        loop {
            let pause = match failover.step(Instant::now()) {
                FailoverStep::Pause(pause) => pause,
                FailoverStep::End => return std::future::pending().await,
                FailoverStep::Probe(suspect) => {
                    let (target, provider) = (Arc::clone(&connect_target), provider.clone());
                    runtimes::openings().spawn(async move {
                        hosts::ask(&target, provider.as_ref(), suspect).await;
                    });
                    continue;
                }
                // A listener's session stays where it is.
                FailoverStep::Resolve(_) => continue,
            };
            if timeout(pause, &mut ping).await.is_ok() {
                break;
            }
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
