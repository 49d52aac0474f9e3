//! Opening one session: carries out the steps of a search, async.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use pgmonkey_connect::plan::Address;
use pgmonkey_connect::recycle::Restore;
use pgmonkey_connect::{Connector, Dialing, Error, OpenFailure, Opening, Route, Step, Way};
use tokio::net::{UnixStream, lookup_host};
use tokio::time::timeout_at;

use crate::builder::Provider;
use crate::driver::{self, Inbox, Turns};
use crate::hooks::Hooks;

/// A session as it was opened.
pub(crate) struct Opened {
    pub(crate) client: tokio_postgres::Client,
    pub(crate) route: Route,
    pub(crate) turns: Arc<Turns>,
    way: Way,
}

impl Opened {
    /// What puts it back as it is now.
    pub(crate) fn restore(&self, dialing: &Dialing) -> Restore {
        Restore::new(dialing, self.way, self.route.observer())
    }
}

/// What a session is opened with, beyond the configuration.
#[derive(Clone, Copy, Default)]
pub(crate) struct Terms<'a> {
    pub(crate) provider: Option<&'a Provider>,
    pub(crate) hooks: Option<&'a Hooks>,
    /// For a listener: where its notifications go, and what subscribes it.
    pub(crate) inbox: Option<&'a Inbox>,
    pub(crate) subscribe: &'a str,
}

/// Opens a session on the first host that gives one.
pub(crate) async fn dial(dialing: &Dialing, terms: Terms<'_>) -> Result<Opened, Error> {
    let mut dial = dialing.dial();
    loop {
        match dial.next(Instant::now())? {
            Step::Resolve {
                name,
                port,
                deadline,
            } => dial.resolved(resolve(&name, port, deadline).await),
            Step::Password { request, deadline } => {
                let answer = match terms.provider {
                    Some(provider) => within(deadline, provider.password(&request)).await,
                    None => None,
                };
                dial.password(answer, Instant::now());
            }
            Step::Open(mut opening) => match reach(dialing, terms, &mut opening).await {
                Ok(opened) => {
                    dial.opened(&opening);
                    return Ok(opened);
                }
                Err(failure) => dial.failed(&opening, failure)?,
            },
        }
    }
}

async fn reach(
    dialing: &Dialing,
    terms: Terms<'_>,
    opening: &mut Opening,
) -> Result<Opened, OpenFailure> {
    let deadline = opening.deadline();
    let whole = async {
        let mut opened = match open(opening, Way::Startup, terms.inbox).await {
            Err(OpenFailure::Driver(error)) if dialing.needs_statements(&error) => {
                let opened = open(opening, Way::Statements, terms.inbox).await?;
                if let Some(settings) = dialing.settings_statement() {
                    let client = &opened.client;
                    client
                        .query_typed(settings.text(), &settings.parameters())
                        .await?;
                }
                opened.route.observer().put_back();
                opened
            }
            other => other?,
        };
        if let Some(hooks) = terms.hooks {
            hooks.prepare(&mut opened).await?;
        }
        if !terms.subscribe.is_empty() {
            opened.client.batch_execute(terms.subscribe).await?;
        }
        Ok(opened)
    };
    let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let opened = match within(deadline, whole).await {
        Some(Ok(opened)) => opened,
        // The stream keeps to the deadline too, and may have been the first to end it.
        Some(Err(OpenFailure::Hook(_))) if is_over() => return Err(OpenFailure::Deadline),
        Some(Err(failure)) => return Err(failure),
        None => return Err(OpenFailure::Deadline),
    };
    opened.route.accept();
    Ok(opened)
}

async fn open(
    opening: &mut Opening,
    way: Way,
    inbox: Option<&Inbox>,
) -> Result<Opened, OpenFailure> {
    let connector = opening.connector();
    let config = opening.driver_config(way);
    let name = opening.name();
    let (client, turns) = match opening.address() {
        Address::Unix(directory, port) => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            let socket = UnixStream::connect(path)
                .await
                .map_err(OpenFailure::Socket)?;
            through(connector, config, socket, (name, inbox)).await?
        }
        _ => {
            let (client, connection) = config.connect(connector).await?;
            (client, driver::spawn_for(connection, name, inbox))
        }
    };
    if let Some(question) = opening.question(true)? {
        opening.judge(&client.simple_query(question).await?)?;
    }
    Ok(Opened {
        client,
        route: opening.route(),
        turns,
        way,
    })
}

/// Opens a session over a socket that is connected already: the driver's own way to a Unix
/// socket leaves no room for an observer.
async fn through(
    connector: Connector,
    config: &tokio_postgres::Config,
    socket: UnixStream,
    (name, inbox): (&Arc<str>, Option<&Inbox>),
) -> Result<(tokio_postgres::Client, Arc<Turns>), OpenFailure> {
    let stream = connector.observe(socket);
    let (client, connection) = config.connect_raw(stream, tokio_postgres::NoTls).await?;
    Ok((client, driver::spawn_for(connection, name, inbox)))
}

/// The addresses of a name, asked for until the deadline: the system's resolver has a limit of
/// its own, which is longer.
async fn resolve(name: &str, port: u16, deadline: Option<Instant>) -> io::Result<Vec<IpAddr>> {
    let found = within(deadline, lookup_host((name, port))).await;
    let found = found.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()))?;
    Ok(found.map(|address| address.ip()).collect())
}

/// What `work` comes to, if it does by the deadline.
async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline.into(), work).await.ok(),
        None => Some(work.await),
    }
}
