//! Opens one session: carries out the steps of a search, async.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use pgmonkey_connect::credentials::{AsyncPasswordProvider, Named};
use pgmonkey_connect::notices::Notices;
use pgmonkey_connect::plan::Address;
use pgmonkey_connect::recycle::Restore;
use pgmonkey_connect::{
    ConnectAttempt, ConnectTarget, ConnectedTo, Connector, Error, OpenFailure, ServerSearch,
    SettingsMode, Step, limits,
};
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::lookup_host;
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout_at};

use crate::runtimes;
use crate::session::driver::{self, DriverActivity, Inbox};
use crate::session::hooks::Hooks;

/// The password provider of a handle.
pub(crate) type Provider = Named<dyn AsyncPasswordProvider>;

/// A newly opened session.
pub(crate) struct Connected {
    pub(crate) client: tokio_postgres::Client,
    pub(crate) connected_to: ConnectedTo,
    pub(crate) activity: Arc<DriverActivity>,
    /// The runtime that the session lives in.
    pub(crate) runtime: Handle,
    mode: SettingsMode,
}

impl Connected {
    /// Returns what restores the session to its current state.
    pub(crate) fn restore(&self, connect_target: &ConnectTarget) -> Restore {
        Restore::new(connect_target, self.mode, self.connected_to.observer())
    }
}

/// Options for opening a session, beyond the configuration.
#[derive(Clone, Copy, Default)]
pub(crate) struct ConnectOptions<'a> {
    pub(crate) provider: Option<&'a Provider>,
    pub(crate) hooks: Option<&'a Hooks>,
    /// For a listener: where its notifications go, and the statements that subscribe it.
    pub(crate) inbox: Option<&'a Inbox>,
    pub(crate) subscribe: &'a str,
}

/// Opens a session on the first host that accepts one.
pub(crate) async fn connect(
    connect_target: &ConnectTarget,
    options: ConnectOptions<'_>,
) -> Result<Connected, Error> {
    carry_out(connect_target, connect_target.search(), options).await
}

/// Carries out a search, and returns the session that it found.
pub(crate) async fn carry_out(
    connect_target: &ConnectTarget,
    mut connect: ServerSearch<'_>,
    options: ConnectOptions<'_>,
) -> Result<Connected, Error> {
    loop {
        match connect.next(Instant::now())? {
            Step::Resolve {
                name,
                port,
                deadline,
            } => connect.resolved(resolve(&name, port, deadline).await),
            Step::Password { request, deadline } => {
                let answer = match options.provider {
                    Some(provider) => {
                        let limit = || Instant::now() + limits::PROVIDER;
                        let deadline = deadline.unwrap_or_else(limit);
                        within(Some(deadline), provider.password(&request)).await
                    }
                    None => None,
                };
                connect.password(answer, Instant::now());
            }
            Step::Read(read) if read.is_short() => connect.read(read.run()),
            Step::Read(read) => {
                let read = tokio::task::spawn_blocking(|| read.run()).await;
                connect.read(read.unwrap_or_else(|error| Err(error.into())));
            }
            Step::Pause(pause) => sleep(pause).await,
            Step::Open(mut attempt) => match reach(connect_target, options, &mut attempt).await {
                Ok(opened) => {
                    connect.opened(&attempt);
                    return Ok(opened);
                }
                Err(failure) => {
                    let goes_on = connect.failed(&attempt, failure, Instant::now());
                    if let (Some(provider), Some(request)) =
                        (options.provider, connect.take_invalid())
                    {
                        provider.invalidate(&request);
                    }
                    goes_on?;
                }
            },
        }
    }
}

async fn reach(
    connect_target: &ConnectTarget,
    options: ConnectOptions<'_>,
    attempt: &mut ConnectAttempt,
) -> Result<Connected, OpenFailure> {
    let deadline = attempt.deadline();
    let in_hook = AtomicBool::new(false);
    let whole = async {
        let mut opened = open_set(connect_target, attempt, options.inbox).await?;
        if let Some(hooks) = options.hooks {
            in_hook.store(true, Ordering::Relaxed);
            hooks.prepare(&mut opened).await?;
            in_hook.store(false, Ordering::Relaxed);
        }
        if !options.subscribe.is_empty() {
            opened.client.batch_execute(options.subscribe).await?;
        }
        Ok(opened)
    };
    let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let opened = match within(deadline, whole).await {
        Some(Ok(opened)) => opened,
        // The stream keeps to the deadline too, and may have ended the hook first.
        Some(Err(OpenFailure::Hook(_))) if is_over() => return Err(OpenFailure::SlowHook),
        Some(Err(failure)) => return Err(failure),
        None if in_hook.load(Ordering::Relaxed) => return Err(OpenFailure::SlowHook),
        None => return Err(OpenFailure::Deadline),
    };
    opened.connected_to.accept();
    Ok(opened)
}

/// Opens a session with its settings, and checks that they arrived at an address where this is not
/// known.
async fn open_set(
    connect_target: &ConnectTarget,
    attempt: &mut ConnectAttempt,
    inbox: Option<&Inbox>,
) -> Result<Connected, OpenFailure> {
    let first = connect_target.settings_mode();
    let mut opened = match open(attempt, first, inbox).await {
        Err(OpenFailure::Driver(error)) if connect_target.needs_statements(&error) => {
            open(attempt, SettingsMode::Statements, inbox).await?
        }
        other => other?,
    };
    let client = &mut opened.client;
    if opened.mode == SettingsMode::Statements
        && let Some(settings) = connect_target.settings_statement()
    {
        client
            .query_typed(settings.text(), &settings.parameters())
            .await?;
    }
    let address = attempt.address();
    if let Some(check) = connect_target.settings_check(address) {
        let answer = client.query_typed(check.text(), &check.parameters()).await;
        let announced = opened.connected_to.observer().backend_pid();
        connect_target.settings_checked(&check, answer, address, announced)?;
    }
    if let Some(trial) = connect_target.settings_trial(address) {
        client.batch_execute(&trial).await?;
        connect_target.settings_tried(address);
    }
    opened.connected_to.observer().reset();
    Ok(opened)
}

async fn open(
    attempt: &mut ConnectAttempt,
    mode: SettingsMode,
    inbox: Option<&Inbox>,
) -> Result<Connected, OpenFailure> {
    let connect = Connect {
        connector: attempt.connector(),
        config: attempt.driver_config(mode).clone(),
        notices: Arc::clone(attempt.notices()),
        inbox: inbox.cloned(),
        address: attempt.address().clone(),
    };
    let (client, activity, runtime) = runtimes::connecting(connect.run()).await?;
    if let Some(question) = attempt.question(true)? {
        attempt.judge(&client.simple_query(question).await?)?;
    }
    Ok(Connected {
        client,
        connected_to: attempt.connected_to(),
        activity,
        runtime,
        mode,
    })
}

/// A connection to be made in the runtime where it is to live.
struct Connect {
    connector: Connector,
    config: tokio_postgres::Config,
    notices: Arc<Notices>,
    inbox: Option<Inbox>,
    address: Address,
}

impl Connect {
    async fn run(
        self,
    ) -> Result<(tokio_postgres::Client, Arc<DriverActivity>, Handle), OpenFailure> {
        let (notices, inbox) = (&self.notices, self.inbox.as_ref());
        let (client, activity) = match &self.address {
            #[cfg(unix)]
            Address::Unix(directory, port) => {
                let path = directory.join(format!(".s.PGSQL.{port}"));
                let socket = UnixStream::connect(path)
                    .await
                    .map_err(OpenFailure::Socket)?;
                through(self.connector, &self.config, socket, (notices, inbox)).await?
            }
            _ => {
                let (client, connection) = self.config.connect(self.connector).await?;
                (client, driver::spawn_for(connection, notices, inbox))
            }
        };
        Ok((client, activity, Handle::current()))
    }
}

/// Opens a session over a connected socket: the driver's own way to connect to a Unix socket leaves
/// no room for an observer.
#[cfg(unix)]
async fn through(
    connector: Connector,
    config: &tokio_postgres::Config,
    socket: UnixStream,
    (notices, inbox): (&Arc<Notices>, Option<&Inbox>),
) -> Result<(tokio_postgres::Client, Arc<DriverActivity>), OpenFailure> {
    let stream = connector.observe(socket);
    let (client, connection) = config.connect_raw(stream, tokio_postgres::NoTls).await?;
    Ok((client, driver::spawn_for(connection, notices, inbox)))
}

/// Resolves a name until the deadline: the system's resolver has a limit of its own, which is
/// longer.
pub(crate) async fn resolve(
    name: &str,
    port: u16,
    deadline: Option<Instant>,
) -> io::Result<Vec<IpAddr>> {
    let found = within(deadline, lookup_host((name, port))).await;
    let found = found.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
    Ok(found.map(|address| address.ip()).collect())
}

/// Returns the result of `work`, if there is one by the deadline.
async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline.into(), work).await.ok(),
        None => Some(work.await),
    }
}
