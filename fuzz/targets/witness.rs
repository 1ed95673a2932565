//! A server before its host key, as the proxy in between reads it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| fuzz::witness::run(data));
