use super::*;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, ThreadId};

const LONG: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_secs(3600);
const NOW: Duration = Duration::ZERO;
/// Long enough for a call that must not come to arrive.
const A_WHILE: Duration = Duration::from_millis(50);

/// Reports each call, runs `then` and asks for the next call after `pause`.
struct Probe {
    called: Sender<ThreadId>,
    then: Box<dyn Fn() + Send + Sync>,
    pause: Duration,
}

impl Kept for Probe {
    fn keep(&self, _: Instant) -> Duration {
        let _ = self.called.send(thread::current().id());
        (self.then)();
        self.pause
    }
}

type Registered = (Keeper, Arc<Probe>, Receiver<ThreadId>);

fn probe(timer: &Arc<Timer>, first: Duration, pause: Duration) -> Registered {
    probe_with(timer, first, pause, || {})
}

fn probe_with(
    timer: &Arc<Timer>,
    first: Duration,
    pause: Duration,
    then: impl Fn() + Send + Sync + 'static,
) -> Registered {
    let (called, calls) = mpsc::channel();
    let then = Box::new(then);
    let probe = Arc::new(Probe {
        called,
        then,
        pause,
    });
    let kept: Weak<Probe> = Arc::downgrade(&probe);
    (
        timer.register(kept, timer.due_after(Instant::now(), first)),
        probe,
        calls,
    )
}

/// A function that blocks its caller until it is released: `then` of a probe that is being called.
fn blocker() -> (Sender<()>, impl Fn() + Send + Sync) {
    let (release, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let block = move || {
        let _ = gate.lock().expect("no panic").recv_timeout(LONG);
    };
    (release, block)
}

fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "not reached within {LONG:?}");
        thread::yield_now();
    }
}

/// Waits until the thread, which holds a reference too, is gone.
fn until_alone(timer: &Arc<Timer>) {
    until(|| Arc::strong_count(timer) == 1);
}

fn until_asleep(timer: &Timer) {
    until(|| timer.state().is_asleep);
}

impl Timer {
    fn due_of(&self, keeper: &Keeper) -> Option<Instant> {
        self.state().kept.get(&keeper.id)?.at
    }
}

#[test]
fn calls_come_after_each_pause_until_the_drop() {
    let timer = Arc::new(Timer::default());
    let (keeper, _kept, calls) = probe(&timer, NOW, Duration::from_millis(2));
    for _ in 0..10 {
        calls.recv_timeout(LONG).expect("called again");
    }
    drop(keeper);
    until_alone(&timer);
    calls.try_iter().for_each(drop);
    assert!(
        calls.recv_timeout(A_WHILE).is_err(),
        "called after the drop"
    );
}

#[test]
fn nothing_is_called_before_it_is_due() {
    let timer = Arc::new(Timer::default());
    let (late, _kept, calls) = probe(&timer, NEVER, NEVER);
    until_asleep(&timer);
    let (soon, _kept_too, others) = probe(&timer, NOW, NEVER);
    others
        .recv_timeout(LONG)
        .expect("earlier than what it slept for");
    assert!(others.recv_timeout(A_WHILE).is_err(), "before the pause");
    assert!(calls.try_recv().is_err(), "before the first pause");
    drop((late, soon));
    until_alone(&timer);
}

#[test]
fn a_pause_without_end_waits_for_a_wake() {
    let timer = Arc::new(Timer::default());
    let (keeper, _kept, calls) = probe(&timer, Duration::MAX, Duration::MAX);
    for _ in 0..3 {
        until_asleep(&timer);
        assert!(calls.try_recv().is_err());
        keeper.wake();
        calls.recv_timeout(LONG).expect("woken");
    }
}

#[test]
fn wakes_during_a_call_lead_to_one_more() {
    let timer = Arc::new(Timer::default());
    let (release, block) = blocker();
    let (keeper, _kept, calls) = probe_with(&timer, NEVER, NEVER, block);
    let room = timer.state().woken.capacity();
    (0..100).for_each(|_| keeper.wake());
    calls.recv_timeout(LONG).expect("woken");
    (0..100).for_each(|_| keeper.wake());
    release.send(()).expect("under way");
    calls.recv_timeout(LONG).expect("once more");
    release.send(()).expect("under way");
    assert!(calls.recv_timeout(A_WHILE).is_err(), "a third time");
    assert_eq!(timer.state().woken.capacity(), room, "has allocated");
    until(|| timer.state().due.len() == 1);
}

#[test]
fn jobs_run_after_their_pause_and_in_its_order() {
    let timer = Arc::new(Timer::default());
    let (keeper, _kept, _calls) = probe(&timer, NEVER, NEVER);
    let (to, from) = mpsc::channel();
    until_asleep(&timer);
    let began = Instant::now();
    for millis in [40, 20, 0, 30, 10] {
        let (to, pause) = (to.clone(), Duration::from_millis(millis));
        keeper.after(pause, move || {
            to.send((millis, began.elapsed() >= pause))
                .expect("the test listens");
        });
    }
    let order: Vec<_> = (0..5).map_while(|_| from.recv_timeout(LONG).ok()).collect();
    assert_eq!(order, [0, 10, 20, 30, 40].map(|millis| (millis, true)));
}

#[test]
fn jobs_of_a_dropped_registration_are_dropped_outside_the_lock() {
    let timer = Arc::new(Timer::default());
    let (keeper, _kept, _calls) = probe(&timer, NEVER, NEVER);
    let (other, _kept_too, _others) = probe(&timer, NEVER, NEVER);
    let (owned, _kept_three, _none) = probe(&timer, NEVER, NEVER);
    let (to, from) = mpsc::channel();
    let guard = to.clone();
    keeper.after(A_WHILE / 2, move || {
        let _ = (guard.send("of the dropped"), &owned);
    });
    other.after(A_WHILE, move || {
        to.send("of the other").expect("the test listens");
    });
    // Drops `owned`, which takes the lock.
    drop(keeper);
    assert_eq!(from.iter().collect::<Vec<_>>(), ["of the other"]);
    drop(other);
    until_alone(&timer);
    assert!(timer.state().due.is_empty());
}

#[test]
fn a_drop_does_not_wait_for_the_call_that_is_under_way() {
    let timer = Arc::new(Timer::default());
    let (release, block) = blocker();
    let (keeper, kept, calls) = probe_with(&timer, NOW, NOW, block);
    calls.recv_timeout(LONG).expect("called");
    keeper.wake();
    // Returns only because it does not wait: the call continues until the test releases it.
    drop(keeper);
    assert_eq!(Arc::strong_count(&kept), 2, "the call is over");
    release.send(()).expect("under way");
    until_alone(&timer);
    assert!(calls.try_recv().is_err(), "called after the drop");
}

/// Like a pool, which owns its registration and may be dropped while it is called.
#[test]
fn the_thread_may_drop_the_last_reference() {
    struct Pool {
        keeper: OnceLock<Keeper>,
        began: Sender<()>,
        gate: Mutex<Receiver<()>>,
    }
    impl Kept for Pool {
        fn keep(&self, _: Instant) -> Duration {
            self.began.send(()).expect("the test listens");
            let _ = self.gate.lock().expect("no panic").recv_timeout(LONG);
            NOW
        }
    }
    let timer = Arc::new(Timer::default());
    let ((began, calls), (release, gate)) = (mpsc::channel(), mpsc::channel());
    let pool = Arc::new(Pool {
        keeper: OnceLock::new(),
        began,
        gate: Mutex::new(gate),
    });
    let kept: Weak<Pool> = Arc::downgrade(&pool);
    assert!(
        pool.keeper
            .set(timer.register(kept, Some(Instant::now())))
            .is_ok()
    );
    calls.recv_timeout(LONG).expect("called");
    drop(pool);
    release.send(()).expect("under way");
    until_alone(&timer);
}

#[test]
fn a_registration_whose_owner_is_gone_is_not_called() {
    let timer = Arc::new(Timer::default());
    let (keeper, kept, calls) = probe(&timer, NEVER, NOW);
    let (other, _kept_too, others) = probe(&timer, NEVER, NEVER);
    drop(kept);
    keeper.wake();
    other.wake();
    others.recv_timeout(LONG).expect("called");
    until(|| timer.state().due.len() == 1);
    assert!(calls.try_recv().is_err());
}

#[test]
fn a_panic_ends_neither_the_thread_nor_a_registration() {
    let timer = Arc::new(Timer::default());
    // Not `panic!`, whose message would appear in the test's output.
    let panic = || std::panic::resume_unwind(Box::new(()));
    let (bad, _kept, calls) = probe_with(&timer, NOW, NOW, panic);
    let (good, _kept_too, others) = probe(&timer, NEVER, NEVER);
    let mut threads = vec![calls.recv_timeout(LONG).expect("called")];
    bad.after(NOW, panic);
    good.wake();
    threads.push(others.recv_timeout(LONG).expect("called in spite of it"));
    assert!(calls.recv_timeout(A_WHILE).is_err(), "again at once");
    bad.wake();
    threads.push(calls.recv_timeout(LONG).expect("woken in spite of it"));
    assert!(
        threads.iter().all(|thread| *thread == threads[0]),
        "{threads:?}"
    );
}

#[test]
fn without_a_thread_jobs_are_dropped_and_the_drop_is_quiet() {
    let timer = Arc::new(Timer {
        builder: || Builder::new().stack_size(usize::MAX / 4),
        ..Timer::default()
    });
    let (keeper, _kept, calls) = probe(&timer, NOW, NOW);
    let (to, from) = mpsc::channel();
    keeper.after(NOW, move || to.send(()).expect("the test listens"));
    assert_eq!(from.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    keeper.wake();
    assert!(calls.try_recv().is_err());
    drop(keeper);
    assert_eq!(timer.state().due.len(), 0);
}

#[test]
fn a_thousand_registrations_share_one_thread_and_its_wake_ups() {
    let timer = Arc::new(Timer::default());
    let second = Duration::from_secs(1);
    let registered: Vec<Registered> = (0..1000)
        .map(|_| probe(&timer, Duration::from_millis(1), second))
        .collect();
    let mut threads = Vec::new();
    for (_, _, calls) in &registered {
        threads.push(calls.recv_timeout(LONG).expect("called"));
    }
    threads.dedup();
    assert_eq!(threads.len(), 1);
    let now = timer.epoch + Duration::from_millis(13);
    for (pause, due) in [(999, 1012), (1000, 1050), (1037, 1050), (1038, 1100)] {
        let at = timer.due_after(now, Duration::from_millis(pause));
        assert_eq!(
            at,
            Some(timer.epoch + Duration::from_millis(due)),
            "{pause}"
        );
    }
    drop(registered);
    until_alone(&timer);
    assert!(timer.state().due.is_empty());
}

#[test]
fn the_process_has_one_named_thread() {
    struct Named(Sender<Option<String>>);
    impl Kept for Named {
        fn keep(&self, _: Instant) -> Duration {
            let _ = self.0.send(thread::current().name().map(str::to_owned));
            NEVER
        }
    }
    let (to, from) = mpsc::channel();
    let kept = Arc::new(Named(to));
    let weak: Weak<Named> = Arc::downgrade(&kept);
    let (first, second) = (
        Keeper::register(weak.clone(), NOW),
        Keeper::register(weak, NOW),
    );
    assert!(Arc::ptr_eq(&first.timer, &second.timer));
    for _ in 0..2 {
        let name = from.recv_timeout(LONG).expect("called");
        assert_eq!(name.as_deref(), Some("pgmonkey-keep"));
    }
}

#[test]
fn a_registration_that_comes_and_goes_before_the_thread_wakes_up_does_not_wake_it() {
    let timer = Arc::new(Timer::default());
    // Otherwise the thread would be woken to end.
    let (_last, _kept, _calls) = probe(&timer, NEVER, NEVER);
    let (first, _kept_too, _calls_too) = probe(&timer, Duration::from_secs(60), NEVER);
    let wakes_at = timer.due_of(&first);
    until(|| timer.state().wakes_at == wakes_at);
    let late = wakes_at.map(|at| at + Duration::from_secs(60));
    let (called, _others) = mpsc::channel();
    let then = Box::new(|| {});
    let kept: Arc<dyn Kept> = Arc::new(Probe {
        called,
        then,
        pause: NEVER,
    });
    drop(first);
    // It is due first now, but the thread wakes up earlier anyway.
    let keeper = timer.register(Arc::downgrade(&kept), late);
    // A thread that was notified would sleep until then.
    thread::sleep(A_WHILE);
    assert_eq!(timer.state().wakes_at, wakes_at, "it was notified");
    drop(keeper);
}
