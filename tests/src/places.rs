//! Where blocking is allowed besides a plain thread: a blocking handle must behave the same in
//! each.

use crate::Outcome;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Runs it on a runtime's thread for blocking work.
pub fn in_spawn_blocking(run: fn() -> Outcome) -> Outcome {
    let runtime = runtime();
    let done = runtime.spawn_blocking(run);
    runtime.block_on(done).expect("no panic")
}

/// Runs it in a task that has announced to its runtime that it blocks.
pub fn in_block_in_place(run: fn() -> Outcome) -> Outcome {
    let runtime = runtime();
    let done = runtime.spawn(async move { tokio::task::block_in_place(run) });
    runtime.block_on(done).expect("no panic")
}

/// Runs it on a plain thread that has entered a runtime's handle.
pub fn with_an_entered_handle(run: fn() -> Outcome) -> Outcome {
    let runtime = runtime();
    let _entered = runtime.enter();
    run()
}
