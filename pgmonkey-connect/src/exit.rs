//! Closing what is cached when the process ends.
//!
//! Rust drops no statics at exit, so that sessions cached in a static would just be cut. Here
//! handles put themselves down, weakly, and a hook that runs when the process ends normally
//! (`main` returned or `std::process::exit`) gives each the chance to close. Best effort: a
//! second in all, errors and panics swallowed, and nothing after a signal or an abort.
//!
//! A child of `fork` inherits the hook, and the handles of its parent, whose sockets it shares. It
//! closes only what it opened itself. That it is a child is noticed here too, as this is the one
//! file with hooks of the C library.

#[cfg(unix)]
use std::cell::RefCell;
use std::panic::catch_unwind;
#[cfg(unix)]
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Mutex, Weak};
use std::time::Duration;

#[cfg(unix)]
use crate::process;
use crate::process::Origin;

/// How long the end of the process may be held up. The promise is a second; the rest is for
/// everything else that happens at exit.
const LIMIT: Duration = Duration::from_millis(800);

/// A handle that has something to close when the process ends.
pub trait CloseAtExit: Send + Sync {
    /// Closes what can be had without waiting. Runs on a thread of its own, with no async
    /// runtime around.
    fn close_at_exit(&self);
}

/// Where a handle was opened, and the handle.
type Entry = (Origin, Weak<dyn CloseAtExit>);

static HANDLES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// Puts a handle down. It is held weakly: dropping it takes it off by itself.
pub fn register(handle: Weak<dyn CloseAtExit>) {
    install();
    if let Ok(mut handles) = HANDLES.lock() {
        handles.retain(|(origin, known)| origin.is_here() && known.strong_count() > 0);
        handles.push((Origin::here(), handle));
    }
}

fn install() {
    // Not a `Once`: a child that is forked in between would wait for the parent's thread.
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.swap(true, Ordering::Relaxed) {
        return;
    }
    #[expect(
        unsafe_code,
        reason = "the standard library has no hook for the end of the process"
    )]
    // SAFETY: `atexit` takes a function pointer that lives as long as the program, and the
    // function neither unwinds nor relies on anything that exit has taken down before.
    unsafe {
        libc::atexit(run);
    }
}

/// Has children of `fork` know that they are.
pub(crate) fn watch_forks() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if WATCHED.load(Ordering::Relaxed) || WATCHED.swap(true, Ordering::Relaxed) {
        return;
    }
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "the standard library has no hook for a fork")]
    // SAFETY: `pthread_atfork` takes function pointers that live as long as the program. None of
    // them unwinds; the child's adds to an atomic and unlocks a mutex, which the same thread has
    // locked.
    unsafe {
        libc::pthread_atfork(Some(before_fork), Some(in_parent), Some(in_child));
    }
}

#[cfg(unix)]
thread_local! {
    /// The lock on the handles, from before a fork until after it: a child must not inherit it
    /// from a thread that it does not have.
    static HELD: RefCell<Option<MutexGuard<'static, Vec<Entry>>>> = const { RefCell::new(None) };
}

#[cfg(unix)]
extern "C" fn before_fork() {
    let _ = HELD.try_with(|held| held.replace(HANDLES.lock().ok()));
}

#[cfg(unix)]
extern "C" fn in_parent() {
    let _ = HELD.try_with(RefCell::take);
}

#[cfg(unix)]
extern "C" fn in_child() {
    process::forked();
    let _ = HELD.try_with(RefCell::take);
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
        let ours = handles.iter().filter(|(origin, _)| origin.is_here());
        for handle in ours.filter_map(|(_, handle)| handle.upgrade()) {
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
