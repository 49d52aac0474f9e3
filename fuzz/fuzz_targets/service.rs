//! The files of libpq: services and passwords.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgmonkey_config::fuzz::service(data));
