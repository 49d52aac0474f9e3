//! mobc, and what it takes to keep our promises on top of it. The only file that knows mobc.
//!
//! mobc 0.9 opens sessions, counts them and ends them. Idle sessions lie on the pool's shelf
//! instead, on loan from mobc: it keeps two at most unless told otherwise, its ages act at
//! checkout only, its time-out wakes a helper thread for each acquire, and its sizes cannot be
//! changed.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
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

/// A session on loan. In a box made when it is opened, for it moves with each loan and each return.
pub(crate) type Loan = Box<mobc::Connection<Manager>>;

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
    pub(crate) statements: Statements,
    /// Whether its one session never leaves its transaction.
    pub(crate) for_tests: bool,
    /// How many sessions are being opened now.
    pub(crate) opening: Arc<AtomicU32>,
}

/// Builds the engine. Opens nothing.
pub(crate) fn build(manager: Manager) -> Engine {
    mobc::Pool::builder()
        // As many as mobc can: the gate bounds them, at a size that may change.
        .max_open(0)
        .get_timeout(None)
        .max_lifetime(None)
        .max_idle_lifetime(None)
        .health_check_interval(None)
        .test_on_check_out(false)
        .build(manager)
}

/// Opens a session.
pub(crate) async fn open(engine: &Engine, what: &'static str) -> Result<Loan, Error> {
    let opened = engine.get().await.map(Box::new);
    opened.map_err(|error| match error {
        mobc::Error::Inner(error) => error,
        _ => Error::Closed { what },
    })
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
        self.check_first()?;
        let _opening = Opening::begin(&self.opening);
        let began = Instant::now();
        let terms = Terms {
            provider: self.provider.as_ref(),
            hooks: self.hooks.as_ref(),
            ..Terms::default()
        };
        let opened = dial(&self.dialing, terms)
            .instrument(events::connect(self.ledger.name()))
            .await
            .inspect_err(|error| self.ledger.open_failed(error, Instant::now()))?;
        self.ledger.connected(began);
        // Nobody may be left to take it, and nobody would close it then.
        self.check_open()?;
        let ends = expiry::end_of_life(Instant::now(), self.max_lifetime, expiry::draw());
        let restore = opened.restore(&self.dialing);
        let (ledger, prepared) = (Arc::clone(&self.ledger), self.statements.begin());
        let mut session = Session::new(opened, ends, restore, ledger, prepared);
        if self.for_tests {
            Box::pin(session.begin_outer()).await?;
        }
        Ok(session)
    }

    /// Never asked: sessions are judged outside, where their discarding is known.
    async fn check(&self, session: Session) -> Result<Session, Error> {
        Ok(session)
    }

    /// Asked when a session comes back: false discards it. Only what is to end comes back.
    fn validate(&self, _: &mut Session) -> bool {
        false
    }
}

/// One session that is being opened.
struct Opening<'a>(&'a AtomicU32);

impl<'a> Opening<'a> {
    fn begin(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Manager {
    /// A second session would not see what the first one holds.
    fn check_first(&self) -> Result<(), Error> {
        match self.for_tests && self.ledger.ever_opened() {
            true => Err(Error::TestTransactionOver),
            false => Ok(()),
        }
    }

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
