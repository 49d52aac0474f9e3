//! When a pool sleeps, and what wakes it.

use super::*;

#[test]
fn only_an_unused_pool_sleeps() {
    let (mut state, now) = pool(2, 2);
    let second = Duration::from_secs(1);
    let acquire = |state: &mut State| match state.acquire(request(Home::ANYWHERE, now), || 0) {
        Acquired::Granted(granted) => granted,
        _ => panic!("one is idle"),
    };
    let held = acquire(&mut state);
    assert!(!state.sleep(), "in use");
    assert_eq!(state.unused_since(now), None);
    state.clean(held.id);
    assert!(!state.sleep(), "being cleaned");
    let _ = state.release(held.id, held.session, Home::ANYWHERE, now, false);
    let unchecked = state.take_unchecked(now + second, Location::caller());
    let unchecked = unchecked.expect("two are idle");
    assert!(!state.sleep(), "being checked");
    let _ = state.reset(unchecked, now);
    assert!(state.sleep() && !state.sleep());
    let todo = state.todo(now);
    assert_eq!((todo.end.len(), todo.open), (2, 0));
    let status = state.status();
    assert_eq!(
        (status.asleep, status.size, status.closed.idle),
        (true, 0, 2)
    );
    state.resize(1, 2);
    assert_eq!(state.todo(now).open, 0, "sizes wake no pool");
    assert!(state.close() && !state.status().asleep);
}

#[test]
fn the_last_use_is_known_exactly_or_as_of_the_look_that_noticed_it() {
    let (mut state, start) = pool(1, 1);
    let at = |seconds| start + Duration::from_secs(seconds);
    let acquire = |state: &mut State, now| match state.acquire(request(Home::ANYWHERE, now), || 0) {
        Acquired::Granted(granted) => granted,
        _ => panic!("one is idle"),
    };
    assert_eq!(state.unused_since(at(1)), Some(at(1)), "the first look");
    let held = acquire(&mut state, at(2));
    let _ = state.release(held.id, held.session, Home::ANYWHERE, at(3), false);
    assert_eq!(state.unused_since(at(5)), Some(at(2)));
    let held = acquire(&mut state, at(6));
    assert_eq!(state.unused_since(at(8)), None);
    let _ = state.release(held.id, held.session, Home::ANYWHERE, at(9), false);
    assert_eq!(
        state.unused_since(at(10)),
        Some(at(8)),
        "held until then at least"
    );
    let held = acquire(&mut state, at(11));
    let at_once = Request {
        timeout: Duration::ZERO,
        ..request(Home::ANYWHERE, at(12))
    };
    assert!(matches!(state.acquire(at_once, || 1), Acquired::TimedOut));
    let _ = state.release(held.id, held.session, Home::ANYWHERE, at(12), false);
    assert_eq!(state.unused_since(at(14)), Some(at(11)));
    assert_eq!(
        state.unused_since(at(20)),
        Some(at(11)),
        "looking is no use"
    );
}

#[test]
fn pauses_from_before_a_sleep_turn_no_caller_away() {
    let mut world = World::new(0, 2, 2, 0);
    for _ in 0..2 {
        world.acquire(Home::ANYWHERE, true, None);
        world.step(0);
    }
    // One session ends right after its login, which costs a pause; the other is refused for good.
    world.happen(Event::Connected(0));
    world.happen(Event::End(0, true));
    world.happen(Event::Failed(0, false));
    world.step(0);
    assert!(world.openings.is_empty() && world.held.is_empty());
    world.happen(Event::Sleep);
    assert!(world.state.is_asleep());
    let away = Request {
        turns_away: true,
        ..request(Home::ANYWHERE, world.now)
    };
    assert!(matches!(
        world.state.acquire(away, || 9),
        Acquired::Queued(_)
    ));
    assert_eq!(world.state.todo(world.now).open, 1, "it is woken");
}

#[test]
fn a_pool_that_wakes_fills_up_again_and_has_one_maintenance() {
    let mut world = World::new(2, 3, 3, 0);
    world.happen(Event::Tick(false));
    world.fill();
    assert_eq!(world.state.status().idle, 2);
    world.happen(Event::Sleep);
    world.check();
    assert_eq!(world.state.status().size, 0);
    world.acquire(Home::ANYWHERE, true, None);
    assert_eq!(world.maintenances, 1, "it has not noticed");
    world.fill();
    let status = world.state.status();
    assert_eq!((status.in_use, status.idle, status.asleep), (1, 1, false));
    world.happen(Event::Release(0));
    world.happen(Event::Sleep);
    world.happen(Event::Maintain);
    assert_eq!(world.maintenances, 0);
    world.acquire(Home::ANYWHERE, true, None);
    assert_eq!(world.maintenances, 1);
}

#[test]
fn the_time_asleep_does_not_count_as_an_outage() {
    let refused = crate::error::tests::refused();
    let (mut state, now) = pool(1, 1);
    state.keep_min_size();
    state.resize(1, 1);
    // Its session is lost, and the server does not come back.
    assert_eq!(state.tick(now, |_| Some(CloseReason::Dead)).len(), 1);
    assert_eq!(state.todo(now).open, 1);
    let site = state.site();
    assert!(state.open_failed(site, &refused, now).refuse.is_empty());
    assert!(state.sleep());
    assert_eq!(state.step(site, true, now), Step::End);
    let later = now + Duration::from_secs(3600);
    let queued = state.acquire(request(Home::ANYWHERE, later), || 7);
    assert!(matches!(queued, Acquired::Queued(_)));
    assert_eq!(state.todo(later).open, 1);
    let site = state.site();
    assert_eq!(state.step(site, false, later), Step::Open);
    let told = state.open_failed(site, &refused, later).refuse;
    assert!(told.is_empty(), "reconnect_timeout begins now");
}
