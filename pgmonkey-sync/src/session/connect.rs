//! Opens one session: carries out the steps of a search, blocking.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;

use pgmonkey_config::Secret;
use pgmonkey_connect::credentials::{Named, PasswordProvider};
use pgmonkey_connect::credentials::{PasswordRequest, ProviderError};
use pgmonkey_connect::plan::Address;
use pgmonkey_connect::recycle::Restore;
use pgmonkey_connect::wire::WireState;
use pgmonkey_connect::{
    ConnectAttempt, ConnectTarget, ConnectedTo, Error, OpenFailure, ServerSearch, SettingsMode,
    Step, limits,
};

use crate::session::engine::Connect;
use crate::session::hooks::Hooks;
use crate::session::state_of;
use crate::threads::sockets;

/// The password provider of a handle.
pub(crate) type Provider = Named<dyn PasswordProvider>;

/// A newly opened session.
pub(crate) struct Connected {
    pub(crate) client: postgres::Client,
    pub(crate) connected_to: ConnectedTo,
    /// Whether the connector was used. It is not on a Unix socket, where the driver has no hook for
    /// it.
    pub(crate) observed: bool,
    mode: SettingsMode,
}

impl Connected {
    /// Returns what restores the session to its current state.
    pub(crate) fn restore(&self, connect_target: &ConnectTarget) -> Restore {
        Restore::new(connect_target, self.mode, self.connected_to.observer())
    }

    /// Returns what the session is doing; see [`state_of`].
    pub(crate) fn state(&mut self) -> WireState {
        let observer = self.observed.then(|| self.connected_to.observer());
        state_of(&mut self.client, observer.map(Deref::deref))
    }
}

/// Options for opening a session, beyond the configuration.
#[derive(Clone, Copy, Default)]
pub(crate) struct ConnectOptions<'a> {
    pub(crate) provider: Option<&'a Provider>,
    pub(crate) hooks: Option<&'a Hooks>,
    /// The statements that subscribe a listener.
    pub(crate) subscribe: &'a str,
}

/// Opens a session on the first host that accepts one.
pub(crate) fn connect(
    connect_target: &ConnectTarget,
    options: ConnectOptions<'_>,
) -> Result<Connected, Error> {
    carry_out(connect_target, connect_target.search(), options)
}

/// Carries out a search, and returns the session that it found.
pub(crate) fn carry_out(
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
            } => connect.resolved(resolve(name, port, deadline)),
            Step::Password { request, deadline } => {
                let answer = match options.provider {
                    Some(provider) => ask(provider.clone(), request, deadline),
                    None => None,
                };
                connect.password(answer, Instant::now());
            }
            Step::Read(read) => connect.read(read.run()),
            Step::Pause(pause) => std::thread::sleep(pause),
            Step::Open(mut attempt) => match reach(connect_target, options, &mut attempt) {
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

fn reach(
    connect_target: &ConnectTarget,
    options: ConnectOptions<'_>,
    attempt: &mut ConnectAttempt,
) -> Result<Connected, OpenFailure> {
    let mut opened = open_set(connect_target, attempt)?;
    if let Some(hooks) = options.hooks.filter(|hooks| hooks.asks_after_connect()) {
        opened = prepare(hooks.clone(), opened, attempt.deadline())?;
    }
    if !options.subscribe.is_empty() {
        opened.client.batch_execute(options.subscribe)?;
    }
    opened.connected_to.accept();
    Ok(opened)
}

/// Opens a session with its settings, and checks that they arrived at an address where this is not
/// known.
fn open_set(
    connect_target: &ConnectTarget,
    attempt: &mut ConnectAttempt,
) -> Result<Connected, OpenFailure> {
    let first = connect_target.settings_mode();
    let mut opened = match open(attempt, first) {
        Err(OpenFailure::Driver(error)) if connect_target.needs_statements(&error) => {
            open(attempt, SettingsMode::Statements)?
        }
        other => other?,
    };
    let client = &mut opened.client;
    if opened.mode == SettingsMode::Statements
        && let Some(settings) = connect_target.settings_statement()
    {
        client.query_typed(settings.text(), &settings.parameters())?;
    }
    let address = attempt.address();
    if let Some(check) = connect_target.settings_check(address) {
        let answer = client.query_typed(check.text(), &check.parameters());
        let announced = opened.connected_to.observer().backend_pid();
        connect_target.settings_checked(&check, answer, address, announced)?;
    }
    if let Some(trial) = connect_target.settings_trial(address) {
        client.batch_execute(&trial)?;
        connect_target.settings_tried(address);
    }
    opened.connected_to.observer().reset();
    Ok(opened)
}

/// Runs the hook for a new session until the deadline. The stream ends its statements then; where
/// the stream is not ours, the hook runs on a thread.
fn prepare(
    hooks: Hooks,
    mut opened: Connected,
    deadline: Option<Instant>,
) -> Result<Connected, OpenFailure> {
    let observed = opened.observed;
    let run = move || hooks.prepare(&mut opened).map(|()| opened);
    let done = match deadline {
        Some(deadline) if !observed => on_thread("pgmonkey-hook", deadline, run)
            .map_err(OpenFailure::Socket)?
            .ok_or(OpenFailure::SlowHook)?,
        _ => run(),
    };
    let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
    done.map_err(|failure| match is_over {
        true => OpenFailure::SlowHook,
        false => OpenFailure::Hook(failure),
    })
}

fn open(attempt: &mut ConnectAttempt, mode: SettingsMode) -> Result<Connected, OpenFailure> {
    let observed = matches!(attempt.address(), Address::Tcp(_));
    let connector = attempt.connector();
    let mut config: postgres::Config = attempt.driver_config(mode).clone().into();
    // The driver would log notices as they arrive.
    let notices = Arc::clone(attempt.notices());
    config.notice_callback(move |notice| notices.received(&notice));
    let connect = Connect::new(config, connector);
    let mut client = match attempt.deadline() {
        Some(deadline) if !observed => until(attempt.address(), deadline, || connect.run())?,
        _ => connect.run()?,
    };
    if let Some(question) = attempt.question(observed)? {
        let question = question.to_owned();
        let ask = move || {
            client
                .simple_query(&question)
                .map(|answer| (client, answer))
        };
        let answer;
        (client, answer) = match attempt.deadline() {
            Some(deadline) if !observed => until(attempt.address(), deadline, ask)?,
            _ => ask()?,
        };
        attempt.judge(&answer)?;
    }
    Ok(Connected {
        client,
        connected_to: attempt.connected_to(),
        observed,
        mode,
    })
}

/// Runs a call of the driver where nothing else holds it to the deadline.
fn until<T: Send + 'static>(
    address: &Address,
    deadline: Instant,
    call: impl FnOnce() -> Result<T, postgres::Error> + Send + 'static,
) -> Result<T, OpenFailure> {
    sockets::on_thread("pgmonkey-connect", address, deadline, call)
        .map_err(OpenFailure::Socket)?
        .ok_or(OpenFailure::Deadline)?
        .map_err(OpenFailure::Driver)
}

/// Most providers asked in parallel: one that never returns occupies its thread.
const ASKED: u32 = 64;

/// Returns the provider's password, or `None` if there is none by the deadline. Runs on a separate
/// thread, so that a provider that hangs occupies none of the threads that open sessions.
fn ask(
    provider: Provider,
    request: PasswordRequest,
    deadline: Option<Instant>,
) -> Option<Result<Secret, ProviderError>> {
    static ASKING: AtomicU32 = AtomicU32::new(0);
    let deadline = deadline.unwrap_or_else(|| Instant::now() + limits::PROVIDER);
    if ASKING.fetch_add(1, Ordering::Relaxed) >= ASKED {
        ASKING.fetch_sub(1, Ordering::Relaxed);
        return None;
    }
    let asked = on_thread("pgmonkey-password", deadline, move || {
        let answer = catch_unwind(AssertUnwindSafe(|| provider.password(&request)));
        ASKING.fetch_sub(1, Ordering::Relaxed);
        answer
    });
    match asked {
        Ok(answer) => answer.map(|answer| answer.unwrap_or_else(|panic| resume_unwind(panic))),
        Err(error) => {
            ASKING.fetch_sub(1, Ordering::Relaxed);
            Some(Err(error.into()))
        }
    }
}

/// Resolves a name until the deadline: the system's resolver has a limit of its own, which is
/// longer.
pub(crate) fn resolve(
    name: String,
    port: u16,
    deadline: Option<Instant>,
) -> io::Result<Vec<IpAddr>> {
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

/// Returns the result of `work`, if there is one by the deadline. Otherwise `work` continues
/// unattended.
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
