//! What a server and a client send, in pieces: framing, observer, login.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pgmonkey_connect::fuzz::wire(data));
