//! Closing what is cached when the process ends.
//!
//! Rust drops no statics at exit, so that sessions cached in a static would just be cut. Here
//! handles put themselves down, weakly, and a hook that runs when the process ends normally
//! (`main` returned or `std::process::exit`) gives each the chance to close. Best effort: a
//! second in all, errors and panics swallowed, and nothing after a signal or an abort.

use std::panic::catch_unwind;
use std::sync::mpsc;
use std::sync::{Mutex, Once, Weak};
use std::time::Duration;

/// How long the end of the process may be held up. The promise is a second; the rest is for
/// everything else that happens at exit.
const LIMIT: Duration = Duration::from_millis(800);

/// A handle that has something to close when the process ends.
pub trait CloseAtExit: Send + Sync {
    /// Closes what can be had without waiting. Runs on a thread of its own, with no async
    /// runtime around.
    fn close_at_exit(&self);
}

static HANDLES: Mutex<Vec<Weak<dyn CloseAtExit>>> = Mutex::new(Vec::new());

/// Puts a handle down. It is held weakly: dropping it takes it off by itself.
pub fn register(handle: Weak<dyn CloseAtExit>) {
    install();
    if let Ok(mut handles) = HANDLES.lock() {
        handles.retain(|known| known.strong_count() > 0);
        handles.push(handle);
    }
}

fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        #[expect(
            unsafe_code,
            reason = "the standard library has no hook for the end of the process"
        )]
        // SAFETY: `atexit` takes a function pointer that lives as long as the program, and the
        // function neither unwinds nor relies on anything that exit has taken down before.
        unsafe {
            libc::atexit(run);
        }
    });
}

/// Closes each handle on a thread of its own and waits for all within the limit: a server that
/// hangs, a panic, or a thread that holds a lock for ever keeps neither the process from ending
/// nor the other handles from closing.
extern "C" fn run() {
    let _ = catch_unwind(|| {
        let handles = match HANDLES.lock() {
            Ok(mut handles) => std::mem::take(&mut *handles),
            Err(_) => return,
        };
        let (running, ended) = mpsc::channel::<()>();
        for handle in handles.iter().filter_map(Weak::upgrade) {
            let running = running.clone();
            let _ = std::thread::Builder::new()
                .name("pgmonkey-exit".to_owned())
                .spawn(move || {
                    handle.close_at_exit();
                    drop(running);
                });
        }
        drop(running);
        // Nobody sends: the channel ends with the last thread.
        let _ = ended.recv_timeout(LIMIT);
    });
}
