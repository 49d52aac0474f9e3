//! The README's example for `async_pool`, to be run by a test.

#![forbid(unsafe_code)]

include!("../../../pgmonkey/examples/async_pool.rs");
