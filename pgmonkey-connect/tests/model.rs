//! Model test of the pool: concurrent callers under thousands of schedules.
//!
//! The pool's sources are compiled here a second time, with the primitives of `shuttle` instead of
//! the standard library's, so that the scheduler can reorder every lock, wait and wake-up. The test
//! controls the clock. A failure prints the schedule and how to replay it; a lost wake-up is
//! reported as a deadlock.
#![allow(unreachable_pub, unused_imports, dead_code, missing_docs)]

#[path = "model/surroundings.rs"]
mod surroundings;
#[path = "model/world.rs"]
mod world;

#[path = "../src/backoff.rs"]
mod backoff;
#[path = "../src/status.rs"]
mod status;

mod telemetry {
    pub(crate) use crate::surroundings::events;
}

#[path = "../src/pool"]
mod pool {
    pub use budget::{Budget, Permit};
    pub use caller::Caller;
    pub use checkout::{Checkout, InUse};
    pub use connect_task::ConnectTask;
    pub use home::Home;
    pub use idle_check::IdleCheck;
    pub use label::Label;
    pub use outcome::Step;
    pub use shell::{
        Acquiring, Drained, PoolCore, Shell, acquire, close, drained, join, resize, sleep, tick,
    };
    pub use sync::Instant;
    pub use waiter::Waiter;

    mod budget;
    mod caller;
    mod checkout;
    mod checkouts;
    mod connect_task;
    mod home;
    mod idle;
    mod idle_check;
    mod limits;
    mod outcome;
    mod pacing;
    mod shell;
    mod slot;
    mod state;
    mod waiter;

    pub(crate) use crate::surroundings::{label, sync};
}

use std::sync::Arc;
use std::time::Duration;

use pool::{Home, IdleCheck, Instant};
use status::CloseReason;
use surroundings::error::Error;
use surroundings::{error, process};
use world::{How, Until, World, draw, homes};

/// Every caller that waits long enough gets a session.
fn callers_wait_for_each_other(how: How) {
    let world = World::new(how, 1 + draw(2));
    for _ in 0..4 {
        world.call(Home::ANYWHERE, Until::Waits);
    }
    world.end();
}

/// Callers that give up, at any point, lose no session.
fn some_give_up(how: How) {
    let world = World::new(how, 1 + draw(2));
    for _ in 0..2 {
        world.call(Home::ANYWHERE, Until::GivesUp);
        world.call(Home::ANYWHERE, Until::Waits);
    }
    world.end();
}

/// Connect tasks fail, with transient or final errors, or are dropped with their runtime.
fn openings_fail(how: How) {
    let world = World::new(how, 1 + draw(2));
    world.openings_fail(2);
    world.call(Home::ANYWHERE, Until::GivesUp);
    for _ in 0..3 {
        world.call(Home::ANYWHERE, Until::Waits);
    }
    world.end();
}

/// The server ends sessions, and maintenance checks idle ones.
fn sessions_are_lost(how: How) {
    let world = World::new(how, 1 + draw(2));
    // One session is idle.
    drop(world.hold());
    world.sessions_die(2);
    for _ in 0..3 {
        world.call(Home::ANYWHERE, Until::Waits);
    }
    world.run(|world| {
        let soon = Instant::now() + Duration::from_secs(1);
        if let Some(look) = IdleCheck::begin(world, soon) {
            shuttle::thread::yield_now();
            match draw(4) {
                0 => look.end(CloseReason::Dead),
                1 => drop(look),
                _ => look.back(),
            }
        }
        pool::tick(world, None, drop);
    });
    world.end();
}

/// The sizes change while callers wait.
fn sizes_change(how: How) {
    let world = World::new(how, 2);
    for _ in 0..3 {
        world.call(Home::ANYWHERE, Until::Waits);
    }
    world.run(|world| {
        pool::resize(world, 0, 1);
        pool::resize(world, 0, 2);
    });
    world.end();
}

/// A larger size serves waiters without a release.
fn a_larger_size_makes_room(how: How) {
    let world = World::new(how, 2);
    pool::resize(&world, 0, 1);
    let held = world.hold();
    world.call(Home::ANYWHERE, Until::GivesUp);
    world.call(Home::ANYWHERE, Until::Waits);
    world.run(|world| pool::resize(world, 0, 2));
    world.join();
    drop(held);
    world.end();
}

/// Sessions of one runtime cannot be used in another: they are closed to make room.
fn callers_come_from_two_runtimes(how: How) {
    let [one, other] = homes();
    let world = World::new(how, 1 + draw(2));
    world.call(one, Until::Waits);
    world.call(other, Until::Waits);
    world.call(one, Until::GivesUp);
    world.call(other, Until::Waits);
    world.end();
}

/// The pool falls asleep whenever no caller uses it; each caller wakes it, and it has one
/// maintenance.
fn the_pool_sleeps(how: How) {
    let world = World::new(how, 1 + draw(2));
    world.keeps_min_size();
    world.openings_fail(1);
    for _ in 0..3 {
        world.call(Home::ANYWHERE, Until::Waits);
    }
    world.run(|world| {
        for _ in 0..3 {
            pool::sleep(&**world, Duration::ZERO, drop);
            shuttle::thread::yield_now();
            world.look();
        }
    });
    world.join();
    // No caller is left, so it sleeps for good.
    while !world.is_asleep() {
        pool::sleep(&*world, Duration::ZERO, drop);
    }
    // Connect tasks of an earlier waking may still run.
    world.join();
    world.check_asleep();
    world.end();
}

/// Closing the pool wakes all waiters, and the end of its last session is reported.
fn the_pool_is_closed(how: How) {
    let world = World::new(how, 1 + draw(2));
    world.may_close();
    world.openings_fail(1);
    world.call(Home::ANYWHERE, Until::GivesUp);
    for _ in 0..2 {
        world.call(Home::ANYWHERE, Until::Waits);
    }
    world.run(|world| world.close());
    world.end();
}

/// Closing the pool wakes waiters even without a release.
fn all_are_in_use_when_the_pool_is_closed(how: How) {
    let world = World::new(how, 1);
    world.may_close();
    let held = world.hold();
    world.call(Home::ANYWHERE, Until::GivesUp);
    for _ in 0..2 {
        world.call(Home::ANYWHERE, Until::Waits);
    }
    world.run(|world| assert!(pool::close(&**world)));
    world.join();
    drop(held);
    world.end();
}

/// Two pools share one or two sessions: every caller gets one, and there are never more.
fn pools_share_a_budget(how: How) {
    let limit = 1 + draw(2);
    let budget = Arc::new(pool::Budget::new("db:5432", limit));
    let pools = [World::new(how, 2), World::new(how, 2)];
    for world in &pools {
        pool::join(world, &budget);
    }
    let [one, other] = &pools;
    one.call(Home::ANYWHERE, Until::Waits);
    other.call(Home::ANYWHERE, Until::Waits);
    one.call(Home::ANYWHERE, Until::GivesUp);
    other.call(Home::ANYWHERE, Until::Waits);
    // The end of one pool's session may start a task of the other.
    for _ in 0..8 {
        pools.iter().for_each(|world| world.join());
        let open: u32 = pools.iter().map(|world| world.open_sessions()).sum();
        assert!(open <= limit, "{open} sessions");
    }
    pools.iter().for_each(|world| world.end());
}

/// A pool that is closed while it waits for its turn leaves it to the other.
fn a_pool_with_a_budget_is_closed(how: How) {
    let budget = Arc::new(pool::Budget::new("db:5432", 1));
    let pools = [World::new(how, 1), World::new(how, 1)];
    for world in &pools {
        pool::join(world, &budget);
    }
    let [one, other] = &pools;
    one.may_close();
    let held = other.hold();
    one.call(Home::ANYWHERE, Until::Waits);
    one.run(|world| world.close());
    other.call(Home::ANYWHERE, Until::Waits);
    drop(held);
    for _ in 0..8 {
        pools.iter().for_each(|world| world.join());
    }
    pools.iter().for_each(|world| world.end());
}

/// Runs the scenario under random schedules, and under schedules with few, well-placed switches.
fn check(scenario: fn(How), how: How) {
    let iterations = std::env::var("MODEL_ITERATIONS").map_or(500, |text| {
        text.parse().expect("MODEL_ITERATIONS is a number")
    });
    shuttle::check_random(move || scenario(how), iterations);
    shuttle::check_pct(move || scenario(how), iterations, 3);
}

macro_rules! in_both_shells {
    ($($scenario:ident)*) => {
        mod tasks {
            $(#[test]
            fn $scenario() {
                super::check(super::$scenario, super::How::Tasks);
            })*
        }

        mod threads {
            $(#[test]
            fn $scenario() {
                super::check(super::$scenario, super::How::Threads);
            })*
        }
    };
}

in_both_shells! {
    callers_wait_for_each_other
    some_give_up
    openings_fail
    sessions_are_lost
    sizes_change
    a_larger_size_makes_room
    callers_come_from_two_runtimes
    the_pool_sleeps
    the_pool_is_closed
    all_are_in_use_when_the_pool_is_closed
    pools_share_a_budget
    a_pool_with_a_budget_is_closed
}
