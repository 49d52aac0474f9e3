//! What keeps the books of each turn of a session must cost the turn nothing but a few additions.

use std::panic::Location;
use std::time::Instant;

use pgmonkey_connect::events;
use pgmonkey_connect::ledger::Ledger;
use pgmonkey_connect::recycle::Verdict;

/// With the feature `metrics` too: without a recorder there is nothing to record to.
#[test]
fn a_turn_of_a_session_allocates_nothing_when_nobody_listens() {
    let ledger = Ledger::new("u@h:1/d", 0, 4);
    ledger.opened();
    let turn = || {
        let _span = events::acquire(ledger.name()).map(tracing::Span::entered);
        let loan = ledger.lent(Location::caller(), Instant::now());
        events::recycled(ledger.name(), Verdict::Keep);
        ledger.returned(loan);
    };
    turn();
    let counted = allocation_counter::measure(|| (0..100).for_each(|_| turn()));
    assert_eq!(counted.count_total, 0);
    assert_eq!(ledger.status().acquires, 101);
}
