//! A connection string: a URL or key=value text.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgmonkey_config::fuzz::url(data));
