//! Closes cached handles when the process exits.
//!
//! Rust drops no statics at exit, so sessions cached in a static would be cut off. Handles register
//! here, by weak reference, and a hook closes them at normal exit (`main` returned, or
//! `std::process::exit`). Best effort: a second in all, errors and panics are swallowed, and
//! nothing runs after a signal or an abort.
//!
//! A child of `fork` inherits the hook and its parent's handles, whose sockets it shares. It closes
//! only handles that it opened itself. Forks are detected here too, because this is the only file
//! with hooks into the C library.

#[cfg(unix)]
use std::cell::RefCell;
use std::panic::catch_unwind;
#[cfg(unix)]
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Mutex, Weak};
use std::time::Duration;

use super::Origin;

/// How long closing may delay the exit. The documented limit is a second; the rest is for
/// everything else that happens at exit.
const LIMIT: Duration = Duration::from_millis(800);

/// A handle to close when the process exits.
pub trait CloseAtExit: Send + Sync {
    /// Closes what can be closed without waiting. Runs on its own thread, without an async
    /// runtime.
    fn close_at_exit(&self);
}

/// The process that opened a handle, and the handle.
type Entry = (Origin, Weak<dyn CloseAtExit>);

static HANDLES: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// Registers a handle by weak reference: once dropped, it is ignored.
pub fn register(handle: Weak<dyn CloseAtExit>) {
    install();
    if let Ok(mut handles) = HANDLES.lock() {
        handles.retain(|(origin, known)| origin.is_here() && known.strong_count() > 0);
        handles.push((Origin::here(), handle));
    }
}

fn install() {
    // Not a `Once`: a child forked during the call would wait for the parent's thread.
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

/// Installs the hooks that let a child of `fork` know that it is one.
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
    /// The lock on the handles, held across a fork: otherwise a child could inherit it locked by a
    /// thread that the child does not have.
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
    super::forked();
    let _ = HELD.try_with(RefCell::take);
}

/// Closes each handle on its own thread and waits for all of them, up to the limit: a hanging
/// server, a panic, or a thread that never releases a lock prevents neither the exit nor the
/// closing of other handles.
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
        // No thread sends: the channel closes when the last thread ends.
        let _ = ended.recv_timeout(LIMIT);
    });
}
