//! The thread that calls pools when something is due, shared by all pools of the process.
//!
//! What it calls must not block, so that every call is on time: work that takes a while, such as an
//! attempt, is submitted to the [openers](crate::threads::openers).

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::Builder;
use std::time::{Duration, Instant};

use pgmonkey_connect::process::{Origin, PerProcess};

/// After a panic the pause is not known. Long, because each panic is reported on standard error.
const AFTER_PANIC: Duration = Duration::from_secs(10);
/// Pauses of at least this length are rounded up to a multiple of [`GRAIN`] ...
const COARSE: Duration = Duration::from_secs(1);
/// ... so that many registrations share few wake-ups of the thread.
const GRAIN: Duration = Duration::from_millis(50);

type Job = Box<dyn FnOnce() + Send>;

/// When something is due; the number distinguishes entries that are due at the same time.
type Key = (Instant, u64);

/// Something that has work to do from time to time.
pub(crate) trait Kept: Send + Sync {
    /// Does what is due; returns the pause until the next call.
    ///
    /// Runs on the one thread for all registrations, so it must not block: no I/O but a `stat`, and
    /// no lock that is held during I/O. The same holds for its drop, because the thread may hold the last
    /// reference. [`Duration::MAX`] means that only [`Keeper::wake`] leads to another call.
    fn keep(&self, now: Instant) -> Duration;
}

/// A registration with the thread. After it is dropped there are no new calls, and its jobs that
/// have not run are dropped; a call in progress is not waited for.
pub(crate) struct Keeper {
    id: u64,
    origin: Origin,
    timer: Arc<Timer>,
}

impl Keeper {
    /// Calls `kept` after `first`, and again after each pause that it returns.
    ///
    /// If the system cannot start a thread, there are no calls until it can: each of these
    /// functions tries again.
    pub(crate) fn register(kept: Weak<dyn Kept>, first: Duration) -> Self {
        let timer = timer();
        timer.register(kept, timer.due_after(Instant::now(), first))
    }

    /// As [`register`](Self::register), with the first call at exactly this time.
    pub(crate) fn register_at(kept: Weak<dyn Kept>, at: Instant) -> Self {
        timer().register(kept, Some(at))
    }

    /// Calls the registration as soon as possible; if a call is in progress, once more after it.
    /// Any number of wake-ups before a call begins lead to one call. Does not allocate.
    pub(crate) fn wake(&self) {
        if self.origin.is_here() {
            let mut state = self.timer.state();
            if state.wake(self.id) {
                self.timer.notify(&state);
            }
            self.timer.start(state);
        }
    }

    /// Runs a short `job` on the thread after `pause`. Like [`Kept::keep`], it must not block.
    ///
    /// The job is dropped instead of run if this registration is dropped first, if it was made
    /// before `fork` in the parent process, if the system cannot start a thread, or if `pause` is
    /// out of the clock's range.
    pub(crate) fn after(&self, pause: Duration, job: impl FnOnce() + Send + 'static) {
        // A job that is never due would only occupy memory.
        let Some(at) = Instant::now().checked_add(pause) else {
            return;
        };
        if self.origin.is_here() {
            let mut state = self.timer.state();
            let key = (at, state.next_number());
            let job = Due::Job(self.id, Box::new(job));
            state.due.insert(key, job);
            self.timer.notify_if_first(&state, key);
            self.timer.start(state);
        }
    }
}

/// The timer of this process.
fn timer() -> &'static Arc<Timer> {
    static TIMER: OnceLock<PerProcess<Arc<Timer>>> = OnceLock::new();
    TIMER.get_or_init(PerProcess::default).get()
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // The child of a fork may have inherited a locked mutex.
        if !self.origin.is_here() {
            return;
        }
        let mut state = self.timer.state();
        state.schedule(self.id, None);
        state.kept.remove(&self.id);
        let dropped = state.take_jobs(|owner| owner == self.id);
        if state.kept.is_empty() {
            self.timer.notify(&state);
        }
        // A job may own anything, even the last handle of another pool with its registration.
        drop(state);
        drop(dropped);
    }
}

/// The thread and its work.
struct Timer {
    state: Mutex<State>,
    /// Notified when something is due before the thread would wake up, and when nothing is left.
    changed: Condvar,
    /// The origin for rounding times.
    epoch: Instant,
    builder: fn() -> Builder,
}

#[derive(Default)]
struct State {
    last_number: u64,
    kept: HashMap<u64, Entry>,
    due: BTreeMap<Key, Due>,
    /// Registrations to call now, each once. Has capacity for all.
    woken: Vec<u64>,
    /// Whether there is a thread, whether it sleeps, and until when if nothing changes.
    is_running: bool,
    is_asleep: bool,
    wakes_at: Option<Instant>,
}

struct Entry {
    kept: Weak<dyn Kept>,
    /// When it is due; `None` while a call is in progress.
    at: Option<Instant>,
    is_woken: bool,
}

enum Due {
    /// A call of the registration whose number is in the key.
    Call,
    /// A job of a registration.
    Job(u64, Job),
}

impl Default for Timer {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            epoch: Instant::now(),
            builder: || Builder::new().name("pgmonkey-keep".to_owned()),
        }
    }
}

impl Timer {
    fn register(self: &Arc<Self>, kept: Weak<dyn Kept>, first: Option<Instant>) -> Keeper {
        let mut state = self.state();
        let id = state.next_number();
        let entry = Entry {
            kept,
            at: None,
            is_woken: false,
        };
        state.kept.insert(id, entry);
        let registered = state.kept.len();
        state.woken.reserve(registered);
        state.schedule(id, first);
        if let Some(at) = first {
            self.notify_if_first(&state, (at, id));
        }
        self.start(state);
        Keeper {
            id,
            origin: Origin::here(),
            timer: Arc::clone(self),
        }
    }

    /// When something requested at `now` is due; `None` if that is out of range.
    fn due_after(&self, now: Instant, pause: Duration) -> Option<Instant> {
        let at = now.checked_add(pause)?;
        if pause < COARSE {
            return Some(at);
        }
        let since = at.saturating_duration_since(self.epoch).as_nanos();
        let grains = since.div_ceil(GRAIN.as_nanos());
        let rounded = Duration::from_nanos(u64::try_from(grains * GRAIN.as_nanos()).ok()?);
        self.epoch.checked_add(rounded)
    }

    /// Makes the thread look at the state again.
    fn notify(&self, state: &State) {
        if state.is_asleep {
            self.changed.notify_one();
        }
    }

    fn notify_if_first(&self, state: &State, key: Key) {
        let is_first = state.due.first_key_value().map(|(first, _)| *first) == Some(key);
        // What was due first may be gone, and its time nearer than that of the new first.
        if is_first && state.wakes_at.is_none_or(|at| key.0 < at) {
            self.notify(state);
        }
    }

    /// Starts the thread if there is none.
    fn start(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.is_running {
            return;
        }
        let timer = Arc::clone(self);
        if (self.builder)().spawn(move || timer.run()).is_ok() {
            // The thread waits for the lock.
            state.is_running = true;
            return;
        }
        let dropped = state.take_jobs(|_| true);
        drop(state);
        drop(dropped);
    }

    /// The main loop of the thread.
    fn run(&self) {
        let mut state = self.state();
        loop {
            let now = Instant::now();
            match state.take(now) {
                Some(((_, id), Due::Call)) => {
                    let kept = state.kept.get(&id).map(|entry| Weak::clone(&entry.kept));
                    drop(state);
                    let call = || kept.and_then(|kept| Some(kept.upgrade()?.keep(now)));
                    let pause = catch_unwind(AssertUnwindSafe(call)).unwrap_or(Some(AFTER_PANIC));
                    let at = pause.and_then(|pause| self.due_after(now, pause));
                    state = self.state();
                    state.schedule(id, at);
                }
                Some((_, Due::Job(_, job))) => {
                    drop(state);
                    let _ = catch_unwind(AssertUnwindSafe(job));
                    state = self.state();
                }
                None if state.kept.is_empty() => {
                    state.is_running = false;
                    return;
                }
                None => state = self.sleep(state, now),
            }
        }
    }

    /// Sleeps until something is due or has changed.
    fn sleep<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        now: Instant,
    ) -> MutexGuard<'a, State> {
        let first = state.due.first_key_value().map(|((at, _), _)| *at);
        (state.is_asleep, state.wakes_at) = (true, first);
        let mut state = match first {
            Some(at) => {
                let pause = at.saturating_duration_since(now);
                let waited = self.changed.wait_timeout(state, pause);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => {
                let waited = self.changed.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            }
        };
        (state.is_asleep, state.wakes_at) = (false, None);
        state
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Returns `false` if it was already woken.
    fn wake(&mut self, id: u64) -> bool {
        let Some(entry) = self.kept.get_mut(&id).filter(|entry| !entry.is_woken) else {
            return false;
        };
        entry.is_woken = true;
        self.woken.push(id);
        true
    }

    /// Reschedules the call of a registration; `None` means never.
    fn schedule(&mut self, id: u64, at: Option<Instant>) {
        let Some(entry) = self.kept.get_mut(&id) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut entry.at, at) {
            self.due.remove(&(before, id));
        }
        if let Some(at) = at {
            self.due.insert((at, id), Due::Call);
        }
    }

    /// Removes the entry that was due first, if any is due.
    fn take(&mut self, now: Instant) -> Option<(Key, Due)> {
        while let Some(id) = self.woken.pop() {
            let Some(entry) = self.kept.get_mut(&id) else {
                continue;
            };
            entry.is_woken = false;
            // A call that is already due keeps its place before later ones.
            if entry.at.is_none_or(|at| at > now) {
                self.schedule(id, Some(now));
            }
        }
        let first = self.due.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let (key, due) = first.remove_entry();
        if let Due::Call = due
            && let Some(entry) = self.kept.get_mut(&key.1)
        {
            entry.at = None;
        }
        Some((key, due))
    }

    /// Removes the jobs of some registrations.
    fn take_jobs(&mut self, of: impl Fn(u64) -> bool) -> Vec<Due> {
        let jobs = self.due.iter().filter(|(_, due)| match due {
            Due::Job(owner, _) => of(*owner),
            Due::Call => false,
        });
        let keys: Vec<Key> = jobs.map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| self.due.remove(key)).collect()
    }
}

#[cfg(test)]
mod tests;
