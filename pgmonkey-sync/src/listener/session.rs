//! The session of a listener: opened, read and pinged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fallible_iterator::FallibleIterator;
use pgmonkey_connect::wire::Observer;
use pgmonkey_connect::{ConnectTarget, Error, Origin, events};
use postgres::{Client, Notification};

use crate::options::HandleOptions;
use crate::session::closing::end;
use crate::session::connect::{ConnectOptions, connect, on_thread};

/// How long the driver is given to look at its socket where the wire is not observed.
const GLANCE: Duration = Duration::from_millis(1);

/// A subscribed session.
pub(super) struct Live {
    /// `None` while the server is being pinged, and after a ping without an answer.
    pub(super) client: Option<Client>,
    /// `None` on a Unix socket.
    observer: Option<Arc<Observer>>,
    pub(super) next_ping: Option<Instant>,
    /// Why no further notifications will arrive; those already received are still delivered.
    over: Option<String>,
    origin: Origin,
}

pub(super) fn open(
    connect_target: &ConnectTarget,
    options: &HandleOptions,
    subscribe: &str,
) -> Result<Live, Error> {
    let _span = events::connect(connect_target.name()).entered();
    let options = ConnectOptions {
        provider: options.provider.as_ref(),
        hooks: options.hooks.as_ref(),
        subscribe,
    };
    let opened = connect(connect_target, options)?;
    Ok(Live {
        client: Some(opened.client),
        observer: opened
            .observed
            .then(|| Arc::clone(opened.connected_to.observer())),
        next_ping: None,
        over: None,
        origin: Origin::here(),
    })
}

impl Live {
    /// Returns the next notification, `None` if none arrives before `end`, or, after the last
    /// notification, why no more will arrive.
    pub(super) fn next(
        &mut self,
        end: Instant,
        ping_every: Option<Duration>,
    ) -> Result<Option<Notification>, String> {
        loop {
            if let Some(here) = self.kept()? {
                return Ok(Some(here));
            }
            let now = Instant::now();
            let ping = ping_every.map(|every| *self.next_ping.get_or_insert(now + every));
            if let (Some(at), Some(every)) = (ping, ping_every)
                && at <= now
            {
                self.ping(every);
                continue;
            }
            let until = ping.map_or(end, |at| at.min(end));
            match self.wait(until.saturating_duration_since(now)) {
                Ok(Some(notification)) => return Ok(Some(notification)),
                Ok(None) if self.over.is_none() && Instant::now() >= end => return Ok(None),
                Ok(None) => {}
                Err(error) => self.over = Some(Error::from(error).to_string()),
            }
        }
    }

    /// Returns what the driver has already received, then the reason why no more will arrive, if
    /// known: the driver can report an error ahead of notifications that arrived before it.
    fn kept(&mut self) -> Result<Option<Notification>, String> {
        if let Some(client) = &mut self.client {
            let mut notifications = client.notifications();
            if !notifications.is_empty() {
                let kept = notifications.iter().next();
                return kept.map_err(|error| Error::from(error).to_string());
            }
        }
        self.over.take().map_or(Ok(None), Err)
    }

    /// Returns what arrives within `limit`; zero looks at the socket once.
    fn wait(&mut self, limit: Duration) -> Result<Option<Notification>, postgres::Error> {
        let Some(client) = &mut self.client else {
            return Ok(None);
        };
        let heard = match (&self.observer, limit) {
            (Some(observer), Duration::ZERO) => {
                // Answered with a notification from process 0 once the socket has been looked at.
                observer.request_probe();
                client.notifications().blocking_iter().next()?
            }
            _ => {
                let limit = limit.max(GLANCE);
                client.notifications().timeout_iter(limit).next()?
            }
        };
        if heard.is_none() && client.is_closed() {
            self.over = Some("the session has ended".to_owned());
        }
        Ok(heard.filter(|heard| heard.process_id() != 0))
    }

    /// Pings the server on a thread: the driver waits for an answer without a limit.
    fn ping(&mut self, interval: Duration) {
        self.next_ping = None;
        let spent = self.client.take();
        let deadline = Instant::now() + interval;
        let asked = spent.map(|mut client| {
            on_thread("pgmonkey-ping", deadline, move || {
                let answered = client.batch_execute("");
                (client, answered)
            })
        });
        let reason = match asked {
            Some(Ok(Some((client, answered)))) => {
                self.client = Some(client);
                match answered {
                    Ok(()) => return,
                    Err(error) => Error::from(error).to_string(),
                }
            }
            Some(Ok(None)) => "the server does not answer".to_owned(),
            Some(Err(error)) => error.to_string(),
            None => "the session has ended".to_owned(),
        };
        self.over = Some(reason);
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            end((client, None), self.origin);
        }
    }
}
