//! Opening one session: works through the attempts, one deadline each.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgmonkey_config::Target;
use pgmonkey_connect::plan::{self, Address, Attempt, Lookup};
use pgmonkey_connect::wire::Observer;
use pgmonkey_connect::{Connector, Dialing, Error, Way};
use tokio::net::{UnixStream, lookup_host};
use tokio::time::timeout_at;

use crate::driver::{self, Turns};

/// A session as it was opened.
pub(crate) struct Opened {
    pub(crate) client: tokio_postgres::Client,
    pub(crate) observer: Arc<Observer>,
    pub(crate) turns: Arc<Turns>,
    pub(crate) attempt: Attempt,
}

/// Why one attempt failed.
enum Failure {
    Socket(io::Error),
    Driver(tokio_postgres::Error),
    Deadline,
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

/// Opens a session on the first host that gives one.
pub(crate) async fn dial(dialing: &Dialing) -> Result<Opened, Error> {
    let mut failures = dialing.failures();
    for target in dialing.targets() {
        let addresses = match resolve(&target, dialing.limit()).await {
            Ok(addresses) => addresses,
            Err(error) => {
                failures.unresolved(&target, error);
                continue;
            }
        };
        for attempt in plan::attempts(&target, &addresses) {
            match reach(dialing, &attempt).await {
                Ok(opened) => return Ok(opened),
                Err(Failure::Driver(error)) => failures.refused(&attempt, error)?,
                Err(Failure::Socket(error)) => failures.unreachable(&attempt, error),
                Err(Failure::Deadline) => failures.timed_out(&attempt),
            }
        }
    }
    Err(failures.to_error())
}

async fn reach(dialing: &Dialing, attempt: &Attempt) -> Result<Opened, Failure> {
    let whole = async {
        match open(dialing, attempt, Way::Startup).await {
            Err(Failure::Driver(error)) if dialing.needs_statements(&error) => {
                let opened = open(dialing, attempt, Way::Statements).await?;
                opened.client.batch_execute(&dialing.statements()).await?;
                Ok(opened)
            }
            other => other,
        }
    };
    match dialing.deadline(Instant::now()) {
        Some(deadline) => timeout_at(deadline.into(), whole)
            .await
            .unwrap_or(Err(Failure::Deadline)),
        None => whole.await,
    }
}

async fn open(dialing: &Dialing, attempt: &Attempt, way: Way) -> Result<Opened, Failure> {
    let connector = Connector::new(dialing.deadline(Instant::now()));
    let observer = Arc::clone(connector.observer());
    let config = dialing.driver_config(attempt, way);
    let (client, turns) = match &attempt.address {
        Address::Unix(directory, port) => {
            let path = directory.join(format!(".s.PGSQL.{port}"));
            let socket = UnixStream::connect(path).await.map_err(Failure::Socket)?;
            through(connector, config, socket).await?
        }
        _ => {
            let (client, connection) = config.connect(connector).await?;
            (client, driver::spawn(connection))
        }
    };
    Ok(Opened {
        client,
        observer,
        turns,
        attempt: attempt.clone(),
    })
}

/// Opens a session over a socket that is connected already: the driver's own way to a Unix
/// socket leaves no room for an observer.
async fn through(
    connector: Connector,
    config: tokio_postgres::Config,
    socket: UnixStream,
) -> Result<(tokio_postgres::Client, Arc<Turns>), Failure> {
    let stream = connector.observe(socket);
    let (client, connection) = config.connect_raw(stream, tokio_postgres::NoTls).await?;
    Ok((client, driver::spawn(connection)))
}

/// The addresses of a target, asked for within the limit: the system's resolver has a limit of
/// its own, which is longer.
async fn resolve(target: &Target, limit: Option<Duration>) -> io::Result<Vec<IpAddr>> {
    let Lookup::Name(name) = plan::lookup(target) else {
        return Ok(Vec::new());
    };
    let ask = async {
        Ok(lookup_host((name, target.port))
            .await?
            .map(|a| a.ip())
            .collect())
    };
    match limit {
        Some(limit) => tokio::time::timeout(limit, ask)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        None => ask.await,
    }
}
