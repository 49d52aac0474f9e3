//! The threads that open sessions, shared by all pools of the process.
//!
//! An attempt blocks its thread until the server answers or `connect_timeout` passes, so a host
//! that never answers could occupy all threads. At most half of them work for one host at a time,
//! hosts with waiting jobs take turns, and a host without a thread can always get one more.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use pgmonkey_connect::process::{Origin, PerProcess};

/// Half of this is the number of sessions that one pool opened in parallel with r2d2's default.
const FEWEST: usize = 6;
/// Half of this limits the parallel logins at one host.
const MOST: usize = 64;
/// Long enough to serve the next retries of a pool, short enough that a quiet program keeps no
/// threads.
const LINGER: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// The registration of one pool with the threads of the process. Dropping it drops its jobs that
/// have not begun; when the last one is dropped, the idle threads end.
pub(crate) struct Opener {
    id: u64,
    host: Arc<str>,
    workers: u32,
    origin: Origin,
    openers: Arc<Openers>,
}

impl Opener {
    /// Registers a pool of sessions on `host` that wants up to `workers` parallel attempts. It gets
    /// as many, up to 32, shared with the other pools of that host, even while another host uses as
    /// many.
    pub(crate) fn register(host: Arc<str>, workers: u32) -> Self {
        static OPENERS: OnceLock<PerProcess<Arc<Openers>>> = OnceLock::new();
        let openers = OPENERS.get_or_init(PerProcess::default).get();
        openers.register(host, workers)
    }

    /// Runs `job` on a thread, after the earlier jobs of the same host have begun.
    ///
    /// The job is dropped instead of run if this registration is dropped first, if it was made
    /// before `fork` in the parent process, or if the system cannot start a thread and none is
    /// running. Its waiter must get an answer in all cases, so the answer belongs in a guard that
    /// the job owns, which also covers a panic.
    pub(crate) fn submit(&self, job: impl FnOnce() + Send + 'static) {
        if self.origin.is_here() {
            let mut state = self.openers.state();
            state.push(&self.host, (self.id, Box::new(job)));
            self.openers.changed.notify_one();
            self.openers.start_missing(state);
        }
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        // The child of a fork may have inherited a locked mutex.
        if !self.origin.is_here() {
            return;
        }
        let mut state = self.openers.state();
        let dropped = state.take_jobs(&self.host, self.id);
        if let Some(count) = state.workers.get_mut(&self.workers) {
            *count -= 1;
            if *count == 0 {
                state.workers.remove(&self.workers);
            }
        }
        if state.workers.is_empty() {
            self.openers.changed.notify_all();
        }
        // A job may own anything, even the last handle of another pool with its registration.
        drop(state);
        drop(dropped);
    }
}

/// A set of threads.
struct Openers {
    state: Mutex<State>,
    /// Notified when a job may begin, and when the last registration is dropped.
    changed: Condvar,
    linger: Duration,
    builder: fn() -> Builder,
}

#[derive(Default)]
struct State {
    next_id: u64,
    /// For each number of workers, the number of registrations that want it.
    workers: BTreeMap<u32, usize>,
    /// Hosts with waiting or running jobs.
    hosts: HashMap<Arc<str>, Host>,
    /// Hosts with waiting jobs, the next one first.
    turns: VecDeque<Arc<str>>,
    /// Threads that run a job.
    busy: usize,
    /// All threads, including those that are starting.
    threads: usize,
}

#[derive(Default)]
struct Host {
    /// Jobs that have not begun, each with its registration.
    waiting: VecDeque<(u64, Job)>,
    busy: usize,
}

impl Default for Openers {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            linger: LINGER,
            builder: || Builder::new().name("pgmonkey-open".to_owned()),
        }
    }
}

impl Openers {
    fn register(self: &Arc<Self>, host: Arc<str>, workers: u32) -> Opener {
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        *state.workers.entry(workers).or_default() += 1;
        // A higher limit lets waiting jobs begin.
        self.changed.notify_all();
        self.start_missing(state);
        Opener {
            id,
            host,
            workers,
            origin: Origin::here(),
            openers: Arc::clone(self),
        }
    }

    /// Starts a thread for each job that may begin and has no idle thread.
    fn start_missing(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let missing = state.missing();
        state.threads += missing;
        drop(state);
        for _ in 0..missing {
            let openers = Arc::clone(self);
            if (self.builder)().spawn(move || openers.run()).is_err() {
                let mut state = self.state();
                state.threads -= 1;
                // Without any thread, nothing would run or drop them.
                let dropped = match state.threads {
                    0 => state.take_all(),
                    _ => Vec::new(),
                };
                drop(state);
                drop(dropped);
            }
        }
    }

    /// The main loop of each thread.
    fn run(&self) {
        let mut state = self.state();
        let mut lingered = false;
        loop {
            if let Some((host, job)) = state.begin() {
                drop(state);
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.state();
                state.end(&host);
                lingered = false;
            } else if lingered || state.workers.is_empty() {
                state.threads -= 1;
                return;
            } else {
                let waited = self.changed.wait_timeout(state, self.linger);
                let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                (state, lingered) = (after, timeout.timed_out());
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns how many jobs may run at the same time. Always even, because half of it is for one
    /// host.
    fn limit(&self) -> usize {
        let most = self.workers.last_key_value().map_or(0, |(most, _)| *most);
        (most as usize).saturating_mul(2).clamp(FEWEST, MOST)
    }

    fn push(&mut self, host: &Arc<str>, job: (u64, Job)) {
        let waiting = &mut self.hosts.entry(Arc::clone(host)).or_default().waiting;
        if waiting.is_empty() {
            self.turns.push_back(Arc::clone(host));
        }
        waiting.push_back(job);
    }

    /// Takes the next job that may begin, with its host.
    fn begin(&mut self) -> Option<(Arc<str>, Job)> {
        let may_begin = |name: &Arc<str>| self.left(&self.hosts[name]) > 0;
        let turn = self.turns.iter().position(may_begin)?;
        let name = self.turns.remove(turn)?;
        let host = self.hosts.get_mut(&name)?;
        let (_, job) = host.waiting.pop_front()?;
        if !host.waiting.is_empty() {
            self.turns.push_back(Arc::clone(&name));
        }
        host.busy += 1;
        self.busy += 1;
        Some((name, job))
    }

    /// Records that a job of this host has ended.
    fn end(&mut self, name: &Arc<str>) {
        self.busy -= 1;
        if let Some(host) = self.hosts.get_mut(name) {
            host.busy -= 1;
            if host.busy == 0 && host.waiting.is_empty() {
                self.hosts.remove(name);
            }
        }
    }

    /// Returns how many jobs of a host may begin now. A host's first job may begin whenever there
    /// is a thread, so hosts that never answer take no thread from others, no matter how many they
    /// are.
    fn left(&self, host: &Host) -> usize {
        let limit = self.limit();
        let most = (limit / 2).saturating_sub(host.busy);
        let left = most.min(limit.saturating_sub(self.busy));
        let first = usize::from(host.busy == 0 && self.busy < MOST);
        left.max(first)
    }

    /// Returns how many threads are missing for the jobs that may begin.
    fn missing(&self) -> usize {
        let limit = self.limit();
        let hosts = || self.turns.iter().map(|name| &self.hosts[name]);
        let ready = hosts().map(|host| host.waiting.len().min(self.left(host)));
        let first = hosts().filter(|host| host.busy == 0).count();
        let most = limit.saturating_sub(self.busy).max(first);
        let ready = ready.sum::<usize>().min(most).min(MOST - self.busy);
        ready.saturating_sub(self.threads - self.busy)
    }

    /// Removes the jobs of a registration that have not begun.
    fn take_jobs(&mut self, name: &Arc<str>, id: u64) -> VecDeque<(u64, Job)> {
        let Some(host) = self.hosts.get_mut(name) else {
            return VecDeque::new();
        };
        let waiting = std::mem::take(&mut host.waiting);
        let (taken, left) = waiting.into_iter().partition(|(owner, _)| *owner == id);
        host.waiting = left;
        if host.waiting.is_empty() {
            if host.busy == 0 {
                self.hosts.remove(name);
            }
            self.turns.retain(|other| other != name);
        }
        taken
    }

    /// Removes all jobs, when there is no thread.
    fn take_all(&mut self) -> Vec<Host> {
        self.turns.clear();
        self.hosts.drain().map(|(_, host)| host).collect()
    }
}

#[cfg(test)]
mod tests;
