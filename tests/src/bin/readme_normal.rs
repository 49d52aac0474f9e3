//! The README's example for `normal`, to be run by a test.

#![forbid(unsafe_code)]

include!("../../../pgmonkey/examples/normal.rs");
