//! The README's example for `pool`, to be run by a test.

#![forbid(unsafe_code)]

include!("../../../pgmonkey/examples/pool.rs");
