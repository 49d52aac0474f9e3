//! What import and export share: sessions of their own, clean-up on failure, the names of tables,
//! and progress.

pub(crate) mod progress;
pub(crate) mod relation;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pgmonkey::Config;
use pgmonkey::aio::{ClientGuard, Pool};
use pgmonkey::config::{PoolSettings, SettingsDelivery};

use crate::error::Error;

/// How long the sessions may take to undo interrupted work.
const UNDO_LIMIT: Duration = Duration::from_secs(10);

const NOT_SENT: &str = "session_settings: transaction sends sync_settings with the transactions of a program, \
     but this command keeps its sessions: give it a profile that names the server itself, with \
     session_settings: verify";

/// The sessions of one command.
#[derive(Clone)]
pub(crate) struct Sessions {
    pub(crate) pool: Pool,
    /// Removes what was created outside a transaction; `None` when that is not needed.
    undo: Arc<Mutex<Option<String>>>,
    /// The server processes that may run for a long time.
    busy: Arc<Mutex<Vec<i32>>>,
}

impl Sessions {
    /// Runs `statement` if the work fails or is interrupted from here on.
    pub(crate) fn undo_by(&self, statement: String) {
        *self.undo.lock().expect("not poisoned") = Some(statement);
    }

    /// Acquires a session whose work is cancelled on an interrupt; returns its server process too.
    ///
    /// The pool cancels what a released session is still doing, but not a `COPY` that waits for a
    /// lock and has not begun.
    pub(crate) async fn acquire(&self) -> Result<(ClientGuard, i32), Error> {
        let client = self.pool.acquire().await?;
        let row = client.query_typed_one("SELECT pg_backend_pid()", &[]).await;
        let process = row.map_err(relation::database)?.get(0);
        self.busy.lock().expect("not poisoned").push(process);
        Ok((client, process))
    }

    async fn cancel(&self) {
        const CANCEL: &str = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity \
            WHERE pid = ANY($1) AND state = 'active' AND application_name = current_setting('application_name')";
        let busy = self.busy.lock().expect("not poisoned").clone();
        let cancelled = async { self.pool.query(CANCEL, &[&busy]).await };
        let _ = tokio::time::timeout(UNDO_LIMIT, cancelled).await;
    }

    /// Forgets the statement of `undo_by`.
    pub(crate) fn nothing_to_undo(&self) {
        self.take_undo();
    }

    fn take_undo(&self) -> Option<String> {
        self.undo.lock().expect("not poisoned").take()
    }
}

/// Runs `work` with up to `most` sessions that have the file's `sync_settings`.
///
/// Ctrl-C and a termination request drop the work. Its statements are cancelled and rolled back
/// before this returns.
pub(crate) fn run<T, F>(
    config: &Config,
    most: u32,
    work: impl FnOnce(Sessions) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let timeout = config.sync_settings.value("statement_timeout");
    let timeout = timeout.map(str::to_owned);
    let config = own_sessions(config, most)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::failed(format!("could not start the async runtime: {error}")))?;
    runtime.block_on(async {
        let mut interrupted = pin!(interruption()?);
        let pool = tokio::select! {
            biased;
            () = &mut interrupted => return Err(Error::Interrupted),
            pool = Pool::new(&config) => pool?,
        };
        let sessions = Sessions {
            pool,
            undo: Arc::default(),
            busy: Arc::default(),
        };
        let outcome = {
            let mut work = pin!(work(sessions.clone()));
            tokio::select! {
                biased;
                () = &mut interrupted => Err(Error::Interrupted),
                outcome = &mut work => outcome,
            }
        };
        if let Err(Error::Interrupted) = outcome {
            sessions.cancel().await;
        }
        finish(&sessions, outcome.is_err()).await;
        outcome.map_err(|error| by_own_timeout(error, timeout.as_deref()))
    })
}

/// Says that the file itself sets the timeout that ended a statement.
fn by_own_timeout(error: Error, timeout: Option<&str>) -> Error {
    let text = error.message();
    match timeout {
        Some(timeout) if text.contains("statement timeout") => Error::Failed {
            text,
            hint: Some(format!(
                "the file's own `sync_settings` set statement_timeout to {timeout}, which limits imports and exports too: raise it, or set it to 0 in a profile for them"
            )),
        },
        _ => error,
    }
}

/// Undoes interrupted work and waits until the sessions have ended.
async fn finish(sessions: &Sessions, failed: bool) {
    let undo = sessions.take_undo().filter(|_| failed);
    if let Some(statement) = undo {
        let undone = async {
            let client = sessions.pool.acquire().await?;
            client.batch_execute(&statement).await
        };
        if !matches!(tokio::time::timeout(UNDO_LIMIT, undone).await, Ok(Ok(()))) {
            crate::ui::notes::warning(format_args!(
                "could not clean up; run this statement: {statement}"
            ));
        }
    }
    // A closed pool does not cancel anything, so running work ends first.
    until(|| sessions.pool.status().in_use == 0).await;
    sessions.pool.close();
    until(|| sessions.pool.status().size == 0).await;
    // Lets the driver tasks send their Terminate messages.
    tokio::task::yield_now().await;
}

/// Waits for a condition, up to `UNDO_LIMIT`.
async fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + UNDO_LIMIT;
    while !condition() && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The configuration with its own pool size and the settings of a blocking session. The file's pool
/// settings are for the programs that use the file.
fn own_sessions(config: &Config, most: u32) -> Result<Config, Error> {
    let mut settings = config.to_settings();
    settings.async_settings = settings.sync_settings.clone();
    let delivery = settings.connection_settings.session_settings;
    if delivery == SettingsDelivery::Transaction && !settings.sync_settings.is_empty() {
        return Err(Error::failed(NOT_SENT.to_owned()));
    }
    let mut pool = PoolSettings::default();
    pool.min_size = 1;
    // One more, to cancel the work of the others.
    pool.max_size = most + 1;
    pool.max_lifetime = None;
    settings.async_pool_settings = pool;
    Ok(Config::new(settings)?)
}

/// Completes when the process receives a termination signal.
#[cfg(unix)]
pub(crate) fn interruption() -> Result<impl Future<Output = ()>, Error> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| no_signals(&error));
    let mut asked = listen(SignalKind::interrupt())?;
    let mut told = listen(SignalKind::terminate())?;
    let mut hung_up = listen(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = asked.recv() => {}
            _ = told.recv() => {}
            _ = hung_up.recv() => {}
        }
    })
}

#[cfg(not(unix))]
pub(crate) fn interruption() -> Result<impl Future<Output = ()>, Error> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

#[cfg(unix)]
fn no_signals(error: &io::Error) -> Error {
    Error::failed(format!("could not listen for Ctrl-C: {error}"))
}
