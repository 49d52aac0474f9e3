//! `LISTEN` and `NOTIFY`, on a dedicated session.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgmonkey_config::{Config, ConnectionType};
use pgmonkey_connect::listening::{Absence, Channels, is_lost};
use pgmonkey_connect::{ConnectTarget, Error, ListenEvent, Origin, events};
use tokio::time::{sleep, timeout};

use crate::options::HandleOptions;

use self::session::{Begun, Live, open};

mod session;

/// How long [`Listener::close`] waits for the server to close its side.
const FAREWELL: Duration = Duration::from_secs(1);

/// Receives the notifications that other sessions send with `NOTIFY`.
///
/// A listener has a dedicated session outside any pool, opened like a pool's: the same hosts, TLS
/// and password. If that session is lost, the listener opens another one, with pauses that grow to
/// a second, subscribes to the same channels and reports [`ListenEvent::Reconnected`]:
/// notifications sent in the meantime were missed. As long as a session lasts, no notification is
/// lost or delivered twice.
///
/// All of this happens inside [`recv`](Self::recv): between calls, a listener does not reconnect.
/// Notifications that arrive between calls are kept in memory, without a limit.
///
/// A session that the server ends is noticed immediately. One whose network connection breaks
/// silently is noticed by TCP keepalives, as configured, or sooner with
/// [`ping_every`](Self::ping_every). If the settings have several hosts, or a name and
/// `target_session_attrs`, the server is pinged with an empty query every two seconds: once it does
/// not answer and another host has taken over, the listener reconnects there. `LISTEN` does not work
/// behind a pooler in transaction mode, such as PgBouncer.
///
/// ```no_run
/// use pgmonkey_async::{Config, Error, ListenEvent, Listener};
///
/// # async fn read_everything() -> Result<(), Error> { Ok(()) }
/// #[tokio::main]
/// async fn main() -> Result<(), Error> {
///     let mut listener = Listener::connect(&Config::from_file("pgmonkey.yaml")?).await?;
///     listener.listen("jobs").await?;
///     read_everything().await?;
///     loop {
///         match listener.recv().await? {
///             ListenEvent::Notification(job) => println!("{}: {}", job.channel(), job.payload()),
///             ListenEvent::Reconnected => read_everything().await?,
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
    Live(Live),
    Away(Away),
}

struct Away {
    absence: Absence,
    /// Stored here so that dropping a `recv` future does not throw away the attempt.
    attempt: Option<Begun<Result<Live, Error>>>,
}

impl Listener {
    /// Opens a session with the `async_settings` of `config`, not subscribed to any channel yet. A
    /// [`Builder`](crate::Builder) opens one with a password provider.
    ///
    /// # Errors
    ///
    /// As [`Pool::new`](crate::Pool::new); the first session is attempted only once.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with its time and I/O drivers.
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        Self::with(config, HandleOptions::default()).await
    }

    pub(crate) async fn with(config: &Config, options: HandleOptions) -> Result<Self, Error> {
        let connect_target = ConnectTarget::new(config, ConnectionType::Async)?
            .asking_provider(options.provider.is_some())
            .named(options.name.clone(), options.notice_hook());
        connect_target.check_listening()?;
        let connect_target = Arc::new(connect_target);
        let live = open(Arc::clone(&connect_target), options.clone(), String::new()).await?;
        Ok(Self {
            connect_target,
            options,
            channels: Channels::default(),
            ping_every: None,
            state: State::Live(live),
            origin: Origin::here(),
        })
    }

    /// Pings the server with an empty query at this interval; a session that does not answer within
    /// another interval is given up. `None`, the default, relies on TCP keepalives and on what is
    /// known of the hosts.
    pub fn ping_every(&mut self, interval: Option<Duration>) {
        self.ping_every = interval;
        if let State::Live(live) = &mut self.state {
            live.watch = None;
        }
    }

    /// Subscribes to a channel. The name is case-sensitive: `Jobs` is not `jobs`. While the session
    /// is lost, the subscription is recorded for the next one.
    ///
    /// # Errors
    ///
    /// [`Error::Database`] if the server refuses; [`Error::Unsupported`] for a name of more than 63
    /// bytes.
    pub async fn listen(&mut self, channel: impl AsRef<str>) -> Result<(), Error> {
        self.check()?;
        let channel = channel.as_ref();
        let statement = self.channels.add(channel)?;
        match self.tell(&statement).await {
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
    /// [`Error::Database`] if the server refuses.
    pub async fn unlisten(&mut self, channel: impl AsRef<str>) -> Result<(), Error> {
        self.check()?;
        let statement = self.channels.remove(channel.as_ref());
        match self.tell(&statement).await {
            Err(error) if !is_lost(&error) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<(), Error> {
        self.origin.check("listener")
    }

    async fn tell(&mut self, statement: &str) -> Result<(), tokio_postgres::Error> {
        match &mut self.state {
            State::Live(live) => live.client.batch_execute(statement).await,
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

    /// Waits for the next event; reconnects if necessary. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// The reason why no session can be opened any more, such as a changed password. There is no
    /// error as long as a retry can help. The next call tries again.
    pub async fn recv(&mut self) -> Result<ListenEvent, Error> {
        self.check()?;
        loop {
            match &mut self.state {
                State::Live(live) => match live.next(self.ping_every).await {
                    Ok(notification) => {
                        if self.channels.contains(notification.channel()) {
                            return Ok(ListenEvent::Notification(notification));
                        }
                    }
                    Err(reason) => self.lose(&reason),
                },
                State::Away(_) => {
                    self.come_back().await?;
                    return Ok(ListenEvent::Reconnected);
                }
            }
        }
    }

    /// As [`recv`](Self::recv), for at most this long: `None` if no event has arrived. Unfinished
    /// work, such as reconnecting, continues with the next call.
    ///
    /// ```no_run
    /// # async fn example(mut listener: pgmonkey_async::Listener) -> Result<(), pgmonkey_async::Error> {
    /// let limit = std::time::Duration::from_secs(60);
    /// if listener.recv_timeout(limit).await?.is_none() {
    ///     println!("nothing for a minute");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub async fn recv_timeout(&mut self, limit: Duration) -> Result<Option<ListenEvent>, Error> {
        timeout(limit, self.recv()).await.ok().transpose()
    }

    /// As [`recv`](Self::recv), without waiting: `None` if no event has arrived yet.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub async fn try_recv(&mut self) -> Result<Option<ListenEvent>, Error> {
        // Lets the driver's task run and read what has arrived.
        tokio::task::yield_now().await;
        self.recv_timeout(Duration::ZERO).await
    }

    /// Closes the session. Dropping a listener does the same. This method also waits until the
    /// server has closed its side, for at most a second.
    pub async fn close(mut self) {
        events::closed(self.connect_target.name(), "listener");
        if !self.origin.is_here() {
            return;
        }
        if let State::Live(Live {
            client,
            mut inbox,
            watch,
            hosts,
            ..
        }) = self.take_state()
        {
            drop((client, watch, hosts));
            let _ = timeout(FAREWELL, async { while inbox.recv().await.is_some() {} }).await;
        }
    }

    fn lose(&mut self, reason: &str) {
        events::listener_lost(self.connect_target.name(), reason);
        drop(self.take_state());
    }

    /// Takes the session out of the listener.
    fn take_state(&mut self) -> State {
        let away = State::Away(Away {
            absence: Absence::begun(Instant::now()),
            attempt: None,
        });
        mem::replace(&mut self.state, away)
    }

    async fn come_back(&mut self) -> Result<(), Error> {
        while let State::Away(away) = &mut self.state {
            let attempt = match &mut away.attempt {
                Some(begun) if begun.is_here() => begun,
                empty => {
                    let pause = away.absence.pause(Instant::now());
                    let subscribe = self.channels.subscribe();
                    let open = open(
                        Arc::clone(&self.connect_target),
                        self.options.clone(),
                        subscribe,
                    );
                    empty.insert(Begun::here(async move {
                        sleep(pause).await;
                        open.await
                    }))
                }
            };
            match (&mut attempt.work).await {
                Ok(live) => {
                    events::listener_back(self.connect_target.name(), self.channels.names().len());
                    self.state = State::Live(live);
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
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            // The session belongs to the parent process.
            mem::forget(self.take_state());
        }
    }
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
