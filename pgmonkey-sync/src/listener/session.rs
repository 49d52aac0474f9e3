//! The session of a listener: opened, read and pinged.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use fallible_iterator::FallibleIterator;
use pgmonkey_connect::failover::FailoverStep;
use pgmonkey_connect::listening::HOST_ASKED_EVERY;
use pgmonkey_connect::wire::Observer;
use pgmonkey_connect::{ConnectTarget, Error, Origin, events};
use postgres::{Client, Notification};

use crate::options::HandleOptions;
use crate::session::closing::end;
use crate::session::connect::{ConnectOptions, Provider, connect};
use crate::session::hosts;

/// How long the driver is given to look at its socket where the wire is not observed.
const GLANCE: Duration = Duration::from_millis(1);

/// A subscribed session.
pub(super) struct Live {
    /// `None` while the server is being pinged, and after a ping without an answer.
    client: Option<Client>,
    /// `None` on a Unix socket.
    observer: Option<Arc<Observer>>,
    pub(super) next_ping: Option<Instant>,
    /// The ping that is under way.
    ping: Option<Ping>,
    /// `None` if no other host may take over, or on a Unix socket.
    hosts: Option<Hosts>,
    /// Why no further notifications will arrive; those already received are still delivered.
    over: Option<String>,
    origin: Origin,
}

struct Ping {
    answer: Receiver<(Client, Result<(), postgres::Error>)>,
    /// When the session is given up without an answer.
    give_up: Option<Instant>,
}

/// What is needed to ask the hosts whether another one has taken over.
#[derive(Clone)]
struct Hosts {
    connect_target: Arc<ConnectTarget>,
    provider: Option<Provider>,
}

pub(super) fn open(
    connect_target: &Arc<ConnectTarget>,
    options: &HandleOptions,
    subscribe: &str,
) -> Result<Live, Error> {
    let _span = events::connect(connect_target.name()).entered();
    let opened = connect(
        connect_target,
        ConnectOptions {
            provider: options.provider.as_ref(),
            hooks: options.hooks.as_ref(),
            subscribe,
        },
    )?;
    let failover = connect_target.failover();
    let may_move = opened.observed && failover.is_some_and(|failover| failover.has_others());
    Ok(Live {
        client: Some(opened.client),
        observer: opened
            .observed
            .then(|| Arc::clone(opened.connected_to.observer())),
        next_ping: None,
        ping: None,
        hosts: may_move.then(|| Hosts {
            connect_target: Arc::clone(connect_target),
            provider: options.provider.clone(),
        }),
        over: None,
        origin: Origin::here(),
    })
}

impl Hosts {
    /// Asks hosts, on threads, if that is due. Returns the pause until the next step, if there is one.
    fn step(&self) -> Option<Duration> {
        let failover = self.connect_target.failover()?;
        loop {
            match failover.step(Instant::now()) {
                FailoverStep::Pause(pause) => return Some(pause),
                FailoverStep::End => return None,
                FailoverStep::Probe(suspect) => {
                    let hosts = self.clone();
                    let ask = move || {
                        hosts::ask(&hosts.connect_target, hosts.provider.as_ref(), suspect);
                    };
                    // Without a thread the host is asked later.
                    let thread = std::thread::Builder::new().name("pgmonkey-probe".to_owned());
                    drop(thread.spawn(ask));
                }
                // A listener's session stays where it is.
                FailoverStep::Resolve(_) => {}
            }
        }
    }
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
            if self.ping.is_some() {
                self.hear_ping(end);
                if self.ping.is_some() && Instant::now() >= end {
                    return Ok(None);
                }
                continue;
            }
            let now = Instant::now();
            let asked_every = self.hosts.as_ref().map(|_| HOST_ASKED_EVERY);
            let every = ping_every.into_iter().chain(asked_every).min();
            let ping = every.map(|every| *self.next_ping.get_or_insert(now + every));
            if ping.is_some_and(|at| at <= now) {
                self.ping(ping_every.map(|interval| now + interval));
                continue;
            }
            let until = ping.map_or(end, |at| at.min(end));
            match self.wait(until.saturating_duration_since(now)) {
                Ok(Some(notification)) => return Ok(Some(notification)),
                Ok(None) if self.over.is_none() && Instant::now() >= end => return Ok(None),
                Ok(None) => {}
                Err(error) => self.over = Some(self.explain(error)),
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
                return kept.map_err(|error| explain(error, self.observer.as_deref()));
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
    fn ping(&mut self, give_up: Option<Instant>) {
        self.next_ping = None;
        let Some(mut client) = self.client.take() else {
            self.over = Some("the session has ended".to_owned());
            return;
        };
        let (sender, answer) = channel();
        let work = move || {
            let answered = client.batch_execute("");
            // The receiver is gone: the session ends here.
            let _ = sender.send((client, answered));
        };
        let thread = std::thread::Builder::new().name("pgmonkey-ping".to_owned());
        match thread.spawn(work) {
            Ok(_) => self.ping = Some(Ping { answer, give_up }),
            Err(error) => self.over = Some(error.to_string()),
        }
    }

    /// Waits until `end` at most for the answer to the ping; in the meantime asks the hosts.
    fn hear_ping(&mut self, end: Instant) {
        let Some(ping) = &self.ping else { return };
        let now = Instant::now();
        let step = self.hosts.as_ref().and_then(Hosts::step);
        let limits = [ping.give_up, step.map(|pause| now + pause)];
        let until = limits.into_iter().flatten().fold(end, Instant::min);
        let left = until.saturating_duration_since(Instant::now());
        let reason = match ping.answer.recv_timeout(left) {
            Ok((client, answered)) => {
                self.client = Some(client);
                answered.err().map(|error| self.explain(error))
            }
            Err(RecvTimeoutError::Timeout) => match ping.give_up {
                Some(at) if at <= Instant::now() => Some("the server does not answer".to_owned()),
                _ => return,
            },
            Err(RecvTimeoutError::Disconnected) => Some("the ping panicked".to_owned()),
        };
        self.ping = None;
        self.over = reason;
    }

    /// Returns the driver's client, after the ping that is under way; `None` if the session has ended.
    pub(super) fn client(&mut self) -> Option<&mut Client> {
        while self.ping.is_some() {
            self.hear_ping(Instant::now() + HOST_ASKED_EVERY);
        }
        self.client.as_mut()
    }

    fn explain(&self, error: postgres::Error) -> String {
        explain(error, self.observer.as_deref())
    }
}

fn explain(error: postgres::Error, observer: Option<&Observer>) -> String {
    Error::of_session(error, observer).to_string()
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            end((client, None), self.origin);
        }
    }
}
