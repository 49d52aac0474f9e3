use super::*;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Instant;

const LONG: Duration = Duration::from_secs(10);
/// Longer than any wait in a test.
const STUCK: Duration = Duration::from_secs(600);
/// Long enough for a job to begin that must not begin.
const A_WHILE: Duration = Duration::from_millis(50);

/// Threads used by this test alone, which do not end for lack of work.
fn threads() -> Arc<Openers> {
    Arc::new(Openers {
        linger: Duration::from_secs(3600),
        ..Openers::default()
    })
}

/// Jobs that hold their threads until the test releases them, one at a time.
struct Blockers {
    release: Sender<()>,
    gate: Arc<Mutex<Receiver<()>>>,
    begun: Receiver<()>,
    begin: Sender<()>,
}

impl Blockers {
    fn new() -> Self {
        let (release, gate) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        let gate = Arc::new(Mutex::new(gate));
        Self {
            release,
            gate,
            begun,
            begin,
        }
    }

    fn submit(&self, opener: &Opener) {
        let (gate, begin) = (Arc::clone(&self.gate), self.begin.clone());
        opener.submit(move || {
            begin.send(()).expect("the test listens");
            let _ = gate.lock().expect("no panic").recv_timeout(STUCK);
        });
    }

    fn await_begun(&self, count: usize) {
        for _ in 0..count {
            self.begun.recv_timeout(LONG).expect("began");
        }
    }

    fn release(&self, count: usize) {
        for _ in 0..count {
            self.release.send(()).expect("the gate is there");
        }
    }
}

fn until(condition: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "not reached within {LONG:?}");
        thread::yield_now();
    }
}

/// Submits a job that sends `word`.
fn say<T: Send + 'static>(opener: &Opener, to: &Sender<T>, word: T) {
    let to = to.clone();
    opener.submit(move || to.send(word).expect("the test listens"));
}

/// Waits until the threads, each of which holds a reference, are gone.
fn is_alone(threads: &Arc<Openers>) -> bool {
    Arc::strong_count(threads) == 1
}

#[test]
fn a_host_that_never_answers_gets_half_of_the_threads() {
    let (threads, blockers) = (threads(), Blockers::new());
    let (silent, other) = (
        threads.register("a".into(), 3),
        threads.register("b".into(), 1),
    );
    let same_host = threads.register("a".into(), 1);
    for _ in 0..4 {
        blockers.submit(&silent);
        blockers.submit(&same_host);
    }
    blockers.await_begun(3);
    let (to, from) = mpsc::channel();
    for number in 0..20 {
        say(&other, &to, number);
        assert_eq!(from.recv_timeout(LONG), Ok(number), "delayed by the other");
    }
    assert!(blockers.begun.recv_timeout(A_WHILE).is_err(), "a fourth");
    blockers.release(8);
    blockers.await_begun(5);
}

#[test]
fn jobs_of_one_host_run_in_the_order_they_were_submitted() {
    let (threads, blockers) = (threads(), Blockers::new());
    let (first, second) = (
        threads.register("a".into(), 1),
        threads.register("a".into(), 1),
    );
    // Leaves the host one thread, so that jobs end in the order in which they begin.
    (0..3).for_each(|_| blockers.submit(&first));
    blockers.await_begun(3);
    let (to, from) = mpsc::channel();
    for number in 0..20 {
        say(if number % 3 == 0 { &first } else { &second }, &to, number);
    }
    blockers.release(1);
    let order: Vec<u32> = (0..20)
        .map_while(|_| from.recv_timeout(LONG).ok())
        .collect();
    assert_eq!(order, (0..20).collect::<Vec<_>>());
    blockers.release(2);
}

#[test]
fn hosts_take_turns_and_each_has_a_thread() {
    let mut state = State::default();
    state.workers.insert(1, 1);
    state.threads = 6;
    let push = |state: &mut State, host: &str, jobs: usize| {
        (0..jobs).for_each(|_| state.push(&host.into(), (0, Box::new(|| {}))));
    };
    let begun = |state: &mut State| -> String {
        let next = std::iter::from_fn(|| state.begin());
        next.map(|(host, _)| host.to_string()).collect()
    };
    push(&mut state, "a", 5);
    push(&mut state, "b", 5);
    assert_eq!(begun(&mut state), "ababab", "half of six for each");
    push(&mut state, "c", 3);
    push(&mut state, "d", 2);
    push(&mut state, "e", 1);
    // None of the six ends, and this delays none of the others.
    assert_eq!((state.missing(), begun(&mut state).as_str()), (3, "cde"));
    (0..3).for_each(|_| state.end(&"b".into()));
    assert_eq!(begun(&mut state), "b", "it has none now");
    state.end(&"a".into());
    state.end(&"e".into());
    assert_eq!(begun(&mut state), "a");
    (0..MOST).for_each(|host| push(&mut state, &format!(" {host}"), 1));
    assert_eq!(begun(&mut state).split(' ').count() - 1, MOST - 6);
}

#[test]
fn the_largest_pool_sets_the_limit() {
    let limit = |workers: &[u32]| {
        let threads = threads();
        let openers: Vec<_> = workers
            .iter()
            .map(|w| threads.register("a".into(), *w))
            .collect();
        let with = threads.state().limit();
        drop(openers);
        assert_eq!(threads.state().limit(), 6, "after the last");
        with
    };
    assert_eq!([limit(&[]), limit(&[1]), limit(&[3, 3])], [6, 6, 6]);
    assert_eq!(
        [limit(&[2, 5, 5, 3]), limit(&[32]), limit(&[1, u32::MAX])],
        [10, 64, 64]
    );

    let (threads, blockers) = (threads(), Blockers::new());
    let small = threads.register("a".into(), 1);
    (0..10).for_each(|_| blockers.submit(&small));
    blockers.await_begun(3);
    let _large = threads.register("b".into(), 8);
    blockers.await_begun(5);
    assert!(blockers.begun.recv_timeout(A_WHILE).is_err(), "a ninth");
    blockers.release(10);
}

#[test]
fn a_lower_limit_holds_though_there_are_more_threads() {
    let (threads, blockers) = (threads(), Blockers::new());
    let large = threads.register("a".into(), 8);
    (0..8).for_each(|_| blockers.submit(&large));
    blockers.await_begun(8);
    let small = ["a", "b", "c"].map(|host| threads.register(host.into(), 1));
    blockers.release(8);
    until(|| threads.state().busy == 0);
    drop(large);
    for opener in small.iter().cycle().take(9) {
        blockers.submit(opener);
    }
    blockers.await_begun(6);
    assert!(blockers.begun.recv_timeout(A_WHILE).is_err(), "a seventh");
    blockers.release(9);
}

#[test]
fn threads_are_reused_and_end_after_the_last_registration() {
    let threads = threads();
    let (first, second) = (
        threads.register("a".into(), 1),
        threads.register("b".into(), 1),
    );
    let (to, from) = mpsc::channel();
    for opener in [&first, &second, &first] {
        say(opener, &to, ());
        from.recv_timeout(LONG).expect("run");
        until(|| threads.state().busy == 0);
    }
    assert_eq!(threads.state().threads, 1, "one was idle each time");
    drop(first);
    thread::sleep(A_WHILE);
    assert_eq!(threads.state().threads, 1, "one registration is left");
    drop(second);
    until(|| is_alone(&threads));
    assert_eq!(threads.state().threads, 0);
}

#[test]
fn a_thread_in_a_job_ends_after_it_if_the_last_registration_is_gone() {
    let (threads, blockers) = (threads(), Blockers::new());
    let opener = threads.register("a".into(), 1);
    blockers.submit(&opener);
    blockers.await_begun(1);
    drop(opener);
    blockers.release(1);
    until(|| is_alone(&threads));
}

#[test]
fn an_idle_thread_ends_after_a_while_and_another_takes_its_place() {
    let threads = Arc::new(Openers {
        linger: Duration::from_millis(5),
        ..Openers::default()
    });
    let opener = threads.register("a".into(), 1);
    let (to, from) = mpsc::channel();
    for _ in 0..3 {
        say(&opener, &to, ());
        from.recv_timeout(LONG).expect("run");
        until(|| threads.state().threads == 0);
    }
    drop(opener);
    until(|| is_alone(&threads));
}

#[test]
fn a_panic_takes_no_thread() {
    let threads = threads();
    let opener = threads.register("a".into(), 1);
    let (to, from) = mpsc::channel();
    for _ in 0..10 {
        // Not `panic!`, whose message would appear in the test's output.
        opener.submit(|| std::panic::resume_unwind(Box::new(())));
        until(|| threads.state().hosts.is_empty());
        say(&opener, &to, ());
        from.recv_timeout(LONG).expect("run");
        until(|| threads.state().busy == 0);
    }
    assert_eq!(threads.state().threads, 1);
}

#[test]
fn what_a_dropped_registration_submitted_is_dropped_outside_the_lock() {
    let (threads, blockers) = (threads(), Blockers::new());
    let (dropped, kept) = (
        threads.register("a".into(), 1),
        threads.register("a".into(), 1),
    );
    (0..3).for_each(|_| blockers.submit(&dropped));
    blockers.await_begun(3);
    let owned = threads.register("b".into(), 1);
    let (to, from) = mpsc::channel();
    let guard = to.clone();
    dropped.submit(move || {
        let _ = (guard.send("of the dropped"), &owned);
    });
    say(&kept, &to, "of the other");
    // Drops `owned`, which takes the lock.
    drop(dropped);
    blockers.release(3);
    drop(to);
    assert_eq!(from.iter().collect::<Vec<_>>(), ["of the other"]);
}

#[test]
fn jobs_that_no_thread_can_run_are_dropped() {
    let threads = Arc::new(Openers {
        builder: || Builder::new().stack_size(usize::MAX / 4),
        ..Openers::default()
    });
    let opener = threads.register("a".into(), 1);
    let (to, from) = mpsc::channel();
    for _ in 0..3 {
        say(&opener, &to, ());
    }
    drop(to);
    assert_eq!(from.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
    let state = threads.state();
    assert_eq!(
        (state.threads, state.hosts.len(), state.turns.len()),
        (0, 0, 0)
    );
}

#[test]
fn the_process_has_one_set_of_named_threads() {
    let (first, second) = (
        Opener::register("a".into(), 1),
        Opener::register("b".into(), 1),
    );
    assert!(Arc::ptr_eq(&first.openers, &second.openers));
    let (to, from) = mpsc::channel();
    first.submit(move || {
        let name = thread::current().name().map(str::to_owned);
        to.send(name).expect("the test listens");
    });
    let name = from.recv_timeout(LONG).expect("run");
    assert_eq!(name.as_deref(), Some("pgmonkey-open"));
}
