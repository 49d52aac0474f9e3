//! A generic single-flight cache: one build per key, however many callers race, blocking or async.
//!
//! It is made for few keys and values that are dear to build and cheap to clone: pools, connections,
//! clients. A hit costs some tens of nanoseconds and scales with the cores.
//!
//! ```
//! use std::sync::Arc;
//! use pgmonkey_cache::Cache;
//!
//! # #[derive(Debug)] struct Pool;
//! # impl Pool { fn open(_url: &str) -> Result<Self, Arc<std::io::Error>> { Ok(Self) } fn close(&self) {} }
//! let cache: Cache<String, Arc<Pool>, Arc<std::io::Error>> = Cache::new();
//! let url = "postgres://db/shop".to_owned();
//!
//! let first = cache.get_or_try_init(&url, || Pool::open(&url).map(Arc::new))?;
//! let again = cache.get_or_try_init(&url, || unreachable!("it is cached"))?;
//! assert!(Arc::ptr_eq(&first, &again));
//!
//! for (_url, pool) in cache.clear() {
//!     pool.close();
//! }
//! # Ok::<(), Arc<std::io::Error>>(())
//! ```
//!
//! # What is promised
//!
//! * **One build per key**, however many threads and tasks ask at once; the others wait for it.
//! * **An error reaches everyone who waited**, and nothing is cached: a hundred callers of a dead host
//!   wait once, not a hundred times. Who asks later builds anew.
//! * **A builder may fail to finish**: when it panics or its future is dropped, the next one who waits
//!   builds.
//! * **Nothing blocks but the same key.** No lock is held while a builder runs.
//! * **A hit** takes no lock, allocates nothing and writes no shared memory beyond the reference count
//!   of the value and a hit counter of its own thread. [`Cache::spreading`] keeps threads from sharing
//!   the reference count too.
//! * **No value gets lost.** What was built is in the cache until [`remove`](Cache::remove),
//!   [`clear`](Cache::clear) or [`replace`](Cache::replace) gives it, once, to the caller who closes it.
//! * **`replace` swaps without a gap**: callers get the old value until the new one is ready; a failed
//!   replacement changes nothing.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `async` | no | `get_or_try_init_async`, `get_or_try_renew_async`, `replace_async`, for any runtime |
//!
//! # Checking it
//!
//! `cargo test -p pgmonkey-cache --all-features` includes `tests/model.rs`, which compiles these same
//! sources on primitives whose every step is scheduled, and runs the races under thousands of
//! schedules. `MODEL_ITERATIONS=100000 cargo test -p pgmonkey-cache --all-features --test model` looks
//! longer.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod apart;
mod cache;
mod claim;
mod flight;
#[cfg(feature = "async")]
mod future;
mod hits;
mod slot;
mod sync;

pub use apart::Apart;
pub use cache::{Cache, Entry, Replaced};

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
