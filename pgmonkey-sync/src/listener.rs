//! `LISTEN` and `NOTIFY`, on a dedicated session.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use pgmonkey_config::{Config, ConnectionType};
use pgmonkey_connect::listening::{Absence, Channels, is_lost};
use pgmonkey_connect::{ConnectTarget, Error, ListenEvent, Origin, events};

use crate::context;
use crate::options::HandleOptions;

use self::session::{Live, open};

mod session;

/// Longer than any wait, and short enough for any clock.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Receives the notifications that other sessions send with `NOTIFY`.
///
/// A listener has a dedicated session outside any pool, opened like a pool's: the same hosts, TLS
/// and password. If that session is lost, the listener opens another one, with pauses that grow to
/// a second, subscribes to the same channels and reports [`ListenEvent::Reconnected`]:
/// notifications sent in the meantime were missed. As long as a session lasts, no notification is
/// lost or delivered twice.
///
/// All of this happens inside [`recv`](Self::recv): between calls, a listener does not reconnect.
/// Notifications that arrive between calls wait in the socket.
///
/// A session that the server ends is noticed immediately. One whose network connection breaks
/// silently is noticed by TCP keepalives, as configured, or sooner with
/// [`ping_every`](Self::ping_every). If the settings have several hosts, or a name and
/// `target_session_attrs`, the server is pinged with an empty query every two seconds: once it does
/// not answer and another host has taken over, the listener reconnects there. `LISTEN` does not work
/// behind a pooler in transaction mode, such as PgBouncer.
///
/// ```no_run
/// use pgmonkey_sync::{Config, Error, ListenEvent, Listener};
///
/// # fn read_everything() -> Result<(), Error> { Ok(()) }
/// fn main() -> Result<(), Error> {
///     let mut listener = Listener::connect(&Config::from_file("pgmonkey.yaml")?)?;
///     listener.listen("jobs")?;
///     read_everything()?;
///     loop {
///         match listener.recv()? {
///             ListenEvent::Notification(job) => println!("{}: {}", job.channel(), job.payload()),
///             ListenEvent::Reconnected => read_everything()?,
///             _ => {}
///         }
///     }
/// }
/// ```
pub struct Listener {
    connect_target: Arc<ConnectTarget>,
    options: HandleOptions,
    channels: Channels,
    ping_every: Option<Duration>,
    state: State,
    origin: Origin,
}

enum State {
    Live(Box<Live>),
    Away(Away),
}

struct Away {
    absence: Absence,
    /// Runs on a separate thread, so that a caller with a time limit need not wait for it.
    attempt: Option<Receiver<Result<Live, Error>>>,
}

impl Listener {
    /// Opens a session with the `sync_settings` of `config`, not subscribed to any channel yet. A
    /// [`Builder`](crate::Builder) opens one with a password provider.
    ///
    /// # Errors
    ///
    /// As [`Pool::new`](crate::Pool::new); the first session is attempted only once.
    pub fn connect(config: &Config) -> Result<Self, Error> {
        Self::with(config, HandleOptions::default())
    }

    pub(crate) fn with(config: &Config, options: HandleOptions) -> Result<Self, Error> {
        context::check("opening a blocking listener", "pgmonkey_async::Listener")?;
        let connect_target = ConnectTarget::new(config, ConnectionType::Normal)?
            .asking_provider(options.provider.is_some())
            .named(options.name.clone(), options.notice_hook());
        connect_target.check_listening()?;
        let connect_target = Arc::new(connect_target);
        let live = open(&connect_target, &options, "")?;
        Ok(Self {
            connect_target,
            options,
            channels: Channels::default(),
            ping_every: None,
            state: State::Live(Box::new(live)),
            origin: Origin::here(),
        })
    }

    /// Pings the server with an empty query at this interval; a session that does not answer within
    /// another interval is given up. `None`, the default, relies on TCP keepalives and on what is
    /// known of the hosts.
    pub fn ping_every(&mut self, interval: Option<Duration>) {
        self.ping_every = interval;
        if let State::Live(live) = &mut self.state {
            live.next_ping = None;
        }
    }

    /// Subscribes to a channel. The name is case-sensitive: `Jobs` is not `jobs`. While the session
    /// is lost, the subscription is recorded for the next one.
    ///
    /// # Errors
    ///
    /// [`Error::Database`] if the server refuses; [`Error::Unsupported`] for a name of more than 63
    /// bytes. [`Error::InsideAsync`] inside an async task.
    pub fn listen(&mut self, channel: impl AsRef<str>) -> Result<(), Error> {
        self.check("Listener::listen")?;
        let channel = channel.as_ref();
        let statement = self.channels.add(channel)?;
        match self.tell(&statement) {
            Err(error) if !is_lost(&error) => {
                self.channels.remove(channel);
                Err(error.into())
            }
            _ => Ok(()),
        }
    }

    /// Ends the subscription to a channel. None of its notifications are delivered any more, not
    /// even those already received.
    ///
    /// # Errors
    ///
    /// [`Error::Database`] if the server refuses. [`Error::InsideAsync`] inside an async task.
    pub fn unlisten(&mut self, channel: impl AsRef<str>) -> Result<(), Error> {
        self.check("Listener::unlisten")?;
        let statement = self.channels.remove(channel.as_ref());
        match self.tell(&statement) {
            Err(error) if !is_lost(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn check(&self, what: &'static str) -> Result<(), Error> {
        context::check(what, "pgmonkey_async::Listener")?;
        self.origin.check("listener")
    }

    fn tell(&mut self, statement: &str) -> Result<(), postgres::Error> {
        match &mut self.state {
            State::Live(live) => match live.client() {
                Some(client) => client.batch_execute(statement),
                // The next call notices that there is no session.
                None => Ok(()),
            },
            State::Away(away) => {
                // The attempt would subscribe to the previous set of channels.
                away.attempt = None;
                Ok(())
            }
        }
    }

    /// Returns the names of the subscribed channels.
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.channels.names()
    }

    /// Waits for the next event; reconnects if necessary.
    ///
    /// # Errors
    ///
    /// The reason why no session can be opened any more, such as a changed password. There is no
    /// error as long as a retry can help. The next call tries again. [`Error::InsideAsync`] inside
    /// an async task.
    pub fn recv(&mut self) -> Result<ListenEvent, Error> {
        self.check("Listener::recv")?;
        loop {
            if let Some(heard) = self.hear_until(Instant::now() + YEAR)? {
                return Ok(heard);
            }
        }
    }

    /// As [`recv`](Self::recv), for at most this long: `None` if no event has arrived. Unfinished
    /// work, such as reconnecting, continues with the next call.
    ///
    /// ```no_run
    /// # fn example(mut listener: pgmonkey_sync::Listener) -> Result<(), pgmonkey_sync::Error> {
    /// let limit = std::time::Duration::from_secs(60);
    /// if listener.recv_timeout(limit)?.is_none() {
    ///     println!("nothing for a minute");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, limit: Duration) -> Result<Option<ListenEvent>, Error> {
        self.check("Listener::recv_timeout")?;
        self.hear_until(Instant::now() + limit.min(YEAR))
    }

    /// As [`recv`](Self::recv), without waiting: `None` if no event has arrived yet.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Option<ListenEvent>, Error> {
        self.check("Listener::try_recv")?;
        self.hear_until(Instant::now())
    }

    /// Closes the session. Dropping a listener does the same.
    pub fn close(self) {
        events::closed(self.connect_target.name(), "listener");
    }

    fn hear_until(&mut self, end: Instant) -> Result<Option<ListenEvent>, Error> {
        loop {
            match &mut self.state {
                State::Live(live) => match live.next(end, self.ping_every) {
                    Ok(Some(notification)) => {
                        if self.channels.contains(notification.channel()) {
                            return Ok(Some(ListenEvent::Notification(notification)));
                        }
                    }
                    Ok(None) => return Ok(None),
                    Err(reason) => self.lose(&reason),
                },
                State::Away(_) => {
                    return Ok(self.come_back(end)?.then_some(ListenEvent::Reconnected));
                }
            }
        }
    }

    fn lose(&mut self, reason: &str) {
        events::listener_lost(self.connect_target.name(), reason);
        self.state = State::Away(Away {
            absence: Absence::begun(Instant::now()),
            attempt: None,
        });
    }

    /// Whether there is a session again.
    fn come_back(&mut self, end: Instant) -> Result<bool, Error> {
        while let State::Away(away) = &mut self.state {
            let attempt = match &away.attempt {
                Some(attempt) => attempt,
                None => {
                    let pause = away.absence.pause(Instant::now());
                    let subscribe = self.channels.subscribe();
                    let begun = begin(&self.connect_target, &self.options, pause, subscribe)?;
                    away.attempt.insert(begun)
                }
            };
            let left = end.saturating_duration_since(Instant::now());
            let ended = match attempt.recv_timeout(left) {
                Ok(ended) => ended,
                Err(RecvTimeoutError::Timeout) => return Ok(false),
                Err(RecvTimeoutError::Disconnected) => {
                    Err(Error::other("the attempt to reconnect panicked"))
                }
            };
            match ended {
                Ok(live) => {
                    events::listener_back(self.connect_target.name(), self.channels.names().len());
                    self.state = State::Live(Box::new(live));
                }
                Err(error) => {
                    away.attempt = None;
                    events::connect_failed(self.connect_target.name(), &error);
                    if !away.absence.failed(&error, Instant::now()) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(true)
    }
}

fn begin(
    connect_target: &Arc<ConnectTarget>,
    options: &HandleOptions,
    pause: Duration,
    subscribe: String,
) -> Result<Receiver<Result<Live, Error>>, Error> {
    let (connect_target, options) = (Arc::clone(connect_target), options.clone());
    let (answer, answered) = channel();
    let work = move || {
        std::thread::sleep(pause);
        let opened = open(&connect_target, &options, &subscribe);
        // The receiver is gone: the session ends here.
        let _ = answer.send(opened);
    };
    std::thread::Builder::new()
        .name("pgmonkey-listen".to_owned())
        .spawn(work)
        .map_err(Error::other)?;
    Ok(answered)
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("target", &self.connect_target.target())
            .field("channels", &self.channels.names().collect::<Vec<_>>())
            .field("connected", &matches!(self.state, State::Live(_)))
            .finish()
    }
}
