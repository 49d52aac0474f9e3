//! The runtimes that sessions live in and are opened in.
//!
//! A session lives in the runtime that opened it: it ends with that runtime, and makes no progress
//! while a single-threaded runtime is busy computing. Sessions that belong to no runtime of the
//! program use two threads of the library. One drives the sessions of pools that several runtimes
//! use, those of listeners, and the maintenance of all pools; it runs no code of the program. The
//! other opens and resets those sessions: it runs password providers and hooks, which may be slow.

use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::thread;

use pgmonkey_connect::Error;
use pgmonkey_connect::pool::Home;
use pgmonkey_connect::process::PerProcess;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinHandle;

type Own = LazyLock<PerProcess<OnceLock<Handle>>>;

/// A child of `fork` starts its own.
static DRIVERS: Own = LazyLock::new(PerProcess::default);
static OPENINGS: Own = LazyLock::new(PerProcess::default);

/// Drives the sessions that several runtimes may use. Both threads are started at the first call,
/// when a handle is opened, so that a failure to start a thread shows there; they never end.
///
/// # Panics
///
/// If the system cannot start a thread, as in Tokio's own runtimes.
pub(crate) fn drivers() -> &'static Handle {
    openings();
    start(&DRIVERS, "pgmonkey-driver")
}

/// Opens and resets those sessions, and watches files.
pub(crate) fn openings() -> &'static Handle {
    start(&OPENINGS, "pgmonkey-open")
}

fn start(own: &'static Own, name: &str) -> &'static Handle {
    own.get().get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the system has a file descriptor for a runtime");
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .expect("the system has a thread for a runtime");
        handle
    })
}

fn is(own: &Own, runtime: &Handle) -> bool {
    let own = own.get().get();
    own.is_some_and(|own| own.id() == runtime.id())
}

/// Where sessions of this runtime may be used.
pub(crate) fn home_of(runtime: &Handle) -> Home {
    match is(&DRIVERS, runtime) {
        true => Home::ANYWHERE,
        false => Home::at(runtime.id()),
    }
}

/// Returns the home of the caller: its runtime, if it has one.
#[inline]
pub(crate) fn here() -> Home {
    Handle::try_current().map_or(Home::ANYWHERE, |here| Home::at(here.id()))
}

/// Returns the home of a handle that is being opened: none, if the library opens it by itself for
/// callers in any runtime.
pub(crate) fn opened_for() -> Home {
    match Handle::try_current() {
        Ok(here) if is(&OPENINGS, &here) => Home::ANYWHERE,
        _ => here(),
    }
}

/// The runtime that resets sessions of this runtime.
pub(crate) fn beside(runtime: &Handle) -> &Handle {
    match is(&DRIVERS, runtime) {
        true => openings(),
        false => runtime,
    }
}

/// Waits until this runtime has processed all socket events that were pending at the time of the
/// call.
///
/// Yielding is not enough: the thread that received the events from the system may be waiting for a
/// processor. A socket of our own becomes readable after all others, and is reported after them.
pub(crate) async fn poll_io(runtime: &Handle) {
    if Handle::try_current().is_ok_and(|here| here.id() == runtime.id()) {
        last_readable().await;
    } else {
        // An error means that the runtime has ended, together with everything that lived in it.
        let _ = runtime.spawn(last_readable()).await;
    }
}

#[cfg(unix)]
async fn last_readable() {
    // If the system has no more sockets, the session is handed out with its last known state.
    let Ok((ours, theirs)) = UnixStream::pair() else {
        return;
    };
    if ours.try_write(&[0]).is_ok() {
        let _ = theirs.readable().await;
    }
}

#[cfg(not(unix))]
async fn last_readable() {
    tokio::task::yield_now().await;
}

/// Connects in the runtime where the session is to live: the drivers' runtime if called on the
/// thread that opens sessions, otherwise the current one.
pub(crate) async fn connecting<T, E>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    match is(&OPENINGS, &Handle::current()) {
        true => Task(drivers().spawn(work)).ended().await,
        false => work.await,
    }
}

/// Runs `work` on the thread that opens sessions which outlive the caller's runtime.
///
/// # Errors
///
/// Errors of `work`; [`Error::Panicked`].
pub(crate) async fn opening<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    Task(openings().spawn(work)).outcome().await
}

/// A task that is aborted when its handle is dropped.
pub(crate) struct Task<T>(JoinHandle<T>);

impl<T> Task<Result<T, Error>> {
    /// Spawns the task in the current runtime.
    pub(crate) fn here(work: impl Future<Output = Result<T, Error>> + Send + 'static) -> Self
    where
        T: Send + 'static,
    {
        Self(tokio::spawn(work))
    }

    /// Returns the task's result. A panic in the program's own code becomes an error, because a
    /// waiter must get an answer.
    pub(crate) async fn outcome(mut self) -> Result<T, Error> {
        match (&mut self.0).await {
            Ok(outcome) => outcome,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => Err(Error::panicked(&*panic)),
                // The task ended with its runtime, and so does its waiter.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl<T> Task<T> {
    async fn ended(mut self) -> T {
        match (&mut self.0).await {
            Ok(outcome) => outcome,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The program's runtime that opens a pool's sessions for as long as it is the only one that uses
/// the pool.
#[derive(Debug, Default)]
pub(crate) struct Runtimes(Mutex<Option<Handle>>);

impl Runtimes {
    /// Knows no runtime of the program yet; starts those of the library.
    pub(crate) fn started() -> Self {
        drivers();
        Self::default()
    }

    /// Returns the runtime that opens a session for use at `home`.
    pub(crate) fn at(&self, home: Home) -> Handle {
        let lives = |runtime: &Handle| Home::at(runtime.id()) == home;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = Handle::try_current().ok().filter(lives) {
            return known.insert(here).clone();
        }
        match known.as_ref().filter(|known| lives(known)) {
            Some(known) => known.clone(),
            None => openings().clone(),
        }
    }
}
