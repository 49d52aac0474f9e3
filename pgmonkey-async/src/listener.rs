//! LISTEN and NOTIFY, on a session of its own.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pgmonkey_config::{Config, ConnectionType};
use pgmonkey_connect::listening::{Absence, Channels, is_lost};
use pgmonkey_connect::{Dialing, Error, Heard, Origin, events};
use tokio::runtime::{self, Handle};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, Notification};
use tracing::Instrument;

use crate::builder::Extras;
use crate::dial::{Terms, dial};

/// How long [`Listener::close`] waits for the server to take leave.
const FAREWELL: Duration = Duration::from_secs(1);

/// Hears what others tell with `NOTIFY`.
///
/// It has a session of its own, outside any pool, opened as a pool's would be: the same hosts,
/// TLS and password. When that is lost it opens another, with pauses that grow to a second,
/// subscribes to the same channels and says so with [`Heard::Reconnected`]: what was sent
/// meanwhile was missed. In between nothing is lost or comes twice.
///
/// All of that happens inside [`recv`](Self::recv): a listener that nobody asks does not
/// reconnect. What comes while nobody asks is kept in memory, without a limit.
///
/// A session that the server ends is noticed at once. One that is cut in silence is noticed by
/// TCP's keepalives, as the settings say, or sooner with [`ping_every`](Self::ping_every).
/// Behind a pooler in transaction mode, such as PgBouncer's, `LISTEN` does not work.
///
/// ```no_run
/// use pgmonkey_async::{Config, Error, Heard, Listener};
///
/// # async fn read_everything() -> Result<(), Error> { Ok(()) }
/// #[tokio::main]
/// async fn main() -> Result<(), Error> {
///     let mut listener = Listener::connect(&Config::from_file("pgmonkey.yaml")?).await?;
///     listener.listen("jobs").await?;
///     read_everything().await?;
///     loop {
///         match listener.recv().await? {
///             Heard::Notification(job) => println!("{}: {}", job.channel(), job.payload()),
///             Heard::Reconnected => read_everything().await?,
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
    Live(Live),
    Away(Away),
}

/// A session that is subscribed.
struct Live {
    client: Arc<Client>,
    inbox: UnboundedReceiver<Result<Notification, tokio_postgres::Error>>,
    /// Ends when the server does not answer.
    watch: Option<Work<()>>,
}

struct Away {
    absence: Absence,
    /// Kept here, so that a `recv` that is dropped does not throw away what it has begun; with
    /// the runtime whose clock and sockets it uses.
    attempt: Option<(runtime::Id, Work<Result<Live, Error>>)>,
}

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl Listener {
    /// Opens a session by the `async_settings` of `config`, subscribed to nothing yet. A
    /// [`Builder`](crate::Builder) opens one with a password provider.
    ///
    /// ```no_run
    /// # async fn example(config: pgmonkey_async::Config) -> Result<(), pgmonkey_async::Error> {
    /// let mut listener = pgmonkey_async::Listener::connect(&config).await?;
    /// listener.listen("jobs").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Pool::new`](crate::Pool::new): the first session is tried once.
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime with its time and I/O drivers.
    pub async fn connect(config: &Config) -> Result<Self, Error> {
        Self::with(config, Extras::default()).await
    }

    pub(crate) async fn with(config: &Config, extras: Extras) -> Result<Self, Error> {
        let dialing = Dialing::new(config, ConnectionType::Async)?
            .asking_provider(extras.provider.is_some())
            .named(extras.name.clone());
        let dialing = Arc::new(dialing);
        let live = open(Arc::clone(&dialing), extras.clone(), String::new()).await?;
        Ok(Self {
            dialing,
            extras,
            channels: Channels::default(),
            ping_every: None,
            state: State::Live(live),
            origin: Origin::here(),
        })
    }

    /// Has the server asked for a sign of life whenever this much time has passed, with an
    /// empty query; a session on which no answer comes within as long again is given up. `None`,
    /// the default, leaves that to TCP's keepalives.
    ///
    /// ```no_run
    /// # async fn example(mut listener: pgmonkey_async::Listener) -> Result<(), pgmonkey_async::Error> {
    /// listener.ping_every(Some(std::time::Duration::from_secs(30)));
    /// # Ok(()) }
    /// ```
    pub fn ping_every(&mut self, interval: Option<Duration>) {
        self.ping_every = interval;
        if let State::Live(live) = &mut self.state {
            live.watch = None;
        }
    }

    /// Subscribes to a channel. Its name is taken as it is written: `Jobs` is not `jobs`. While
    /// the session is lost it is only noted, for the next one.
    ///
    /// ```no_run
    /// # async fn example(mut listener: pgmonkey_async::Listener) -> Result<(), pgmonkey_async::Error> {
    /// listener.listen("jobs").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Database`] if the server refuses it; [`Error::Unsupported`] for a name of more
    /// than 63 bytes.
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

    /// Ends the subscription to a channel; nothing of it is heard any more, not even what has
    /// come already.
    ///
    /// ```no_run
    /// # async fn example(mut listener: pgmonkey_async::Listener) -> Result<(), pgmonkey_async::Error> {
    /// listener.unlisten("jobs").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Database`] if the server refuses it.
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
                // It would subscribe to what was asked for before.
                away.attempt = None;
                Ok(())
            }
        }
    }

    /// The channels it is subscribed to.
    ///
    /// ```no_run
    /// # async fn example(listener: pgmonkey_async::Listener) -> Result<(), pgmonkey_async::Error> {
    /// println!("{:?}", listener.channels().collect::<Vec<_>>());
    /// # Ok(()) }
    /// ```
    pub fn channels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.channels.names()
    }

    /// Waits for what comes next; reconnects if need be. Dropping the future loses nothing.
    ///
    /// ```no_run
    /// # async fn example(mut listener: pgmonkey_async::Listener) -> Result<(), pgmonkey_async::Error> {
    /// if let pgmonkey_async::Heard::Notification(job) = listener.recv().await? {
    ///     println!("{}", job.payload());
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The reason why no session can be opened any more, such as a password that was changed.
    /// As long as a retry can help there is none. The next call tries again.
    pub async fn recv(&mut self) -> Result<Heard, Error> {
        self.check()?;
        loop {
            match &mut self.state {
                State::Live(live) => match live.next(self.ping_every).await {
                    Ok(notification) => {
                        if self.channels.contains(notification.channel()) {
                            return Ok(Heard::Notification(notification));
                        }
                    }
                    Err(reason) => self.lose(&reason),
                },
                State::Away(_) => {
                    self.come_back().await?;
                    return Ok(Heard::Reconnected);
                }
            }
        }
    }

    /// As [`recv`](Self::recv), for at most this long: `None` if nothing has come. What the
    /// time was too short for, such as reconnecting, goes on with the next call.
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
    pub async fn recv_timeout(&mut self, limit: Duration) -> Result<Option<Heard>, Error> {
        timeout(limit, self.recv()).await.ok().transpose()
    }

    /// As [`recv`](Self::recv), without waiting: `None` if nothing is there yet.
    ///
    /// ```no_run
    /// # async fn example(mut listener: pgmonkey_async::Listener) -> Result<(), pgmonkey_async::Error> {
    /// while let Some(heard) = listener.try_recv().await? {
    ///     println!("{heard:?}");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub async fn try_recv(&mut self) -> Result<Option<Heard>, Error> {
        // The driver's task gets a turn, to take what has arrived.
        tokio::task::yield_now().await;
        self.recv_timeout(Duration::ZERO).await
    }

    /// Ends the session and waits until the server has taken leave, for a second at most.
    /// Dropping a listener does the same without waiting.
    ///
    /// ```no_run
    /// # async fn example(listener: pgmonkey_async::Listener) -> Result<(), pgmonkey_async::Error> {
    /// listener.close().await;
    /// # Ok(()) }
    /// ```
    pub async fn close(mut self) {
        events::closed(self.dialing.name(), "listener");
        if !self.origin.is_here() {
            return;
        }
        if let State::Live(Live {
            client,
            mut inbox,
            watch,
        }) = self.take_state()
        {
            drop((client, watch));
            let _ = timeout(FAREWELL, async { while inbox.recv().await.is_some() {} }).await;
        }
    }

    fn lose(&mut self, reason: &str) {
        events::listener_lost(self.dialing.name(), reason);
        drop(self.take_state());
    }

    /// Leaves the listener without a session.
    fn take_state(&mut self) -> State {
        let away = State::Away(Away {
            absence: Absence::begun(Instant::now()),
            attempt: None,
        });
        mem::replace(&mut self.state, away)
    }

    async fn come_back(&mut self) -> Result<(), Error> {
        while let State::Away(away) = &mut self.state {
            let here = Handle::current().id();
            let (_, attempt) = match &mut away.attempt {
                Some(begun) if begun.0 == here => begun,
                empty => {
                    let pause = away.absence.pause(Instant::now());
                    let subscribe = self.channels.subscribe();
                    let open = open(Arc::clone(&self.dialing), self.extras.clone(), subscribe);
                    empty.insert((
                        here,
                        Box::pin(async move {
                            sleep(pause).await;
                            open.await
                        }),
                    ))
                }
            };
            match attempt.await {
                Ok(live) => {
                    events::listener_back(self.dialing.name(), self.channels.names().len());
                    self.state = State::Live(live);
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
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if !self.origin.is_here() {
            // The session is the parent's.
            mem::forget(self.take_state());
        }
    }
}

async fn open(dialing: Arc<Dialing>, extras: Extras, subscribe: String) -> Result<Live, Error> {
    let (sender, inbox) = unbounded_channel();
    let terms = Terms {
        provider: extras.provider.as_ref(),
        hooks: extras.hooks.as_ref(),
        inbox: Some(&sender),
        subscribe: &subscribe,
    };
    let span = events::connect(dialing.name());
    let opened = dial(&dialing, terms).instrument(span).await?;
    Ok(Live {
        client: Arc::new(opened.client),
        inbox,
        watch: None,
    })
}

impl Live {
    /// The next notification, or why there is none any more: after the last one.
    async fn next(&mut self, ping_every: Option<Duration>) -> Result<Notification, String> {
        if let (None, Some(interval)) = (&self.watch, ping_every) {
            self.watch = Some(Box::pin(watch(Arc::clone(&self.client), interval)));
        }
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
                .as_mut()
                .poll(cx)
                .map(|()| Err("the server does not answer".to_owned())),
            None => Poll::Pending,
        }
    }
}

/// Asks the server for signs of life until there is none.
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

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("target", &self.dialing.target())
            .field("channels", &self.channels.names().collect::<Vec<_>>())
            .field("connected", &matches!(self.state, State::Live(_)))
            .finish()
    }
}
