//! The README's example for `async`, to be run by a test.

#![forbid(unsafe_code)]

include!("../../../pgmonkey/examples/async.rs");
