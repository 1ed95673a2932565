//! An authenticated connection, in both roles, whose peer sends what it likes.
#![no_main]

use fuzz::requests;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| requests::run(data));
