//! The programs of the chapter about other crates are in `src/bin`; the tests run them.

#![forbid(unsafe_code)]
