//! A generic single-flight cache: one build per key, however many callers race, blocking or async.
//!
//! It is meant for a few keys whose values are expensive to build and cheap to clone: pools,
//! connections, clients. A hit costs some tens of nanoseconds and scales with the cores.
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
//! # Guarantees
//!
//! * **One build per key**, however many threads and tasks ask at once; the others wait for it.
//! * **An error reaches every waiter**, and nothing is cached: a hundred callers of an unreachable
//!   host wait once, not a hundred times. Later callers build again.
//! * **A builder may panic or be cancelled**: the next waiter builds.
//! * **Only callers of the same key block each other.** No lock is held while a builder runs.
//! * **A hit** takes no lock, allocates nothing and writes no memory shared with other threads
//!   except the reference count of the value and a sharded hit counter. [`Cache::sharded`] shards
//!   the reference count too.
//! * **No value is lost.** A value stays in the cache until [`remove`](Cache::remove),
//!   [`remove_if`](Cache::remove_if), [`clear`](Cache::clear) or [`replace`](Cache::replace) returns it to exactly one caller, which
//!   closes it.
//! * **`replace` swaps without a gap**: callers get the old value until the new one is ready; a failed
//!   replacement changes nothing.
//!
//! # Features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `async` | no | `get_or_try_init_async`, `get_or_try_renew_async`, `replace_async`, for any runtime |
//!
//! # Tests
//!
//! `cargo test -p pgmonkey-cache --all-features` includes `tests/model.rs`, which compiles the same
//! sources with model-checked primitives and runs the races under thousands of thread schedules.
//! For a longer run:
//! `MODEL_ITERATIONS=100000 cargo test -p pgmonkey-cache --all-features --test model`.
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod cache;
mod flight;
#[cfg(feature = "async")]
mod future;
mod hits;
mod sharded;
mod slot;
mod sync;

pub use cache::{Cache, Entry, Replaced};
pub use sharded::Sharded;

/// Compiles and runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
