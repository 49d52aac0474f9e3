//! The pool's synchronization primitives and clock, in one place: the model test compiles the
//! other files of this folder against its own version of this module, which schedules every step
//! and controls the time.

pub(crate) use std::sync::{Arc, Mutex, MutexGuard};
pub(crate) use std::thread::{Thread, current, park, park_timeout};
pub(crate) use std::time::Instant;
