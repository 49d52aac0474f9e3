//! Opening one session: carries out the steps of a search, blocking.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::ops::Deref;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use pgmonkey_connect::plan::Address;
use pgmonkey_connect::recycle::Restore;
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{Connector, Dialing, Error, OpenFailure, Opening, Route, Step, Way, events};
use r2d2::ManageConnection;
use r2d2_postgres::PostgresConnectionManager;

use crate::builder::Provider;
use crate::hooks::Hooks;
use crate::session::state_of;

/// A session as it was opened.
pub(crate) struct Opened {
    pub(crate) client: postgres::Client,
    pub(crate) route: Route,
    /// Whether the connector was used: not on a Unix socket, where the driver gives no hook.
    pub(crate) observed: bool,
    way: Way,
}

impl Opened {
    /// What puts it back as it is now.
    pub(crate) fn restore(&self, dialing: &Dialing) -> Restore {
        Restore::new(dialing, self.way, self.route.observer())
    }

    /// What the session is doing; see [`state_of`].
    pub(crate) fn state(&mut self) -> WireState {
        let observer = self.observed.then(|| self.route.observer());
        state_of(&mut self.client, observer.map(Deref::deref))
    }
}

/// What a session is opened with, beyond the configuration.
#[derive(Clone, Copy, Default)]
pub(crate) struct Terms<'a> {
    pub(crate) provider: Option<&'a Provider>,
    pub(crate) hooks: Option<&'a Hooks>,
    /// What subscribes a listener.
    pub(crate) subscribe: &'a str,
}

/// Opens a session on the first host that gives one.
pub(crate) fn dial(dialing: &Dialing, terms: Terms<'_>) -> Result<Opened, Error> {
    let mut dial = dialing.dial();
    loop {
        match dial.next(Instant::now())? {
            Step::Resolve {
                name,
                port,
                deadline,
            } => dial.resolved(resolve(name, port, deadline)),
            Step::Password { request, .. } => {
                let answer = terms.provider.map(|provider| provider.password(&request));
                dial.password(answer, Instant::now());
            }
            Step::Open(mut opening) => match reach(dialing, terms, &mut opening) {
                Ok(opened) => {
                    dial.opened(&opening);
                    return Ok(opened);
                }
                Err(failure) => dial.failed(&opening, failure)?,
            },
        }
    }
}

fn reach(
    dialing: &Dialing,
    terms: Terms<'_>,
    opening: &mut Opening,
) -> Result<Opened, OpenFailure> {
    let mut opened = match open(opening, Way::Startup) {
        Err(OpenFailure::Driver(error)) if dialing.needs_statements(&error) => {
            let mut opened = open(opening, Way::Statements)?;
            if let Some(settings) = dialing.settings_statement() {
                let client = &mut opened.client;
                client.query_typed(settings.text(), &settings.parameters())?;
            }
            opened.route.observer().put_back();
            opened
        }
        other => other?,
    };
    if let Some(hooks) = terms.hooks.filter(|hooks| hooks.asks_after_connect()) {
        opened = prepare(hooks.clone(), opened, opening.deadline())?;
    }
    if !terms.subscribe.is_empty() {
        opened.client.batch_execute(terms.subscribe)?;
    }
    opened.route.accept();
    Ok(opened)
}

/// Runs the hook for a new session until the deadline: the stream ends its statements then, and
/// where there is no stream of ours it runs on a thread.
fn prepare(
    hooks: Hooks,
    mut opened: Opened,
    deadline: Option<Instant>,
) -> Result<Opened, OpenFailure> {
    let observed = opened.observed;
    let run = move || hooks.prepare(&mut opened).map(|()| opened);
    let done = match deadline {
        Some(deadline) if !observed => on_thread("pgmonkey-hook", deadline, run)
            .map_err(OpenFailure::Socket)?
            .ok_or(OpenFailure::Deadline)?,
        _ => run(),
    };
    let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
    done.map_err(|failure| match is_over {
        true => OpenFailure::Deadline,
        false => OpenFailure::Hook(failure),
    })
}

fn open(opening: &mut Opening, way: Way) -> Result<Opened, OpenFailure> {
    let observed = matches!(opening.address(), Address::Tcp(_));
    let connector = opening.connector();
    let mut config: postgres::Config = opening.driver_config(way).clone().into();
    // The driver would log them as they come.
    let name = Arc::clone(opening.name());
    config.notice_callback(move |notice| events::noticed(&name, &notice));
    let manager = PostgresConnectionManager::new(config, connector);
    let mut client = match opening.deadline() {
        Some(deadline) if !observed => connect_until(deadline, manager)?,
        _ => manager.connect()?,
    };
    if let Some(question) = opening.question(observed)? {
        opening.judge(&client.simple_query(question)?)?;
    }
    Ok(Opened {
        client,
        route: opening.route(),
        observed,
        way,
    })
}

/// Connects where nothing holds the driver to the deadline: on a thread, which a server that
/// never answers keeps until it does.
fn connect_until(
    deadline: Instant,
    manager: PostgresConnectionManager<Connector>,
) -> Result<postgres::Client, OpenFailure> {
    on_thread("pgmonkey-connect", deadline, move || manager.connect())
        .map_err(OpenFailure::Socket)?
        .ok_or(OpenFailure::Deadline)?
        .map_err(OpenFailure::Driver)
}

/// The addresses of a name, asked for until the deadline: the system's resolver has a limit of
/// its own, which is longer.
fn resolve(name: String, port: u16, deadline: Option<Instant>) -> io::Result<Vec<IpAddr>> {
    let ask = move || -> io::Result<Vec<IpAddr>> {
        let found = (name, port).to_socket_addrs()?;
        Ok(found.map(|address| address.ip()).collect())
    };
    match deadline {
        None => ask(),
        Some(deadline) => on_thread("pgmonkey-resolve", deadline, ask)?
            .unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())),
    }
}

/// What `work` comes to, if it does by the deadline. It is left alone then.
pub(crate) fn on_thread<T: Send + 'static>(
    name: &str,
    deadline: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let (answer, answered) = mpsc::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || answer.send(work()))?;
    let left = deadline.saturating_duration_since(Instant::now());
    Ok(answered.recv_timeout(left).ok())
}
