//! A pool of simulated sessions with its callers: works like the shells of the two drivers, and
//! lets the schedule choose wherever there is more than one outcome.

use std::future::poll_fn;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pgmonkey_config::PoolSettings;
use shuttle::future::{block_on, spawn};
use shuttle::rand::Rng;
use shuttle::thread;
use tokio::runtime::Builder;

use crate::error::Error;
use crate::pool::{
    self, Acquiring, Caller, Checkout, ConnectTask, Home, InUse, Instant, Label, Permit, PoolCore,
    Shell, Step, Waiter,
};
use crate::status::CloseReason;
use crate::surroundings::sync::{pass, reset_clock};

/// A number below `many`, chosen by the schedule.
pub(crate) fn draw(many: u32) -> u32 {
    shuttle::rand::thread_rng().gen_range(0..many)
}

/// Two runtimes.
pub(crate) fn homes() -> [Home; 2] {
    thread_local! {
        static HOMES: [Home; 2] = [(); 2].map(|()| {
            let runtime = Builder::new_current_thread().build().expect("a runtime");
            Home::at(runtime.handle().id())
        });
    }
    HOMES.with(|homes| *homes)
}

/// The simulated driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    Tasks,
    Threads,
}

/// How long a caller waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    Waits,
    /// May give up at any point; then it asks again and waits.
    GivesUp,
}

/// A job that runs concurrently with the test.
enum Running {
    Task(shuttle::future::JoinHandle<()>),
    Thread(thread::JoinHandle<()>),
}

pub(crate) struct World {
    core: PoolCore<Session>,
    how: How,
    max_size: u32,
    running: Mutex<Vec<Running>>,
    /// How many more connect tasks may fail.
    failures: AtomicU32,
    /// How many more sessions the server may end.
    deaths: AtomicU32,
    may_close: AtomicBool,
    /// How many maintenances run.
    maintenances: AtomicU32,
    open: Arc<AtomicU32>,
}

#[derive(Debug)]
pub(crate) struct Session {
    home: Home,
    open: Arc<AtomicU32>,
    permit: Option<Permit>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
        // A session takes time to close.
        if self.permit.is_some() {
            thread::yield_now();
        }
    }
}

impl Shell for World {
    type Session = Session;

    fn core(&self) -> &PoolCore<Session> {
        &self.core
    }

    fn open(self: &Arc<Self>, mut task: ConnectTask<Self>) {
        self.run(move |world| {
            loop {
                match task.step() {
                    Step::End => return,
                    Step::Pause(pause) => {
                        thread::yield_now();
                        pass(pause);
                    }
                    Step::Open => {
                        let Some(permitted) = task.permitted() else {
                            return;
                        };
                        task = permitted;
                        let permit = task.take_permit();
                        thread::yield_now();
                        if !chance(&world.failures) {
                            let session = world.session(task.home(), permit);
                            return task.opened(session);
                        }
                        drop(permit);
                        match draw(3) {
                            // Dropped with its runtime.
                            0 => return,
                            1 => task.failed(&Error::Connect { transient: true }),
                            _ => task.failed(&Error::Connect { transient: false }),
                        }
                    }
                }
            }
        });
    }

    fn maintain(self: &Arc<Self>) {
        let others = self.maintenances.fetch_add(1, Ordering::SeqCst);
        assert_eq!(others, 0, "one runs already");
    }

    fn home(session: &Session) -> Home {
        session.home
    }

    fn end_reason(_: &Session, _: Instant) -> Option<CloseReason> {
        None
    }

    fn release(checkout: Checkout<Self>) {
        match draw(8) {
            0 => checkout.end(CloseReason::Dirty),
            1 => drop(checkout),
            2 => {
                checkout.clean();
                thread::yield_now();
                checkout.release_clean();
            }
            _ => checkout.release_clean(),
        }
    }
}

fn caller(home: Home) -> Caller {
    Caller::new(Location::caller(), home)
}

/// Whether one of the remaining events happens now.
fn chance(left: &AtomicU32) -> bool {
    let happens = left.load(Ordering::SeqCst) > 0 && draw(2) == 0;
    if happens {
        left.fetch_sub(1, Ordering::SeqCst);
    }
    happens
}

impl World {
    pub(crate) fn new(how: How, max_size: u32) -> Arc<Self> {
        reset_clock();
        let mut settings = PoolSettings::default();
        (settings.min_size, settings.max_size) = (0, max_size);
        settings.num_workers = 1 + draw(2);
        settings.max_idle = Duration::ZERO;
        // With the shorter one, each tick wakes every waiter.
        settings.timeout = Duration::from_secs([2, 30][draw(2) as usize]);
        Arc::new(Self {
            core: PoolCore::new("pool", Arc::new(Label::new()), &settings),
            how,
            max_size,
            running: Mutex::default(),
            failures: AtomicU32::new(0),
            deaths: AtomicU32::new(0),
            may_close: AtomicBool::new(false),
            maintenances: AtomicU32::new(1),
            open: Arc::default(),
        })
    }

    pub(crate) fn openings_fail(&self, most: u32) {
        self.failures.store(most, Ordering::SeqCst);
    }

    pub(crate) fn sessions_die(&self, most: u32) {
        self.deaths.store(most, Ordering::SeqCst);
    }

    pub(crate) fn keeps_min_size(self: &Arc<Self>) {
        self.core.keep_min_size();
        pool::resize(self, 1, self.max_size);
    }

    pub(crate) fn is_asleep(&self) -> bool {
        self.core.status().asleep
    }

    /// Checks that a pool that sleeps has no session.
    pub(crate) fn check_asleep(&self) {
        let status = self.core.status();
        assert_eq!(
            (status.asleep, status.size, status.opening),
            (true, 0, 0),
            "{status}"
        );
        assert_eq!(self.open.load(Ordering::SeqCst), 0);
    }

    /// Lets the maintenance notice that the pool sleeps.
    pub(crate) fn look(&self) {
        let runs = self.maintenances.load(Ordering::SeqCst) > 0;
        if runs && self.core.ends_maintenance() {
            self.maintenances.fetch_sub(1, Ordering::SeqCst);
        }
    }

    pub(crate) fn may_close(&self) {
        self.may_close.store(true, Ordering::SeqCst);
    }

    /// Runs a job concurrently with the test.
    pub(crate) fn run(self: &Arc<Self>, job: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let world = Arc::clone(self);
        let running = match self.how {
            How::Tasks => Running::Task(spawn(async move { job(&world) })),
            How::Threads => Running::Thread(thread::spawn(move || job(&world))),
        };
        self.running.lock().unwrap().push(running);
    }

    /// Starts a caller concurrently with the test.
    pub(crate) fn call(self: &Arc<Self>, home: Home, patience: Until) {
        let world = Arc::clone(self);
        let call = async move {
            if patience == Until::GivesUp {
                match world.acquire(home, patience).await {
                    None | Some(Ok(()) | Err(Error::Timeout(_))) => {}
                    Some(Err(error)) => world.check_closed(&error),
                }
            }
            match world.acquire(home, Until::Waits).await {
                Some(Ok(())) => {}
                Some(Err(error)) => world.check_closed(&error),
                None => panic!("it waits"),
            }
        };
        let running = match self.how {
            How::Tasks => Running::Task(spawn(call)),
            How::Threads => Running::Thread(thread::spawn(move || block_on(call))),
        };
        self.running.lock().unwrap().push(running);
    }

    fn check_closed(&self, error: &Error) {
        let closed = matches!(error, Error::Closed { .. });
        assert!(closed && self.may_close.load(Ordering::SeqCst), "{error:?}");
    }

    /// Acquires and releases a session; `None` if the caller gave up.
    async fn acquire(self: &Arc<Self>, home: Home, patience: Until) -> Option<Result<(), Error>> {
        let caller = caller(home);
        let mut turn = pool::acquire(self, &caller, None);
        loop {
            let delivery = match turn {
                Ok(Acquiring::Ready(checkout)) => Some(Ok(checkout)),
                Ok(Acquiring::Waiting(mut waiting)) => match (self.how, patience) {
                    (How::Tasks, Until::Waits) => Some(wait_as_task(waiting).await),
                    (How::Tasks, Until::GivesUp) => leave_as_task(waiting).await,
                    (How::Threads, Until::Waits) => waiting.wait(None),
                    (How::Threads, Until::GivesUp) => leave_as_thread(waiting),
                },
                Err(error) => Some(Err(error)),
            };
            turn = match delivery? {
                Ok(checkout) if chance(&self.deaths) => {
                    checkout.replace(CloseReason::Dead, &caller)
                }
                Ok(checkout) => {
                    assert!(checkout.home.serves(home));
                    use_it(checkout, caller.began);
                    return Some(Ok(()));
                }
                Err(Error::Connect { .. }) => pool::acquire(self, &caller, None),
                Err(error) => return Some(Err(error)),
            };
        }
    }

    fn session(&self, home: Home, permit: Option<Permit>) -> Session {
        let open = 1 + self.open.fetch_add(1, Ordering::SeqCst);
        assert!(open <= self.max_size, "{open} sessions");
        Session {
            home,
            open: Arc::clone(&self.open),
            permit,
        }
    }

    /// The number of open sessions.
    pub(crate) fn open_sessions(&self) -> u32 {
        self.open.load(Ordering::SeqCst)
    }

    /// Closes the pool and waits until it has no session left.
    pub(crate) fn close(&self) {
        pool::close(self);
        let Some(drained) = pool::drained(self) else {
            return;
        };
        let soon = Instant::now() + Duration::from_secs(1);
        if self.how == How::Tasks || !drained.wait(soon) {
            block_on(poll_fn(|cx| drained.poll(cx)));
        }
    }

    /// Acquires a session for the test itself.
    pub(crate) fn hold(self: &Arc<Self>) -> Checkout<Self> {
        match pool::acquire(self, &caller(Home::ANYWHERE), None) {
            Ok(Acquiring::Ready(checkout)) => checkout,
            Ok(Acquiring::Waiting(mut waiting)) => {
                block_on(poll_fn(|cx| waiting.poll(cx))).expect("a session")
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Waits until all concurrent jobs have ended.
    pub(crate) fn join(&self) {
        loop {
            let next = self.running.lock().unwrap().pop();
            match next {
                Some(Running::Task(task)) => block_on(task).unwrap(),
                Some(Running::Thread(thread)) => thread.join().unwrap(),
                None => return,
            }
        }
    }

    /// Waits like [`join`](Self::join), then checks what is left.
    pub(crate) fn end(&self) {
        self.join();
        let status = self.core.status();
        assert_eq!((status.waiting, status.opening), (0, 0), "{status}");
        assert_eq!((status.in_use, status.checking), (0, 0), "{status}");
        assert_eq!(status.idle, self.open.load(Ordering::SeqCst), "{status}");
        let label = self.core.label();
        assert_eq!(label.acquired.load(Ordering::SeqCst), 0);
        assert_eq!(label.waiting.load(Ordering::SeqCst), 0);
        self.close();
        assert_eq!(self.core.status().size, 0);
        assert_eq!(self.open.load(Ordering::SeqCst), 0);
    }
}

type Delivery = Result<Checkout<World>, Error>;

/// Releases or closes a session, in each possible way.
fn use_it(mut checkout: Checkout<World>, began: Instant) {
    match draw(8) {
        0 => return drop(checkout),
        1 => {
            checkout.check(CloseReason::Dead);
            thread::yield_now();
            return drop(checkout);
        }
        2 => checkout.check(CloseReason::Hook),
        _ => {}
    }
    let mut caller = caller(Home::ANYWHERE);
    caller.began = began;
    let in_use = InUse::new(checkout, &caller);
    thread::yield_now();
    drop(in_use);
}

async fn wait_as_task(mut waiting: Waiter<World>) -> Delivery {
    if draw(2) == 0 {
        // From another task than the one that finally waits.
        let cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(delivery) = waiting.poll(&cx) {
            return delivery;
        }
    }
    poll_fn(|cx| waiting.poll(cx)).await
}

/// Polls the waiter a few times, whether woken or not.
async fn leave_as_task(mut waiting: Waiter<World>) -> Option<Delivery> {
    let mut polls = draw(3);
    let last = poll_fn(|cx| {
        if polls == 0 {
            return Poll::Ready(None);
        }
        polls -= 1;
        let polled = waiting.poll(cx);
        if polled.is_pending() {
            cx.waker().wake_by_ref();
        }
        polled.map(Some)
    });
    last.await.or_else(|| give_up(waiting))
}

fn leave_as_thread(mut waiting: Waiter<World>) -> Option<Delivery> {
    let deadline = Instant::now() + Duration::from_secs(u64::from(draw(2)));
    let delivery = waiting.wait(Some(deadline));
    delivery.or_else(|| give_up(waiting))
}

fn give_up(waiting: Waiter<World>) -> Option<Delivery> {
    match draw(2) {
        0 => Some(waiting.time_out()),
        _ => {
            drop(waiting);
            None
        }
    }
}
