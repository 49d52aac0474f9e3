//! Opening one session: works through the attempts, blocking.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use pgmonkey_config::Target;
use pgmonkey_connect::plan::{self, Address, Attempt, Lookup};
use pgmonkey_connect::wire::Observer;
use pgmonkey_connect::{Connector, Dialing, Error, Way};
use r2d2::ManageConnection;
use r2d2_postgres::PostgresConnectionManager;

/// A session as it was opened.
pub(crate) struct Opened {
    pub(crate) client: postgres::Client,
    /// `None` on a Unix socket, where the driver gives no hook.
    pub(crate) observer: Option<Arc<Observer>>,
    pub(crate) attempt: Attempt,
}

/// Opens a session on the first host that gives one.
pub(crate) fn dial(dialing: &Dialing) -> Result<Opened, Error> {
    let mut failures = dialing.failures();
    for target in dialing.targets() {
        let addresses = match resolve(&target, dialing.limit()) {
            Ok(addresses) => addresses,
            Err(error) => {
                failures.unresolved(&target, error);
                continue;
            }
        };
        for attempt in plan::attempts(&target, &addresses) {
            match reach(dialing, &attempt) {
                Ok(opened) => return Ok(opened),
                Err(error) => failures.refused(&attempt, error)?,
            }
        }
    }
    Err(failures.to_error())
}

fn reach(dialing: &Dialing, attempt: &Attempt) -> Result<Opened, postgres::Error> {
    match open(dialing, attempt, Way::Startup) {
        Err(error) if dialing.needs_statements(&error) => {
            let mut opened = open(dialing, attempt, Way::Statements)?;
            opened.client.batch_execute(&dialing.statements())?;
            Ok(opened)
        }
        other => other,
    }
}

fn open(dialing: &Dialing, attempt: &Attempt, way: Way) -> Result<Opened, postgres::Error> {
    let connector = Connector::new(dialing.deadline(Instant::now()));
    let observed = matches!(attempt.address, Address::Tcp(_));
    let observer = observed.then(|| Arc::clone(connector.observer()));
    let config = dialing.driver_config(attempt, way);
    let client = PostgresConnectionManager::new(config.into(), connector).connect()?;
    Ok(Opened {
        client,
        observer,
        attempt: attempt.clone(),
    })
}

/// The addresses of a target, asked for within the limit: the system's resolver has a limit of
/// its own, which is longer.
fn resolve(target: &Target, limit: Option<Duration>) -> io::Result<Vec<IpAddr>> {
    let Lookup::Name(name) = plan::lookup(target) else {
        return Ok(Vec::new());
    };
    let ask = {
        let place = (name.to_owned(), target.port);
        move || -> io::Result<Vec<IpAddr>> {
            Ok(place.to_socket_addrs()?.map(|a| a.ip()).collect())
        }
    };
    let Some(limit) = limit else {
        return ask();
    };
    let (answer, answered) = mpsc::channel();
    std::thread::Builder::new()
        .name("pgmonkey-resolve".to_owned())
        .spawn(move || answer.send(ask()))?;
    answered
        .recv_timeout(limit)
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
