//! LISTEN and NOTIFY, on a session of its own.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use fallible_iterator::FallibleIterator;
use pgmonkey_config::{Config, ConnectionType};
use pgmonkey_connect::listening::{Absence, Channels, is_lost};
use pgmonkey_connect::wire::Observer;
use pgmonkey_connect::{Dialing, Error, Heard, Origin, events};
use postgres::{Client, Notification};

use crate::builder::Extras;
use crate::context;
use crate::dial::{Terms, dial, on_thread};
use crate::session::end;

/// Where nobody watches the wire, the driver is given this long to look at its socket.
const GLANCE: Duration = Duration::from_millis(1);
/// Longer than anybody waits, and short enough for any clock.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Hears what others tell with `NOTIFY`.
///
/// It has a session of its own, outside any pool, opened as a pool's would be: the same hosts,
/// TLS and password. When that is lost it opens another, with pauses that grow to a second,
/// subscribes to the same channels and says so with [`Heard::Reconnected`]: what was sent
/// meanwhile was missed. In between nothing is lost or comes twice.
///
/// All of that happens inside [`recv`](Self::recv): a listener that nobody asks does not
/// reconnect. What comes while nobody asks waits in the socket.
///
/// A session that the server ends is noticed at once. One that is cut in silence is noticed by
/// TCP's keepalives, as the settings say, or sooner with [`ping_every`](Self::ping_every).
/// Behind a pooler in transaction mode, such as PgBouncer's, `LISTEN` does not work.
///
/// ```no_run
/// use pgmonkey_sync::{Config, Error, Heard, Listener};
///
/// # fn read_everything() -> Result<(), Error> { Ok(()) }
/// fn main() -> Result<(), Error> {
///     let mut listener = Listener::connect(&Config::from_file("pgmonkey.yaml")?)?;
///     listener.listen("jobs")?;
///     read_everything()?;
///     loop {
///         match listener.recv()? {
///             Heard::Notification(job) => println!("{}: {}", job.channel(), job.payload()),
///             Heard::Reconnected => read_everything()?,
///             _ => {}
///         }
///     }
/// }
/// ```
pub struct Listener {
    dialing: Arc<Dialing>,
    extras: Extras,
    channels: Channels,
    ping_every: Option<Duration>,
    state: State,
    origin: Origin,
}

enum State {
    Live(Box<Live>),
    Away(Away),
}

/// A session that is subscribed.
struct Live {
    /// `None` while the server is asked for a sign of life, and if it gave none.
    client: Option<Client>,
    /// `None` on a Unix socket.
    observer: Option<Arc<Observer>>,
    next_ping: Option<Instant>,
    /// Why nothing comes any more but what is there.
    over: Option<String>,
    origin: Origin,
}

struct Away {
    absence: Absence,
    /// Made on a thread of its own, so that a caller with a time limit need not wait for it.
    attempt: Option<Receiver<Result<Live, Error>>>,
}

impl Listener {
    /// Opens a session by the `sync_settings` of `config`, subscribed to nothing yet. A
    /// [`Builder`](crate::Builder) opens one with a password provider.
    ///
    /// ```no_run
    /// # fn example(config: pgmonkey_sync::Config) -> Result<(), pgmonkey_sync::Error> {
    /// let mut listener = pgmonkey_sync::Listener::connect(&config)?;
    /// listener.listen("jobs")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::new`](crate::Pool::new): the first session is tried once.
    pub fn connect(config: &Config) -> Result<Self, Error> {
        Self::with(config, Extras::default())
    }

    pub(crate) fn with(config: &Config, extras: Extras) -> Result<Self, Error> {
        context::check("opening a blocking listener", "pgmonkey_async::Listener")?;
        let dialing = Dialing::new(config, ConnectionType::Normal)?
            .asking_provider(extras.provider.is_some())
            .named(extras.name.clone());
        let live = open(&dialing, &extras, "")?;
        Ok(Self {
            dialing: Arc::new(dialing),
            extras,
            channels: Channels::default(),
            ping_every: None,
            state: State::Live(Box::new(live)),
            origin: Origin::here(),
        })
    }

    /// Has the server asked for a sign of life whenever this much time has passed, with an
    /// empty query; a session on which no answer comes within as long again is given up. `None`,
    /// the default, leaves that to TCP's keepalives.
    ///
    /// ```no_run
    /// # fn example(mut listener: pgmonkey_sync::Listener) -> Result<(), pgmonkey_sync::Error> {
    /// listener.ping_every(Some(std::time::Duration::from_secs(30)));
    /// # Ok(()) }
    /// ```
    pub fn ping_every(&mut self, interval: Option<Duration>) {
        self.ping_every = interval;
        if let State::Live(live) = &mut self.state {
            live.next_ping = None;
        }
    }

    /// Subscribes to a channel. Its name is taken as it is written: `Jobs` is not `jobs`. While
    /// the session is lost it is only noted, for the next one.
    ///
    /// ```no_run
    /// # fn example(mut listener: pgmonkey_sync::Listener) -> Result<(), pgmonkey_sync::Error> {
    /// listener.listen("jobs")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Database`] if the server refuses it; [`Error::Unsupported`] for a name of more
    /// than 63 bytes; [`Error::InsideAsync`] inside an async task.
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

    /// Ends the subscription to a channel; nothing of it is heard any more, not even what has
    /// come already.
    ///
    /// ```no_run
    /// # fn example(mut listener: pgmonkey_sync::Listener) -> Result<(), pgmonkey_sync::Error> {
    /// listener.unlisten("jobs")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Database`] if the server refuses it; [`Error::InsideAsync`] inside an async task.
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
            State::Live(live) => match &mut live.client {
                Some(client) => client.batch_execute(statement),
                // It is about to be noticed that there is none.
                None => Ok(()),
            },
            State::Away(away) => {
                // It would subscribe to what was asked for before.
                away.attempt = None;
                Ok(())
            }
        }
    }

    /// The channels it is subscribed to.
    ///
    /// ```no_run
    /// # fn example(listener: pgmonkey_sync::Listener) -> Result<(), pgmonkey_sync::Error> {
    /// println!("{:?}", listener.channels().collect::<Vec<_>>());
    /// # Ok(()) }
    /// ```
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.channels.names()
    }

    /// Waits for what comes next; reconnects if need be.
    ///
    /// ```no_run
    /// # fn example(mut listener: pgmonkey_sync::Listener) -> Result<(), pgmonkey_sync::Error> {
    /// if let pgmonkey_sync::Heard::Notification(job) = listener.recv()? {
    ///     println!("{}", job.payload());
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The reason why no session can be opened any more, such as a password that was changed.
    /// As long as a retry can help there is none. The next call tries again.
    /// [`Error::InsideAsync`] inside an async task.
    pub fn recv(&mut self) -> Result<Heard, Error> {
        self.check("Listener::recv")?;
        loop {
            if let Some(heard) = self.hear_until(Instant::now() + YEAR)? {
                return Ok(heard);
            }
        }
    }

    /// As [`recv`](Self::recv), for at most this long: `None` if nothing has come. What the
    /// time was too short for, such as reconnecting, goes on with the next call.
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
    pub fn recv_timeout(&mut self, limit: Duration) -> Result<Option<Heard>, Error> {
        self.check("Listener::recv_timeout")?;
        self.hear_until(Instant::now() + limit.min(YEAR))
    }

    /// As [`recv`](Self::recv), without waiting: `None` if nothing is there yet.
    ///
    /// ```no_run
    /// # fn example(mut listener: pgmonkey_sync::Listener) -> Result<(), pgmonkey_sync::Error> {
    /// while let Some(heard) = listener.try_recv()? {
    ///     println!("{heard:?}");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<Option<Heard>, Error> {
        self.check("Listener::try_recv")?;
        self.hear_until(Instant::now())
    }

    /// Ends the session. Dropping a listener does the same.
    ///
    /// ```no_run
    /// # fn example(listener: pgmonkey_sync::Listener) -> Result<(), pgmonkey_sync::Error> {
    /// listener.close();
    /// # Ok(()) }
    /// ```
    pub fn close(self) {
        events::closed(self.dialing.name(), "listener");
    }

    fn hear_until(&mut self, end: Instant) -> Result<Option<Heard>, Error> {
        loop {
            match &mut self.state {
                State::Live(live) => match live.next(end, self.ping_every) {
                    Ok(Some(notification)) => {
                        if self.channels.contains(notification.channel()) {
                            return Ok(Some(Heard::Notification(notification)));
                        }
                    }
                    Ok(None) => return Ok(None),
                    Err(reason) => self.lose(&reason),
                },
                State::Away(_) => {
                    return Ok(self.come_back(end)?.then_some(Heard::Reconnected));
                }
            }
        }
    }

    fn lose(&mut self, reason: &str) {
        events::listener_lost(self.dialing.name(), reason);
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
                    let begun = begin(&self.dialing, &self.extras, pause, subscribe)?;
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
                    events::listener_back(self.dialing.name(), self.channels.names().len());
                    self.state = State::Live(Box::new(live));
                }
                Err(error) => {
                    away.attempt = None;
                    events::connect_failed(self.dialing.name(), &error);
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
    dialing: &Arc<Dialing>,
    extras: &Extras,
    pause: Duration,
    subscribe: String,
) -> Result<Receiver<Result<Live, Error>>, Error> {
    let (dialing, extras) = (Arc::clone(dialing), extras.clone());
    let (answer, answered) = channel();
    let work = move || {
        std::thread::sleep(pause);
        let opened = open(&dialing, &extras, &subscribe);
        // Nobody waits any more: the session ends here.
        let _ = answer.send(opened);
    };
    std::thread::Builder::new()
        .name("pgmonkey-listen".to_owned())
        .spawn(work)
        .map_err(Error::other)?;
    Ok(answered)
}

fn open(dialing: &Dialing, extras: &Extras, subscribe: &str) -> Result<Live, Error> {
    let _span = events::connect(dialing.name()).entered();
    let terms = Terms {
        provider: extras.provider.as_ref(),
        hooks: extras.hooks.as_ref(),
        subscribe,
    };
    let opened = dial(dialing, terms)?;
    Ok(Live {
        client: Some(opened.client),
        observer: opened.observed.then(|| Arc::clone(opened.route.observer())),
        next_ping: None,
        over: None,
        origin: Origin::here(),
    })
}

impl Live {
    /// The next notification, `None` if none comes until then, or why there is none any more:
    /// after the last one.
    fn next(
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

    /// What the driver has kept already; then why there is no more, if that is known: an error
    /// passes by what came before it.
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

    /// What comes until `limit` has passed; a zero looks at the socket once.
    fn wait(&mut self, limit: Duration) -> Result<Option<Notification>, postgres::Error> {
        let Some(client) = &mut self.client else {
            return Ok(None);
        };
        let heard = match (&self.observer, limit) {
            (Some(observer), Duration::ZERO) => {
                // Answered with a notification from process 0 when the socket was looked at.
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

    /// Asks for a sign of life, on a thread: the driver waits for an answer without a limit.
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
            end(client, self.origin);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("target", &self.dialing.target())
            .field("channels", &self.channels.names().collect::<Vec<_>>())
            .field("connected", &matches!(self.state, State::Live(_)))
            .finish()
    }
}
