//! Checks whether the calling thread may block.

use std::panic::resume_unwind;
use std::pin::pin;
use std::task::{Context, Waker};

use pgmonkey_connect::Error;
use tokio::runtime::Handle;
use tokio::task::{consume_budget, coop};

/// Refuses a blocking call made inside an async task, where the driver would panic. The error names
/// the async twin.
pub(crate) fn check(what: &'static str, twin: &'static str) -> Result<(), Error> {
    if polled_by_a_runtime() {
        return Err(Error::InsideAsync { what, twin });
    }
    Ok(())
}

/// Whether the calling thread may block: true on a plain thread, in `spawn_blocking`, in
/// `block_in_place` and on a thread that only entered a runtime's handle.
pub(crate) fn may_block() -> bool {
    !polled_by_a_runtime()
}

/// Runs blocking `work` where [`may_block`] returned true.
///
/// A future inside `tokio::task::unconstrained` is not recognised as being polled, and the driver
/// panics there. Code that runs during a drop must not panic, so near a runtime a separate thread
/// does the work while this one waits.
pub(crate) fn block<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    if !near_a_runtime() {
        return work();
    }
    let mut work = Some(work);
    let mut run = || work.take().map(|work| work());
    let done = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, &mut run);
        thread.ok().and_then(|thread| {
            let ended = thread.join();
            ended.unwrap_or_else(|panic| resume_unwind(panic))
        })
    });
    // On this thread, if none can be started.
    done.or_else(run).expect("the work is done once")
}

/// Whether this thread is in the context of a Tokio runtime. True also where blocking is allowed,
/// so only the way something is done may depend on it, never the result.
pub(crate) fn near_a_runtime() -> bool {
    Handle::try_current().is_ok()
}

/// Whether the calling code is being polled by a Tokio runtime.
///
/// The runtime gives everything it polls a budget, but gives none to `spawn_blocking`,
/// `block_in_place` or a thread that only entered a handle. The difference shows once the budget is
/// used up. The only effect on a task that may not block is one additional yield.
fn polled_by_a_runtime() -> bool {
    if !near_a_runtime() {
        return false;
    }
    let mut context = Context::from_waker(Waker::noop());
    // A budget is a u8, so this many steps use up any budget.
    for _ in 0..=u8::MAX {
        if !coop::has_budget_remaining() || pin!(consume_budget()).poll(&mut context).is_pending() {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_thread_may_block() {
        assert!(!polled_by_a_runtime());
    }

    #[test]
    fn an_entered_handle_may_block() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let _entered = runtime.enter();
        assert!(near_a_runtime());
        assert!(!polled_by_a_runtime());
    }

    #[test]
    fn a_task_may_not_and_a_blocking_thread_may() {
        for mut builder in [
            tokio::runtime::Builder::new_current_thread(),
            tokio::runtime::Builder::new_multi_thread(),
        ] {
            let runtime = builder.build().expect("a runtime");
            runtime.block_on(async {
                assert!(polled_by_a_runtime(), "the root future");
                let task = tokio::spawn(async { polled_by_a_runtime() });
                assert!(task.await.expect("no panic"), "a task");
                let blocking = tokio::task::spawn_blocking(polled_by_a_runtime);
                assert!(!blocking.await.expect("no panic"), "a blocking thread");
            });
        }
    }
}
