//! A client from the first byte: any bytes, messages after a key exchange that was skipped, or a conversation with a peer
//! whose messages are tampered with.
#![no_main]

use fuzz::{conversation, lone};
use libfuzzer_sys::fuzz_target;
use ssh::Role;

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        None => {}
        Some((0..32, stream)) => lone::stream(Role::Client, stream),
        Some((32..96, script)) => lone::messages(Role::Client, script),
        Some((_, script)) => conversation::run(Role::Client, script),
    }
});
