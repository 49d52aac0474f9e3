//! Property tests: generated sequences of events, with the invariants checked after each.

use std::panic::Location;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use self::world::{Phase, World, runtimes};
use super::*;
use crate::CloseReason;

mod sleep;
mod world;

type State = PoolState<Session, u32>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Session {
    number: u32,
    home: Home,
}

/// One event. Numbers pick one of the items that exist.
#[derive(Debug, Clone)]
enum Event {
    Acquire {
        runtime: u8,
        waits: bool,
    },
    Release(u8),
    GiveUp(u8),
    GiveUpIdle,
    End(u8, bool),
    Replace(u8),
    Clean(u8),
    Step(u8),
    Connected(u8),
    Failed(u8, bool),
    Lost(u8),
    Leave(u8),
    Pass(u16),
    Tick(bool),
    IdleCheck,
    Resize(u8, u8),
    RuntimeEnds(u8),
    Sleep,
    /// The maintenance asks whether it must end.
    Maintain,
    Close,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => (0..3u8, prop::bool::weighted(0.9))
            .prop_map(|(runtime, waits)| Event::Acquire { runtime, waits }),
        10 => any::<u8>().prop_map(Event::Release),
        1 => any::<u8>().prop_map(Event::GiveUp),
        1 => Just(Event::GiveUpIdle),
        3 => (any::<u8>(), any::<bool>()).prop_map(|(at, dead)| Event::End(at, dead)),
        3 => any::<u8>().prop_map(Event::Replace),
        2 => any::<u8>().prop_map(Event::Clean),
        10 => any::<u8>().prop_map(Event::Step),
        10 => any::<u8>().prop_map(Event::Connected),
        4 => (any::<u8>(), any::<bool>()).prop_map(|(at, passes)| Event::Failed(at, passes)),
        1 => any::<u8>().prop_map(Event::Lost),
        3 => any::<u8>().prop_map(Event::Leave),
        6 => (0..2000u16).prop_map(Event::Pass),
        3 => any::<bool>().prop_map(Event::Tick),
        2 => Just(Event::IdleCheck),
        1 => (0..4u8, 1..5u8).prop_map(|(min, max)| Event::Resize(min.min(max), max)),
        1 => (0..3u8).prop_map(Event::RuntimeEnds),
        4 => Just(Event::Sleep),
        3 => Just(Event::Maintain),
        1 => Just(Event::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    #[test]
    fn what_must_hold_holds_after_every_event(
        events in prop::collection::vec(event(), 1..120),
        max_size in 1..5u32,
        min_size in 0..3u32,
        num_workers in 1..4u32,
        runtimes in 0..4usize,
    ) {
        let mut world = World::new(min_size.min(max_size), max_size, num_workers, runtimes);
        for event in events {
            world.happen(event);
            world.check();
        }
        world.settle();
        world.sleep_and_wake();
        // Closing must leave nothing behind.
        world.happen(Event::Close);
        while !world.held.is_empty() {
            world.happen(Event::Release(0));
        }
        while !world.openings.is_empty() {
            world.happen(Event::Pass(2000));
            world.step(0);
            world.happen(Event::Connected(0));
        }
        world.check();
        assert!(world.live.is_empty() && world.state.status().size == 0);
    }
}

fn request(home: Home, began: Instant) -> Request {
    Request {
        location: Location::caller(),
        began,
        home,
        timeout: Duration::from_secs(30),
        moved: false,
        turns_away: false,
        ticket: None,
    }
}

/// A pool of `max_size` with `sessions` idle sessions.
fn pool(max_size: u32, sessions: u32) -> (State, Instant) {
    let mut world = World::new(0, max_size, max_size, 0);
    for number in 0..sessions {
        world.state.opening += 1;
        let session = Session {
            number,
            home: Home::ANYWHERE,
        };
        let site = world.state.site();
        let put = world.state.opened(site, session, Home::ANYWHERE, world.now);
        assert!(matches!(put, Released::Idle));
    }
    (world.state, world.now)
}

#[test]
fn a_server_that_is_away_is_asked_again_and_one_that_was_never_there_is_not() {
    let (mut state, now) = pool(2, 0);
    assert!(matches!(
        state.acquire(request(Home::ANYWHERE, now), || 7),
        Acquired::Queued(_)
    ));
    assert_eq!(state.todo(now).open, 1);
    let site = state.site();
    assert_eq!(state.step(site, false, now), Step::Open);
    let refused = crate::error::tests::refused();
    let warned = state.open_failed(site, &refused, now).refuse;
    assert!(
        warned.len() == 1 && warned[0].0 == 7,
        "the server was never reached"
    );
    assert_eq!(state.step(site, true, now), Step::End);

    let (mut state, now) = pool(2, 1);
    let Acquired::Granted(granted) = state.acquire(request(Home::ANYWHERE, now), || 0) else {
        panic!("one is idle");
    };
    state.end(granted.id, CloseReason::Shutdown, now);
    assert!(matches!(
        state.acquire(request(Home::ANYWHERE, now), || 7),
        Acquired::Queued(_)
    ));
    assert_eq!(state.todo(now).open, 1);
    let site = state.site();
    assert!(
        state.open_failed(site, &refused, now).refuse.is_empty(),
        "the server is unavailable"
    );
    let Step::Pause(pause) = state.step(site, true, now) else {
        panic!("a pause comes first");
    };
    assert_eq!(state.step(site, true, now + pause), Step::Open);
    let late = now + Duration::from_secs(4);
    assert_eq!(
        state.open_failed(site, &refused, late).refuse.len(),
        1,
        "given up"
    );
}

#[test]
fn callers_wait_for_working_sessions_while_logins_are_refused() {
    let wrong = crate::error::tests::unauthenticated();
    let (mut state, now) = pool(3, 1);
    let Acquired::Granted(granted) = state.acquire(request(Home::ANYWHERE, now), || 0) else {
        panic!("one is idle");
    };
    let queued = state.acquire(request(Home::ANYWHERE, now), || 7);
    assert!(matches!(queued, Acquired::Queued(_)));
    assert_eq!(state.todo(now).open, 1);
    let site = state.site();
    assert_eq!(state.step(site, false, now), Step::Open);
    let refused = state.open_failed(site, &wrong, now).refuse;
    assert!(refused.is_empty(), "a session will be released");
    assert_eq!(state.step(site, true, now), Step::End, "it is not repeated");
    assert_eq!(state.todo(now).open, 0);

    // Without that session, the waiter gets the reason.
    state.end(granted.id, CloseReason::Shutdown, now);
    assert_eq!(state.todo(now).open, 1);
    assert_eq!(state.step(site, false, now), Step::Open);
    assert_eq!(state.open_failed(site, &wrong, now).refuse.len(), 1);
}

#[test]
fn a_refused_login_is_repeated_only_for_a_caller() {
    let wrong = crate::error::tests::unauthenticated();
    let (mut world, hour) = (World::new(1, 1, 1, 0), Duration::from_secs(3600));
    assert_eq!(world.state.todo(world.now).open, 1, "min_size");
    let site = world.state.site();
    let refused = world.state.open_failed(site, &wrong, world.now);
    assert!(refused.refuse.is_empty());
    assert_eq!(world.state.step(site, true, world.now), Step::End);
    let later = world.now + hour;
    assert_eq!(world.state.todo(later).open, 0);
    let queued = world.state.acquire(request(Home::ANYWHERE, later), || 7);
    assert!(matches!(queued, Acquired::Queued(_)));
    assert_eq!(world.state.todo(later).open, 1);
}

#[test]
fn one_who_does_not_wait_gets_what_could_be_opened_for_it() {
    let (mut state, now) = pool(1, 0);
    let at_once = Request {
        timeout: Duration::ZERO,
        ..request(Home::ANYWHERE, now)
    };
    assert!(matches!(state.acquire(at_once, || 1), Acquired::Queued(_)));
    assert_eq!(state.todo(now).open, 1);
    assert!(matches!(state.acquire(at_once, || 2), Acquired::TimedOut));
}

#[test]
fn a_waiter_is_woken_when_its_timeout_is_near() {
    let (mut state, now) = pool(1, 0);
    let second = Duration::from_secs(1);
    for (waiter, timeout) in [(1, 30 * second), (2, 5 * second)] {
        let request = Request {
            timeout,
            ..request(Home::ANYWHERE, now)
        };
        assert!(matches!(
            state.acquire(request, || waiter),
            Acquired::Queued(_)
        ));
    }
    let ending = |waited| state.ending(now + waited).copied().collect::<Vec<_>>();
    assert_eq!(ending(second), [0_u32; 0]);
    assert_eq!(ending(3 * second), [2]);
    assert_eq!(ending(28 * second), [1, 2]);
}

#[test]
fn one_that_waited_at_a_retired_pool_is_not_refused_by_a_full_queue() {
    let (mut state, now) = pool(1, 0);
    state.limits.max_waiting = Some(0);
    let new = request(Home::ANYWHERE, now);
    let moved = Request { moved: true, ..new };
    assert!(matches!(state.acquire(new, || 1), Acquired::Queued(_)));
    assert!(matches!(state.acquire(new, || 2), Acquired::QueueFull));
    assert!(matches!(state.acquire(moved, || 3), Acquired::Queued(_)));
}

#[test]
fn a_session_of_another_runtime_makes_room_and_only_once() {
    let [one, two] = [runtimes()[0], runtimes()[1]].map(Home::at);
    let mut world = World::new(0, 1, 1, 2);
    world.acquire(one, true, None);
    world.step(0);
    world.happen(Event::Connected(0));
    world.happen(Event::Release(0));
    assert_eq!(world.state.status().idle, 1);
    world.acquire(two, true, None);
    assert_eq!(world.state.status().closed.moved, 1);
    world.step(0);
    let (phase, site) = world.openings[0];
    assert_eq!((phase, site.home), (Phase::Opening, Home::ANYWHERE));
    world.happen(Event::Connected(0));
    world.happen(Event::Release(0));
    for home in [one, two, one, two] {
        world.acquire(home, true, None);
        assert_eq!(world.held.len(), 1, "all may use it");
        world.happen(Event::Release(0));
    }
    assert_eq!(world.state.status().closed.moved, 1);
}

#[test]
fn an_opening_goes_where_all_who_wait_may_use_it() {
    let [one, two] = [runtimes()[0], runtimes()[1]].map(Home::at);
    let mut world = World::new(0, 1, 1, 2);
    world.acquire(one, true, None);
    assert_eq!(world.state.site().home, one);
    // The first runtime counts as ended with its connect task, though its caller still waits.
    world.happen(Event::Lost(0));
    world.acquire(two, false, None);
    world.happen(Event::Lost(0));
    world.step(0);
    let (phase, site) = world.openings[0];
    assert_eq!((phase, site.home), (Phase::Opening, Home::ANYWHERE));
    world.happen(Event::Connected(0));
    assert_eq!(world.held.len(), 1);
}

#[test]
fn an_opening_in_a_runtime_that_is_busy_keeps_no_other_runtime_waiting() {
    let [one, two] = [runtimes()[0], runtimes()[1]].map(Home::at);
    let mut world = World::new(0, 2, 1, 2);
    world.acquire(one, true, None);
    world.step(0);
    world.acquire(two, true, None);
    assert_eq!(world.openings.len(), 2, "one more, for all waiters");
    world.step(0);
    let (phase, site) = world.openings[1];
    assert_eq!((phase, site.home), (Phase::Opening, Home::ANYWHERE));
    world.happen(Event::Connected(1));
    assert_eq!(world.held.len(), 1, "first come, first served");
    world.happen(Event::Release(0));
    assert_eq!(world.held.len(), 1, "the other caller, as all may use it");
    assert_eq!(world.state.status().waiting, 0);
    // The first task's session arrives late and is idle for its runtime.
    world.happen(Event::Connected(0));
    let status = world.state.status();
    assert_eq!((status.size, status.idle, status.opening), (2, 1, 0));
}
