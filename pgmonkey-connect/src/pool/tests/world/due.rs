//! What is due after an event.

use super::*;

impl World {
    pub(super) fn todo(&mut self) {
        let todo = self.state.todo(self.now);
        self.run(todo);
    }

    pub(super) fn run(&mut self, todo: Todo<Session, u32>) {
        if todo.maintain {
            self.maintenances += 1;
        }
        for _ in 0..todo.open {
            self.openings.push((Phase::Begun, todo.site));
        }
        for (session, _) in todo.end {
            assert!(self.live.remove(&session.number), "ended twice");
        }
        for (waiter, _) in todo.refuse {
            assert!(self.waiting.remove(&waiter).is_some(), "refused twice");
            self.refused += 1;
        }
    }

    /// As the real shell does, asks what is due only if something may be.
    pub(super) fn todo_if_due(&mut self) {
        if !self.state.is_quiet() {
            return self.todo();
        }
        if self.state.has_waiters() {
            let todo = self.state.todo(self.now);
            let is_nothing = todo.open == 0 && todo.end.is_empty() && todo.refuse.is_empty();
            assert!(is_nothing && !todo.maintain, "due although quiet");
        }
    }
}
