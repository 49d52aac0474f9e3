//! mobc, and what it takes to keep our promises on top of it. The only file that knows mobc.
//!
//! mobc 0.9 keeps the idle sessions, opens new ones in the caller's task and counts. It is told
//! little else: its limit of two idle sessions, its time-out (which wakes a helper thread for
//! each acquire) and its ages (which act at checkout only) are switched off.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pgmonkey_connect::ledger::Ledger;
use pgmonkey_connect::{Dialing, Error, events, expiry};
use tracing::Instrument;

use crate::builder::Provider;
use crate::dial::{Terms, dial};
use crate::hooks::Hooks;
use crate::prepared::Statements;
use crate::session::Session;

/// A session on loan.
pub(crate) type Loan = mobc::Connection<Manager>;

/// mobc's pool.
pub(crate) type Engine = mobc::Pool<Manager>;

/// Opens and judges sessions on mobc's behalf.
pub(crate) struct Manager {
    pub(crate) what: &'static str,
    pub(crate) dialing: Dialing,
    pub(crate) provider: Option<Provider>,
    pub(crate) hooks: Option<Hooks>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) closing: Arc<AtomicBool>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) check_on_checkout: bool,
    pub(crate) statements: Statements,
}

/// Builds the engine. Opens nothing.
pub(crate) fn build(manager: Manager, max_size: u32) -> Engine {
    mobc::Pool::builder()
        .max_open(u64::from(max_size))
        .max_idle(u64::from(max_size))
        .get_timeout(None)
        .max_lifetime(None)
        .max_idle_lifetime(None)
        .health_check_interval(None)
        .test_on_check_out(true)
        .build(manager)
}

/// The reason in an engine's error.
pub(crate) fn reason(error: mobc::Error<Error>, what: &'static str) -> Error {
    match error {
        mobc::Error::Inner(error) => error,
        _ => Error::Closed { what },
    }
}

#[async_trait]
impl mobc::Manager for Manager {
    type Connection = Session;
    type Error = Error;

    /// Runs the return of a session where it is dropped.
    ///
    /// mobc spawns it, which costs a task for each release, and panics outside a runtime. All it
    /// ever waits for is a lock that is held for a few instructions and never across an await,
    /// so that waiting for it here ends at once.
    fn spawn_task<T>(&self, task: T)
    where
        T: Future + Send + 'static,
        T::Output: Send + 'static,
    {
        let mut task = pin!(task);
        if task
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
        {
            return;
        }
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        while task
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
        {
            std::thread::park();
        }
    }

    async fn connect(&self) -> Result<Session, Error> {
        self.check_open()?;
        let began = Instant::now();
        let terms = Terms {
            provider: self.provider.as_ref(),
            hooks: self.hooks.as_ref(),
            ..Terms::default()
        };
        let opened = dial(&self.dialing, terms)
            .instrument(events::connect(self.ledger.name()))
            .await
            .inspect_err(|error| self.ledger.open_failed(error))?;
        self.ledger.connected(began);
        // Nobody may be left to take it, and nobody would close it then.
        self.check_open()?;
        let ends = expiry::end_of_life(Instant::now(), self.max_lifetime, expiry::draw());
        let ledger = Arc::clone(&self.ledger);
        Ok(Session::new(opened, ends, ledger, self.statements.begin()))
    }

    /// Asked when a session is taken out; an error makes mobc open another.
    async fn check(&self, mut session: Session) -> Result<Session, Error> {
        if self.closing.load(Ordering::Acquire) {
            // It is taken out to be dropped, maybe outside a runtime.
            return Ok(session);
        }
        let over =
            session.is_over(Instant::now()) || self.check_on_checkout && !session.answers().await;
        match over {
            true => Err(Error::Closed { what: "session" }),
            false => Ok(session),
        }
    }

    /// Asked when a session comes back: false discards it.
    fn validate(&self, session: &mut Session) -> bool {
        !(session.is_discarded()
            || session.is_over(Instant::now())
            || self.closing.load(Ordering::Acquire))
    }
}

impl Manager {
    fn check_open(&self) -> Result<(), Error> {
        match self.closing.load(Ordering::Acquire) {
            true => Err(Error::Closed { what: self.what }),
            false => Ok(()),
        }
    }
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
