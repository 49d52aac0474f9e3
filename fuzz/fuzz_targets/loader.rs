//! A configuration as YAML, TOML and JSON: the first byte says which.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgmonkey_config::fuzz::loader(data));
