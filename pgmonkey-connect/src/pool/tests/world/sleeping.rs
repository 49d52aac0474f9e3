//! Sleep and wake in the simulated shell, and their invariants.

use super::*;
use crate::status::Status;

impl World {
    pub(super) fn sleep(&mut self) {
        let was = self.state.is_asleep();
        let can = self.held.is_empty() && self.waiting.is_empty() && !self.state.is_closed();
        assert_eq!(self.state.sleep(), can && !was);
        self.todo();
    }

    /// Lets each connect task succeed.
    pub(in crate::pool::tests) fn fill(&mut self) {
        for _ in 0..1000 {
            if self.openings.is_empty() {
                return;
            }
            self.happen(Event::Pass(1000));
            self.step(0);
            self.happen(Event::Connected(0));
            self.check();
        }
        panic!("{} connect tasks never end", self.openings.len());
    }

    /// Puts the pool to sleep, and wakes it.
    pub(in crate::pool::tests) fn sleep_and_wake(&mut self) {
        if self.state.is_closed() {
            return;
        }
        while !self.held.is_empty() {
            self.happen(Event::Release(0));
        }
        self.happen(Event::Sleep);
        assert!(self.state.is_asleep());
        self.check();
        self.fill();
        let opened = self.state.status().opened;
        self.tick(false);
        assert!(self.openings.is_empty() && self.live.is_empty());
        assert_eq!(self.state.status().opened, opened, "it opens nothing");
        // A connect task from before may have failed in the meantime, which turns away a caller that
        // can turn to another server. Any other caller wakes the pool.
        self.next_waiter += u32::from(self.turns_away());
        self.acquire(self.homes[0], true, None);
        assert!(
            !self.openings.is_empty(),
            "the caller that wakes it has no connect task"
        );
        self.settle();
        self.happen(Event::Tick(false));
        assert!(!self.state.is_asleep());
    }

    pub(super) fn check_sleep(&self, status: &Status) {
        assert_eq!(status.asleep, self.state.is_asleep());
        if status.asleep {
            assert_eq!(
                (status.size, status.waiting),
                (0, 0),
                "sleep leaves nothing"
            );
        }
        let fewest = u32::from(!status.asleep);
        assert!(
            (fewest..=1).contains(&self.maintenances),
            "{}",
            self.maintenances
        );
    }
}
