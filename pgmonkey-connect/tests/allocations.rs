//! The pool's decisions and counters must not allocate on acquire and release.

use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use pgmonkey_config::PoolSettings;
use pgmonkey_connect::pool::{
    self, Acquiring, Caller, Checkout, ConnectTask, Home, InUse, Label, PoolCore, Shell, Step,
};
use pgmonkey_connect::recycle::Verdict;
use pgmonkey_connect::{CloseReason, events};

/// A pool whose sessions are numbers.
struct Numbers(PoolCore<u32>);

impl Shell for Numbers {
    type Session = u32;

    fn core(&self) -> &PoolCore<u32> {
        &self.0
    }

    fn open(self: &Arc<Self>, mut task: ConnectTask<Self>) {
        assert_eq!(task.step(), Step::Open);
        task.opened(1);
    }

    fn maintain(self: &Arc<Self>) {}

    fn home(_: &u32) -> Home {
        Home::ANYWHERE
    }

    fn end_reason(_: &u32, _: Instant) -> Option<CloseReason> {
        None
    }

    fn release(checkout: Checkout<Self>) {
        events::recycled(checkout.pool().0.label().name(), Verdict::Keep);
        checkout.release_clean();
    }
}

/// Holds with the feature `metrics` too, as long as no recorder is installed.
#[test]
fn a_turn_of_a_session_allocates_nothing_when_nobody_listens() {
    let label = Arc::new(Label::new("u@h:1/d", "u@h:1/d", &PoolSettings::default()));
    let pool = PoolCore::new("pool", Arc::clone(&label), &PoolSettings::default());
    let pool = Arc::new(Numbers(pool));
    let ask = || {
        let caller = Caller::new(Location::caller(), Home::ANYWHERE);
        (pool::acquire(&pool, &caller, None).expect("room"), caller)
    };
    // The first acquire waits for a connect task, which finishes at once here.
    drop(ask());
    let turn = || {
        let _span = events::acquire(label.name()).map(tracing::Span::entered);
        let (Acquiring::Ready(checkout), caller) = ask() else {
            panic!("one is idle");
        };
        drop(InUse::new(checkout, &caller));
    };
    turn();
    let counted = allocation_counter::measure(|| (0..100).for_each(|_| turn()));
    assert_eq!(counted.count_total, 0);
    let status = pool.0.status();
    assert_eq!((status.acquires, status.idle, status.opened), (101, 1, 1));
}
